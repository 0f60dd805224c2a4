"""The rows that were set aside, as people list and decide them, many at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import BinaryField, Func, IntegerField, Q, QuerySet, Value
from django.db.models.functions import Length, Substr
from django.db.models.lookups import GreaterThan

from sync.engine.locks import BusyError
from sync.engine.quarantine import Outcome, dismiss, reprocess
from sync.models import QuarantinedRow, SyncTable
from sync.printable import printable

# Of a row, so much is shown; it may be longer than anybody wants to read.
RAW_SHOWN = 2048
# So many are decided by one request, and so long it works on them at the most.
MOST_AT_ONCE = 100
SECONDS = 15.0

State = QuarantinedRow.State


class Deed(StrEnum):
    """What a person may do with an open row."""

    REPROCESS = "reprocess"
    DISMISS = "dismiss"


class Became(StrEnum):
    """What became of a row, in the words that people see."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    DISMISSED = "dismissed"
    STILL_BAD = "cannot be applied yet"
    DECIDED = "was decided by somebody else meanwhile"
    BUSY = "not tried: its table is busy"
    GONE = "is not there any more"
    NOT_REACHED = "not tried: time was up"


@dataclass(frozen=True)
class Decided:
    """A row, what became of it, and more words: what was done, or the error."""

    pk: int
    place: str
    became: Became
    said: str = ""
    code: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Wanted:
    """Which rows are listed; an empty field asks for nothing."""

    sync: int | None = None
    table: int | None = None
    code: str = ""
    state: str = State.OPEN
    text: str = ""


# Listing


def listed(wanted: Wanted) -> QuerySet[QuarantinedRow]:
    """Return rows, the newest first, each with the begin of its bytes alone.

    Their number is bounded by the caller. ``shown_raw`` shows the bytes.
    """
    rows = QuarantinedRow.objects.all()
    if wanted.sync is not None:
        rows = rows.filter(table__config=wanted.sync)
    if wanted.table is not None:
        rows = rows.filter(table=wanted.table)
    if wanted.code:
        rows = rows.filter(code=wanted.code)
    if wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.text:
        rows = rows.filter(_holds(wanted.text))
    return brief(rows).order_by("-pk")


def brief(rows: QuerySet[QuarantinedRow]) -> QuerySet[QuarantinedRow]:
    """Return rows with their tables and syncs, without what is long in them."""
    return (
        rows.select_related("table__config")
        .only(
            *("partition", "file", "line", "column", "code", "reason", "state"),
            *("found_at", "decided_at", "table__entity", "table__target_name"),
            *("table__config__name", "table__config__schema_name"),
            "table__config__kind",
        )
        .annotate(
            raw_begin=Substr("raw", 1, RAW_SHOWN + 1, output_field=BinaryField()),
            raw_bytes=Length("raw"),
        )
    )


class _Position(Func):
    """Where bytes are in other bytes; 0 when they are not."""

    function = "POSITION"
    arg_joiner = " IN "
    output_field = IntegerField()


def _holds(text: str) -> Q:
    """Return the condition that a row names a text, or has it in its bytes."""
    names = ("partition", "file", "column", "reason", "table__entity")
    searched = Value(text.encode(), output_field=BinaryField())
    anywhere = Q(GreaterThan(_Position(searched, "raw"), 0))
    for name in names:
        anywhere |= Q(**{f"{name}__icontains": text})
    return anywhere


@dataclass(frozen=True)
class Raw:
    """The bytes of a row as text; ``bytes`` is how many there are in all."""

    text: str
    cut: bool
    bytes: int


def shown_raw(row: QuarantinedRow) -> Raw:
    """Return the begin of a listed row's bytes; what is no text is shown as codes."""
    begin, size = bytes(row.raw_begin), row.raw_bytes  # type: ignore[attr-defined]
    cut = size > RAW_SHOWN
    if cut:
        # Not in the middle of a character.
        begin = begin[:RAW_SHOWN]
        end = next((n for n in range(1, 4) if begin[-n] & 0xC0 != 0x80), 1)
        lead = begin[-end]
        if lead >= 0xC0 and end < _length(lead):
            begin = begin[:-end]
    return Raw(printable(begin.decode(errors="backslashreplace")), cut, size)


def _length(lead: int) -> int:
    """Return how many bytes a character of UTF-8 has that begins so."""
    return 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2


def place_of(row: QuarantinedRow) -> str:
    """Return where a row is: table, partition, file, line."""
    return f"{row.table.config.name}: {row}"


# Deciding


def decide(
    ids: Sequence[int], deed: Deed, *, by: str, seconds: float = SECONDS
) -> list[Decided]:
    """Decide exactly these rows, the oldest first; each is done or not by itself.

    One row at the least is tried, the last ones are not when time is up. Raises
    ``TargetError`` when PostgreSQL cannot be reached; what was decided stays so.
    """
    wanted = sorted(set(ids))
    found = QuarantinedRow.objects.select_related("table__config").in_bulk(wanted)
    end = time.monotonic() + seconds
    decided: list[Decided] = []
    for pk in wanted:
        row = found.get(pk)
        if row is None:
            decided.append(Decided(pk, f"row {pk}", Became.GONE))
        elif decided and time.monotonic() > end:
            decided.append(Decided(pk, place_of(row), Became.NOT_REACHED))
        else:
            decided.append(_decide(row, deed, by))
    return decided


def _decide(row: QuarantinedRow, deed: Deed, by: str) -> Decided:
    work = reprocess if deed is Deed.REPROCESS else dismiss
    try:
        outcome = work(row, by=by)
    except BusyError:
        return Decided(row.pk, place_of(row), Became.BUSY)
    except SyncTable.DoesNotExist:  # its sync was deleted just now
        return Decided(row.pk, place_of(row), Became.GONE)
    return _told(outcome)


def _told(outcome: Outcome) -> Decided:
    row, error = outcome.row, outcome.error
    if error is not None:
        taken = error.code == "row_decided"
        became = Became.DECIDED if taken else Became.STILL_BAD
        said = "" if taken else error.message
        return Decided(row.pk, place_of(row), became, said, error.code, error.remedy)
    if row.state == State.DISMISSED:
        return Decided(row.pk, place_of(row), Became.DISMISSED)
    unchanged = outcome.done.startswith("unchanged")
    became = Became.UNCHANGED if unchanged else Became.APPLIED
    return Decided(row.pk, place_of(row), became, outcome.done)


def summary(decided: Iterable[Decided]) -> str:
    """Return how many rows became what: 3 applied, 1 cannot be applied yet."""
    counted = Counter(one.became for one in decided)
    order = (word for word in Became if counted[word])
    return ", ".join(f"{counted[word]} {word.value}" for word in order)

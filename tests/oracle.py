"""What a correct replica of a table holds, worked out one change at a time.

This is the measure that the engine is held against. It is written from the
specification ("Which change wins" in docs/architecture.md) and shares nothing with
the engine: no SQL, no batches. ``Replica.apply`` takes one partition, walks the
changes of each key in the order in which the source made them, as far as a reader
can know it, and lets each change challenge what stood before it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from tests.exports import Change, Column, ExportWriter

NO_VERSION = -1
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)

Row = dict[str, object]


# Values


def stored(value: object, data_type: str) -> object:
    """Return what the target holds for a value of an export."""
    kind = _KINDS.get(data_type.lower())
    if value is None or kind is None:
        return value
    # A quoted empty cell is an empty text, and NULL in every other type.
    return None if value == "" else kind(value)


def _boolean(value: object) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    text = str(value)
    for pattern, read in ((_ISO, _iso_time), (_US, _us_time)):
        if match := pattern.fullmatch(text):
            return _clamped(*read(match))
    raise ValueError(f"not a time: {text}")


_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(\.\d+)?)?"
    r"(?:Z|([+-])(\d\d):(\d\d))?"
)
_US = re.compile(r"(\d+)/(\d+)/(\d+) (\d+):(\d\d):(\d\d) (AM|PM)", re.IGNORECASE)


def _iso_time(match: re.Match[str]) -> tuple[datetime, timedelta]:
    """Return the whole second in UTC, and the rest of it."""
    year, month, day = (int(part) for part in match.group(1, 2, 3))
    hour, minute, second = (int(part or 0) for part in match.group(4, 5, 6))
    # PostgreSQL multiplies the fraction as a double and rounds half to even.
    micros = round(float(match[7] or 0) * 1_000_000)
    rest = timedelta(microseconds=micros)
    if match[8]:
        offset = timedelta(hours=int(match[9]), minutes=int(match[10]))
        rest -= offset if match[8] == "+" else -offset
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC), rest


def _us_time(match: re.Match[str]) -> tuple[datetime, timedelta]:
    month, day, year, hour, minute, second = (int(part) for part in match.groups()[:6])
    if hour <= 12:
        # 12 AM is midnight, 12 PM is noon, and so is 0 PM.
        hour = hour % 12 + (12 if match[7].upper() == "PM" else 0)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC), timedelta(0)


def _clamped(moment: datetime, rest: timedelta) -> datetime:
    try:
        return moment + rest
    except OverflowError:
        if rest < timedelta(0):
            raise
        return LAST_MOMENT


def _number(value: object) -> Decimal:
    return Decimal(str(value))


def _integer(value: object) -> int:
    return int(str(value))


def _real(value: object) -> float:
    return float(str(value))


def _guid(value: object) -> UUID:
    return UUID(str(value))


_INTEGERS = ("int64", "long", "int32", "integer", "int16", "short", "byte")
# Whatever is not here is text, and stays as it is.
_KINDS: dict[str, Callable[[object], object]] = {
    "guid": _guid,
    "decimal": _number,
    "double": _real,
    "float": _real,
    "boolean": _boolean,
    "datetime": _moment,
    "datetimeoffset": _moment,
    **dict.fromkeys(_INTEGERS, _integer),
}


# The order


@dataclass(frozen=True)
class Step:
    """One change as the order sees it."""

    change: Change
    key: UUID
    version: int | None
    is_delete: bool
    sink: float

    @classmethod
    def of(cls, change: Change) -> Step:
        """Read the system columns of a change."""
        version = stored(change.get("versionnumber"), "int64")
        sink = stored(change.get("SinkModifiedOn"), "dateTime")
        return cls(
            change=change,
            key=_guid(change.get("Id")),
            version=version if isinstance(version, int) else None,
            is_delete=stored(change.get("IsDelete"), "boolean") is True,
            sink=_instant(sink),
        )

    @property
    def walk(self) -> tuple[float, bool, str, int]:
        """The place among the changes of a key in one partition."""
        return self.sink, self.is_delete, self.change.file, self.change.number


@dataclass(frozen=True)
class Champion:
    """What stands for a key: a row, a tombstone, or a change that beat them."""

    version: int
    is_delete: bool
    sink: float
    change: Change | None = None

    def beats(self, before: Champion | None) -> bool:
        """Say whether this, coming later in the walk, takes the place of ``before``.

        Partition and position need no look: the walk follows them.
        """
        if before is None or self.version != before.version:
            return before is None or self.version > before.version
        if self.version == NO_VERSION:
            return True
        return (self.is_delete, self.sink) >= (before.is_delete, before.sink)


def _instant(moment: object) -> float:
    """Return a time as microseconds; no time is before all times."""
    if not isinstance(moment, datetime):
        return -math.inf
    return (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# The table


@dataclass
class Replica:
    """One replicated table: its rows, its tombstones, and what was read."""

    columns: dict[str, str] = field(default_factory=dict)
    rows: dict[UUID, Row] = field(default_factory=dict)
    tombstones: dict[UUID, int] = field(default_factory=dict)
    read: Counter[str] = field(default_factory=Counter)

    def apply(
        self, partition: str, columns: Sequence[Column], changes: Iterable[Change]
    ) -> None:
        """Apply the changes of one partition, whose model has these columns."""
        types = {column.name.lower(): column.data_type for column in columns}
        for name in types.keys() - self.columns.keys():
            for row in self.rows.values():
                row[name] = None
        self.columns |= types
        by_key: dict[UUID, list[Step]] = defaultdict(list)
        for change in changes:
            step = Step.of(change)
            by_key[step.key].append(step)
            self.read[partition] += 1
        for key, steps in by_key.items():
            self._settle(key, sorted(steps, key=lambda step: step.walk), types)

    def _settle(self, key: UUID, steps: list[Step], types: dict[str, str]) -> None:
        champion = self._standing(key)
        for step in steps:
            version = step.version
            if version is None and step.is_delete and champion is not None:
                # The champion has the highest version that was met so far.
                version = champion.version
            if version is None:
                version = NO_VERSION
            challenger = Champion(version, step.is_delete, step.sink, step.change)
            if challenger.beats(champion):
                champion = challenger
        if champion is not None and champion.change is not None:
            self._write(key, champion, champion.change, types)

    def _standing(self, key: UUID) -> Champion | None:
        if key in self.tombstones:
            return Champion(self.tombstones[key], True, -math.inf)
        if key not in self.rows:
            return None
        row = self.rows[key]
        version = row.get("versionnumber")
        return Champion(
            version=version if isinstance(version, int) else NO_VERSION,
            is_delete=False,
            sink=_instant(row.get("sinkmodifiedon")),
        )

    def _write(
        self, key: UUID, winner: Champion, change: Change, types: dict[str, str]
    ) -> None:
        if winner.is_delete:
            self.rows.pop(key, None)
            self.tombstones[key] = winner.version
            return
        self.tombstones.pop(key, None)
        # A row that lives on keeps what its model no longer has.
        row = self.rows.setdefault(key, dict.fromkeys(self.columns))
        row |= {name: stored(change.get(name), types[name]) for name in types}


def replay(
    export: ExportWriter, folders: Sequence[str] | None = None
) -> dict[str, Replica]:
    """Return every table after these folders; without a list, after all complete."""
    replicas: defaultdict[str, Replica] = defaultdict(Replica)
    for name in export.complete() if folders is None else folders:
        apply_folder(export, name, replicas)
    return dict(replicas)


def apply_folder(
    export: ExportWriter, name: str, replicas: defaultdict[str, Replica]
) -> None:
    """Apply one folder of an export to its tables."""
    folder = export.find(name)
    for table, columns in folder.columns.items():
        replicas[table].apply(name, columns, folder.changes.get(table, []))

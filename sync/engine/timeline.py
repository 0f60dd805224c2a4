"""The story of a sync: loads, events, alerts and edits as one stream, newest first.

It is read page by page. Each page asks each of its sources for one page at the most,
from a place on, by their indexes: the length of the history does not matter.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, F, Min, Q, QuerySet, Sum

from sync.engine.happenings import kinds_of, title_of
from sync.models import DataSyncProgress, Event, Incident, SyncConfig

PAGE = 100
# What somebody wants who asks for what is as grave as this, or graver.
LEVELS = {"warning": ("warning", "error"), "error": ("error",)}
# An edit in the admin is told by an event as well, of about the same time.
SAME_EDIT = timedelta(seconds=5)
_PLACE = re.compile(
    r"(?P<at>[0-9T:.+-]{10,40}Z?)~(?P<rank>[0-4])~(?P<key>.*)", re.DOTALL
)


@dataclass(frozen=True)
class Place:
    """A place in the stream: what comes after it is older.

    Of the same time the sources have their order, ``rank``, and within a source its
    entries theirs, ``key``.
    """

    at: datetime
    rank: int
    key: str

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.rank}~{self.key}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Read a place; None when it is none."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        try:
            at = datetime.fromisoformat(found["at"])
        except ValueError:
            return None
        if at.tzinfo is None or (found["rank"] != "0" and not _is_id(found["key"])):
            return None
        try:
            # PostgreSQL knows no offset of 16 hours and more, which Python does.
            at = at.astimezone(UTC)
        except OverflowError:
            return None
        return cls(at, int(found["rank"]), found["key"].replace("\0", ""))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


@dataclass(frozen=True)
class Wanted:
    """What is to be seen of the stream; empty means all of it."""

    category: str = ""
    table: str = ""
    text: str = ""
    level: str = ""


@dataclass(frozen=True)
class Entry:
    """One thing that happened. ``level`` is info, good, warning or error."""

    place: Place
    category: str
    title: str
    level: str = "info"
    table: str = ""
    partition: str = ""
    message: str = ""
    by: str = ""
    load: dict[str, Any] | None = None

    @property
    def at(self) -> datetime:
        """When it happened."""
        return self.place.at


@dataclass(frozen=True)
class Page:
    """A page of the stream; ``older`` is where the next one begins, None: nowhere."""

    entries: list[Entry]
    older: Place | None


def timeline(
    config: SyncConfig, wanted: Wanted, before: Place | None = None, size: int = PAGE
) -> Page:
    """Return a page of what happened to a sync, from a place on."""
    sources = [
        source(config, wanted, before, size + 1)
        for source in (_loads, _events, _opened, _closed, _edits)
    ]
    merged = heapq.merge(*sources, key=lambda e: (-e.at.timestamp(), e.place.rank))
    entries = [entry for entry, _ in zip(merged, range(size + 1), strict=False)]
    older = entries[size - 1].place if len(entries) > size else None
    return Page(_told_once(entries[:size]), older)


def _after(
    rows: QuerySet[Any], time: str, key: str, rank: int, before: Place | None
) -> QuerySet[Any]:
    """Return the rows of a source that come after a place of the stream, in order."""
    rows = rows.order_by(f"-{time}", f"-{key}")
    if before is None:
        return rows
    if rank != before.rank:
        older = "lte" if rank > before.rank else "lt"
        return rows.filter(**{f"{time}__{older}": before.at})
    same = Q(**{time: before.at, f"{key}__lt": before.key})
    # The first condition is the one that the index knows.
    older_ones = Q(**{f"{time}__lt": before.at})
    return rows.filter(older_ones | same, **{f"{time}__lte": before.at})


def _loads(
    config: SyncConfig, wanted: Wanted, before: Place | None, limit: int
) -> Iterator[Entry]:
    """Yield loads: what was finished together of a table."""
    if wanted.category not in {"", "loads"} or wanted.level:
        return
    rows = DataSyncProgress.objects.filter(
        config=config,
        copy_status=DataSyncProgress.Status.SUCCESS,
        finished_at__isnull=False,
    )
    if wanted.table:
        rows = rows.filter(table_name=wanted.table)
    if wanted.text:
        like = Q(partition__icontains=wanted.text)
        rows = rows.filter(like | Q(table_name__icontains=wanted.text))
    grouped = rows.values("finished_at", "table_name").annotate(
        folders=Count("pk"),
        partition=Min("partition"),
        inserted=Sum("rows_inserted"),
        updated=Sum("rows_updated"),
        deleted=Sum("rows_deleted"),
        unchanged=Sum("rows_unchanged"),
        rejected=Sum("rows_rejected"),
        missing=Sum("rows_missing"),
        size=Sum("bytes"),
        began=Min("started_at"),
    )
    for row in _after(grouped, "finished_at", "table_name", 0, before)[:limit]:
        at, table = row["finished_at"], row["table_name"]
        began = row["began"]
        yield Entry(
            Place(at, 0, table),
            "loads",
            "Load",
            level="good",
            table=table,
            partition=row["partition"],
            load={**row, "took": at - began if began and began < at else None},
        )


def _events(
    config: SyncConfig, wanted: Wanted, before: Place | None, limit: int
) -> Iterator[Entry]:
    if wanted.category in {"loads", "alerts"}:
        return
    rows: QuerySet[Event] = Event.objects.filter(config=config)
    if wanted.category:
        rows = rows.filter(kind__in=kinds_of(wanted.category))
    if wanted.level:
        rows = rows.filter(level__in=LEVELS[wanted.level])
    rows = _filtered(rows, wanted, "partition", "kind")
    for row in _after(rows, "happened_at", "pk", 1, before)[:limit]:
        category, title = title_of(row.kind)
        yield Entry(
            Place(row.happened_at, 1, str(row.pk)),
            category,
            title,
            level=row.level,
            table=row.table_name,
            partition=row.partition,
            message=row.message,
        )


def _filtered(rows: QuerySet[Any], wanted: Wanted, *names: str) -> QuerySet[Any]:
    if wanted.table:
        rows = rows.filter(table_name=wanted.table)
    if wanted.text:
        asked = Q()
        for name in ("message", "table_name", *names):
            asked |= Q(**{f"{name}__icontains": wanted.text})
        rows = rows.filter(asked)
    return rows


def _opened(
    config: SyncConfig, wanted: Wanted, before: Place | None, limit: int
) -> Iterator[Entry]:
    """Yield the beginnings of incidents."""
    for row in _incidents(config, wanted, "opened_at", 2, before, limit):
        yield Entry(
            Place(row.opened_at, 2, str(row.pk)),
            "alerts",
            f"Alert: {row.get_kind_display().replace('_', ' ').lower()}",
            level="warning" if row.kind == Incident.Kind.LATE else "error",
            table=row.table_name,
            message=row.message,
        )


def _closed(
    config: SyncConfig, wanted: Wanted, before: Place | None, limit: int
) -> Iterator[Entry]:
    """Yield the ends of incidents."""
    if wanted.level:
        return
    for row in _incidents(config, wanted, "closed_at", 3, before, limit):
        at = row.closed_at or row.opened_at  # the condition of the query
        yield Entry(
            Place(at, 3, str(row.pk)),
            "alerts",
            "Alert ended: nobody asks any more" if row.muted else "Recovered",
            level="info" if row.muted else "good",
            table=row.table_name,
            message=row.message,
            load={"lasted": at - row.opened_at},
        )


def _incidents(
    config: SyncConfig,
    wanted: Wanted,
    time: str,
    rank: int,
    before: Place | None,
    limit: int,
) -> Iterable[Incident]:
    if wanted.category not in {"", "alerts"}:
        return ()
    rows: QuerySet[Incident] = Incident.objects.filter(
        config=config, **{f"{time}__isnull": False}
    )
    rows = _filtered(rows, wanted, "kind", "code")
    if wanted.level == "error":
        rows = rows.exclude(kind=Incident.Kind.LATE)
    found: QuerySet[Incident] = _after(rows, time, "pk", rank, before)
    return found[:limit]


_EDITS = {ADDITION: "Added in the admin", DELETION: "Deleted in the admin"}


def _edits(
    config: SyncConfig, wanted: Wanted, before: Place | None, limit: int
) -> Iterator[Entry]:
    """Yield what the admin's own log says of the sync."""
    if wanted.category not in {"", "settings"} or wanted.table or wanted.level:
        return
    kind = ContentType.objects.get_for_model(SyncConfig)
    rows = LogEntry.objects.filter(content_type=kind, object_id=str(config.pk))
    rows = rows.annotate(by=F("user__username"))
    if wanted.text:
        text = wanted.text
        rows = rows.filter(Q(change_message__icontains=text) | Q(by__icontains=text))
    for row in _after(rows, "action_time", "pk", 4, before)[:limit]:
        yield Entry(
            Place(row.action_time, 4, str(row.pk)),
            "settings",
            _EDITS.get(row.action_flag, "Changed in the admin"),
            message=row.get_change_message(),
            by=row.by,
        )


def _told_once(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out edits of the admin's log that an event tells as well."""
    events = [e for e in entries if e.place.rank == 1 and "by " in e.message]
    return [e for e in entries if e.place.rank != 4 or not _is_told(e, events)]


def _is_told(edit: Entry, events: Iterable[Entry]) -> bool:
    return any(
        abs(event.at - edit.at) < SAME_EDIT and f"by {edit.by}" in event.message
        for event in events
    )

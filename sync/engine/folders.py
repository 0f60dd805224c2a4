"""The folders or log files of one table, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Sum

from sync.models import DataSyncProgress, SyncTable

PAGE = 100


@dataclass(frozen=True)
class Folders:
    """A page of a table's progress; ``older`` is where the next one begins."""

    rows: list[DataSyncProgress]
    older: str


def folders(
    table: SyncTable, status: int | None = None, before: str = "", size: int = PAGE
) -> Folders:
    """Return what became of the table's folders, those before a name."""
    rows = table.progress.order_by("-partition")
    if status is not None:
        rows = rows.filter(copy_status=status)
    if before:
        rows = rows.filter(partition__lt=before)
    found = list(rows[: size + 1])
    return Folders(found[:size], found[size - 1].partition if found[size:] else "")


def counts(table: SyncTable) -> dict[int, int]:
    """Return how many folders of the table have which copy status."""
    counted = table.progress.order_by().values_list("copy_status")
    return dict(counted.annotate(n=Count("pk")))


def missing_of(table: SyncTable) -> int:
    """Return how many changes of the table were of rows that were not there."""
    found = table.progress.aggregate(missing=Sum("rows_missing"))
    return found["missing"] or 0


def took(row: DataSyncProgress) -> timedelta | None:
    """Return the time from the beginning of a load to its end, if both are known."""
    if row.started_at is None or row.finished_at is None:
        return None
    time = row.finished_at - row.started_at
    return time if time >= timedelta() else None

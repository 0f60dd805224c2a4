"""How many rows a sync applied in each of the last minutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Sum
from django.db.models.functions import JSONObject, TruncMinute

from sync.models import DataSyncProgress

MINUTES = 60


def rows_by_minute(now: datetime) -> ArraySubquery:
    """Return the minutes of the last hour with rows, to annotate syncs with.

    Those of log files that grow are in ``recent_rows``.
    """
    rows = F("rows_inserted") + F("rows_updated") + F("rows_deleted")
    applied = DataSyncProgress.objects.filter(
        config=OuterRef("pk"),
        copy_status=DataSyncProgress.Status.SUCCESS,
        end_offset=0,
        finished_at__gte=_first(now),
    )
    minutes = (
        applied.order_by()
        .annotate(minute=TruncMinute("finished_at", tzinfo=UTC))
        .values("minute")
        .annotate(rows=Sum(rows))
    )
    return ArraySubquery(minutes.values(json=JSONObject(minute="minute", rows="rows")))


def recent_rows(now: datetime) -> ArraySubquery:
    """Return what log files remember of their last minutes, to annotate syncs with."""
    grown = DataSyncProgress.objects.filter(
        config=OuterRef("pk"), finished_at__gte=_first(now)
    ).exclude(end_offset=0)
    return ArraySubquery(grown.order_by().values("recent"))


def bars(
    found: Iterable[Mapping[str, object]],
    now: datetime,
    recent: Iterable[Mapping[str, object]] = (),
) -> tuple[int, ...]:
    """Return the rows of each minute of the last hour, the oldest first."""
    first, numbers = _first(now), [0] * MINUTES
    of_files = (
        {"minute": minute, "rows": rows}
        for entry in recent
        for minute, rows in entry.items()
        if datetime.fromisoformat(minute) >= first
    )
    for entry in (*found, *of_files):
        # Cut in UTC, and told without it.
        minute = datetime.fromisoformat(str(entry["minute"])).replace(tzinfo=UTC)
        index = int((minute - first).total_seconds()) // 60
        # A clock elsewhere may be ahead.
        numbers[min(index, MINUTES - 1)] += int(str(entry["rows"]))
    return tuple(numbers)


def _first(now: datetime) -> datetime:
    """Return the beginning of the first of the minutes; the last one is now."""
    return now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)

"""What of the present state is worth an alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection

from sync.engine.alerts import Alarm, deliver, review
from sync.engine.overview import Overview, TableStatus, overview
from sync.engine.states import State
from sync.errors import PROBLEMS
from sync.models import Incident, SyncConfig

# One failure may be a blip, which the next attempt heals.
ATTEMPTS_BEFORE_ALARM = 2
FAILING_BEFORE_ALARM = timedelta(minutes=1)
# Without any of these there is nothing to tell, and no need to look at everything.
_ANYTHING = """
SELECT EXISTS (SELECT FROM data_sync_progress WHERE copy_status <> 1)
    OR EXISTS (SELECT FROM sync_synctable
               WHERE state <> 'active' OR refresh_reason <> '' OR error_code <> '')
    OR EXISTS (SELECT FROM sync_syncconfig WHERE error_code <> '')
    OR EXISTS (SELECT FROM sync_incident)
"""


def look_after_alerts() -> None:
    """Let the incidents be what is wrong now, and tell of them. Part of a poll."""
    with connection.cursor() as cursor:
        cursor.execute(_ANYTHING)
        row = cursor.fetchone()
    if row and row[0]:
        review(alarms_of(overview()))
        deliver()


def alarms_of(found: Overview) -> Iterator[Alarm]:
    """Say what is wrong with the syncs and tables that are not paused."""
    for sync in found.syncs:
        if sync.config.paused:
            continue
        if alarm := _of_sync(sync.config, found.at):
            yield alarm
        for table in sync.tables:
            if alarm := _of_table(table):
                yield alarm


def _of_sync(config: SyncConfig, now: datetime) -> Alarm | None:
    if not config.error_code:
        return None
    problem = PROBLEMS.get(config.error_code)
    permanent = problem is not None and problem.permanent
    since = config.failing_since or now
    if not permanent and now - since < FAILING_BEFORE_ALARM:
        return None
    kind = Incident.Kind.ACTION_REQUIRED if permanent else Incident.Kind.FAILING
    return Alarm(
        config.pk,
        "",
        kind,
        config.error_code,
        config.error_message,
        config.error_where,
        config.error_remedy,
    )


def _of_table(status: TableStatus) -> Alarm | None:
    verdict, error = status.verdict, status.verdict.error
    kind = _kind(status)
    if kind is None:
        return None
    if kind == Incident.Kind.LATE or error is None:
        # Not the reason of lateness, which says another time with every look.
        first = status.backlog.first
        waits = f"{first.partition} is not applied yet" if first else verdict.reason
        late = kind == Incident.Kind.LATE
        return _alarm(status, kind, "", waits if late else verdict.reason, "")
    return _alarm(status, kind, error.code, error.message, error.where)


def _kind(status: TableStatus) -> Incident.Kind | None:
    first = status.backlog.first
    if status.state is State.ACTION_REQUIRED:
        return Incident.Kind.ACTION_REQUIRED
    if status.state is State.LATE:
        return Incident.Kind.LATE
    if status.state is not State.FAILING:
        return None
    attempts = first.attempts if first and first.error else ATTEMPTS_BEFORE_ALARM
    return Incident.Kind.FAILING if attempts >= ATTEMPTS_BEFORE_ALARM else None


def _alarm(
    status: TableStatus, kind: Incident.Kind, code: str, message: str, where: str
) -> Alarm:
    table = status.table
    remedy = status.verdict.remedy
    return Alarm(table.config_id, table.entity, kind, code, message, where, remedy)

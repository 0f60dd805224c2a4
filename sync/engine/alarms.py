"""What of the present state is worth an alert."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from sync.engine.alerts import Alarm, deliver, review
from sync.engine.overview import Overview, TableStatus, overview
from sync.engine.states import State
from sync.errors import PROBLEMS, SyncError, discreet
from sync.models import Incident, SyncConfig

Known = Mapping[tuple[int, str], Incident]
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
        known = {
            (incident.config_id, incident.table_name): incident
            for incident in Incident.objects.filter(closed_at=None)
        }
        review(alarms_of(overview(), known))
        deliver()


def alarms_of(found: Overview, known: Known) -> Iterator[Alarm]:
    """Say what is wrong with the syncs and tables that are not paused.

    ``known`` are the incidents that are open now: one ends only when the table was
    loaded since, or has nothing left to load.
    """
    for sync in found.syncs:
        if sync.config.paused:
            continue
        if alarm := _of_sync(sync.config, found.at):
            yield alarm
        for table in sync.tables:
            before = known.get((table.table.config_id, table.table.entity))
            if alarm := _of_table(table, found.at) or _unhealed(table, before):
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


def _unhealed(status: TableStatus, before: Incident | None) -> Alarm | None:
    if before is None or status.state is State.PAUSED or not status.backlog.first:
        return None
    loaded = status.table.last_loaded_at
    if loaded and loaded > before.opened_at:
        return None
    texts = (before.code, before.message, before.where, before.remedy)
    return Alarm(before.config_id, before.table_name, before.kind, *texts)


def _of_table(status: TableStatus, now: datetime) -> Alarm | None:
    verdict, error = status.verdict, status.verdict.error
    kind = _kind(status, now)
    if kind is None:
        return None
    if kind == Incident.Kind.LATE or error is None:
        # Not the reason of lateness, which says another time with every look.
        first = status.backlog.first
        waits = f"{first.partition} is not applied yet" if first else verdict.reason
        late = kind == Incident.Kind.LATE
        return _alarm(status, kind, "", waits if late else verdict.reason, "")
    told = SyncError(error.code, error.message) if error.code in PROBLEMS else None
    message = discreet(told) if told else error.message
    return _alarm(status, kind, error.code, message, error.where)


def _kind(status: TableStatus, now: datetime) -> Incident.Kind | None:
    first = status.backlog.first
    if status.state is State.ACTION_REQUIRED:
        return Incident.Kind.ACTION_REQUIRED
    if status.state is State.LATE:
        # dvsync itself may have come late, and the workers need their chance.
        found = first.found_at if first else None
        late = found is None or (now - found).total_seconds() > settings.LATE_SECONDS
        return Incident.Kind.LATE if late else None
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

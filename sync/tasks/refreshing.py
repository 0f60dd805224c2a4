"""The refresh of a table, as a task of the loads' cluster."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.utils import timezone

from sync.engine.locks import BusyError
from sync.engine.overseer import Overseer
from sync.engine.refresh import (
    asked_in_vain,
    record_refresh_begun,
    record_refresh_failed,
    refresh_table,
)
from sync.engine.session import is_database_down
from sync.errors import Cancelled, SyncError, discreet
from sync.models import SyncTable
from sync.tasks import cluster, queue
from sync.tasks.jobs import task

AGAIN_SECONDS = 0.5
# So often the database may go away in the middle; perhaps it is the refresh's doing.
OUTAGES = 3

log = logging.getLogger(__name__)


@task
def refresh(table_id: int, since: str) -> None:
    """Refresh a table that somebody wanted refreshed at the time ``since``.

    It waits for a load that runs. What becomes of it is recorded as an event. When
    the cluster is stopped meanwhile, the next one does it; a refresh that killed its
    workers again and again is given up.
    """
    table = SyncTable.objects.select_related("config").filter(pk=table_id).first()
    if table is None:
        return
    place = {"sync": table.config.name, "table": table.entity}
    if problem := _given_up(table, datetime.fromisoformat(since)):
        log.error("%s", problem, extra=place)
        record_refresh_failed(table, problem)
        return
    record_refresh_begun(table)
    try:
        with Overseer(table, cluster.stopping) as control:
            _refresh(table, control)
    except Cancelled:
        _stopped(table)
    except Exception as error:  # noqa: BLE001  told in the log and by an event
        if not _is_gone(table):
            _failed(table, error)
    else:
        log.info("The table is refreshed", extra=place)


def _given_up(table: SyncTable, since: datetime) -> SyncError | None:
    """Return why the refresh is not begun, if it is not."""
    if table.paused:
        message = "It is paused"
        return SyncError("refresh_refused", message, remedy="Resume it first.")
    if times := asked_in_vain(table, since):
        return SyncError("loader_killed", f"The refresh was killed {times} times")
    return None


def _refresh(table: SyncTable, control: Overseer) -> None:
    outages = 0
    while True:
        control.check()
        try:
            refresh_table(table, control=control)
        except BusyError:  # a load, which comes to its end
            pass
        except SyncError as error:
            outages += 1
            if not is_database_down(error) or outages >= OUTAGES:
                raise
        else:
            return
        time.sleep(AGAIN_SECONDS)


def _failed(table: SyncTable, error: Exception) -> None:
    """Say why the table is as it was."""
    place = {"sync": table.config.name, "table": table.entity}
    if isinstance(error, SyncError):
        log.error("The refresh failed: %s", discreet(error), extra=place)
        record_refresh_failed(table, error)
        return
    log.error("The refresh ended unexpectedly", exc_info=error, extra=place)
    message = f"Unexpected {type(error).__name__}: {error}"
    record_refresh_failed(table, SyncError("internal_error", message))


def _stopped(table: SyncTable) -> None:
    """Let the next cluster do it, unless the table was paused or is gone."""
    place = {"sync": table.config.name, "table": table.entity}
    log.warning("The refresh was stopped and rolled back", extra=place)
    if _is_gone(table):
        return
    table.refresh_from_db()  # with its config
    if table.paused:
        message = "It was paused meanwhile; nothing is changed"
        remedy = "Resume it, then ask for the refresh again."
        record_refresh_failed(
            table, SyncError("refresh_refused", message, remedy=remedy)
        )
    else:
        queue.put_refresh(table, timezone.now().isoformat())


def _is_gone(table: SyncTable) -> bool:
    """Say whether the sync was deleted meanwhile: nothing can be recorded of it."""
    return not SyncTable.objects.filter(pk=table.pk).exists()

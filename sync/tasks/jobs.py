"""The tasks themselves: a poll of all exports, a look at one, the load of a table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import ParamSpec

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.utils import timezone

from sync.engine.alarms import look_after_alerts
from sync.engine.announce import tell
from sync.engine.due import due_tables
from sync.engine.load import LoadResult, record_unexpected, sync_table
from sync.engine.locks import BusyError, Namespace, exclusive
from sync.engine.overseer import Overseer
from sync.engine.retention import prune
from sync.engine.rounds import look_at, look_in_turn
from sync.engine.words import plural
from sync.errors import Cancelled, SyncError, discreet
from sync.models import Heartbeat, SyncConfig, SyncTable
from sync.tasks import cluster, queue

# The minute and second of every hour in which old records go.
PRUNE_AT = (7, 0)

Arguments = ParamSpec("Arguments")

log = logging.getLogger(__name__)


def task(work: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Let a task say when it is done."""

    @wraps(work)
    def done(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            work(*args, **kwargs)
        finally:
            cluster.end_of_task()

    return done


@task
def poll(slot: str) -> None:
    """Look at every export and enqueue a load for each table that is due.

    ``slot`` is the planned time in ISO format. One that is over, one that had its
    poll, and one that meets another poll at work is dropped: the next one comes soon.
    """
    planned = datetime.fromisoformat(slot)
    if timezone.now() - planned > timedelta(seconds=settings.POLL_SECONDS):
        log.info("The poll of %s is dropped: its time is over", slot)
        return
    try:
        with exclusive(Namespace.POLL, 0):
            if Heartbeat.begin(planned):
                _poll(planned)
                Heartbeat.end()
    except BusyError:
        log.info("The poll of %s is dropped: another one is at work", slot)


def _poll(planned: datetime) -> None:
    queue.release_abandoned()
    queue.enqueue(due_tables())
    for _ in look_in_turn():  # what one export brought does not wait for the others
        queue.enqueue(due_tables())
    look_after_alerts()
    if (planned.minute, planned.second) == PRUNE_AT:  # every interval has this slot
        prune()


@task
def look(config_id: int, insist: bool = False) -> None:
    """Look at one export now, because somebody asked for it, and enqueue its loads.

    With ``insist`` what failed or is parked is tried once, as ``syncnow`` does.
    """
    config = SyncConfig.objects.filter(pk=config_id, paused=False).first()
    if config is None:
        return
    look_at(config)
    queue.enqueue(due_tables(config_id if insist else 0))


@task
def load(table_id: int, insist: bool = False) -> None:
    """Apply the backlog of a table, unless it is halted or gone by now.

    With ``insist`` a person wants a parked table tried as well.
    """
    table = SyncTable.objects.select_related("config").filter(pk=table_id).first()
    if table is None or cluster.stopping() or not _may_load(table, insist):
        return
    place = {"sync": table.config.name, "table": table.entity}
    try:
        with Overseer(table, cluster.stopping) as control:
            result = sync_table(table, control=control, insist=insist)
    except Cancelled:
        log.warning("The load was stopped and rolled back", extra=place)
    except SyncError as error:
        log.warning("%s", discreet(error), extra=place)
    except ObjectDoesNotExist:
        log.info("The load ends: its sync was deleted", extra=place)
    except Exception as error:
        log.exception("The load ended unexpectedly", extra=place)
        record_unexpected(table, error)
    else:
        _say(table, result)
        tell(table, result)


def _may_load(table: SyncTable, insist: bool) -> bool:
    if insist and table.state == SyncTable.State.PARKED:
        return not table.paused
    return not table.halted


def _say(table: SyncTable, result: LoadResult) -> None:
    place = {"sync": table.config.name, "table": table.entity}
    if result.error is not None:
        log.error("%s", discreet(result.error), extra=place)
    elif result.status == "success":
        rows = result.rows
        log.info(
            "%d inserted, %d updated, %d deleted, from %s in %.1f s",
            rows.inserted,
            rows.updated,
            rows.deleted,
            plural(result.partitions, table.config.unit),
            result.seconds,
            extra={**place, "partition": table.last_partition},
        )

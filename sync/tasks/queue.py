"""What waits in the queues, or is taken from them.

Of a table there is one load or refresh, of a sync one look that somebody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from sync.engine.due import DueTable
from sync.engine.locks import BusyError, Namespace, lock_or_busy
from sync.engine.session import raw_cursor
from sync.models import CLUSTER_DEAD_AFTER, SyncConfig, SyncTable, Worker
from sync.target.activity import running

QUEUE, POLLS = "sync", "poll"
LOAD = "sync.tasks.jobs.load"
REFRESH = "sync.tasks.refreshing.refresh"
LOOK = "sync.tasks.jobs.look"


def release(rows: Iterable[int]) -> None:
    """Let rows of the queue that nobody works on be taken again, at once.

    One that is locked stays: a process that was stopped while it removed the row would
    hold up whoever waits for it, every poll among them.
    """
    with transaction.atomic():
        found = OrmQ.objects.filter(pk__in=list(rows))
        free = found.select_for_update(skip_locked=True).values_list("pk", flat=True)
        OrmQ.objects.filter(pk__in=list(free)).update(lock=timezone.now())


def release_abandoned() -> None:
    """Release what clusters had taken that are gone, whole hosts perhaps.

    Not the row of a load that still holds its table's lock: its cluster stood still.
    """
    now = timezone.now()
    heard = now - CLUSTER_DEAD_AFTER
    taken = OrmQ.objects.filter(key=QUEUE, lock__gt=now).in_bulk()
    if not taken:
        return
    doing = Worker.objects.filter(queue_row__in=taken)
    at_work = _rows(doing.filter(cluster__beat_at__gte=heard))
    dead = _rows(doing) - at_work
    # Taken by a cluster that died before one of its workers began.
    until = _taken_until(heard)
    unbegun = {pk for pk, row in taken.items() if row.lock < until} - _rows(doing)
    locked = running(raw_cursor(), Namespace.TABLE)
    free = {pk for pk in dead | unbegun if table_of(taken[pk]) not in locked}
    release(free)
    doing.filter(queue_row__in=free).update(queue_row=None, doing="")


def table_of(row: OrmQ) -> int | None:
    """Return the table that a row of the queue loads or refreshes, if it says one."""
    args = row.task.get("args")
    return int(args[0]) if args and row.task.get("func") in {LOAD, REFRESH} else None


def _rows(workers: QuerySet[Worker]) -> set[int]:
    rows = workers.values_list("queue_row", flat=True)
    return {row for row in rows if row is not None}


def _taken_until(moment: datetime) -> datetime:
    """Return until when a row is taken that was taken at that moment."""
    retry = cast("Any", settings.Q_CLUSTER)["ALT_CLUSTERS"][QUEUE]["retry"]
    return moment + timedelta(seconds=retry)


def queued_tables() -> set[int]:
    """Return the tables that have a load or a refresh queued, waiting or running.

    A row that cannot be read, of another installation's key perhaps, is let go.
    """
    tables, unreadable = set(), []
    for row in OrmQ.objects.filter(key=QUEUE):
        if (table := table_of(row)) is not None:
            tables.add(table)
        elif str(row.task.get("id", "")).startswith("*"):
            unreadable.append(row.pk)
    OrmQ.objects.filter(Q(pk__in=unreadable)).delete()
    return tables


def enqueue(due: Collection[DueTable]) -> list[DueTable]:
    """Enqueue a load for each due table that has none; return these.

    Of those over the byte budget, at most all workers but one have a load at a time,
    unless a person wants it now.
    """
    if not due:
        return []
    queued = queued_tables()
    large = sum(1 for table in due if table.large and table.pk in queued)
    limit = max(1, Worker.seen(QUEUE) - 1)
    chosen = []
    for table in due:
        if table.pk in queued:
            continue
        if table.large and not table.insist:
            if large >= limit:
                continue
            large += 1
        chosen.append(table)
    for table in chosen:
        args = (table.pk, True) if table.insist else (table.pk,)
        _enqueue(QUEUE, LOAD, args, f"load {table.label}")
    return chosen


def enqueue_look(config: SyncConfig, *, insist: bool = False) -> bool:
    """Let the service look at an export at once; False when a look waits already.

    With ``insist`` it tries what failed or is parked, too.
    """
    args = (config.pk, True) if insist else (config.pk,)
    with transaction.atomic():
        if not _alone(-config.pk):
            return False
        now = timezone.now()
        for row in OrmQ.objects.filter(key=POLLS, lock__lte=now):
            if row.task.get("func") == LOOK and tuple(row.task["args"]) == args:
                return False
        _enqueue(POLLS, LOOK, args, f"look at {config.name}")
    return True


def enqueue_refresh(table: SyncTable, *args: object) -> bool:
    """Enqueue a refresh; False when a load or refresh of the table is queued."""
    with transaction.atomic():
        if not _alone(table.pk) or table.pk in queued_tables():
            return False
        put_refresh(table, *args)
    return True


def put_refresh(table: SyncTable, *args: object) -> None:
    """Enqueue a refresh, whatever else is queued."""
    _enqueue(QUEUE, REFRESH, (table.pk, *args), f"refresh {table.label}")


def _alone(number: int) -> bool:
    """Say whether nobody else asks for the same right now; until the commit."""
    try:
        lock_or_busy(Namespace.QUEUE, number)
    except BusyError:
        return False
    return True


def _enqueue(queue: str, func: str, args: tuple[object, ...], name: str) -> None:
    options = {"cluster": queue}
    async_task(func, *args, task_name=name[:100], q_options=options)

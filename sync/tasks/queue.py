"""The loads that wait in the queue, or are taken from it: one per table."""

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
from sync.engine.locks import Namespace
from sync.engine.session import raw_cursor
from sync.models import CLUSTER_DEAD_AFTER, Worker
from sync.target.activity import running

QUEUE = "sync"
LOAD = "sync.tasks.jobs.load"


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
    """Return the table that a row of the queue loads; None when it cannot be read."""
    args = row.task.get("args")
    return int(args[0]) if args and row.task.get("func") == LOAD else None


def _rows(workers: QuerySet[Worker]) -> set[int]:
    rows = workers.values_list("queue_row", flat=True)
    return {row for row in rows if row is not None}


def _taken_until(moment: datetime) -> datetime:
    """Return until when a row is taken that was taken at that moment."""
    retry = cast("Any", settings.Q_CLUSTER)["ALT_CLUSTERS"][QUEUE]["retry"]
    return moment + timedelta(seconds=retry)


def queued_tables() -> set[int]:
    """Return the tables that have a load in the queue, waiting or running.

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

    Of those over the byte budget, at most all workers but one have a load at a time.
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
        if table.large:
            if large >= limit:
                continue
            large += 1
        chosen.append(table)
    for table in chosen:
        async_task(
            LOAD,
            table.pk,
            task_name=f"load {table.label}"[:100],
            q_options={"cluster": QUEUE},
        )
    return chosen

"""The queue of both clusters: django-q2's tables, with a beat of a second.

``dequeue`` is called several times a second by the cluster's pusher. Beside handing
out tasks it keeps the schedule, says that the cluster is alive, frees what killed
workers had taken, and ends a cluster whose workers no longer get what is handed out.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.scheduler import scheduler

from sync.models import Worker
from sync.tasks import cluster
from sync.tasks.queue import release
from sync.tasks.schedule import keep_schedule

TICK_SECONDS = 1.0
BEAT_SECONDS = 5.0
# A task that no idle worker took over so many beats never reaches one: a worker that
# was killed while it waited has taken the lock of the local queue with it.
BEATS_UNTIL_HUNG = 4

log = logging.getLogger(__name__)


class ServiceBroker(ORM):  # type: ignore[misc]  # django-q2 has no types
    """The queue in PostgreSQL; a task is taken only when a worker is free for it."""

    _tick_at = 0.0
    _beat_at = 0.0

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._handed: dict[int, int] = {}  # row of the queue -> beats since then

    def dequeue(self) -> list[tuple[int, Any]] | None:
        """Return at most one task; None after a short sleep when there is none."""
        now = time.monotonic()
        self._keep_time(now)
        self._keep_alive(now)
        if cluster.stopping() or not self._has_free_worker():
            time.sleep(Conf.POLL)
            return None
        tasks: list[tuple[int, Any]] | None = super().dequeue()
        self._handed.update((row, 0) for row, _ in tasks or ())
        return tasks

    def _keep_time(self, now: float) -> None:
        if Conf.SCHEDULER and now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            scheduler(broker=self)

    def _keep_alive(self, now: float) -> None:
        if now < self._beat_at:
            return
        self._beat_at = now + BEAT_SECONDS
        cluster.beat()
        _free_what_the_dead_had()
        if Conf.SCHEDULER:
            keep_schedule()
        self._handed = {row: beats + 1 for row, beats in self._handed.items()}
        if max(self._handed.values(), default=0) > BEATS_UNTIL_HUNG:
            log.error("The workers get no tasks any more: the cluster starts again")
            # Loads that run are stopped in order. Without any there is nothing to wait
            # for: django-q2 would wait for the queue that hangs, and polls be missed.
            number = signal.SIGTERM if _busy_rows() else signal.SIGKILL
            os.kill(cluster.MAIN, number)

    def _has_free_worker(self) -> bool:
        busy = _busy_rows()
        if self._handed:
            mine = self.get_connection().filter(pk__in=list(self._handed))
            waiting = set(mine.values_list("pk", flat=True)) - busy
            self._handed = {row: self._handed[row] for row in waiting}
        return len(busy) + len(self._handed) < int(Conf.WORKERS)


def _busy_rows() -> set[int]:
    """Return the rows of the queue on which this cluster's workers are at work."""
    mine = Worker.objects.filter(cluster_id=cluster.IDENTITY)
    rows = mine.exclude(queue_row=None).values_list("queue_row", flat=True)
    return {row for row in rows if row is not None}


def _free_what_the_dead_had() -> None:
    for worker in Worker.objects.filter(cluster_id=cluster.IDENTITY):
        if cluster.is_alive(worker.pid):
            continue
        if worker.queue_row is not None:
            log.warning("A worker was killed in the middle of %s", worker.doing)
            release([worker.queue_row])
        worker.delete()

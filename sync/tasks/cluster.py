"""One ``qcluster``: who it is, how it ends, and that nothing of it is left behind.

django-q2 runs a tree of processes: main, its sentinel, and below that workers, a
monitor and a pusher. They are forked, so what is set here before the start is known
to all of them.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, connections
from django.utils import timezone
from django_q.conf import Conf
from django_q.signals import post_execute_in_worker, post_spawn, pre_execute

from sync.engine.session import database_errors, pending_migrations
from sync.errors import TargetError
from sync.models import Cluster, Worker

# Loads are interrupted and roll back meanwhile; then the cluster is ended by force.
GRACE_SECONDS = 20
WAIT_SECONDS = 2.0
SAY_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)

IDENTITY = uuid.uuid4()
MAIN = os.getpid()
# One byte that all processes of the cluster share: set when it shall stop.
_stopping = mmap.mmap(-1, 1)


def stopping() -> bool:
    """Say whether this cluster was asked to stop."""
    return _stopping[0] != 0


def run() -> int:
    """Serve this process's queue until SIGTERM or SIGINT; return the exit code.

    It is 0 only when the cluster was asked to stop. A database that is away, or not
    migrated, is waited for. Loads that run when the cluster is stopped are rolled back
    and begin anew with the next cluster.
    """
    # Imported late: it reads Q_CLUSTER_NAME.
    from django_q.cluster import Cluster as QCluster

    _await_database()
    _register()
    connections.close_all()
    _leave_no_orphans()
    post_spawn.connect(_enlist)
    pre_execute.connect(_begin)
    post_execute_in_worker.connect(_end)
    cluster = QCluster()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop(cluster.sig_handler))
    signal.signal(signal.SIGALRM, _give_up)
    cluster.start()
    cluster.sentinel.join()
    with suppress(DatabaseError):
        Cluster.objects.filter(pk=IDENTITY).delete()
    return 0 if stopping() else 1


Handler = Callable[[int, FrameType | None], None]


def _stop(handler: Handler) -> Handler:
    """Return django-q2's way to stop, with a limit and with word to the loads."""

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != MAIN:  # just forked, before it set a handler of its own
            os._exit(1)
        _stopping[0] = 1
        # django-q2 waits without a limit, and for ever when a killed process took a
        # lock of its queues with it.
        signal.alarm(GRACE_SECONDS)
        handler(number, frame)

    return stop


def _give_up(*_: object) -> None:
    # The kernel then ends the other processes.
    os._exit(1)


# Starting


def _await_database() -> None:
    said_at = 0.0
    while True:
        problem = _problem()
        if problem is None:
            return
        if time.monotonic() - said_at > SAY_SECONDS or not said_at:
            said_at = time.monotonic()
            log.warning("Waiting: %s", problem)
        time.sleep(WAIT_SECONDS)


def _problem() -> str | None:
    try:
        with database_errors():
            if pending_migrations():
                return "the database is not migrated (manage.py migrate)"
    except TargetError as error:
        return str(error)
    return None


def _register() -> None:
    """Make the cluster known, and forget those of this host that are gone."""
    host = socket.gethostname()
    for other in Cluster.objects.filter(host=host):
        if not is_alive(other.pid):
            other.delete()
    beat()


def beat() -> None:
    """Say that the cluster is there."""
    Cluster.objects.update_or_create(
        id=IDENTITY,
        defaults={"beat_at": timezone.now()},
        create_defaults={
            "queue": Conf.CLUSTER_NAME,
            "host": socket.gethostname(),
            "pid": MAIN,
            "beat_at": timezone.now(),
        },
    )


def is_alive(pid: int) -> bool:
    """Say whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _leave_no_orphans() -> None:
    """Let every process of the cluster die with the one that forked it.

    Otherwise a killed sentinel leaves workers behind that nobody looks after.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(after_in_child=in_child)


# The workers: what each of them does


def _enlist(**_: object) -> None:
    _note(lambda: Worker.objects.get_or_create(cluster_id=IDENTITY, pid=os.getpid()))


def _begin(task: dict[str, Any], **_: object) -> None:
    row, doing = task.get("ack_id"), f"{task.get('name')}"
    _note(
        lambda: Worker.objects.update_or_create(
            cluster_id=IDENTITY,
            pid=os.getpid(),
            defaults={"queue_row": row, "doing": doing, "since": timezone.now()},
        )
    )


def _end(**_: object) -> None:
    mine = Worker.objects.filter(cluster_id=IDENTITY, pid=os.getpid())
    if not _note(lambda: mine.update(queue_row=None, doing="", since=timezone.now())):
        # It would count as busy for ever and get no task any more. What a dead worker
        # had is freed, and django-q2 starts another one.
        raise SystemExit(1)


def _note(write: Callable[[], object]) -> bool:
    """Write down what a worker does, and say whether that could be done."""
    for again in (True, False):
        try:
            write()
        except (DatabaseError, InterfaceError) as error:
            connection.close()  # PostgreSQL was restarted perhaps: a new one will do
            if not again:
                log.warning("The worker could not be noted: %s", error)
        else:
            return True
    return False

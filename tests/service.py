"""The service as processes of its own, on the test's database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

import psutil
import psycopg
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import F
from psycopg import sql

from sync.models import Cluster, Heartbeat, SyncTable, Worker
from tests.processes import ROOT, database_url
from tests.sync.conftest import run_sql

# The shortest that is allowed: twelve slots a minute.
POLL_SECONDS = 5
PATIENCE_SECONDS = 60.0

Found = TypeVar("Found")


def eventually(
    check: Callable[[], Found],
    what: str | Callable[[], str] = "it did not come to be",
    *,
    within: float = PATIENCE_SECONDS,
) -> Found:
    """Wait until ``check`` returns something true, and return it."""
    end = time.monotonic() + within
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(what if isinstance(what, str) else what())
        time.sleep(0.05)
    return found


def patiently(check: Callable[[], Found]) -> Callable[[], Found | None]:
    """Return a check that finds nothing while the database does not answer."""

    def patient() -> Found | None:
        try:
            return check()
        except (DatabaseError, InterfaceError, psycopg.Error):
            connection.close()
            return None

    return patient


class QCluster:
    """A ``manage.py qcluster`` of one queue; its log is a file."""

    def __init__(self, queue: str, folder: Path, **environment: str) -> None:
        self.queue = queue
        self.log = folder / f"{queue}-{uuid4().hex[:6]}.log"
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DVSYNC_POLL_SECONDS": str(POLL_SECONDS),
            "DVSYNC_LOG_LEVEL": "debug",
            "Q_CLUSTER_NAME": queue,
            **environment,
        }

    def start(self) -> Self:
        """Start it; it is ready when its workers are known."""
        with self.log.open("ab") as log:
            self.main = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def ready(self) -> Self:
        """Wait until it says that it is there and has its workers."""
        eventually(lambda: self.workers() and self.row(), self.log.read_text)
        return self

    def row(self) -> Cluster | None:
        return Cluster.objects.filter(pid=self.main.pid, queue=self.queue).first()

    def workers(self) -> list[psutil.Process]:
        """Return its living workers."""
        rows = Worker.objects.filter(cluster__pid=self.main.pid)
        pids = set(rows.values_list("pid", flat=True))
        return [child for child in self.tree() if child.pid in pids]

    def tree(self) -> list[psutil.Process]:
        """Return all its processes but the first."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != self.main.pid and _group(process) == self.main.pid
        ]

    @property
    def sentinel(self) -> psutil.Process:
        [child] = psutil.Process(self.main.pid).children()
        return child

    def busy(self, table: SyncTable) -> psutil.Process | None:
        """Return the worker in the middle of a task about a table."""
        row = Worker.objects.filter(
            cluster__pid=self.main.pid,
            queue_row__isnull=False,
            doing__endswith=table.label,
        ).first()
        return psutil.Process(row.pid) if row else None

    def stop(self, seconds: float = 40) -> int:
        """Ask it to stop as an init system does, and return its exit code."""
        self.main.send_signal(signal.SIGTERM)
        return self.main.wait(seconds)

    def end(self) -> None:
        """Leave nothing of it."""
        for process in self.tree():
            process.kill()
        self.main.kill()
        self.main.wait(10)


def _group(process: psutil.Process) -> int:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0
        return os.getpgid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return 0


class Service:
    """Clusters of both queues, whose processes are gone in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clusters: list[QCluster] = []

    def add(self, queue: str, **environment: str) -> QCluster:
        cluster = QCluster(queue, self.folder, **environment).start()
        self.clusters.append(cluster)
        return cluster

    def both(self, **environment: str) -> tuple[QCluster, QCluster]:
        """Start the two that a service needs."""
        polls = self.add("poll", **environment)
        loads = self.add("sync", **environment)
        return polls.ready(), loads.ready()

    def logs(self) -> str:
        """Return what the clusters said and what PostgreSQL knows."""
        said = (f"--- {c.queue}\n{c.log.read_text()}" for c in self.clusters)
        return "\n".join([*said, situation()])


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """Give a service that is gone after the block, whatever happened in it."""
    made = Service(folder)
    try:
        yield made
    finally:
        for cluster in made.clusters:
            cluster.end()


def next_poll() -> None:
    """Wait for the end of a poll that began from now on."""
    before = Heartbeat.objects.filter(name="poll").values_list("polls", flat=True)
    count = next(iter(before), 0)
    eventually(
        lambda: Heartbeat.objects.filter(
            polls__gt=count, finished_at__gte=F("beat_at")
        ).exists(),
        "there was no poll",
    )


def slow_down(table: SyncTable, seconds: float) -> None:
    """Let every merge into a target take so long, within PostgreSQL."""
    target = table.target()
    name = sql.Identifier(f"slow_{target.schema}_{target.name}")
    run_sql(
        sql.SQL(
            "CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$; "
            "CREATE TRIGGER slow AFTER INSERT OR UPDATE OR DELETE ON {relation} "
            "FOR EACH STATEMENT EXECUTE FUNCTION public.{name}()"
        ).format(name=name, seconds=sql.Literal(seconds), relation=target.relation)
    )


def speed_up(table: SyncTable) -> None:
    """Undo ``slow_down``; waits for a load that runs."""
    run_sql(sql.SQL("DROP TRIGGER slow ON {}").format(table.target().relation))


def let_go(*tables: SyncTable) -> None:
    """Undo ``slow_down`` whatever sleeps: such loads are ended for it.

    Another one may begin meanwhile, or PostgreSQL not be back yet.
    """
    for table in tables:
        drop = sql.SQL("DROP TRIGGER IF EXISTS slow ON {}")
        statement = drop.format(table.target().relation)
        eventually(patiently(partial(_let_go, statement)), situation)


def _let_go(drop: sql.Composed) -> bool:
    run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    run_sql("SET lock_timeout = '1s'")
    run_sql(drop)
    run_sql("RESET lock_timeout")
    return True


def situation() -> str:
    """Return what PostgreSQL knows, for a test that failed."""
    questions = (
        "SELECT * FROM sync_heartbeat",
        "SELECT queue, pid, beat_at, now() FROM sync_cluster",
        "SELECT pid, queue_row, doing, since FROM sync_worker",
        "SELECT id, key, lock FROM django_q_ormq",
        "SELECT name, next_run FROM django_q_schedule",
        "SELECT partition, table_name, copy_status, attempts, next_attempt_at, "
        "error_code, error_message FROM data_sync_progress",
        "SELECT pid, application_name, state, wait_event, left(query, 80) "
        "FROM pg_stat_activity WHERE datname = current_database()",
    )
    return "\n".join(
        "\n".join([f"--- {question}", *map(str, run_sql(question))])
        for question in questions
    )

"""How long after a folder is closed its rows can be seen, with the service as it is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from psycopg import sql

from bench.contenders import ROOT
from bench.measure import say
from bench.server import Server, WrongResultError
from dvsync_site.sample_export import SampleExport

POLL_SECONDS = 20
FOLDERS = 30
TABLES, ROWS, CHANGES = 6, 2_000, 60
PATIENCE_SECONDS = 300.0
DATABASE, SYNC = "bench_latency", "live"
# A folder's rows are there when the progress rows say so: one transaction.
_APPLIED = sql.SQL(
    "SELECT count(*) = 0 FROM sync_synctable t JOIN sync_syncpartition s "
    "ON s.config_id = t.config_id AND s.name = {name} AND s.sizes ? t.entity "
    "LEFT JOIN data_sync_progress p ON p.config_id = s.config_id "
    "AND p.partition = s.name AND p.table_name = t.entity "
    "WHERE p.copy_status IS DISTINCT FROM 1 "
    "HAVING EXISTS (SELECT FROM sync_syncpartition WHERE name = {name})"
)


def latency(server: Server, directory: Path, folders: int) -> str:
    """Close folders at random times; return what was measured, as sentences."""
    say(f"Writing a sample export of {TABLES} tables")
    export = SampleExport(directory / "live", tables=TABLES, rows=ROWS, seed=1)
    export.write_initial()
    with server.database(DATABASE) as database:
        environment = {
            **os.environ,
            "DATABASE_URL": server.url(database),
            "DVSYNC_DATA": str(directory / "dvsync"),
            "DVSYNC_POLL_SECONDS": str(POLL_SECONDS),
        }
        manage(environment, "createsync", SYNC, str(export.directory))
        manage(environment, "syncnow", SYNC)
        with clusters(environment, "poll", "sync"):
            seconds = [_one(server, export, n + 1, folders) for n in range(folders)]
    return _report(seconds)


def _report(seconds: list[float]) -> str:
    p95 = (
        quantiles(seconds, n=20, method="inclusive")[-1]
        if len(seconds) > 1
        else seconds[0]
    )
    return (
        f"{len(seconds)} folders with changes of up to {TABLES} tables were closed at "
        f"random times while the service polled every {POLL_SECONDS} s with 2 workers. "
        f"All rows of a folder could be seen after {median(seconds):.1f} s (p50), "
        f"{p95:.1f} s (p95), {max(seconds):.1f} s at the most; half the interval, "
        f"{POLL_SECONDS / 2:.0f} s, is the mean that waiting for the next poll costs."
    )


def _one(server: Server, export: SampleExport, number: int, folders: int) -> float:
    time.sleep(random.uniform(0, POLL_SECONDS))  # noqa: S311
    name = export.marker
    export.write_changes(changes=CHANGES)
    closed = time.monotonic()
    with server.connect(DATABASE) as connection:
        question = _APPLIED.format(name=sql.Literal(name))
        while (row := connection.execute(question).fetchone()) is None or not row[0]:
            if time.monotonic() - closed > PATIENCE_SECONDS:
                raise WrongResultError(f"{name} was not applied")
            time.sleep(0.02)
    seconds = time.monotonic() - closed
    say(f"{number} of {folders}: {seconds:.1f} s")
    return seconds


def manage(environment: Mapping[str, str], *words: str) -> None:
    """Run a command of dvsync that must succeed."""
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WrongResultError(f"{words[0]} failed: {done.stderr}")


@contextmanager
def clusters(environment: Mapping[str, str], *queues: str) -> Iterator[None]:
    """Run a cluster for each of these queues."""
    running = [
        subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=ROOT,
            env={**environment, "Q_CLUSTER_NAME": queue},
            start_new_session=True,
        )
        for queue in queues
    ]
    try:
        yield
    finally:
        for cluster in running:
            cluster.send_signal(signal.SIGTERM)
        for cluster in running:
            cluster.wait(60)

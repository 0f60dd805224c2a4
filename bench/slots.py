"""Whether every slot of the schedule gets its poll in time, while all workers load."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles

import psycopg
from psycopg import sql

from bench.latency import clusters, manage
from bench.measure import say
from bench.server import Server
from dvsync_site.sample_export import SampleExport

POLL_SECONDS = 20
MINUTES = 3
WORKERS = 2
TABLES, ROWS, CHANGES = 12, 500, 240
FOLDER_SECONDS = 5.0
DATABASE, SYNC = "bench_slots", "busy"
# Every poll is written down; and each statement of a load keeps a core busy.
_PREPARED = (
    sql.SQL("CREATE TABLE public.audit (slot timestamptz, beat_at timestamptz)"),
    sql.SQL(
        "CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER AS $$ BEGIN INSERT INTO public.audit "
        "VALUES (NEW.slot, NEW.beat_at); RETURN NULL; END $$"
    ),
    sql.SQL(
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OF beat_at ON sync_heartbeat "
        "FOR EACH ROW EXECUTE FUNCTION public.audit()"
    ),
    sql.SQL(
        "CREATE FUNCTION public.busy() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "DECLARE until timestamptz := clock_timestamp() + interval '2 s'; BEGIN "
        "WHILE clock_timestamp() < until LOOP END LOOP; RETURN NULL; END $$"
    ),
)
_TARGETS = sql.SQL("SELECT tablename FROM pg_tables WHERE schemaname = {}")
_BUSY = sql.SQL(
    "CREATE TRIGGER busy AFTER INSERT OR UPDATE OR DELETE ON {} "
    "FOR EACH STATEMENT EXECUTE FUNCTION public.busy()"
)
_WORKING = sql.SQL(
    "SELECT count(*) FROM sync_worker w JOIN sync_cluster c ON c.id = w.cluster_id "
    "WHERE c.queue = 'sync' AND w.queue_row IS NOT NULL"
)
_POLLS = sql.SQL(
    "SELECT extract(epoch FROM slot)::float, "
    "extract(epoch FROM beat_at - slot)::float FROM audit"
)


@dataclass(frozen=True)
class Slots:
    """What became of the slots between two times; ``late`` are the polls' seconds."""

    planned: int
    missed: int
    doubled: int
    late: list[float]


def slots(server: Server, directory: Path, minutes: int) -> str:
    """Let two clusters poll beside busy ones; return what was seen, as sentences."""
    say(f"Writing a sample export of {TABLES} tables")
    export = SampleExport(directory / SYNC, tables=TABLES, rows=ROWS, seed=1)
    export.write_initial()
    with server.database(DATABASE) as database:
        environment = {
            **os.environ,
            "DATABASE_URL": server.url(database),
            "DVSYNC_DATA": str(directory / "dvsync"),
            "DVSYNC_POLL_SECONDS": str(POLL_SECONDS),
            "DVSYNC_WORKERS": str(WORKERS),
        }
        manage(environment, "createsync", SYNC, str(export.directory))
        manage(environment, "syncnow", SYNC)
        _prepare(server)
        with _growing(export), clusters(environment, "poll", "poll", "sync"):
            began, busy = _watch(server, minutes)
        found = _judged(server, began, began + minutes * 60)
    return _report(found, minutes, busy)


def _prepare(server: Server) -> None:
    with server.connect(DATABASE) as connection:
        for statement in _PREPARED:
            connection.execute(statement)
        question = _TARGETS.format(sql.Literal(SYNC))
        for (name,) in connection.execute(question).fetchall():
            connection.execute(_BUSY.format(sql.Identifier(SYNC, str(name))))


@contextmanager
def _growing(export: SampleExport) -> Iterator[None]:
    """Close folder after folder meanwhile."""
    ended = threading.Event()

    def grow() -> None:
        while not ended.wait(FOLDER_SECONDS):
            export.write_changes(changes=CHANGES)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(server: Server, minutes: int) -> tuple[float, float]:
    """Wait; return when that began, and the share of workers that loaded since."""
    with server.connect(DATABASE) as connection:
        say("Waiting until all workers load")
        while _working(connection) < WORKERS:
            time.sleep(0.5)
        began, working = time.time(), []
        end = began + minutes * 60 + POLL_SECONDS / 2  # the last poll may be late
        while (now := time.time()) < end:
            working.append(_working(connection) / WORKERS)
            if len(working) % 30 == 0:
                say(f"{now - began:.0f} of {minutes * 60} s")
            time.sleep(1)
    return began, mean(working)


def _working(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    row = connection.execute(_WORKING).fetchone()
    return int(str(row[0])) if row else 0


def _judged(server: Server, began: float, ended: float) -> Slots:
    """Compare the polls with the slots between two times."""
    first = int(began // POLL_SECONDS + 1) * POLL_SECONDS
    planned = set(range(first, int(ended) + 1, POLL_SECONDS))
    with server.connect(DATABASE) as connection:
        rows = connection.execute(_POLLS).fetchall()
    polls = [(round(float(str(slot))), float(str(late))) for slot, late in rows]
    late = [seconds for slot, seconds in polls if slot in planned]
    had = {slot for slot, _ in polls} & planned
    return Slots(len(planned), len(planned - had), len(late) - len(had), late)


def _report(found: Slots, minutes: int, busy: float) -> str:
    p95 = quantiles(found.late, n=20, method="inclusive")[-1]
    return (
        f"For {minutes} minutes two clusters polled every {POLL_SECONDS} s while the "
        f"{WORKERS} workers of a third one loaded {busy:.0%} of the time. Of "
        f"{found.planned} slots {found.missed} were missed and {found.doubled} "
        f"doubled; their polls began {median(found.late):.2f} s (p50), {p95:.2f} s "
        f"(p95) and at the most {max(found.late):.2f} s after their time."
    )

"""What a soak sees meanwhile: polls, the backlog, and tables that must be right."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]
LOOK_SECONDS = 0.5
# The onlooker looks at all tables, every so many seconds.
COUNT_SECONDS = 3.0

_TABLES: LiteralString = """
    SELECT t.entity, c.schema_name, t.target_name,
        t.pruned_growth + coalesce(sum(p.rows_inserted - p.rows_deleted), 0),
        coalesce(array_agg(p.partition) FILTER (WHERE p.id IS NOT NULL), '{}')
    FROM sync_synctable AS t JOIN sync_syncconfig AS c ON c.id = t.config_id
    LEFT JOIN data_sync_progress AS p ON p.config_id = t.config_id
        AND p.table_name = t.entity AND p.copy_status = 1
    GROUP BY t.id, c.id
"""
_BUSY: LiteralString = """
    SELECT w.pid FROM sync_worker AS w JOIN sync_cluster AS c ON c.id = w.cluster_id
    WHERE c.queue = 'sync' AND w.queue_row IS NOT NULL
"""
_BACKLOG: LiteralString = "SELECT count(*) FROM data_sync_progress WHERE copy_status<>1"


def say(text: str) -> None:
    """Tell now what happens."""
    sys.stdout.write(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {text}\n")
    sys.stdout.flush()


def connect(conninfo: str) -> Connection:
    """Connect as dvsync does, without its code."""
    options = "-c timezone=UTC -c datestyle=iso,mdy -c statement_timeout=60s"
    return psycopg.connect(
        conninfo, autocommit=True, connect_timeout=3, options=options
    )


@dataclass(frozen=True)
class Absence:
    """A time in which the database did not answer."""

    begin: dt.datetime
    end: dt.datetime


class Watch(threading.Thread):
    """Looks all the time, over a connection that may break."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(daemon=True)
        self.slots: dict[dt.datetime, dt.datetime] = {}  # and when its poll began
        self.polls = 0
        self.absences: list[Absence] = []
        self.problems: list[str] = []
        self.counted = 0
        self.backend = 0
        self._conninfo = conninfo
        self._ended = threading.Event()
        self._answered = dt.datetime.now(dt.UTC)
        self._lost = False
        self._applied: set[tuple[str, str]] = set()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look until the end."""
        while not self._ended.is_set():
            try:
                with connect(self._conninfo) as connection:
                    self.backend = connection.info.backend_pid
                    self._look(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self._lost = True
                self._ended.wait(LOOK_SECONDS)
            except Exception as error:  # noqa: BLE001 - it must not end unseen
                self.problems.append(f"the onlooker met {error!r}")
                self._ended.wait(LOOK_SECONDS)

    def _look(self, connection: Connection) -> None:
        count_at = 0.0
        while not self._ended.wait(LOOK_SECONDS):
            self._look_at_polls(connection)
            if time.monotonic() > count_at:
                self._look_at_tables(connection)
                count_at = time.monotonic() + COUNT_SECONDS

    def _look_at_polls(self, connection: Connection) -> None:
        query = "SELECT slot, beat_at, polls FROM sync_heartbeat WHERE name = 'poll'"
        row = connection.execute(query).fetchone()
        now = dt.datetime.now(dt.UTC)
        if self._lost:
            self.absences.append(Absence(self._answered, now))
            self._lost = False
        self._answered = now
        if row:
            self.slots.setdefault(row[0], row[1])
            if row[2] < self.polls:
                self.problems.append(f"polls went from {self.polls} to {row[2]}")
            self.polls = row[2]

    def _look_at_tables(self, connection: Connection) -> None:
        """Compare all tables with the ledger, in one snapshot."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            tables = connection.execute(_TABLES).fetchall()
            counts = [count(connection, schema, name) for _, schema, name, *_ in tables]
        applied = set()
        for (entity, _, _, grown, partitions), rows in zip(tables, counts, strict=True):
            applied |= {(entity, partition) for partition in partitions}
            if rows != grown:
                self.problems.append(f"{entity} has {rows} rows, its ledger {grown}")
        if revoked := self._applied - applied:
            self.problems.append(f"successes were revoked: {sorted(revoked)[:5]}")
        self._applied = applied
        self.counted += 1

    # What others ask, over connections of their own.

    def workers(self) -> set[int]:
        """Return the processes that are known as workers."""
        return self._numbers("SELECT pid FROM sync_worker")

    def busy(self) -> set[int]:
        """Return the workers in the middle of a load."""
        return self._numbers(_BUSY)

    def backlog(self) -> int:
        """Return how many progress rows are not applied; -1 when nobody answers."""
        return next(iter(self._numbers(_BACKLOG)), -1)

    def _numbers(self, query: LiteralString) -> set[int]:
        try:
            with connect(self._conninfo) as connection:
                return {number for (number,) in connection.execute(query)}
        except psycopg.Error:
            return set()


def count(connection: Connection, schema: str, name: str) -> int:
    """Return how many rows a table has; none when it is not there."""
    relation = sql.Identifier(schema, name)
    there = connection.execute(
        "SELECT to_regclass(%s)", [relation.as_string(connection)]
    ).fetchone()
    if not there or there[0] is None:
        return 0
    query = sql.SQL("SELECT count(*) FROM {}").format(relation)
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0

"""What PostgreSQL itself says is running: the loads that hold a table's lock."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from psycopg import Cursor

# What a load says of itself, as far as it came to say it.
_PHASE = re.compile(r"dvsync table=(\d+) phase=(\S+) bytes=(\d+)")
# A blocked load has one row for each session that it waits for. Whom it waits for is
# asked of blocked ones only, for it stops all of PostgreSQL's locking for a moment.
_RUNNING = """
    SELECT held.objid::bigint, held.pid, session.application_name,
           session.xact_start, session.wait_event_type = 'Lock', copy.bytes_processed,
           copy.tuples_processed,
           extract(epoch FROM clock_timestamp() - session.query_start)::float,
           blocker.pid, other.usename,
           extract(epoch FROM clock_timestamp() - other.query_start)::float
    FROM pg_locks held
    JOIN pg_database base ON base.oid = held.database
    LEFT JOIN pg_stat_activity session ON session.pid = held.pid
    LEFT JOIN pg_stat_progress_copy copy ON copy.pid = held.pid
    LEFT JOIN LATERAL unnest(
        CASE WHEN session.wait_event_type = 'Lock'
             THEN pg_blocking_pids(held.pid) END
    ) AS blocker (pid) ON true
    LEFT JOIN pg_stat_activity other ON other.pid = blocker.pid
    WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
      AND held.classid = %s AND base.datname = current_database()
    ORDER BY held.objid, held.pid, blocker.pid
"""


@dataclass(frozen=True)
class Blocker:
    """A session for which a load waits; pid 0 is a prepared transaction.

    ``query_seconds`` is how long ago its last statement began, as far as dvsync's
    role may know it.
    """

    pid: int
    user: str
    query_seconds: float | None


@dataclass(frozen=True)
class Running:
    """A session that holds the lock of a table, and what it does there.

    ``phase`` is empty while it says nothing: in the short transactions around a load,
    or for work that is no load. ``copied`` and ``copied_rows`` are what PostgreSQL
    counts in a COPY of now, ``statement_seconds`` how long ago its statement began.
    """

    table_id: int
    pid: int
    phase: str
    bytes: int
    since: datetime | None
    copied: int | None
    waiting: bool
    blockers: tuple[Blocker, ...]
    copied_rows: int | None = None
    statement_seconds: float | None = None


def running(cursor: Cursor[tuple[object, ...]], namespace: int) -> dict[int, Running]:
    """Return who holds which table's lock in this database, by the table's id.

    ``namespace`` is the first integer of the advisory locks of tables.
    """
    cursor.execute(_RUNNING, [namespace])
    found: dict[int, Running] = {}
    for row in cursor.fetchall():
        this = _record(cast("tuple[Any, ...]", row))
        before = found.get(this.table_id)
        blockers = (*before.blockers, *this.blockers) if before else this.blockers
        found[this.table_id] = replace(this, blockers=blockers)
    return found


def _record(row: tuple[Any, ...]) -> Running:
    table_id, pid, name, since, waiting, copied, rows, seconds, *blocker = row
    said = _PHASE.fullmatch(name or "")
    if said and int(said[1]) != table_id:
        said = None
    blocked_by, user, query_seconds = blocker
    return Running(
        table_id=table_id,
        pid=pid,
        phase=said[2] if said else "",
        bytes=int(said[3]) if said else 0,
        since=since,
        copied=copied,
        waiting=bool(waiting),
        blockers=()
        if blocked_by is None
        else (Blocker(blocked_by, user or "", query_seconds),),
        copied_rows=rows,
        statement_seconds=seconds,
    )

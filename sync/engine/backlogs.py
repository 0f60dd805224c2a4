"""What is not applied yet, and which folders are not complete: one query each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from sync.engine.states import Trouble, Unapplied

WAITING_SHOWN = 5

# One row for each table with a backlog: its size, its oldest partition, and the oldest
# that was given up. The partial index progress_backlog holds what is not applied.
_BACKLOG = """
    WITH backlog AS (
        SELECT p.config_id, p.table_name, count(*) AS partitions,
               sum(p.bytes)::bigint AS bytes, min(s.opened_at) AS first_at,
               min(s.opened_at) FILTER (
                   WHERE p.copy_status = 2 AND p.next_attempt_at IS NULL
               ) AS given_up_at
        FROM data_sync_progress p
        JOIN sync_syncpartition s
          ON s.config_id = p.config_id AND s.name = p.partition
        WHERE p.copy_status <> 1 AND p.config_id = ANY(%(configs)s)
        GROUP BY p.config_id, p.table_name
    )
    SELECT DISTINCT ON (b.config_id, b.table_name, s.opened_at)
           b.config_id, b.table_name, b.partitions, b.bytes,
           s.opened_at = b.first_at, s.opened_at = b.given_up_at,
           p.partition, s.closed_at, p.attempts, p.next_attempt_at, p.copy_status = 2,
           p.error_code, p.error_message, p.error_where, p.error_remedy, s.found_at
    FROM backlog b
    -- Equality, and not IN, lets PostgreSQL join by hash.
    CROSS JOIN LATERAL unnest(ARRAY[b.first_at, b.given_up_at]) AS wanted (opened_at)
    JOIN sync_syncpartition s
      ON s.config_id = b.config_id AND s.opened_at = wanted.opened_at
    -- The limit, of one row by its key, keeps it from reading the table once more.
    CROSS JOIN LATERAL (
        SELECT * FROM data_sync_progress mine
        WHERE mine.config_id = b.config_id AND mine.table_name = b.table_name
          AND mine.partition = s.name AND mine.copy_status <> 1
        LIMIT 1
    ) AS p
    ORDER BY b.config_id, b.table_name, s.opened_at, p.partition
"""
_WAITING = """
    SELECT config_id, name, reason, folders FROM (
        SELECT config_id, name, reason, opened_at,
               count(*) OVER (PARTITION BY config_id) AS folders,
               row_number() OVER (PARTITION BY config_id ORDER BY opened_at, name) AS n
        FROM sync_syncpartition
        WHERE state = 'waiting' AND config_id = ANY(%(configs)s)
    ) found
    WHERE n <= %(shown)s ORDER BY config_id, n
"""


@dataclass(frozen=True)
class Backlog:
    """What a table lacks; the default is nothing."""

    partitions: int = 0
    bytes: int = 0
    first: Unapplied | None = None
    given_up: Unapplied | None = None


def backlogs(ids: Sequence[int]) -> dict[tuple[int, str], Backlog]:
    """Return the backlogs of the tables of these syncs that have one."""
    found: dict[tuple[int, str], Backlog] = {}
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, {"configs": list(ids)})
        for config, entity, partitions, size, is_first, is_given_up, *row in cursor:
            before = found.get((config, entity), Backlog())
            this = _unapplied(*row)
            found[config, entity] = Backlog(
                partitions,
                size,
                this if is_first else before.first,
                this if is_given_up and this.given_up else before.given_up,
            )
    return found


def _unapplied(
    partition: str,
    closed_at: datetime,
    attempts: int,
    next_attempt_at: datetime | None,
    failed: bool,
    code: str,
    message: str,
    where: str,
    remedy: str,
    found_at: datetime,
) -> Unapplied:
    trouble = Trouble(code, message, where, remedy) if failed else None
    return Unapplied(partition, closed_at, attempts, next_attempt_at, trouble, found_at)


def waiting_folders(ids: Sequence[int]) -> dict[int, list[tuple[str, str, int]]]:
    """Return the oldest incomplete folders of syncs: name, reason, how many in all."""
    found: dict[int, list[tuple[str, str, int]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"configs": list(ids), "shown": WAITING_SHOWN})
        for config, *row in cursor:
            found.setdefault(config, []).append((row[0], row[1], row[2]))
    return found

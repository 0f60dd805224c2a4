"""The tables of syncs with all that their states depend on, in one query."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from psycopg import errors

from sync.engine.states import Trouble, Unapplied
from sync.models import SyncTable

# One row for each table; of its backlog the size, the oldest partition, and the oldest
# that was given up. The partial index progress_backlog holds what is not applied.
_TABLES = """
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
          AND (%(table)s::bigint IS NULL OR p.table_name = (
              SELECT entity FROM sync_synctable WHERE id = %(table)s))
        GROUP BY p.config_id, p.table_name
    ), ends AS MATERIALIZED (
        SELECT DISTINCT ON (b.config_id, b.table_name, s.opened_at)
               b.config_id, b.table_name,
               s.opened_at = b.first_at AS is_first,
               s.opened_at = b.given_up_at AS is_given_up,
               p.partition, s.closed_at, p.attempts, p.next_attempt_at,
               p.copy_status = 2 AS failed, p.error_code, p.error_message,
               p.error_where, p.error_remedy, s.found_at
        FROM backlog b
        -- Equality, and not IN, lets PostgreSQL join by hash.
        CROSS JOIN LATERAL
            unnest(ARRAY[b.first_at, b.given_up_at]) AS the (opened_at)
        JOIN sync_syncpartition s
          ON s.config_id = b.config_id AND s.opened_at = the.opened_at
        -- The limit, of one row by its key, keeps it from reading the table once more.
        CROSS JOIN LATERAL (
            SELECT * FROM data_sync_progress mine
            WHERE mine.config_id = b.config_id AND mine.table_name = b.table_name
              AND mine.partition = s.name AND mine.copy_status <> 1
            LIMIT 1
        ) AS p
        ORDER BY b.config_id, b.table_name, s.opened_at, p.partition
    ), patience AS MATERIALIZED (
        -- For this statement alone: it is a transaction of its own.
        SELECT CASE WHEN %(sized)s
                    THEN set_config('lock_timeout', '250ms', true) END AS setting
    ), locked AS MATERIALIZED (
        -- Whose size one would wait for, or that of an index.
        SELECT coalesce(i.indrelid, l.relation) AS oid
        FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
        WHERE %(sized)s AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
          AND l.database = (SELECT oid FROM pg_database
                            WHERE datname = current_database())
    ), quarantined AS (
        SELECT table_id, count(*) AS rows FROM sync_quarantinedrow
        WHERE state = 'open' GROUP BY table_id
    )
    SELECT t.id, t.config_id, t.entity, t.target_name, t.state, t.last_partition,
           t.refresh_reason, t.approved_partition,
           t.error_code, t.error_message, t.error_remedy, t.last_loaded_at,
           t.loads_total, t.failures_total, t.inserted_total, t.updated_total,
           t.deleted_total, t.bytes_total, t.seconds_total,
           t.last_inserted, t.last_updated, t.last_deleted,
           applied.opened_at AS applied_opened_at,
           applied.closed_at AS applied_closed_at,
           coalesce(q.rows, 0) AS open_bad_rows,
           coalesce(b.partitions, 0) AS backlog_partitions,
           coalesce(b.bytes, 0) AS backlog_bytes,
           -- Few tables have them, and many columns of many rows cost time.
           to_jsonb(f)::text AS first_unapplied, to_jsonb(g)::text AS given_up,
           begun.bytes AS begun_bytes,
           CASE WHEN %(sized)s AND c.oid NOT IN (SELECT oid FROM locked)
                THEN pg_total_relation_size(c.oid) END AS size_on_disk
    FROM sync_synctable t
    CROSS JOIN patience
    LEFT JOIN sync_syncpartition applied
      ON applied.config_id = t.config_id AND applied.name = t.last_partition
    LEFT JOIN quarantined q ON q.table_id = t.id
    LEFT JOIN backlog b ON b.config_id = t.config_id AND b.table_name = t.entity
    LEFT JOIN ends f
      ON f.config_id = t.config_id AND f.table_name = t.entity AND f.is_first
    LEFT JOIN ends g
      ON g.config_id = t.config_id AND g.table_name = t.entity AND g.is_given_up
    -- The batch of the newest attempt; older ones were killed.
    LEFT JOIN LATERAL (
        SELECT sum(p.bytes)::bigint AS bytes FROM data_sync_progress p
        WHERE p.config_id = t.config_id AND p.table_name = t.entity
          AND p.copy_status <> 1 AND p.started_at IS NOT NULL
          AND p.finished_at IS NULL
        GROUP BY p.started_at ORDER BY p.started_at DESC LIMIT 1
    ) AS begun ON t.id = ANY(%(running)s)
    LEFT JOIN pg_class c ON %(sized)s AND c.relname = t.target_name
      AND c.relnamespace = (SELECT n.oid FROM pg_namespace n JOIN sync_syncconfig mine
                            ON mine.schema_name = n.nspname
                            WHERE mine.id = (%(configs)s)[1])
    WHERE t.config_id = ANY(%(configs)s)
      AND (%(table)s::bigint IS NULL OR t.id = %(table)s)
    ORDER BY t.config_id, t.entity
"""


@dataclass(frozen=True)
class Backlog:
    """What a table lacks; the default is nothing."""

    partitions: int = 0
    bytes: int = 0
    first: Unapplied | None = None
    given_up: Unapplied | None = None

    @property
    def failed(self) -> bool:
        """Whether the oldest of it failed, or some of it was given up."""
        return self.given_up is not None or bool(self.first and self.first.error)


@dataclass(frozen=True)
class TableRow:
    """A table as it is stored, without its columns and attributes, which are long.

    ``begun_bytes`` are those of the partitions that its load of now has taken.
    ``size`` is that of the target with its indexes, None when it was not asked for, is
    not there, or would have to be waited for.
    """

    table: SyncTable
    backlog: Backlog
    quarantined: int
    begun_bytes: int | None
    size: int | None


def table_rows(
    configs: Sequence[int],
    running: Sequence[int],
    *,
    table: int | None = None,
    sizes: bool = False,
) -> Iterator[TableRow]:
    """Read the tables of these syncs, or one alone; ``running`` are those that load.

    Sizes are those of the first sync's targets. Nobody's lock is waited for longer
    than a moment.
    """
    wanted = {"configs": list(configs), "running": list(running), "table": table}
    try:
        rows = list(SyncTable.objects.raw(_TABLES, {**wanted, "sized": sizes}))
    except DatabaseError as error:
        # Somebody took a target for himself just now.
        if not sizes or not isinstance(error.__cause__, errors.LockNotAvailable):
            raise
        rows = list(SyncTable.objects.raw(_TABLES, {**wanted, "sized": False}))
    return map(_table_row, rows)


def _table_row(row: Any) -> TableRow:
    first, given_up = _unapplied(row.first_unapplied), _unapplied(row.given_up)
    return TableRow(
        table=row,
        backlog=Backlog(
            row.backlog_partitions,
            row.backlog_bytes,
            first,
            given_up if given_up and given_up.given_up else None,
        ),
        quarantined=row.open_bad_rows,
        begun_bytes=row.begun_bytes,
        size=row.size_on_disk,
    )


def _unapplied(document: str | None) -> Unapplied | None:
    if document is None:
        return None
    row = json.loads(document)
    trouble = None
    if row["failed"]:
        texts = (
            row[f"error_{name}"] for name in ("code", "message", "where", "remedy")
        )
        trouble = Trouble(*texts)
    next_at = row["next_attempt_at"]
    return Unapplied(
        row["partition"],
        datetime.fromisoformat(row["closed_at"]),
        row["attempts"],
        datetime.fromisoformat(next_at) if next_at else None,
        trouble,
        datetime.fromisoformat(row["found_at"]),
    )

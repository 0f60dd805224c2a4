"""What the database holds of a sync, read by plain SQL over a connection of its own.

It shares nothing with the application but the names of its tables: what a session
of the application has not committed is not seen, and no code of its own is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tests.oracle import Row
from tests.processes import database_url

SUCCESS, FAILURE = 1, 2

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = dict[UUID, Row]
Content = dict[UUID, dict[str, str]]


@dataclass(frozen=True)
class Progress:
    """One row of the ledger: what it says of a partition of a table."""

    partition: str
    copy_status: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_unchanged: int
    rows_rejected: int
    rows_missing: int
    bytes: int
    error_code: str
    error_message: str
    is_finished: bool

    @property
    def is_applied(self) -> bool:
        return self.copy_status == SUCCESS

    @property
    def counts(self) -> tuple[int, ...]:
        """Return how many records ended in each way."""
        return (
            self.rows_inserted,
            self.rows_updated,
            self.rows_deleted,
            self.rows_unchanged,
            self.rows_rejected,
        )


@dataclass(frozen=True)
class TableState:
    """One table: its ledger in the order of time, its rows by key, its tombstones.

    Rows have the names of the attributes in lower case. ``pruned`` are the partitions
    whose progress was pruned, ``pruned_growth`` the rows by which they made it grow;
    ``forgets`` says whether tombstones were pruned.
    """

    entity: str
    name: str
    last_partition: str
    attributes: frozenset[str]
    progress: tuple[Progress, ...]
    rows: Rows
    row_count: int
    tombstones: dict[UUID, int]
    pruned: tuple[str, ...]
    pruned_growth: int
    forgets: bool

    @property
    def applied(self) -> list[str]:
        """Return the partitions that the ledger calls a success."""
        done = [row.partition for row in self.progress if row.is_applied]
        return sorted({*done, *self.pruned}) if self.pruned else done


@dataclass(frozen=True)
class Snapshot:
    """A sync at one moment."""

    schema: str
    selects_all: bool
    skipped: frozenset[str]
    tables: dict[str, TableState]


def connect() -> Connection:
    """Open a connection of one's own to the test's database."""
    return psycopg.connect(
        database_url(),
        autocommit=True,
        # The same statement meets columns whose types have changed meanwhile.
        prepare_threshold=None,
        options="-c timezone=UTC -c datestyle=ISO",
    )


def read(connection: Connection, config_id: int) -> Snapshot:
    """Return what one transaction sees of a sync."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [(schema, selects_all)] = connection.execute(
            "SELECT schema_name, include = '{}' AND exclude = '{}' "
            "FROM sync_syncconfig WHERE id = %s",
            [config_id],
        ).fetchall()
        skipped = connection.execute(
            "SELECT name FROM sync_syncpartition "
            "WHERE config_id = %s AND state = 'skipped'",
            [config_id],
        ).fetchall()
        tables = connection.execute(
            "SELECT id, entity, target_name, last_partition, columns, pruned_growth, "
            "forgotten_until IS NOT NULL "
            "FROM sync_synctable WHERE config_id = %s",
            [config_id],
        ).fetchall()
        return Snapshot(
            schema=schema,
            selects_all=selects_all,
            skipped=frozenset(name for (name,) in skipped),
            tables={t[1]: _table(connection, config_id, schema, *t) for t in tables},
        )


def _table(
    connection: Connection,
    config_id: int,
    schema: str,
    number: int,
    entity: str,
    name: str,
    last_partition: str,
    columns: list[list[str]],
    pruned_growth: int,
    forgets: bool,
) -> TableState:
    relation = sql.Identifier(schema, name)
    names = {column: attribute.lower() for attribute, column, _ in columns}
    found = select(connection, relation, names) if columns else []
    tombstones = connection.execute(
        "SELECT key[1], version FROM sync_tombstone WHERE table_id = %s", [number]
    )
    pruned = connection.execute(
        "SELECT name FROM sync_syncpartition "
        "WHERE config_id = %s AND pruned_tables @> ARRAY[%s::text] ORDER BY opened_at",
        [config_id, entity],
    )
    return TableState(
        entity=entity,
        name=name,
        last_partition=last_partition,
        attributes=frozenset(names.values()),
        progress=_progress(connection, config_id, entity),
        rows={row["id"]: row for row in found},
        row_count=len(found),
        tombstones={UUID(key): version for key, version in tombstones},
        pruned=tuple(name for (name,) in pruned),
        pruned_growth=pruned_growth,
        forgets=forgets,
    )


_PROGRESS: LiteralString = """
    SELECT p.partition, copy_status, rows_inserted, rows_updated, rows_deleted,
        rows_unchanged, rows_rejected, rows_missing, bytes, error_code,
        error_message, finished_at IS NOT NULL AS is_finished
    FROM data_sync_progress AS p LEFT JOIN sync_syncpartition AS s
        ON s.config_id = p.config_id AND s.name = p.partition
    WHERE p.config_id = %s AND table_name = %s ORDER BY s.opened_at, p.partition
"""


def _progress(
    connection: Connection, config_id: int, entity: str
) -> tuple[Progress, ...]:
    with connection.cursor(row_factory=class_row(Progress)) as cursor:
        return tuple(cursor.execute(_PROGRESS, [config_id, entity]).fetchall())


def select(
    connection: Connection, relation: sql.Identifier, names: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the rows of a relation, its columns renamed by ``names``."""
    rows = connection.execute(
        sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), relation
        )
    )
    return [dict(zip(names.values(), row, strict=True)) for row in rows]


def content(rows: Rows) -> Content:
    """Return rows in a form that is equal only when they are stored alike.

    NULL is left out: a row has it in every column that came later.
    """
    return {
        key: {n: exactly(v) for n, v in row.items() if v is not None}
        for key, row in rows.items()
    }


def exactly(value: object) -> str:
    """Return a value as a text that is equal only when it is stored alike."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)  # the column of an integer may have become wider
    if isinstance(value, Decimal):
        # 1.0 and 1.00 are equal numbers, but different content; PostgreSQL has no -0.
        value = format(abs(value) if value == 0 else value, "f")
        return f"Decimal {value}"
    return f"{type(value).__name__} {value!r}"


def application_tables_with(connection: Connection, text: str) -> Iterable[str]:
    """Return the application's own tables that hold a text anywhere."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
        "AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    for (name,) in names:
        holds = sql.SQL(
            "SELECT EXISTS (SELECT FROM {} AS t WHERE strpos(t::text, %s) > 0)"
        ).format(sql.Identifier("public", name))
        row = connection.execute(holds, [text]).fetchone()
        if row and row[0]:
            yield name


_RESIDUE: LiteralString = """
    SELECT 'an unknown relation ' || relname FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s))
        AND relkind <> 'i' AND relname <> ALL (%(known)s)
    UNION ALL
    SELECT 'the temporary relation ' || relname FROM pg_class
        JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE nspname LIKE 'pg\\_temp\\_%%' AND relkind = 'r'
    UNION ALL
    SELECT format('advisory lock %%s, %%s', classid, objid)
        FROM pg_locks JOIN pg_database AS d ON d.oid = database
        WHERE locktype = 'advisory' AND datname = current_database()
    UNION ALL
    SELECT format('session %%s is %%s as %%s', pid, state, application_name)
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (state LIKE 'idle in transaction%%' OR application_name LIKE 'dvsync%%')
    UNION ALL
    SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
        WHERE database = current_database()
"""


def residue(connection: Connection, schema: str, known: list[str]) -> list[str]:
    """Return what loads left behind that is neither data nor ledger.

    ``known`` are the target tables in the schema.
    """
    found = connection.execute(_RESIDUE, {"schema": schema, "known": known})
    return [text for (text,) in found]

"""What must hold after a soak: all is applied, exact, and nothing is stuck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dvsync_site.sample_export import SampleExport
from tests.feed_oracle import Schema, replay, whole_lines
from tests.soak.watch import Connection, connect, count

# Each finds something that must not be there once no more trouble is made.
_TROUBLES: tuple[LiteralString, ...] = (
    "SELECT FROM django_q_ormq WHERE key = 'sync'",
    "SELECT FROM sync_incident WHERE closed_at IS NULL",
    "SELECT FROM sync_synctable WHERE state <> 'active' OR error_code <> ''",
    "SELECT FROM sync_syncconfig WHERE error_code <> ''",
    "SELECT FROM data_sync_progress WHERE copy_status <> 1",
    "SELECT FROM pg_locks JOIN pg_database AS d ON d.oid = database "
    "WHERE locktype = 'advisory' AND datname = current_database()",
    "SELECT FROM pg_stat_activity WHERE datname = current_database() "
    "AND state LIKE 'idle in transaction%'",
    "SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
    "WHERE nspname LIKE 'pg\\_temp\\_%' AND relkind = 'r'",
    "SELECT FROM pg_stat_database WHERE checksum_failures > 0",
)
_FAILURES: LiteralString = """
    SELECT kind, regexp_replace(left(message, 80), '[0-9]+', 'N', 'g'), count(*)
    FROM sync_event WHERE level = 'error' GROUP BY 1, 2
"""
_ATTEMPTS: LiteralString = """
    SELECT count(*) FILTER (WHERE attempts > 1), coalesce(max(attempts), 0),
        coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), 0),
        coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY waited), 0),
        coalesce(max(waited), 0)
    FROM (SELECT attempts, extract(epoch FROM finished_at - closed_at) AS waited
        FROM data_sync_progress AS p JOIN sync_syncpartition AS s
        ON s.config_id = p.config_id AND s.name = p.partition) AS rows
"""


class Proof:
    """Asks the database, without dvsync's code."""

    def __init__(self, conninfo: str, export: SampleExport) -> None:
        self._conninfo = conninfo
        self._export = export
        self.places = set(_places(export))

    def is_applied(self) -> bool:
        """Say whether the ledger has a success of each table in each folder."""
        query = "SELECT partition, table_name FROM data_sync_progress "
        try:
            with connect(self._conninfo) as connection:
                done = connection.execute(f"{query} WHERE copy_status = 1").fetchall()
        except psycopg.Error:
            return False
        return self.places <= set(done)

    def is_settled(self) -> bool:
        """Say whether nothing is left of any trouble."""
        try:
            with connect(self._conninfo) as connection:
                return not any(connection.execute(q).fetchall() for q in _TROUBLES)
        except psycopg.Error:
            return False

    def parked(self) -> list[str]:
        """Return the tables that wait for a person, with the reason."""
        query = (
            "SELECT DISTINCT table_name || ' ' || error_code FROM data_sync_progress "
            "WHERE copy_status = 2 AND next_attempt_at IS NULL ORDER BY 1"
        )
        try:
            with connect(self._conninfo) as connection:
                return [text for (text,) in connection.execute(query)]
        except psycopg.Error:
            return []

    def history(self) -> Iterator[str]:
        """Say what the service had to do: failures, attempts, waiting."""
        with connect(self._conninfo) as connection:
            for kind, text, number in connection.execute(_FAILURES):
                yield f"event {kind}: {number} x {text}"
            [row] = connection.execute(_ATTEMPTS).fetchall()
        yield "{} partitions took attempts again, up to {}".format(*row)
        yield (
            "from a folder's closing to its rows: p50 {:.0f} s, p95 {:.0f} s, at most "
            "{:.0f} s".format(*row[2:])
        )

    def differences(self) -> Iterator[str]:
        """Compare every value with what the generator says, by PostgreSQL itself."""
        with connect(self._conninfo) as connection:
            tables = connection.execute(
                "SELECT entity, schema_name, target_name, columns FROM sync_synctable "
                "JOIN sync_syncconfig AS c ON c.id = config_id "
                "WHERE c.kind = 'synapse-link' ORDER BY entity"
            ).fetchall()
            if [entity for entity, *_ in tables] != self._export.tables:
                yield "there are other tables than in the export"
            for entity, schema, name, columns in tables:
                if len(columns) != len(self._export.columns(entity)):
                    yield f"{entity} has the columns {columns}"
                table = sql.Identifier(schema, name)
                if other := _differences(connection, self._export, entity, table):
                    yield f"{other} rows of {entity} differ"

    def feed_differences(self, directory: Path) -> Iterator[str]:
        """Compare what is applied of the change feed with its lines, one by one."""
        document = json.loads((directory / "model.json").read_text())
        schemas = {e["logicalName"]: _schema(e) for e in document["entities"]}
        logs = sorted(directory.glob("*.log"))
        with connect(self._conninfo) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            offsets = connection.execute(
                "SELECT partition, table_name, applied_offset FROM data_sync_progress "
                "JOIN sync_syncconfig AS c ON c.id = config_id "
                "WHERE c.kind = 'change-feed'"
            )
            applied = {(file, table): end for file, table, end in offsets}
            for table, schema in schemas.items():
                lines = [
                    line
                    for log in logs
                    for line in whole_lines(log.read_bytes(), schemas)
                    if line.table == table
                    and line.end <= applied.get((log.name, table), 0)
                ]
                expected = replay(lines, schema).rows
                names = sql.SQL(", ").join(map(sql.Identifier, schema.columns))
                query = sql.SQL("SELECT {} FROM {}").format(
                    names, sql.Identifier("demo_feed", table)
                )
                rows = [
                    dict(zip(schema.columns, map(_told, row), strict=True))
                    for row in connection.execute(query)
                ]
                found = {tuple(row[name] for name in schema.key): row for row in rows}
                if not lines or found != expected:
                    yield f"{table} of the feed is not what its {len(lines)} lines say"

    def rows(self) -> int:
        """Return how many rows there are in all tables."""
        with connect(self._conninfo) as connection:
            tables = connection.execute(
                "SELECT schema_name, target_name FROM sync_synctable "
                "JOIN sync_syncconfig AS c ON c.id = config_id"
            ).fetchall()
            return sum(count(connection, schema, name) for schema, name in tables)


def _told(value: object) -> object:
    """Return a value as the oracle has it: a date as it is written."""
    return value.isoformat() if type(value) is date else value


def _schema(entity: dict[str, Any]) -> Schema:
    attributes = entity["attributes"]
    return Schema(
        {a["logicalName"]: a["type"] for a in attributes},
        tuple(a["logicalName"] for a in attributes if a.get("isPrimaryKey")),
    )


def _places(export: SampleExport) -> Iterator[tuple[str, str]]:
    """Yield each closed folder and each table with files in it."""
    for folder in export.closed:
        for table in export.tables:
            if any((export.directory / folder / table).glob("*.csv")):
                yield folder, table


def _differences(
    connection: Connection, export: SampleExport, entity: str, table: sql.Identifier
) -> int:
    """Return how many rows are in the table or in the generator's truth alone."""
    names = export.columns(entity)
    columns = sql.SQL(", ").join(sql.Identifier(name.lower()) for name in names)

    def composed(text: LiteralString) -> sql.Composed:
        return sql.SQL(text).format(columns=columns, table=table)

    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            composed("CREATE TEMPORARY TABLE truth (LIKE {table}) ON COMMIT DROP")
        )
        with cursor.copy(composed("COPY truth ({columns}) FROM STDIN")) as copy:
            for _, row in export.expected_rows(entity):
                copy.write_row([row[name] for name in names])
        cursor.execute(
            composed(
                "SELECT count(*) FROM ((SELECT {columns} FROM truth EXCEPT ALL "
                "SELECT {columns} FROM {table}) UNION ALL (SELECT {columns} FROM "
                "{table} EXCEPT ALL SELECT {columns} FROM truth)) AS other"
            )
        )
        [(number,)] = cursor.fetchall()
    return int(number)

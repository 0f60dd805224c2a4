"""A second copy of a table, in temporary tables, and its difference to the live one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import Cursor, sql

from sync.target.tables import Column, Table, create_temporary_table

TOMBSTONES = sql.Identifier("pg_temp", "dvsync_rebuilt_tombstones")
_SCHEMA, _NAME = "pg_temp", "dvsync_rebuilt"


@dataclass(frozen=True)
class Difference:
    """Rows by which the live table differs from the rebuilt one."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class Comparison:
    """Keys at which the live table is not what was rebuilt, and how many of each."""

    missing: int
    extra: int
    stale: int
    unverifiable: int
    keys: tuple[str, ...]


class Rebuilt:
    """The copy and the live table beside it. It goes away with the transaction.

    ``compared`` are the attributes that the rebuilt rows know; the live table keeps
    what it has in its other columns.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        live: Table,
        columns: Sequence[Column],
        key: Sequence[str],
        compared: Collection[str],
    ) -> None:
        self._cursor = cursor
        self._live = live.relation
        self.table = Table(_SCHEMA, _NAME, tuple(columns))
        self._key = tuple(key)
        self._columns = [c.name for c in columns if c.attribute in compared]

    def create(self) -> None:
        """Create the copy, empty."""
        self._cursor.execute(
            create_temporary_table(_NAME, self.table.columns, self._key)
        )
        self._execute(
            "CREATE TEMPORARY TABLE dvsync_rebuilt_tombstones (table_id bigint, "
            "key text[], version bigint, deleted_at timestamptz DEFAULT now(), "
            "PRIMARY KEY (table_id, key)) ON COMMIT DROP"
        )

    def apply(self, tombstones: sql.Identifier, table_id: int) -> Difference:
        """Make the live table and its tombstones equal to the copy."""
        self._execute("ANALYZE {rebuilt}")
        deleted = self._execute(
            "DELETE FROM {live} AS t WHERE NOT EXISTS "
            "(SELECT FROM {rebuilt} AS r WHERE {same})"
        )
        updated = self._update()
        inserted = self._execute(
            "INSERT INTO {live} ({columns}) SELECT {columns} FROM {rebuilt} AS r "
            "WHERE NOT EXISTS (SELECT FROM {live} AS t WHERE {same})",
            columns=self._listed("{}"),
        )
        self._execute(
            "DELETE FROM {remembered} WHERE table_id = {id}",
            remembered=tombstones,
            id=sql.Literal(table_id),
        )
        self._execute(
            "INSERT INTO {remembered} (table_id, key, version) "
            "SELECT table_id, key, version FROM {tombstones}",
            remembered=tombstones,
        )
        return Difference(inserted, updated, deleted)

    def compare(self, shown: int) -> Comparison:
        """Compare when every partition of the live table was replayed."""
        return self._compare(
            """
            CASE WHEN t.{key} IS NULL THEN 'missing'
            WHEN r.{key} IS NULL THEN 'extra'
            WHEN record_image_ne(ROW({live_row}), ROW({row})) THEN 'stale' END
            """,
            shown,
        )

    def compare_partly(
        self,
        version: str | None,
        sink: str | None,
        remembered: sql.Identifier,
        id_: int,
        shown: int,
    ) -> Comparison:
        """Compare when partitions are missing, by the columns that order changes.

        What a missing partition may have done is unverifiable: all that is newer than
        what was rebuilt, and what has no version to tell by.
        """
        if version is None:
            return self._compare(
                "CASE WHEN record_image_ne(ROW({live_row}), ROW({row})) "
                "OR t.{key} IS NULL OR r.{key} IS NULL THEN 'unverifiable' END",
                shown,
            )
        return self._compare(
            """
            CASE WHEN t.{key} IS NULL THEN CASE
                WHEN (SELECT d.version FROM {remembered} AS d WHERE d.table_id = {id}
                    AND d.key = ARRAY[r.{key}::text]) >= coalesce(r.{version}, -1)
                THEN 'unverifiable' ELSE 'missing' END
            WHEN r.{key} IS NULL THEN CASE
                WHEN t.{version} IS NOT NULL AND t.{version} <=
                    (SELECT version FROM {tombstones} WHERE key = ARRAY[t.{key}::text])
                THEN 'extra' ELSE 'unverifiable' END
            WHEN coalesce(t.{version}, -1) < coalesce(r.{version}, -1) THEN 'stale'
            WHEN coalesce(t.{version}, -1) > coalesce(r.{version}, -1)
                THEN 'unverifiable'
            WHEN record_image_ne(ROW({live_row}), ROW({row}))
                THEN CASE WHEN {later} THEN 'unverifiable' ELSE 'stale' END END
            """,
            shown,
            version=sql.Identifier(version),
            later=self._later(version, sink),
            remembered=remembered,
            id=sql.Literal(id_),
        )

    def _later(self, version: str, sink: str | None) -> sql.Composable:
        """Say whether a live row of the same version may be a later one."""
        later = sql.SQL("t.{} IS NULL").format(sql.Identifier(version))
        if sink is None:
            return later
        return sql.SQL(
            "{later} OR coalesce(t.{sink}, '-infinity') > "
            "coalesce(r.{sink}, '-infinity')"
        ).format(later=later, sink=sql.Identifier(sink))

    def _compare(self, verdict: str, shown: int, **parts: sql.Composable) -> Comparison:
        self._execute("ANALYZE {rebuilt}")
        self._execute(
            "CREATE TEMPORARY TABLE dvsync_compared ON COMMIT DROP AS "
            "SELECT concat_ws(', ', {keys}) AS key, {verdict} AS verdict "
            "FROM {live} AS t FULL JOIN {rebuilt} AS r ON {same}",
            verdict=self._compose(
                verdict,
                live_row=self._listed("t.{}"),
                row=self._listed("r.{}"),
                **parts,
            ),
        )
        self._execute(
            "SELECT verdict, count(*) FROM pg_temp.dvsync_compared "
            "WHERE verdict IS NOT NULL GROUP BY verdict"
        )
        counts = {str(v): int(str(n)) for v, n in self._cursor.fetchall()}
        self._execute(
            "SELECT key FROM pg_temp.dvsync_compared WHERE verdict IS NOT NULL "
            "ORDER BY verdict = 'unverifiable', key LIMIT {shown}",
            shown=sql.Literal(shown),
        )
        keys = tuple(str(key) for (key,) in self._cursor.fetchall())
        return Comparison(
            missing=counts.get("missing", 0),
            extra=counts.get("extra", 0),
            stale=counts.get("stale", 0),
            unverifiable=counts.get("unverifiable", 0),
            keys=keys,
        )

    def _update(self) -> int:
        others = [name for name in self._columns if name not in self._key]
        if not others:
            return 0
        return self._execute(
            "UPDATE {live} AS t SET {assignments} FROM {rebuilt} AS r "
            "WHERE {same} AND record_image_ne(ROW({live_row}), ROW({row}))",
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = r.{0}").format(sql.Identifier(name)) for name in others
            ),
            live_row=self._listed("t.{}"),
            row=self._listed("r.{}"),
        )

    def _listed(self, pattern: str) -> sql.Composable:
        return sql.SQL(", ").join(
            sql.SQL(pattern).format(sql.Identifier(name)) for name in self._columns
        )

    def _execute(self, statement: str, **parts: sql.Composable) -> int:
        self._cursor.execute(self._compose(statement, **parts))
        return self._cursor.rowcount

    def _compose(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(statement).format(
            live=self._live,
            rebuilt=self.table.relation,
            tombstones=TOMBSTONES,
            key=sql.Identifier(self._key[0]),
            keys=sql.SQL(", ").join(
                sql.SQL("coalesce(t.{0}, r.{0})").format(sql.Identifier(name))
                for name in self._key
            ),
            same=sql.SQL(" AND ").join(
                sql.SQL("t.{0} = r.{0}").format(sql.Identifier(name))
                for name in self._key
            ),
            **parts,
        )

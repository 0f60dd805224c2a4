"""The staged changes of a load, as SQL: their order, beside what is stored.

Which change wins is the total order of docs/architecture.md; here is what it compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from psycopg import Cursor, sql

from sync.target.staging import PARTITION, RELATION, Staging
from sync.target.tables import Table

WINNERS = sql.Identifier("pg_temp", "dvsync_winners")


@dataclass(frozen=True)
class SystemColumns:
    """The columns that order changes.

    Positions in the staging table, and names in the target, which may still have a
    column that the model of these changes lacks.
    """

    version: int | None
    sink: int | None
    is_delete: int | None
    live_version: str | None
    live_sink: str | None


class Changes:
    """The changes in a filled staging table, and the target they are for.

    In statements the staging table is ``s``, the target ``t``, tombstones ``d``.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        staging: Staging,
        system: SystemColumns,
        table: Table,
        tombstones: sql.Identifier,
        table_id: int,
    ) -> None:
        self._cursor = cursor
        self._staging = staging
        self._system = system
        self._target = table.relation
        self._tombstones = tombstones
        self._table_id = sql.Literal(table_id)
        self._key = sql.Identifier(staging.columns[staging.key].name)
        # Partitions are numbered from 0; a load of one has no column for it.
        self._partition: sql.Composable = sql.SQL("0")
        if staging.partitioned:
            self._partition = sql.SQL("s.{}").format(PARTITION)

    def execute(self, statement: str, **parts: sql.Composable) -> None:
        """Run a statement in which the relations and the key have names."""
        self._cursor.execute(self.compose(statement, **parts))

    def compose(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """Return a statement with the relations, the key and further parts put in."""
        return sql.SQL(statement).format(
            staging=RELATION,
            winners=WINNERS,
            target=self._target,
            tombstones=self._tombstones,
            table_id=self._table_id,
            key=self._key,
            staged_key=self._staging.column(self._staging.key),
            partition=self._partition,
            **parts,
        )

    @cached_property
    def every(self) -> sql.Composed:
        """Return the select of every staged change with its effective version."""
        version: sql.Composable = sql.SQL("-1::bigint")
        joins: sql.Composable = sql.SQL("")
        own: sql.Composable = sql.SQL("NULL::bigint")
        if self._system.version is not None:
            own = self._staged(self._system.version)
        if not self._any_versionless():
            version = sql.SQL("{}::bigint").format(own)
        elif self._system.live_version is not None:
            version, joins = self._effective_version(own), self._known_versions()
        return self.compose(
            """
            SELECT s.{staged_key} AS key, s.ctid AS position,
                {partition} AS partition, {version} AS version,
                {is_delete} AS is_delete, {sink} AS sink
            FROM {staging} AS s {joins}
            """,
            version=version,
            is_delete=self._is_delete(),
            sink=self._sink(),
            joins=joins,
        )

    def _effective_version(self, own: sql.Composable) -> sql.Composed:
        """Return the version of a change, for a delete without one the highest known.

        Known before it are the live row's, the tombstone's, and those of the
        key's staged changes ahead of it.
        """
        return self.compose(
            """
            CASE WHEN {own} IS NOT NULL THEN {own}
            WHEN {is_delete} THEN greatest({live_version}, coalesce(d.version, -1),
                max({own}) OVER (
                    PARTITION BY s.{staged_key}
                    ORDER BY {partition}, {sink}, {is_delete}, s.ctid
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))
            ELSE -1 END::bigint
            """,
            own=own,
            is_delete=self._is_delete(),
            sink=self._sink(),
            live_version=self.live_version(),
        )

    def _known_versions(self) -> sql.Composed:
        return self.compose(
            """
            LEFT JOIN {target} AS t ON t.{key} = s.{staged_key}
            LEFT JOIN {tombstones} AS d
                ON d.table_id = {table_id} AND d.key = ARRAY[s.{staged_key}::text]
            """
        )

    def _any_versionless(self) -> bool:
        if self._system.version is None:
            return True
        self.execute(
            "SELECT EXISTS (SELECT FROM {staging} AS s WHERE {version} IS NULL)",
            version=self._staged(self._system.version),
        )
        row = self._cursor.fetchone()
        return row is not None and bool(row[0])

    def _staged(self, index: int) -> sql.Composed:
        return sql.SQL("s.{}").format(self._staging.column(index))

    def live(self, index: int) -> sql.Composed:
        """Return the target's column of a staged one."""
        name = self._staging.columns[index].name
        return sql.SQL("t.{}").format(sql.Identifier(name))

    def _is_delete(self) -> sql.Composable:
        index = self._system.is_delete
        if index is None:
            return sql.SQL("false")
        return sql.SQL("coalesce({}, false)").format(self._staged(index))

    def _sink(self) -> sql.Composable:
        index = self._system.sink
        if index is None:
            return sql.SQL("'-infinity'::timestamptz")
        return sql.SQL("coalesce({}, '-infinity')").format(self._staging.value(index))

    def live_version(self) -> sql.Composable:
        """Return the version of a stored row, -1 when it has none."""
        if self._system.live_version is None:
            return sql.SQL("-1")
        name = sql.Identifier(self._system.live_version)
        return sql.SQL("coalesce(t.{}, -1)").format(name)

    def live_sink(self) -> sql.Composable:
        """Return when a stored row was written, as the source says."""
        if self._system.live_sink is None:
            return sql.SQL("'-infinity'::timestamptz")
        name = sql.Identifier(self._system.live_sink)
        return sql.SQL("coalesce(t.{}, '-infinity')").format(name)

    def stored(self) -> sql.Composed:
        """Return the select of every staged change with what is stored before it.

        That is the version of a row, and that of a later delete.
        """
        if not self._staging.partitioned:
            return self.compose(
                """
                SELECT c.*, {live_version} AS stored, NULL::bigint AS gone
                FROM ({changes}) AS c JOIN {target} AS t ON t.{key} = c.key
                """,
                changes=self.every,
                live_version=self.live_version(),
            )
        return self.compose(
            """
            SELECT c.*,
                greatest(
                    CASE WHEN t.{key} IS NOT NULL THEN {live_version} END,
                    max(c.version) FILTER (WHERE NOT c.is_delete) OVER earlier
                ) AS stored,
                max(c.version) FILTER (WHERE c.is_delete) OVER earlier AS gone
            FROM ({changes}) AS c LEFT JOIN {target} AS t ON t.{key} = c.key
            WINDOW earlier AS (PARTITION BY c.key ORDER BY c.partition
                GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            """,
            changes=self.every,
            live_version=self.live_version(),
        )

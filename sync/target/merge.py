"""From the staging table to the target and its tombstones.

One change of a key wins, the highest by the total order of docs/architecture.md.
Because it is a maximum, loading partitions together, one by one or again ends in
the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import Cursor, sql

from sync import faultpoints
from sync.errors import TargetError
from sync.target.staging import PARTITION, RELATION, Staging
from sync.target.tables import Column, Table
from sync.target.types import TIMESTAMP

WINNERS = sql.Identifier("pg_temp", "dvsync_winners")
# PostgreSQL rounds 9999-12-31T23:59:59.9999999 up to a year that clients refuse.
LAST_MOMENT = sql.SQL("timestamptz '9999-12-31 23:59:59.999999+00'")


# The count that a winner's action goes into.
_COUNTS = {"insert": "inserted", "delete": "deleted", "missing": "missing"}


@dataclass(slots=True)
class RowCounts:
    """What the rows of one partition did; every row read counts once.

    ``missing`` is the part of the unchanged that named a key that is not there.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    missing: int = 0


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


class Merge:
    """Applies a filled staging table to its target, inside the load's transaction.

    ``tombstones`` is the relation of remembered deletes, (table_id, key, version).
    ``strict`` is for changes that come out of turn: they must be newer than what is
    there, not just as new.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        staging: Staging,
        system: SystemColumns,
        table: Table,
        tombstones: sql.Identifier,
        table_id: int,
        *,
        strict: bool = False,
    ) -> None:
        self._cursor = cursor
        self._strict = strict
        self._updating: set[int] = set()
        self._staging = staging
        self._system = system
        self._target = table.relation
        self._tombstones = tombstones
        self._table_id = sql.Literal(table_id)
        self._key_column = staging.columns[staging.key]
        self._key = sql.Identifier(self._key_column.name)
        # Partitions are numbered from 0; a load of one has no column for it.
        self._partition: sql.Composable = sql.SQL("0")
        if staging.partitioned:
            self._partition = sql.SQL("s.{}").format(PARTITION)

    def choose(self, rows: dict[int, int]) -> dict[int, RowCounts]:
        """Choose the winning changes; ``rows`` holds the rows read per partition.

        Returns what will be inserted, deleted and missing, for guards to judge;
        nothing is applied yet.
        """
        self._choose_winners()
        faultpoints.reach("winners_chosen")
        counts = {partition: RowCounts() for partition in rows}
        self._execute(
            "SELECT partition, action, count(*) FROM {winners} "
            "WHERE action IS NOT NULL GROUP BY partition, action"
        )
        for found, action, number in self._cursor.fetchall():
            partition = int(str(found))
            if action == "update":  # whether it changes anything is not known yet
                self._updating.add(partition)
            else:
                setattr(counts[partition], _COUNTS[str(action)], int(str(number)))
        return counts

    def apply(self, counts: dict[int, RowCounts], rows: dict[int, int]) -> None:
        """Apply what was chosen, and complete the counts.

        Raises ``TargetError`` when the target did not take what it was given.
        """
        self._do("delete", self._delete(), sum(c.deleted for c in counts.values()))
        faultpoints.reach("rows_deleted")
        for partition, number in self._update():
            counts[partition].updated = number
        faultpoints.reach("rows_updated")
        self._do("insert", self._insert(), sum(c.inserted for c in counts.values()))
        faultpoints.reach("rows_inserted")
        self._remember_deletes()
        self._forget_deletes()
        faultpoints.reach("tombstones_written")
        for partition, read in rows.items():
            count = counts[partition]
            count.unchanged = read - count.inserted - count.updated - count.deleted

    def gone_back(self, rows: dict[int, int], fewest: dict[int, int]) -> int | None:
        """Return a partition all of whose upserts of stored keys are older than stored.

        At least as many keys as ``fewest`` says for it; None when there is none.
        Stored is what earlier partitions of the batch leave as well. ``rows`` are those
        of a partition that may be such upserts. To be asked between ``choose`` and
        ``apply``.
        """
        if self._system.version is None or self._system.live_version is None:
            return None
        suspects = [
            partition
            for partition, read in rows.items()
            if read >= fewest[partition] and partition not in self._updating
        ]
        if not suspects:
            return None
        self._execute(
            """
            SELECT partition, count(DISTINCT key) FROM ({stored}) AS c
            WHERE NOT is_delete AND version <> -1 AND partition = ANY({suspects})
                AND stored <> -1 AND stored > coalesce(gone, -1)
            GROUP BY partition HAVING bool_and(version < stored) ORDER BY partition
            """,
            stored=self._stored(),
            suspects=sql.Literal(suspects),
        )
        for partition, keys in self._cursor.fetchall():
            if int(str(keys)) >= fewest[int(str(partition))]:
                return int(str(partition))
        return None

    def _stored(self) -> sql.Composed:
        """Return the select of every staged change with what is stored before it.

        That is the version of a row, and that of a later delete.
        """
        if not self._staging.partitioned:
            return self._compose(
                """
                SELECT c.*, {live_version} AS stored, NULL::bigint AS gone
                FROM ({changes}) AS c JOIN {target} AS t ON t.{key} = c.key
                """,
                changes=self._changes(),
                live_version=self._live_version(),
            )
        return self._compose(
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
            changes=self._changes(),
            live_version=self._live_version(),
        )

    def drop(self) -> None:
        """Give the space of the winners back now; for a transaction that goes on."""
        self._execute("TRUNCATE {winners}")
        self._execute("DROP TABLE {winners}")

    def _do(self, verb: str, statement: sql.Composed, expected: int) -> None:
        self._cursor.execute(statement)
        if self._cursor.rowcount != expected:
            raise TargetError(
                "target_altered",
                f"The table let {self._cursor.rowcount} of {expected} rows {verb}",
            )

    def _execute(self, statement: str, **parts: sql.Composable) -> None:
        self._cursor.execute(self._compose(statement, **parts))

    def _compose(self, statement: str, **parts: sql.Composable) -> sql.Composed:
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

    # Which change wins.

    def _choose_winners(self) -> None:
        # A temporary table has no statistics, and the planner would guess badly.
        self._execute("ANALYZE {staging} ({staged_key})")
        self._execute(
            """
            CREATE TEMPORARY TABLE dvsync_winners ON COMMIT DROP AS
            SELECT w.key, w.position, w.version, w.partition,
                CASE
                WHEN t.{key} IS NOT NULL THEN
                    CASE WHEN w.is_delete THEN
                        CASE WHEN w.version {enough} {live_version} THEN 'delete' END
                    WHEN (w.version, w.sink) {enough} ({live_version}, {live_sink})
                        OR {in_turn} AND w.version = -1 AND {live_version} = -1
                        THEN 'update' END
                WHEN w.is_delete THEN 'missing'
                WHEN d.version IS NULL OR w.version > d.version
                    OR {in_turn} AND w.version = -1 AND d.version = -1 THEN 'insert'
                END AS action
            FROM (
                SELECT DISTINCT ON (key) * FROM ({changes}) AS c
                ORDER BY key, version DESC,
                    CASE WHEN version = -1 THEN partition ELSE is_delete::int END DESC,
                    sink DESC, is_delete DESC, partition DESC, position DESC
            ) AS w
            LEFT JOIN {target} AS t ON t.{key} = w.key
            LEFT JOIN {tombstones} AS d
                ON d.table_id = {table_id} AND d.key = ARRAY[w.key::text]
            """,
            changes=self._changes(),
            live_version=self._live_version(),
            live_sink=self._live_sink(),
            enough=sql.SQL(">" if self._strict else ">="),
            in_turn=sql.Literal(not self._strict),
        )
        self._execute("ANALYZE {winners}")

    def _changes(self) -> sql.Composed:
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
        return self._compose(
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
        return self._compose(
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
            live_version=self._live_version(),
        )

    def _known_versions(self) -> sql.Composed:
        return self._compose(
            """
            LEFT JOIN {target} AS t ON t.{key} = s.{staged_key}
            LEFT JOIN {tombstones} AS d
                ON d.table_id = {table_id} AND d.key = ARRAY[s.{staged_key}::text]
            """
        )

    def _any_versionless(self) -> bool:
        if self._system.version is None:
            return True
        self._execute(
            "SELECT EXISTS (SELECT FROM {staging} AS s WHERE {version} IS NULL)",
            version=self._staged(self._system.version),
        )
        row = self._cursor.fetchone()
        return row is not None and bool(row[0])

    def _staged(self, index: int) -> sql.Composed:
        return sql.SQL("s.{}").format(self._staging.column(index))

    def _live(self, index: int) -> sql.Composed:
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
        return sql.SQL("coalesce({}, '-infinity')").format(self._value(index))

    def _live_version(self) -> sql.Composable:
        if self._system.live_version is None:
            return sql.SQL("-1")
        name = sql.Identifier(self._system.live_version)
        return sql.SQL("coalesce(t.{}, -1)").format(name)

    def _live_sink(self) -> sql.Composable:
        if self._system.live_sink is None:
            return sql.SQL("'-infinity'::timestamptz")
        name = sql.Identifier(self._system.live_sink)
        return sql.SQL("coalesce(t.{}, '-infinity')").format(name)

    # Applying the winners.

    def _delete(self) -> sql.Composed:
        return self._compose(
            """
            DELETE FROM {target} AS t USING {winners} AS w
            WHERE t.{key} = w.key AND w.action = 'delete'
            """
        )

    def _update(self) -> list[tuple[int, int]]:
        """Write what differs; return the rows written by partition."""
        others = [
            index
            for index, column in enumerate(self._staging.columns)
            if column != self._key_column
        ]
        if not others:
            return []
        # Compared as stored, not as equal: 1.0 and 1.00 are different content.
        statement = self._compose(
            """
            WITH done AS (
                UPDATE {target} AS t SET {assignments}
                FROM {winners} AS w JOIN {staging} AS s ON s.ctid = w.position
                WHERE t.{key} = w.key AND w.action = 'update'
                    AND record_image_ne(ROW({live}), ROW({staged}))
                RETURNING w.partition)
            SELECT partition, count(*) FROM done GROUP BY partition
            """,
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(
                    sql.Identifier(self._staging.columns[index].name),
                    self._value(index),
                )
                for index in others
            ),
            live=sql.SQL(", ").join(self._live(index) for index in others),
            staged=sql.SQL(", ").join(self._value(index) for index in others),
        )
        self._cursor.execute(statement)
        return [(int(str(p)), int(str(n))) for p, n in self._cursor]

    def _insert(self) -> sql.Composed:
        return self._compose(
            """
            INSERT INTO {target} ({columns})
            SELECT {values} FROM {winners} AS w
            JOIN {staging} AS s ON s.ctid = w.position
            WHERE w.action = 'insert'
            """,
            columns=sql.SQL(", ").join(
                sql.Identifier(column.name) for column in self._staging.columns
            ),
            values=sql.SQL(", ").join(
                self._value(index) for index in range(len(self._staging.columns))
            ),
        )

    def _value(self, index: int) -> sql.Composed:
        """Return the value to store for a staged column."""
        column: Column = self._staging.columns[index]
        value = self._staged(index)
        if column.type != TIMESTAMP:
            return value
        return sql.SQL("CASE WHEN {v} > {last} THEN {last} ELSE {v} END").format(
            v=value, last=LAST_MOMENT
        )

    # Tombstones: a key has a row or a tombstone, never both.

    def _remember_deletes(self) -> None:
        self._execute(
            """
            INSERT INTO {tombstones} AS d (table_id, key, version)
            SELECT {table_id}, ARRAY[key::text], version FROM {winners}
            WHERE action IN ('delete', 'missing')
            ON CONFLICT (table_id, key) DO UPDATE SET version = excluded.version
            WHERE d.version < excluded.version
            """
        )

    def _forget_deletes(self) -> None:
        self._execute(
            """
            DELETE FROM {tombstones} AS d USING {winners} AS w
            WHERE d.table_id = {table_id} AND w.action = 'insert'
                AND d.key = ARRAY[w.key::text]
            """
        )

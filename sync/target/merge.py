"""From the staging table to the target and its tombstones.

One change of a key wins, the highest by the total order of docs/architecture.md.
Because it is a maximum, loading partitions together, one by one or again ends in
the same rows.
"""

from __future__ import annotations

from psycopg import Cursor, sql

from sync import faultpoints
from sync.target.changes import Changes, SystemColumns
from sync.target.staging import Staging
from sync.target.tables import Table
from sync.target.winners import RowCounts, Winners, counted


class Merge(Winners):
    """Applies a filled staging table to its target, inside the load's transaction.

    ``tombstones`` is the relation of remembered deletes: table_id, key, version, and
    deleted_at with a default.
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
        self._changes = Changes(cursor, staging, system, table, tombstones, table_id)
        self._cursor = cursor
        self._staging = staging
        self._system = system
        self._strict = strict
        self._updating: set[int] = set()

    def choose(self, rows: dict[int, int]) -> dict[int, RowCounts]:
        """Choose the winning changes; ``rows`` holds the rows read per partition.

        Returns what will be inserted, deleted and missing, for guards to judge;
        nothing is applied yet.
        """
        self._choose_winners()
        faultpoints.reach("winners_chosen")
        counts = {partition: RowCounts() for partition in rows}
        self._changes.execute(
            "SELECT partition, action, count(*) FROM {winners} "
            "WHERE action IS NOT NULL GROUP BY partition, action"
        )
        # Whether an update changes anything is not known yet.
        self._updating = counted(self._cursor, counts)
        return counts

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
        self._changes.execute(
            """
            SELECT partition, count(DISTINCT key) FROM ({stored}) AS c
            WHERE NOT is_delete AND version <> -1 AND partition = ANY({suspects})
                AND stored <> -1 AND stored > coalesce(gone, -1)
            GROUP BY partition HAVING bool_and(version < stored) ORDER BY partition
            """,
            stored=self._changes.stored(),
            suspects=sql.Literal(suspects),
        )
        for partition, keys in self._cursor.fetchall():
            if int(str(keys)) >= fewest[int(str(partition))]:
                return int(str(partition))
        return None

    def drop(self) -> None:
        """Give the space of the winners back now; for a transaction that goes on."""
        self._changes.execute("TRUNCATE {winners}")
        self._changes.execute("DROP TABLE {winners}")

    # Which change wins.

    def _choose_winners(self) -> None:
        # A temporary table has no statistics, and the planner would guess badly.
        self._changes.execute("ANALYZE {staging} ({staged_key})")
        self._changes.execute(
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
            changes=self._changes.every,
            live_version=self._changes.live_version(),
            live_sink=self._changes.live_sink(),
            enough=sql.SQL(">" if self._strict else ">="),
            in_turn=sql.Literal(not self._strict),
        )
        self._changes.execute("ANALYZE {winners}")

    # Applying the winners.

    def _delete(self) -> sql.Composed:
        return self._changes.compose(
            """
            DELETE FROM {target} AS t USING {winners} AS w
            WHERE t.{key} = w.key AND w.action = 'delete'
            """
        )

    def _update(self) -> list[tuple[int, int]]:
        """Write what differs; return the rows written by partition."""
        others = [
            index
            for index in range(len(self._staging.columns))
            if index != self._staging.key
        ]
        if not others:
            return []
        # Compared as stored, not as equal: 1.0 and 1.00 are different content.
        statement = self._changes.compose(
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
                    self._staging.value(index),
                )
                for index in others
            ),
            live=sql.SQL(", ").join(self._changes.live(index) for index in others),
            staged=sql.SQL(", ").join(self._staging.value(index) for index in others),
        )
        self._cursor.execute(statement)
        return [(int(str(p)), int(str(n))) for p, n in self._cursor]

    def _insert(self) -> sql.Composed:
        return self._changes.compose(
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
                self._staging.value(index)
                for index in range(len(self._staging.columns))
            ),
        )

    # Tombstones: a key has a row or a tombstone, never both.

    def _finish(self) -> None:
        self._remember_deletes()
        self._forget_deletes()
        faultpoints.reach("tombstones_written")

    def _remember_deletes(self) -> None:
        self._changes.execute(
            """
            INSERT INTO {tombstones} AS d (table_id, key, version)
            SELECT {table_id}, ARRAY[key::text], version FROM {winners}
            WHERE action IN ('delete', 'missing')
            ON CONFLICT (table_id, key) DO UPDATE
            SET version = excluded.version, deleted_at = excluded.deleted_at
            WHERE d.version < excluded.version
            """
        )

    def _forget_deletes(self) -> None:
        self._changes.execute(
            """
            DELETE FROM {tombstones} AS d USING {winners} AS w
            WHERE d.table_id = {table_id} AND w.action = 'insert'
                AND d.key = ARRAY[w.key::text]
            """
        )

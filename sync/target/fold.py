"""From staged lines of a change feed to the target: the changes of a key are folded.

Lines have no version: what comes later wins, column by column. Of all changes of a key
in a load one row is written at the most.

* An INSERT is the whole row, whether there was one or not.
* An UPDATE sets the columns that it tells. Without a row it is *missing*, or makes one
  of what it tells.
* A DELETE without a row is *missing*.
"""

from __future__ import annotations

from psycopg import Cursor, sql

from sync import faultpoints
from sync.target.line_staging import TOLD, VERB, LineStaging
from sync.target.staging import PARTITION, RELATION
from sync.target.tables import Table
from sync.target.winners import RowCounts, Winners, counted

SEVERAL = sql.Identifier("pg_temp", "dvsync_several")
OPERATIONS = sql.Identifier("pg_temp", "dvsync_operations")
WINNERS = sql.Identifier("pg_temp", "dvsync_winners")


class Fold(Winners):
    """Applies a filled staging table of lines to its target, inside the load.

    With ``insert_unknown`` an update of a row that is not there makes it.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        staging: LineStaging,
        table: Table,
        *,
        insert_unknown: bool = False,
    ) -> None:
        self._cursor = cursor
        self._staging = staging
        self._target = table.relation
        self._makers = sql.SQL("('I', 'U')" if insert_unknown else "('I')")
        self._partition: sql.Composable = sql.SQL("0")
        if staging.partitioned:
            self._partition = sql.SQL("s.{}").format(PARTITION)

    def choose(self, rows: dict[int, int]) -> dict[int, RowCounts]:
        """Fold the changes of every key; ``rows`` holds the lines per partition.

        Returns what will be inserted, deleted and missing, for guards to judge;
        nothing is applied yet.
        """
        self._execute("ANALYZE {staging} ({staged_keys})")
        self._find_several()
        self._choose_single()
        self._find_operations()
        self._choose_last()
        self._execute("ANALYZE {winners}")
        self._fold_several()
        faultpoints.reach("winners_chosen")
        counts = {partition: RowCounts() for partition in rows}
        self._execute(
            """
            SELECT partition, action, count(*) FROM (
                SELECT partition, action FROM {winners} WHERE action <> 'update'
                UNION ALL
                SELECT partition, 'missing' FROM {operations} WHERE NOT effective
            ) AS w GROUP BY partition, action
            """
        )
        counted(self._cursor, counts)
        return counts

    def gone_back(self, rows: dict[int, int], fewest: dict[int, int]) -> int | None:
        """Return None: without versions nothing can go back."""

    def drop(self) -> None:
        """Give the space of the winners back now; for a transaction that goes on."""
        for name in ("{winners}", "{operations}", "{several}"):
            self._execute(f"TRUNCATE {name}")
            self._execute(f"DROP TABLE {name}")

    def _find_several(self) -> None:
        """Find the keys that change several times: only they are sorted and folded."""
        self._execute(
            "CREATE TEMPORARY TABLE dvsync_several ON COMMIT DROP AS "
            "SELECT {s_keys} FROM {staging} AS s GROUP BY {s_keys} HAVING count(*) > 1"
        )
        self._execute("ANALYZE {several}")

    def _choose_single(self) -> None:
        """Choose the only change of every other key, and what it comes to.

        ``base`` says that it begins the row anew.
        """
        self._execute(
            """
            CREATE TEMPORARY TABLE dvsync_winners ON COMMIT DROP AS
            SELECT {s_keys}, s.position AS position, s.partition,
                CASE WHEN s.verb <> 'U' OR NOT s.live THEN s.position END AS base,
                false AS folded,
                CASE WHEN s.live AND s.verb = 'D' THEN 'delete'
                WHEN s.live THEN 'update'
                WHEN s.verb IN {makers} THEN 'insert' ELSE 'missing' END AS action
            FROM (
                SELECT {s_keys}, s.ctid AS position, {partition} AS partition,
                    s.{verb} AS verb, t.{first_key} IS NOT NULL AS live
                FROM {staging} AS s LEFT JOIN {target} AS t ON {target_is_s}
                WHERE NOT EXISTS (SELECT FROM {several} AS k WHERE {several_is_s})
            ) AS s
            """
        )

    def _find_operations(self) -> None:
        """Say of the changes of these keys if a row is there before, so if they apply.

        Before one are the changes of the load ahead of it, else the target's row.
        """
        self._execute(
            """
            CREATE TEMPORARY TABLE dvsync_operations ON COMMIT DROP AS
            SELECT o.*, o.existed OR o.verb IN {makers} AS effective FROM (
                SELECT {s_keys}, s.position, s.partition, s.verb,
                    t.{first_key} IS NOT NULL AS live,
                    CASE WHEN made IS NULL AND gone IS NULL
                    THEN t.{first_key} IS NOT NULL
                    ELSE coalesce(made > gone, gone IS NULL) END AS existed
                FROM (
                    SELECT {s_keys}, s.ctid AS position, {partition} AS partition,
                        s.{verb} AS verb,
                        max(s.ctid) FILTER (WHERE s.{verb} IN {makers}) OVER earlier
                            AS made,
                        max(s.ctid) FILTER (WHERE s.{verb} = 'D') OVER earlier AS gone
                    FROM {staging} AS s JOIN {several} AS k ON {several_is_s}
                    WINDOW earlier AS (PARTITION BY {s_keys} ORDER BY s.ctid
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                ) AS s LEFT JOIN {target} AS t ON {target_is_s}
            ) AS o
            """
        )

    def _choose_last(self) -> None:
        """Choose the last change of these keys that applies, and what it comes to.

        ``base`` is the last one that began the row anew: what was before it is of no
        account.
        """
        self._execute(
            """
            INSERT INTO {winners}
            SELECT {w_keys}, o.position, o.partition, w.base,
                o.verb = 'U' AND w.base IS DISTINCT FROM o.position AND w.several
                    AS folded,
                CASE WHEN o.verb = 'D' THEN CASE WHEN w.live THEN 'delete' END
                WHEN w.live THEN 'update' ELSE 'insert' END AS action
            FROM (
                SELECT {o_keys}, bool_or(o.live) AS live, max(o.position) AS last,
                    max(o.position) FILTER (WHERE o.verb <> 'U' OR NOT o.existed)
                        AS base,
                    count(*) > 1 AS several
                FROM {operations} AS o WHERE o.effective GROUP BY {o_keys}
            ) AS w JOIN {operations} AS o ON o.position = w.last
            """
        )

    def _fold_several(self) -> None:
        """Make one staged row of the changes of a key that come to one together."""
        self._execute("SELECT EXISTS (SELECT FROM {winners} WHERE folded)")
        row = self._cursor.fetchone()
        if row is None or not row[0]:
            return
        positions = range(len(self._staging.columns))
        places = [
            self._compose(
                "max(s.ctid) FILTER (WHERE s.{told} IS NULL "
                "OR get_bit(s.{told}, {bit}) = 1) AS {place}",
                bit=sql.Literal(position),
                place=_place(position),
            )
            for position in positions
        ]
        values = [
            self._compose(
                "(SELECT s.{column} FROM {staging} AS s WHERE s.ctid = f.{place})",
                column=self._staging.column(position),
                place=_place(position),
            )
            for position in positions
        ]
        self._execute(
            """
            INSERT INTO {staging} ({columns}, {verb}, {told})
            SELECT {values}, 'F', CASE WHEN f.base IS NULL THEN f.told END
            FROM (
                SELECT {w_keys}, w.base, bit_or(s.{told}) AS told, {places}
                FROM {winners} AS w JOIN {operations} AS o ON {winner_is_o}
                JOIN {staging} AS s ON s.ctid = o.position
                WHERE w.folded AND o.effective
                    AND (w.base IS NULL OR o.position >= w.base)
                GROUP BY {w_keys}, w.base
            ) AS f
            """,
            columns=sql.SQL(", ").join(map(self._staging.column, positions)),
            values=sql.SQL(", ").join(values),
            places=sql.SQL(", ").join(places),
        )
        self._execute(
            "UPDATE {winners} AS w SET position = s.ctid FROM {staging} AS s "
            "WHERE w.folded AND s.{verb} = 'F' AND {winner_is_s}"
        )

    def _delete(self) -> sql.Composed:
        return self._compose(
            "DELETE FROM {target} AS t USING {winners} AS w "
            "WHERE w.action = 'delete' AND {target_is_w}"
        )

    def _update(self) -> list[tuple[int, int]]:
        """Write what differs; return the rows written by partition."""
        others = [
            position
            for position in range(len(self._staging.columns))
            if position not in self._staging.keys
        ]
        if not others:
            return []
        told = [self._told(position) for position in others]
        statement = self._compose(
            """
            WITH done AS (
                UPDATE {target} AS t SET {assignments}
                FROM {winners} AS w JOIN {staging} AS s ON s.ctid = w.position
                WHERE w.action = 'update' AND {target_is_w}
                    AND record_image_ne(ROW({live}), ROW({told_values}))
                RETURNING w.partition)
            SELECT partition, count(*) FROM done GROUP BY partition
            """,
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(self._name(position), value)
                for position, value in zip(others, told, strict=True)
            ),
            live=sql.SQL(", ").join(map(self._live, others)),
            told_values=sql.SQL(", ").join(told),
        )
        self._cursor.execute(statement)
        return [(int(str(p)), int(str(n))) for p, n in self._cursor]

    def _insert(self) -> sql.Composed:
        positions = range(len(self._staging.columns))
        return self._compose(
            """
            INSERT INTO {target} ({columns}) SELECT {values} FROM {winners} AS w
            JOIN {staging} AS s ON s.ctid = w.position WHERE w.action = 'insert'
            """,
            columns=sql.SQL(", ").join(map(self._name, positions)),
            values=sql.SQL(", ").join(map(self._staging.value, positions)),
        )

    def _told(self, position: int) -> sql.Composed:
        """Return what a column becomes: the told value, or what it has."""
        return self._compose(
            "CASE WHEN w.base IS NOT NULL OR s.{told} IS NULL "
            "OR get_bit(s.{told}, {bit}) = 1 THEN {value} ELSE {live} END",
            bit=sql.Literal(position),
            value=self._staging.value(position),
            live=self._live(position),
        )

    def _name(self, position: int) -> sql.Identifier:
        return sql.Identifier(self._staging.columns[position].name)

    def _live(self, position: int) -> sql.Composed:
        return sql.SQL("t.{}").format(self._name(position))

    def _execute(self, statement: str, **parts: sql.Composable) -> None:
        self._cursor.execute(self._compose(statement, **parts))

    def _compose(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        names = list(map(self._staging.column, self._staging.keys))
        keys = list(map(self._name, self._staging.keys))
        return sql.SQL(statement).format(
            staging=RELATION,
            winners=WINNERS,
            operations=OPERATIONS,
            several=SEVERAL,
            target=self._target,
            verb=VERB,
            told=TOLD,
            makers=self._makers,
            partition=self._partition,
            first_key=keys[0],
            staged_keys=sql.SQL(", ").join(names),
            s_keys=_listed("s", names),
            o_keys=_listed("o", names),
            w_keys=_listed("w", names),
            target_is_s=_equal("t", keys, "s", names),
            target_is_w=_equal("t", keys, "w", names),
            several_is_s=_equal("k", names, "s", names),
            winner_is_o=_equal("w", names, "o", names),
            winner_is_s=_equal("w", names, "s", names),
            **parts,
        )


def _place(position: int) -> sql.Identifier:
    return sql.Identifier(f"place{position}")


def _listed(alias: str, names: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.Identifier(alias), name) for name in names
    )


def _equal(
    left: str, lefts: list[sql.Identifier], right: str, rights: list[sql.Identifier]
) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(
            sql.Identifier(left), one, sql.Identifier(right), other
        )
        for one, other in zip(lefts, rights, strict=True)
    )

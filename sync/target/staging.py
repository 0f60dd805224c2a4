"""COPY into the staging table, a temporary table that is typed like the target.

Its columns are named by position, so that no name of the source can collide and
PostgreSQL's messages about a column need no parsing of names. It is created in
the transaction of the load: only then does ``ctid`` follow the order of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import psycopg
from psycopg import Cursor, sql

from sync.target.tables import Column
from sync.target.types import SQL_TYPES, TEXT, TIMESTAMP

NAME = "dvsync_staging"
RELATION = sql.Identifier("pg_temp", NAME)
PARTITION = sql.Identifier("partition")
# PostgreSQL rounds 9999-12-31T23:59:59.9999999 up to a year that clients refuse.
LAST_MOMENT = sql.SQL("timestamptz '9999-12-31 23:59:59.999999+00'")

# "COPY dvsync_staging, line 7, column c3: ..." in any language of the server.
_CONTEXT = re.compile(rf"{NAME}\D*(\d+)(?:\D*?\bc(\d+)\b)?")
# What a row may be at fault for; the last is one over PostgreSQL's 8 kB.
_ROW_ERRORS = (
    psycopg.DataError,
    psycopg.errors.NotNullViolation,
    psycopg.errors.ProgramLimitExceeded,
)


class CopyRefusedError(Exception):
    """PostgreSQL refused a row.

    ``line`` is COPY's own count of lines, ``column`` counts from 0.
    """

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.error = error
        match = _CONTEXT.search(error.diag.context or "")
        self.line = int(match[1]) if match else None
        self.column = int(match[2]) if match and match[2] else None
        if error.diag.column_name:  # of a violated constraint
            self.column = int(error.diag.column_name.removeprefix("c"))


class Staging:
    """The staging table of one load. ``columns`` are the target's, in cell order.

    A load of one partition needs no column for its number, and a table of 1,600
    columns has no room for it. With ``empty_text`` an empty cell of a text column is
    the empty text, not NULL.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        columns: Sequence[Column],
        key: int,
        *,
        partitioned: bool = True,
        empty_text: bool = False,
    ) -> None:
        self._cursor = cursor
        self._empty_text = empty_text
        self.columns = tuple(columns)
        self.key = key
        self.partitioned = partitioned

    @staticmethod
    def column(index: int) -> sql.Identifier:
        """Return the name of a staging column."""
        return sql.Identifier(f"c{index}")

    def create(self) -> None:
        """Create the table, empty; it goes away with the transaction."""
        definitions = self.definitions()
        if self.partitioned:
            definitions.append(sql.SQL("{} integer").format(PARTITION))
        self._cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
                sql.Identifier(NAME), sql.SQL(", ").join(definitions)
            )
        )

    def definitions(self) -> list[sql.Composable]:
        """Return the columns of the table and their types."""
        definitions: list[sql.Composable] = [
            sql.SQL("{} {}").format(self.column(index), SQL_TYPES[column.type])
            for index, column in enumerate(self.columns)
        ]
        definitions[self.key] = definitions[self.key] + sql.SQL(" NOT NULL")
        return definitions

    def value(self, index: int) -> sql.Composed:
        """Return the value to store for a column of the staging table ``s``."""
        value = sql.SQL("s.{}").format(self.column(index))
        if self.columns[index].type != TIMESTAMP:
            return value
        return sql.SQL("CASE WHEN {v} > {last} THEN {last} ELSE {v} END").format(
            v=value, last=LAST_MOMENT
        )

    def drop(self) -> None:
        """Give its space back now; for a transaction that goes on."""
        self._cursor.execute(sql.SQL("TRUNCATE {}").format(RELATION))
        self._cursor.execute(sql.SQL("DROP TABLE {}").format(RELATION))

    def savepoint(self) -> AbstractContextManager[object]:
        """Return a block whose error undoes what was copied in it, and no more."""
        return self._cursor.connection.transaction()

    def begin_partition(self, number: int) -> None:
        """Mark the rows that come next with the number of their partition."""
        if not self.partitioned:
            return
        self._cursor.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
                RELATION, PARTITION, sql.Literal(number)
            )
        )

    def copy(self, width: int, blocks: Iterable[bytes]) -> int:
        """Copy raw CSV whose rows are the first ``width`` columns; return the rows.

        Raises ``CopyRefusedError`` when PostgreSQL does not accept a row; the
        transaction then goes on from the last savepoint only.
        """
        return self.run_copy(self._copy_statement(width), blocks)

    def run_copy(self, statement: sql.Composed, blocks: Iterable[bytes]) -> int:
        """Copy what a statement of COPY reads; return the rows."""
        try:
            with self._cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block)
        except _ROW_ERRORS as error:
            raise CopyRefusedError(error) from error
        return self._cursor.rowcount

    def _copy_statement(self, width: int) -> sql.Composed:
        typed, texts = [], []
        for index, column in enumerate(self.columns[:width]):
            if column.type != TEXT:
                typed.append(self.column(index))
            elif self._empty_text and index != self.key:
                texts.append(self.column(index))
        return sql.SQL(
            "COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8'{}{})"
        ).format(
            RELATION,
            sql.SQL(", ").join(self.column(index) for index in range(width)),
            _option("FORCE_NULL", typed),
            _option("FORCE_NOT_NULL", texts),
        )


def _option(name: str, columns: list[sql.Identifier]) -> sql.Composable:
    if not columns:
        return sql.SQL("")
    return sql.SQL(", " + name + " ({})").format(sql.SQL(", ").join(columns))

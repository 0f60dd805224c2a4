"""The staging table of a change feed: one row for each line, in the order of lines.

Beside the columns of the target it has the verb, and which columns a change tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import Cursor, sql

from sync.target.staging import RELATION, Staging
from sync.target.tables import Column

VERB, TOLD = sql.Identifier("verb"), sql.Identifier("told")


class LineStaging(Staging):
    """The staging table of one load of changes. ``keys`` are positions of columns.

    The verb is I for insert, U for update, D for delete, and F for a row that was
    folded of several changes. ``told`` has a bit for each column; it is NULL where all
    are told.
    """

    def __init__(
        self,
        cursor: Cursor[tuple[object, ...]],
        columns: Sequence[Column],
        keys: Sequence[int],
        *,
        partitioned: bool = True,
    ) -> None:
        super().__init__(cursor, columns, keys[0], partitioned=partitioned)
        self.keys = tuple(keys)

    def definitions(self) -> list[sql.Composable]:
        """Return the columns of the table and their types."""
        columns = super().definitions()
        for key in self.keys[1:]:
            columns[key] = columns[key] + sql.SQL(" NOT NULL")
        told = sql.SQL("{} bit({})").format(TOLD, sql.Literal(len(self.columns)))
        return [*columns, sql.SQL('{} "char" NOT NULL').format(VERB), told]

    def copy_lines(self, blocks: Iterable[bytes]) -> int:
        """Copy rows of the text format: verb, told, then every column.

        Raises ``CopyRefusedError`` as ``copy`` does.
        """
        names = [VERB, TOLD, *map(self.column, range(len(self.columns)))]
        statement = sql.SQL("COPY {} ({}) FROM STDIN (ENCODING 'UTF8')")
        return self.run_copy(
            statement.format(RELATION, sql.SQL(", ").join(names)), blocks
        )

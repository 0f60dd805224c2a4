"""A file into the staging table record by record, in small pieces.

Each piece is a COPY with a savepoint of its own, so that PostgreSQL's own judgement
of a value costs the piece and not the load.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.engine.bad_rows import BadRows, Rejected, judged, said_of, shown
from sync.errors import RowError
from sync.model_json import Entity
from sync.sources.careful_rows import (
    MAX_RECORD,
    BadRow,
    RawRecord,
    RecordTooLongError,
    Row,
    Widths,
    checked_rows,
)
from sync.sources.csv_rows import record_at
from sync.target.staging import CopyRefusedError, Staging
from sync.target.types import BOOLEAN, TIME_TYPES, columns_of

PIECE_BYTES = 1024 * 1024
PIECE_ROWS = 2000


def copy_carefully(
    staging: Staging,
    path: str,
    blocks: Iterable[bytes],
    entity: Entity,
    widths: Widths,
    bad_rows: BadRows,
    *,
    first_line: int = 1,
) -> int:
    """Copy what can be copied; return the rows of the file, the bad ones included.

    Narrow rows have NULL in the columns that they lack. ``first_line`` is the number
    of the first line in the file. Raises what ``bad_rows``
    raises, and ``RowError`` when PostgreSQL took another number of rows.
    """
    copier = _Copier(staging, path, entity, bad_rows, first_line - 1)
    total = 0
    left = bad_rows.left
    try:
        times = columns_of(entity, TIME_TYPES)
        booleans = columns_of(entity, {BOOLEAN})
        rows_of_file = checked_rows(blocks, widths, times, booleans)
        for piece in _pieces(copier.undecided(rows_of_file)):
            total += len(piece)
            if isinstance(piece[0], BadRow):
                copier.reject_found(piece[0])
            else:
                rows = [row for row in piece if isinstance(row, Row)]
                bad_rows.trimmed += sum(row.trimmed for row in rows)
                copier.copy(rows)
    except RecordTooLongError as error:
        raise RowError(
            "bad_row",
            f"The row is longer than {MAX_RECORD // 2**20} MiB; a quote is perhaps "
            "not closed",
            where=f"{path}, line {error.line + first_line - 1}",
        ) from error
    return total + bad_rows.left - left


def _pieces(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    """Cut the rows into pieces of one width; a bad row is a piece of its own."""
    piece: list[Row | BadRow] = []
    size = width = 0
    for row in rows:
        if isinstance(row, BadRow):
            if piece:
                yield piece
            yield [row]
            piece, size = [], 0
            continue
        full = size + len(row.data) > PIECE_BYTES or len(piece) >= PIECE_ROWS
        if piece and (full or row.width != width):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += len(row.data)
        width = row.width
    if piece:
        yield piece


@dataclass
class _Copier:
    staging: Staging
    path: str
    entity: Entity
    bad_rows: BadRows
    lines_before: int

    def undecided(self, rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
        """Leave out the rows that were set aside before."""
        for row in rows:
            line = row.record.line + self.lines_before
            if not self.bad_rows.leaves(self.path, line):
                yield row

    def copy(self, rows: list[Row]) -> None:
        """Copy rows of one width; those that PostgreSQL refuses are bad rows."""
        while rows:
            try:
                with self.staging.savepoint():
                    copied = self.staging.copy(rows[0].width, _lines(rows))
            except CopyRefusedError as refused:
                index = _refused_index(refused, rows)
                if index is None:  # then each is tried alone
                    for row in rows:
                        self.copy([row])
                    return
                self.copy(rows[:index])
                self._reject(rows[index], refused)
                rows = rows[index + 1 :]
            else:
                self._check_count(rows, copied)
                return

    def reject_found(self, bad: BadRow) -> None:
        """Pass on a row that was bad before PostgreSQL saw it."""
        self._meet(bad.record, bad.column, bad.code, bad.message)

    def _meet(
        self, record: RawRecord, column: int | None, code: str, message: str
    ) -> None:
        line = record.line + self.lines_before
        name = self._name(column)
        self.bad_rows.meet(Rejected(self.path, line, name, record.raw, code, message))

    def _check_count(self, rows: list[Row], copied: int) -> None:
        if copied != len(rows):
            first, last = rows[0].record.line, rows[-1].record.line
            raise RowError(
                "row_count",
                f"{self.path} holds {len(rows)} rows in the lines {first} to {last}, "
                f"PostgreSQL read {copied}",
                where=f"{self.path}, line {first}",
            )

    def _reject(self, row: Row, refused: CopyRefusedError) -> None:
        code, message = judged(refused)
        if code == "bad_value":
            message = self._value_message(row, refused) or message
        self._meet(row.record, refused.column, code, message)

    def _value_message(self, row: Row, refused: CopyRefusedError) -> str:
        column = refused.column
        if column is None or column >= row.width:
            return ""
        value = row.record.cells()[column].decode()
        if value.startswith('"'):
            value = value[1:-1].replace('""', '"')
        data_type = self.entity.attributes[column].data_type
        return f"{shown(value)} is no {data_type}: {said_of(refused)}"

    def _name(self, column: int | None) -> str:
        attributes = self.entity.attributes
        if column is None or column >= len(attributes):
            return ""
        return attributes[column].name


def _lines(rows: list[Row]) -> Iterable[bytes]:
    if len(rows) == 1:  # it may be of many MiB: no copy of it is made
        return rows[0].data, b"\n"
    return (b"".join(row.data + b"\n" for row in rows),)


def _refused_index(refused: CopyRefusedError, rows: list[Row]) -> int | None:
    if len(rows) == 1:
        return 0
    if refused.line is None:
        return None
    data = io.BytesIO(b"".join(_lines(rows)))
    index = record_at(data, refused.line) - 1
    return index if index < len(rows) else None

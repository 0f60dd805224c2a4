"""Lines of a change feed into the staging table, with every line accounted for.

The lines of a spool file go to COPY as rows of text. When one of them does not fit, the
file is read again in small pieces, so that a bad line costs its piece only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sync import faultpoints
from sync.engine.bad_rows import BadRows, Rejected, judged, said_of, shown
from sync.engine.control import Control
from sync.errors import RowError
from sync.model_json import Entity
from sync.sources.base import Source, TableFile
from sync.sources.feed_lines import BadLineError, LineShape
from sync.sources.spool import numbered_lines
from sync.target.line_staging import LineStaging
from sync.target.staging import CopyRefusedError
from sync.target.types import TEXT, TIME_TYPES, columns_of

# A piece that is read again ends with the first of these.
PIECE_LINES = 2000
PIECE_BYTES = 1024 * 1024
BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the log, and the row that was made of it."""

    number: int
    raw: bytes
    row: bytes


@dataclass
class LineReader:
    """Copies the lines of one partition; bad ones go to ``bad_rows``."""

    staging: LineStaging
    source: Source
    entity: Entity
    control: Control
    table_id: int
    bad_rows: BadRows
    partition: str
    _shape: LineShape = field(init=False)
    _passed: int = 0

    def __post_init__(self) -> None:
        times = columns_of(self.entity, TIME_TYPES)
        texts = columns_of(self.entity, {TEXT})
        self._shape = LineShape(self.entity, times, texts)

    def copy(self, file: TableFile) -> int:
        """Copy a spool file and return its lines, those set aside included.

        Raises ``RowError`` for a line that does not fit, with file, line and column.
        """
        self._passed = 0
        try:
            if self.bad_rows.concerns(self.partition):
                raise _NeedsCareError
            with self.staging.savepoint():
                lines = self._copy_fast(file)
        except (_NeedsCareError, BadLineError, CopyRefusedError):
            self.control.advance(self.table_id, -self._passed)
            lines = self._copy_carefully(file)
        faultpoints.reach("file_copied")
        return lines

    def _copy_fast(self, file: TableFile) -> int:
        lines = 0

        def blocks() -> Iterator[bytes]:
            nonlocal lines
            rows: list[bytes] = []
            size = 0
            for _, raw in self._lines(file):
                row = self._shape.row(raw)
                rows.append(row)
                size += len(row)
                if size >= BLOCK_BYTES:
                    yield b"".join(rows)
                    lines += len(rows)
                    rows, size = [], 0
                    faultpoints.reach("block_copied")
            yield b"".join(rows)
            lines += len(rows)

        self._check_count(self.staging.copy_lines(blocks()), lines)
        return lines

    def _lines(self, file: TableFile) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers, and tell how far it is."""
        size = 0
        with self.source.open(file) as stream:
            for number, raw in numbered_lines(stream):
                yield number, raw
                size += len(raw)
                if size >= BLOCK_BYTES:
                    self._beat(size)
                    size = 0
        self._beat(size)

    def _beat(self, size: int) -> None:
        self.control.check()
        self._passed += size
        self.control.beat(self.table_id, size)

    def _copy_carefully(self, file: TableFile) -> int:
        total = 0
        piece: list[_Line] = []
        size = 0
        for number, raw in self._lines(file):
            total += 1
            if self.bad_rows.leaves(self.partition, number):
                continue
            try:
                line = _Line(number, raw, self._shape.row(raw))
            except BadLineError as error:
                self._meet(number, raw, error.column, error.code, error.message)
                continue
            piece.append(line)
            size += len(line.row)
            if size >= PIECE_BYTES or len(piece) >= PIECE_LINES:
                self._copy_piece(piece)
                piece, size = [], 0
        self._copy_piece(piece)
        return total

    def _copy_piece(self, lines: list[_Line]) -> None:
        """Copy lines; those that PostgreSQL refuses are bad ones."""
        while lines:
            try:
                with self.staging.savepoint():
                    copied = self.staging.copy_lines(line.row for line in lines)
            except CopyRefusedError as refused:
                index = _refused_index(refused, lines)
                if index is None:  # then each is tried alone
                    for line in lines:
                        self._copy_piece([line])
                    return
                self._copy_piece(lines[:index])
                self._reject(lines[index], refused)
                lines = lines[index + 1 :]
            else:
                self._check_count(copied, len(lines))
                return

    def _reject(self, line: _Line, refused: CopyRefusedError) -> None:
        code, message = judged(refused)
        name = ""
        if refused.column is not None:
            attribute = self.entity.attributes[refused.column]
            name = attribute.name
            if code == "bad_value":
                # The verb and the columns that are told come before the cells.
                cell = line.row.decode().split("\t")[refused.column + 2]
                said = f"is no {attribute.data_type}: {said_of(refused)}"
                message = f"{shown(cell.rstrip())} {said}"
        self._meet(line.number, line.raw, name, code, message)

    def _meet(
        self, number: int, raw: bytes, column: str, code: str, message: str
    ) -> None:
        rejected = Rejected(self.partition, number, column, raw, code, message)
        self.bad_rows.meet(rejected)

    def _check_count(self, copied: int, lines: int) -> None:
        if copied != lines:
            raise RowError(
                "row_count",
                f"{self.partition} holds {lines} changes, PostgreSQL read {copied}",
                where=self.partition,
            )


def _refused_index(refused: CopyRefusedError, lines: list[_Line]) -> int | None:
    """Say which line is at fault: no row of the text format has a line end inside."""
    if len(lines) == 1:
        return 0
    if refused.line is None or refused.line > len(lines):
        return None
    return refused.line - 1


class _NeedsCareError(Exception):
    """The file is to be read line by line."""

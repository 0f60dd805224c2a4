"""Reading a CSV file record by record: every row checked, and the odd ones mended.

Raw bytes go to COPY, which is fast; only a file that COPY does not take as it is
comes here. What is mended are line ends, a comma too many at a row's end, and hours
over 12 that say AM or PM. The bytes of other cells are not touched, so NULL (``,,``)
and the empty string (``""``) stay apart. The format document, 5 and 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from sync.sources.time_words import is_word, may_hold_word

# A longer record is refused rather than held in memory.
MAX_RECORD = 16 * 1024 * 1024

# An hour over 12 does not need AM or PM, which PostgreSQL then refuses.
_HALF_DAY = re.compile(
    rb"^(\D*\d+/\d+/\d+\s+(?:1[3-9]|2[0-4]):\d\d:\d\d(?:\.\d+)?)\s*[ap]m(\D*)$", re.I
)
_MAY_BE_HALF_DAY = re.compile(rb"\s(?:1[3-9]|2[0-4]):\d\d:\d\d[\d.]*\s*[ap]m", re.I)
_LINE_END = re.compile(rb"\r\n?|\n")
# PostgreSQL takes any beginning of them: a cut ``True`` would still be true.
_BOOLEANS = frozenset(b"true false 1 0".split()) | {b""}


@dataclass(frozen=True)
class Widths:
    """How many cells a row must have, and how many of them at the least."""

    full: int
    least: int


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: the line it begins on, from 1, and its bytes without line end.

    A last record may lack its line end: then ``ended`` is false. ``closed`` is false
    for one that ends inside quotes.
    """

    line: int
    raw: bytes
    closed: bool = True
    ended: bool = True

    def cells(self) -> list[bytes]:
        """Return its cells as they are written, quotes included."""
        return _split(self.raw)


@dataclass(frozen=True, slots=True)
class Row:
    """A record that may go to COPY: its bytes, mended, and its number of cells.

    ``trimmed`` says that a comma at its end was taken away.
    """

    record: RawRecord
    width: int
    data: bytes
    trimmed: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that may not; ``column`` counts from 0."""

    record: RawRecord
    code: str
    message: str
    column: int | None = None


class RecordTooLongError(Exception):
    """A record has no end within ``MAX_RECORD`` bytes; ``line`` is where it began."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def checked_rows(
    blocks: Iterable[bytes],
    widths: Widths,
    time_columns: Collection[int],
    boolean_columns: Collection[int] = (),
) -> Iterator[Row | BadRow]:
    """Check every record of a file, in order; PostgreSQL still judges the values.

    A row after a wider one is bad: a file's rows only ever grow. ``time_columns``
    are the positions of the columns that hold dates and times. A last row without a
    line end is bad when a cell of ``boolean_columns`` may have been cut. Raises
    ``RecordTooLongError``.
    """
    widest = 0
    for record in records(blocks):
        row = _shaped(record, widths, widest)
        if isinstance(row, Row):
            widest = max(widest, row.width)
            row = _check_values(row, time_columns, boolean_columns)
        yield row


def cut_boolean(record: RawRecord, columns: Collection[int]) -> int | None:
    """Return the first column whose boolean may be cut, in a row without line end."""
    if record.ended:
        return None
    cells = record.cells()
    for column in sorted(columns):
        if column < len(cells) and _bare(cells[column]).lower() not in _BOOLEANS:
            return column
    return None


def first_time_word(blocks: Iterable[bytes], time_columns: Collection[int]) -> bool:
    """Say whether a cell of the time columns holds a word such as ``now``."""
    return any(
        may_hold_word(record.raw)
        and _bad_time(record.cells(), time_columns) is not None
        for record in records(blocks)
    )


def _shaped(record: RawRecord, widths: Widths, widest: int) -> Row | BadRow:
    raw = record.raw
    if not record.closed:
        return BadRow(record, "bad_row", "The row ends inside a quoted value")
    if (unreadable := _unreadable(record)) is not None:
        return unreadable
    width = _width(raw)
    trimmed = width == widths.full + 1 and raw.endswith(b",")
    if trimmed:
        raw, width = raw[:-1], widths.full
    if width > widths.full or width < max(widths.least, widest) or raw == b"\\.":
        return BadRow(record, "bad_row", _width_message(width, widest, widths))
    return Row(record, width, raw, trimmed)


def _check_values(
    row: Row, time_columns: Collection[int], boolean_columns: Collection[int]
) -> Row | BadRow:
    record, raw = row.record, row.data
    # First, so that a row that is cut never counts as one with a bad value.
    if (cut := cut_boolean(record, boolean_columns)) is not None:
        return BadRow(record, "bad_row", "The last row is cut", cut)
    if _MAY_BE_HALF_DAY.search(raw):
        row = replace(row, data=_without_half_days(raw, time_columns))
    if may_hold_word(raw):
        column = _bad_time(_split(raw), time_columns)
        if column is not None:
            said = record.cells()[column].decode(errors="replace")[:100]
            message = f"{said} is no time: it would be that of the load"
            return BadRow(record, "bad_value", message, column)
    return row


def _unreadable(record: RawRecord) -> BadRow | None:
    try:
        record.raw.decode()
    except UnicodeDecodeError as error:
        column = _width(record.raw[: error.start]) - 1
        message = "The row holds bytes that are not UTF-8"
        return BadRow(record, "bad_encoding", message, column)
    if (position := record.raw.find(b"\0")) >= 0:
        column = _width(record.raw[:position]) - 1
        return BadRow(record, "bad_encoding", "The row holds a NUL character", column)
    return None


def _width_message(width: int, widest: int, widths: Widths) -> str:
    if widths.least <= width < widest:
        return f"The row has {width} cells after rows with {widest}"
    return f"The row has {width} cells, but model.json has {widths.full} columns"


def _without_half_days(raw: bytes, time_columns: Collection[int]) -> bytes:
    cells = _split(raw)
    for column in time_columns:
        if column < len(cells):
            cells[column] = _HALF_DAY.sub(rb"\1\2", cells[column])
    return b",".join(cells)


def _bad_time(cells: list[bytes], time_columns: Collection[int]) -> int | None:
    for column in sorted(time_columns):
        if column < len(cells) and is_word(cells[column]):
            return column
    return None


def _bare(cell: bytes) -> bytes:
    """Return a cell without the quotes around it, if it has both."""
    if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"'):
        return cell[1:-1]
    return cell


def _width(raw: bytes) -> int:
    if b'"' not in raw:
        return raw.count(b",") + 1
    return sum(part.count(b",") for part in raw.split(b'"')[::2]) + 1


def _split(raw: bytes) -> list[bytes]:
    if b'"' not in raw:
        return raw.split(b",")
    cells, start, inside = [], 0, False
    for match in re.finditer(rb'[",]', raw):
        if match[0] == b'"':
            inside = not inside
        elif not inside:
            cells.append(raw[start : match.start()])
            start = match.end()
    return [*cells, raw[start:]]


def records(blocks: Iterable[bytes]) -> Iterator[RawRecord]:
    """Cut a file into records, which end at LF, CR LF or CR outside quotes.

    Raises ``RecordTooLongError`` rather than to hold an endless one.
    """
    # Not a list of pieces: there are millions in text of nothing but line ends.
    held = bytearray()
    line, newlines, inside = 1, 0, False
    for piece, end in _pieces(blocks):
        inside ^= piece.count(b'"') % 2 == 1
        if len(held) + len(piece) + len(end) > MAX_RECORD:
            raise RecordTooLongError(line)
        if end and not inside:
            yield RawRecord(line, bytes(held) + piece)
            line, newlines, held = line + newlines + 1, 0, bytearray()
        else:
            held += piece
            held += end
            # A carriage return inside quotes begins no line for any editor.
            newlines += b"\n" in end
    if held:
        yield RawRecord(line, bytes(held), closed=not inside, ended=False)


def _pieces(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Cut bytes at every line end; yield each piece and its end, if it is there."""
    held = b""
    for block in blocks:
        data, held = held + block, b""
        if data.endswith(b"\r"):  # an LF may follow
            data, held = data[:-1], b"\r"
        yield from _pieces_of(data)
    yield from _pieces_of(held)


def _pieces_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if b"\r" not in data:
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield line, b"\n"
        if rest:
            yield rest, b""
        return
    start = 0
    for match in _LINE_END.finditer(data):
        yield data[start : match.start()], match[0]
        start = match.end()
    if start < len(data):
        yield data[start:], b""

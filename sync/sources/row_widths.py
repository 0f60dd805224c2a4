"""Rows that are narrower than their model: padding those that are a proven prefix.

model.json is written when a folder closes, so rows that were written before a
column was added in the same interval lack it. The format document, 9.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# A longer record is refused rather than held in memory.
MAX_RECORD = 64 * 1024 * 1024


@dataclass(frozen=True)
class Widths:
    """How many cells a row must have, and how many of them at the least."""

    full: int
    least: int


class BadWidthError(Exception):
    """A row that is neither full nor a proven prefix; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def padded(blocks: Iterable[bytes], widths: Widths) -> Iterator[bytes]:
    """Pass CSV on with empty cells added to rows that lack the newest columns.

    The bytes of cells are not touched, so NULL and the empty string stay apart.
    Raises ``BadWidthError`` for any other width. The number of rows is kept.
    """
    line, widest = 1, 0
    for record in _records(blocks):
        cells = _cells(record)
        fixed = record
        if cells != widths.full:
            if cells == widths.full + 1 and record.rstrip(b"\r\n").endswith(b","):
                fixed = _replace_end(record, -1)
                cells = widths.full
            elif cells < widest or not widths.least <= cells < widths.full:
                raise BadWidthError(line, _message(cells, widest, widths))
            else:
                fixed = _replace_end(record, widths.full - cells)
        widest = max(widest, cells)
        line += record.count(b"\n")
        yield fixed


def _message(cells: int, widest: int, widths: Widths) -> str:
    if widths.least <= cells < widest:
        return f"The row has {cells} cells after rows with {widest}"
    return f"The row has {cells} cells, but model.json has {widths.full} columns"


def _replace_end(record: bytes, commas: int) -> bytes:
    """Add or take away commas before the record's line end."""
    body = record.rstrip(b"\r\n")
    end = record[len(body) :]
    return (body + b"," * commas if commas > 0 else body[:commas]) + end


def _cells(record: bytes) -> int:
    if b'"' not in record:
        return record.count(b",") + 1
    return sum(part.count(b",") for part in record.split(b'"')[::2]) + 1


def _records(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a file into records, each with its line end."""
    pieces: list[bytes] = []
    size, line, inside = 0, 1, False
    for block in blocks:
        start = 0
        while (newline := block.find(b"\n", start)) >= 0:
            piece = block[start : newline + 1]
            start = newline + 1
            inside ^= piece.count(b'"') % 2 == 1
            pieces.append(piece)
            if not inside:
                record = b"".join(pieces)
                yield record
                line += record.count(b"\n")
                pieces, size = [], 0
        rest = block[start:]
        inside ^= rest.count(b'"') % 2 == 1
        pieces.append(rest)
        size += len(block)
        if size > MAX_RECORD:
            raise BadWidthError(line, "The row is too long to be checked")
    if record := b"".join(pieces):
        yield record

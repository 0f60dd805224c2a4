"""Records of a raw CSV file: counting them, and finding the n-th again.

A record ends at a newline outside quotes. Every quote character switches between
inside and outside, also in the middle of a cell: PostgreSQL's COPY reads CSV in
the same way, so that both count alike.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 64 * 1024
BOM = b"\xef\xbb\xbf"
# More of a record than this is not needed to say what is wrong with it.
RECORD_SHOWN = 100_000

_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b'"\n'))


class RecordCounter:
    """Counts the records of a file that is fed to it block by block."""

    def __init__(self) -> None:
        self._ended = 0
        self._inside = False
        self._open_end = False

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if not block:
            return
        parts = block.translate(None, _ALL_BUT_STRUCTURE).split(b'"')
        # Without other bytes, the length of a part is its number of newlines.
        self._ended += sum(map(len, parts[self._inside :: 2]))
        self._inside ^= (len(parts) - 1) % 2 == 1
        self._open_end = self._inside or not block.endswith(b"\n")

    @property
    def total(self) -> int:
        """Records so far; a last one without its newline counts."""
        return self._ended + self._open_end


@dataclass(frozen=True)
class Record:
    """One record of a file: the line it begins on, from 1, and its first bytes."""

    line: int
    raw: bytes

    def cells(self) -> list[str]:
        """Return its cells as text; undecodable bytes are shown replaced."""
        text = self.raw.decode("utf-8", errors="replace")
        try:
            return next(csv.reader(io.StringIO(text, newline="")), [])
        except csv.Error:
            return []


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Read a file in blocks, without a byte order mark at its start."""
    block = stream.read(BLOCK)
    if block.startswith(BOM):
        block = block[len(BOM) :] or stream.read(BLOCK)
    while block:
        yield block
        block = stream.read(BLOCK)


def find_record(stream: BinaryIO, number: int) -> Record | None:
    """Return the ``number``-th record of a file, from 1, or None past its end."""
    counter, line = RecordCounter(), 1
    source = blocks(stream)
    for block in source:
        before = counter.total - counter._open_end
        inside = counter._inside
        counter.feed(block)
        if counter._ended >= number - 1:
            start, newlines = _nth_end(block, number - 1 - before, inside)
            return _read_record(block[start:], source, line + newlines)
        line += block.count(b"\n")
    return None


def _nth_end(block: bytes, number: int, inside: bool) -> tuple[int, int]:
    """Return offset and newlines up to where the ``number``-th record ends."""
    newlines = offset = 0
    while number > 0:
        newline = block.index(b"\n", offset)
        inside ^= block.count(b'"', offset, newline) % 2 == 1
        offset = newline + 1
        newlines += 1
        number -= not inside
    return offset, newlines


def _read_record(rest: bytes, source: Iterator[bytes], line: int) -> Record | None:
    while len(rest) < RECORD_SHOWN:
        counter = RecordCounter()
        counter.feed(rest)
        if counter._ended:
            end, _ = _nth_end(rest, 1, inside=False)
            return Record(line, rest[:end])
        block = next(source, b"")
        if not block:
            break
        rest += block
    return Record(line, rest[:RECORD_SHOWN]) if rest else None

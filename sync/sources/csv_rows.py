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
    """Counts the records of a file that is fed to it block by block.

    ``ended`` are those whose line end was met, ``inside`` says whether the last byte
    is inside quotes, ``open_end`` whether the last record has no line end.
    """

    def __init__(self) -> None:
        self.ended = 0
        self.inside = False
        self.open_end = False

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if not block:
            return
        parts = block.translate(None, _ALL_BUT_STRUCTURE).split(b'"')
        # Without other bytes, the length of a part is its number of newlines.
        self.ended += sum(map(len, parts[self.inside :: 2]))
        self.inside ^= (len(parts) - 1) % 2 == 1
        self.open_end = self.inside or not block.endswith(b"\n")

    @property
    def total(self) -> int:
        """Records so far; a last one without its newline counts."""
        return self.ended + self.open_end


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
    while len(block) < len(BOM) and (more := stream.read(BLOCK)):
        block += more
    block = block.removeprefix(BOM) or stream.read(BLOCK)
    while block:
        yield block
        block = stream.read(BLOCK)


def find_record(stream: BinaryIO, number: int) -> Record | None:
    """Return the ``number``-th record of a file, from 1, or None past its end."""
    counter, line = RecordCounter(), 1
    source = blocks(stream)
    for block in source:
        before, inside = counter.ended, counter.inside
        counter.feed(block)
        if counter.ended >= number - 1:
            start, newlines = _nth_end(block, number - 1 - before, inside)
            raw = _first_record(block[start:], source)
            return Record(line + newlines, raw) if raw else None
        line += block.count(b"\n")
    return None


def record_at(stream: BinaryIO, copy_line: int) -> int:
    """Return the number of the record that COPY means by a line of an error.

    COPY counts a line for each record, and one more for each newline inside quotes;
    for each carriage return instead in the first record, where it does not know the
    file's line ends yet, and in files whose lines end in CR LF.
    """
    reader = _CopyLines()
    for block in blocks(stream):
        for piece in _pieces(block):
            reader.feed(piece)
            if reader.counted >= copy_line:
                return reader.records
    return reader.records + 1


class _CopyLines:
    """Counts lines as COPY does, fed with pieces that end at a newline at most."""

    def __init__(self) -> None:
        self.records = 0
        self.counted = 0
        self._inside = False
        self._embedded = 0
        self._carriages = 0
        self._lf = False
        self._last = b""

    def feed(self, piece: bytes) -> None:
        parts = piece.split(b'"')
        within = parts[not self._inside :: 2]
        self._carriages += sum(part.count(b"\r") for part in within)
        self._embedded += sum(part.count(b"\n") for part in within)
        self._inside ^= (len(parts) - 1) % 2 == 1
        if piece.endswith(b"\n") and not self._inside:
            self._end_record((self._last + piece).endswith(b"\r\n"))
        self._last = piece[-1:]

    def _end_record(self, crlf: bool) -> None:
        self.records += 1
        self.counted += 1
        self.counted += self._embedded if self._lf else self._carriages
        if self.records == 1:
            self._lf = not crlf
        self._embedded = self._carriages = 0


def _pieces(block: bytes) -> Iterator[bytes]:
    start = 0
    while (newline := block.find(b"\n", start)) >= 0:
        yield block[start : newline + 1]
        start = newline + 1
    if start < len(block):
        yield block[start:]


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


def _first_record(rest: bytes, source: Iterator[bytes]) -> bytes:
    """Return the first record, with its line end, or its first bytes."""
    while True:
        counter = RecordCounter()
        counter.feed(rest)
        if counter.ended:
            end, _ = _nth_end(rest, 1, inside=False)
            return rest[: min(end, RECORD_SHOWN)]
        block = next(source, b"") if len(rest) < RECORD_SHOWN else b""
        if not block:
            return rest[:RECORD_SHOWN]
        rest += block

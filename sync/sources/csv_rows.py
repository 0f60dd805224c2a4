"""Records of a raw CSV file: counting them, and which one COPY means.

A record ends at a newline outside quotes. Every quote character switches between
inside and outside, also in the middle of a cell: PostgreSQL's COPY reads CSV in
the same way, so that both count alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 64 * 1024
BOM = b"\xef\xbb\xbf"

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
        self._size = 0
        # The last block in which a record ended: its offset, and how it began.
        self._latest = (0, b"", False)

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if not block:
            return
        parts = block.translate(None, _ALL_BUT_STRUCTURE).split(b'"')
        # Without other bytes, the length of a part is its number of newlines.
        if ended := sum(map(len, parts[self.inside :: 2])):
            self.ended += ended
            self._latest = (self._size, block, self.inside)
        self._size += len(block)
        self.inside ^= (len(parts) - 1) % 2 == 1
        self.open_end = self.inside or not block.endswith(b"\n")

    @property
    def total(self) -> int:
        """Records so far; a last one without its newline counts."""
        return self.ended + self.open_end

    @property
    def open_bytes(self) -> int:
        """Bytes so far of a last record that has no line end; 0 without one."""
        if not self.open_end:
            return 0
        offset, block, inside = self._latest
        end = len(block)
        for index, part in reversed([*enumerate(block.split(b'"'))]):
            start = end - len(part)
            if index % 2 == inside and (found := part.rfind(b"\n")) >= 0:
                return self._size - offset - start - found - 1
            end = start - 1
        return self._size


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Read a file in blocks, without a byte order mark at its start."""
    block = stream.read(BLOCK)
    while len(block) < len(BOM) and (more := stream.read(BLOCK)):
        block += more
    block = block.removeprefix(BOM) or stream.read(BLOCK)
    while block:
        yield block
        block = stream.read(BLOCK)


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

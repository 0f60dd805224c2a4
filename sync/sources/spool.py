"""Spool files: the lines of a log file by table, for a stretch of it.

A table's load then reads its own lines alone. A segment is one folder of a stretch
that was read in one pass. It is a copy that can be made again: it appears whole or not
at all, and nothing is lost with it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sync.errors import SourceError
from sync.sources.base import TableFile
from sync.sources.csv_rows import BOM
from sync.sources.feed_lines import MAX_LINE, is_whole, table_of

BLOCK = 1 << 20
# Lines are gathered up to so many bytes before they are written.
GATHERED = 8 * 1024 * 1024
NAMES_KEPT = 1_000
INDEX = "index.json"
# Segments that nobody let go, on a machine that no longer polls, go after this time.
FORGOTTEN_AFTER = 30 * 86_400.0


@dataclass
class Segment:
    """A stretch of a log file whose lines were sorted by table.

    ``first_line`` counts the line ends before it, and ``lines`` those within it.
    ``tables`` holds the bytes of each table's lines, in the order in which the tables
    were met. ``broken`` is the number of the line of which nobody can say to which
    table it belongs: it ends there.
    """

    start: int
    end: int
    first_line: int
    lines: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    broken: int | None = None

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.start}-{self.end}"


class Spool:
    """The segments of one log file, in a folder of their own."""

    def __init__(self, root: Path, key: str) -> None:
        self._key = key
        self._folder = root / key

    def find(self, start: int, end: int) -> Segment | None:
        """Return the longest segment from ``start`` that is not past ``end``."""
        ends = [stop for begin, stop in self._names() if begin == start]
        fitting = [stop for stop in ends if stop <= end]
        return self._read(f"{start}-{max(fitting)}") if fitting else None

    def files(self, segment: Segment, table: str) -> Iterator[TableFile]:
        """Yield the file of a table in a segment, if it has lines there.

        Raises ``SourceError`` when it is shorter than it was: a machine that lost its
        power may have kept the name of a file and not what was in it.
        """
        for number, (name, size) in enumerate(segment.tables.items()):
            if name != table:
                continue
            place = self._folder / segment.name / str(number)
            if not place.is_file() or place.stat().st_size != size:
                shutil.rmtree(place.parent, ignore_errors=True)
                raise SourceError(
                    "file_changed", f"A spool file of {table} is cut", where=table
                )
            yield TableFile(
                f"{self._key}/{segment.name}/{number}", size, segment.start, segment.end
            )

    def make(
        self,
        stream: BinaryIO,
        start: int,
        end: int,
        first_line: int,
        known: Collection[str],
    ) -> Segment:
        """Sort the whole lines from ``start`` to ``end`` by table; keep the segment.

        A stretch without a whole line is an empty segment, which is not kept.
        """
        draft = self._draft()
        self._forget_old()
        try:
            segment = _Pass(draft, known).read(stream, start, end, first_line)
            if segment.end > start:
                self._keep(draft, segment)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return segment

    def release(self, applied: int) -> None:
        """Remove the segments that end before this offset, or there."""
        for start, end in self._names():
            if end <= applied:
                shutil.rmtree(self._folder / f"{start}-{end}", ignore_errors=True)
        with suppress(OSError):  # there is still something in it
            self._folder.rmdir()

    @property
    def is_there(self) -> bool:
        """Whether any segment is there."""
        return bool(self._names())

    def _draft(self) -> Path:
        """Return a new folder, which becomes a segment when it is done."""
        while True:
            # Somebody may remove it while it is empty, also before one can see it.
            with suppress(FileNotFoundError, FileExistsError):
                self._folder.mkdir(parents=True, exist_ok=True)
                return Path(tempfile.mkdtemp(prefix="draft-", dir=self._folder))

    def _keep(self, draft: Path, segment: Segment) -> None:
        told = {**vars(segment), "tables": list(segment.tables.items())}
        (draft / INDEX).write_text(json.dumps(told))
        place = self._folder / segment.name
        try:
            draft.rename(place)
        except OSError:
            # Somebody else made the same one; one that is broken gives way.
            if self._read(segment.name) is None:
                shutil.rmtree(place, ignore_errors=True)
                draft.rename(place)

    def _names(self) -> list[tuple[int, int]]:
        try:
            found = [entry.name for entry in self._folder.iterdir()]
        except OSError:
            return []
        parts = (name.split("-") for name in found)
        return sorted(
            (int(part[0]), int(part[1]))
            for part in parts
            if len(part) == 2 and part[0].isdecimal() and part[1].isdecimal()
        )

    def _read(self, name: str) -> Segment | None:
        try:
            told = json.loads((self._folder / name / INDEX).read_text())
            return Segment(**{**told, "tables": dict(told["tables"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _forget_old(self) -> None:
        before = time.time() - FORGOTTEN_AFTER
        for entry in self._folder.iterdir():
            try:
                if entry.stat().st_mtime < before:
                    shutil.rmtree(entry, ignore_errors=True)
            except OSError:
                continue  # somebody else was first


class _Pass:
    """One pass over a stretch of a log file."""

    def __init__(self, folder: Path, known: Collection[str]) -> None:
        self._folder = folder
        self._known = frozenset(known)
        self._alike: dict[str, str] = {}
        for name in self._known:
            # Two that differ in case alone are told apart by their exact names only.
            folded = name.lower()
            self._alike[folded] = "" if folded in self._alike else name
        self._gathered: defaultdict[str, list[bytes]] = defaultdict(list)
        self._size = 0
        # Known tables by their names as lines have them, with the space around.
        self._names: dict[bytes, str] = {}

    def read(self, stream: BinaryIO, start: int, end: int, first_line: int) -> Segment:
        """Read the stretch; its folder then has a file for each table."""
        segment = Segment(start, start, first_line)
        stream.seek(start)
        rest = b""
        left = end - start
        while left > 0 and (block := stream.read(min(BLOCK, left))):
            left -= len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if not self._take(segment, line, b"\n"):
                    return self._finish(segment)
            if len(rest) > MAX_LINE:
                segment.broken = segment.first_line + segment.lines + 1
                return self._finish(segment)
        # A last line may have no line end. A JSON object that is closed is whole: what
        # comes later can only be the line end.
        if is_whole(self._without_mark(segment, rest)):
            self._take(segment, rest, b"")
        return self._finish(segment)

    def _without_mark(self, segment: Segment, line: bytes) -> bytes:
        """Return a line without the mark with which a file may begin."""
        return line.removeprefix(BOM) if segment.end == 0 else line

    def _take(self, segment: Segment, raw: bytes, line_end: bytes) -> bool:
        """Take a line into its table's file; False when nobody knows which it is."""
        number = segment.first_line + segment.lines + 1
        if len(raw) > MAX_LINE:
            segment.broken = number
            return False
        # Blanks may come with the line end, after the line was taken without one.
        line = self._without_mark(segment, raw).rstrip()
        if line:
            table = self._table(line)
            if table is None:
                segment.broken = number
                return False
            record = b"%d %s\n" % (number, line)
            self._gathered[table].append(record)
            segment.tables[table] = segment.tables.get(table, 0) + len(record)
            self._size += len(record)
            if self._size > GATHERED:
                self._write(segment)
        # The end of a line that has none yet is counted when it comes.
        segment.lines += len(line_end)
        segment.end += len(raw) + len(line_end)
        return True

    def _table(self, line: bytes) -> str | None:
        parts = line.split(b"|", 3)
        if len(parts) < 4:
            return None
        if known := self._names.get(parts[2]):
            return known
        name = parts[2].strip().decode(errors="replace")
        table = name if name in self._known else self._alike.get(name.lower())
        if not table:
            return table_of(line, self._known)
        if len(self._names) < NAMES_KEPT:
            self._names[parts[2]] = table
        return table

    def _finish(self, segment: Segment) -> Segment:
        self._write(segment)
        return segment

    def _write(self, segment: Segment) -> None:
        numbers = {name: number for number, name in enumerate(segment.tables)}
        for table, records in self._gathered.items():
            with (self._folder / str(numbers[table])).open("ab") as stream:
                stream.writelines(records)
        self._gathered.clear()
        self._size = 0


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a spool file with their numbers in the log file."""
    rest = b""
    while block := stream.read(BLOCK):
        *records, rest = (rest + block).split(b"\n")
        for record in records:
            number, _, line = record.partition(b" ")
            yield int(number), line
    if rest:
        raise SourceError("file_changed", "A spool file is cut")

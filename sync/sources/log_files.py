"""Log files of a change feed: how one is known again, whatever it is called by then.

Names move on when logs are rotated. A file is known by its identity and by how it
begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import BinaryIO

from sync.errors import SourceError
from sync.sources.base import Renamed
from sync.sources.storage import Entry, Storage

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Mark:
    """What is remembered of a log file: how to know it again, and how far it is known.

    ``head`` is a digest of its first bytes, ``first`` of its first line. ``key`` names
    its spool. ``gone`` says that its content is nowhere any more.
    """

    key: str
    identity: str
    head: str
    head_bytes: int
    end: int = 0
    lines: int = 0
    modified: int = 0
    gone: bool = False
    first: str = ""

    def text(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Mark:
        """Return the mark of a text that ``text`` made."""
        return cls(**json.loads(text))


def first_mark(storage: Storage, entry: Entry, taken: Collection[str]) -> Mark:
    """Return the mark of a new file.

    Two looks at it find the same key, and no other file has it, not even one that
    was in its place and began as it does.
    """
    head_bytes = min(entry.size, HEAD_BYTES)
    with reading(storage, entry.name) as stream:
        head = digest_of(stream, head_bytes)
    told = f"{entry.name}\0{entry.identity}\0{head}"
    keys = (hashlib.sha256(f"{n}\0{told}".encode()).hexdigest()[:32] for n in count())
    key = next(key for key in keys if key not in taken)
    return Mark(key, entry.identity, head, head_bytes)


def with_head(storage: Storage, entry: Entry, mark: Mark) -> Mark:
    """Remember how the file begins, up to a limit.

    That is of what was taken alone: what comes after it may still be mended.
    """
    head_bytes = min(mark.end, HEAD_BYTES)
    known = mark.first and (head_bytes, entry.identity)
    if known == (mark.head_bytes, mark.identity):
        return mark
    with reading(storage, entry.name) as stream:
        if digest_of(stream, mark.head_bytes) != mark.head:
            return mark  # another file has the name by now
        begin = begin_of(stream, head_bytes)
    return replace(
        mark,
        head=_digest(begin),
        head_bytes=head_bytes,
        identity=entry.identity,
        first=_digest(_first_line(begin)),
    )


class Follower:
    """Finds the known files again, whatever they are called now."""

    def __init__(
        self, storage: Storage, entries: Mapping[str, Entry], known: Mapping[str, str]
    ) -> None:
        self._storage = storage
        self._known = known
        self._entries = entries
        self._by_identity = {e.identity: e for e in entries.values() if e.identity}
        self._begins: dict[str, bytes] = {}
        self.marks = {name: Mark.read(mark) for name, mark in known.items() if mark}

    def follow(self, is_log: Callable[[str], bool]) -> tuple[Renamed, ...]:
        """Return the known files that have another name now; ``marks`` has it too."""
        names = [
            name
            for name, mark in self.marks.items()
            if not mark.gone and not self._has_stayed(name, mark)
        ]
        # All of them leave their names first: two files may have swapped theirs.
        lost = {name: self.marks.pop(name) for name in names}
        moves: dict[str, Renamed] = {}
        for name, mark in lost.items():
            self._move(moves, name, mark, [self._by_identity.get(mark.identity)])
        others = [e for n, e in sorted(self._entries.items()) if n not in self.marks]
        for name, mark in lost.items():
            if name not in moves:
                alike = (e for e in others if is_log(e.name) or _extends(e.name, name))
                self._move(moves, name, mark, alike)
        for name, mark in lost.items():
            if name not in moves:
                self._leave(moves, name, mark)
        return tuple(self._in_order(moves))

    def _move(
        self,
        moves: dict[str, Renamed],
        name: str,
        mark: Mark,
        candidates: Iterable[Entry | None],
    ) -> None:
        for entry in candidates:
            if entry and entry.name not in self.marks and self._is_same(entry, mark):
                mark = replace(mark, identity=entry.identity)
                reason = f"{name} is called {entry.name} now"
                moves[name] = self._rename(name, entry.name, mark, reason)
                return

    def _leave(self, moves: dict[str, Renamed], name: str, mark: Mark) -> None:
        """Let a file that is nowhere any more give its name to another one.

        One whose first line is still the same was changed in place.
        """
        entry = self._entries.get(name)
        if entry is None:
            self.marks[name] = mark
            return
        if self._is_mended(entry, mark):
            begin = self._begin(entry)[: mark.head_bytes]
            mark = replace(mark, head=_digest(begin), identity=entry.identity)
            reason = f"{name} was changed in place; what was applied of it stays"
            moves[name] = self._rename(name, name, mark, reason)
            return
        mark = replace(mark, gone=True)
        new = self._free_name(name)
        moves[name] = self._rename(name, new, mark, self._why(name, mark))

    def _rename(self, old: str, new: str, mark: Mark, reason: str) -> Renamed:
        self.marks[new] = mark
        return Renamed(old, new, self._known[old], mark.text(), reason)

    def _in_order(self, moves: dict[str, Renamed]) -> Iterator[Renamed]:
        """Yield the moves so that each goes to a name that is free by then."""
        for name in [name for name, move in moves.items() if move.new == name]:
            yield moves.pop(name)  # it was changed in place
        while moves:
            chain = [next(iter(moves))]
            while (new := moves[chain[-1]].new) in moves and new != chain[0]:
                chain.append(new)
            last = None
            if new == chain[0]:  # round in a circle: one of them steps aside
                first = moves.pop(chain.pop(0))
                aside = self._free_name(first.old)
                yield replace(first, new=aside)
                last = replace(first, old=aside, before=first.mark)
            for name in reversed(chain):
                yield moves.pop(name)
            if last:
                yield last

    def _has_stayed(self, name: str, mark: Mark) -> bool:
        entry = self._entries.get(name)
        if entry is None or not _is_as_long(entry, mark):
            return False
        unchanged = (mark.end, mark.identity, mark.modified)
        if (entry.size, entry.identity, entry.modified) == unchanged:
            return True
        try:
            return self._begins_as(entry, mark)
        except SourceError as error:
            # One that cannot be read now is told of when it is looked into.
            return error.code != "file_missing"

    def _is_same(self, entry: Entry, mark: Mark) -> bool:
        try:
            return _is_as_long(entry, mark) and self._begins_as(entry, mark)
        except SourceError:
            return False

    def _begins_as(self, entry: Entry, mark: Mark) -> bool:
        return _digest(self._begin(entry)[: mark.head_bytes]) == mark.head

    def _begin(self, entry: Entry) -> bytes:
        begin = self._begins.get(entry.name)
        if begin is None:
            with reading(self._storage, entry.name) as stream:
                begin = self._begins[entry.name] = begin_of(stream, HEAD_BYTES)
        return begin

    def _is_mended(self, entry: Entry, mark: Mark) -> bool:
        if not _is_as_long(entry, mark):
            return False
        try:
            return _digest(_first_line(self._begin(entry))) == mark.first
        except SourceError:
            return False

    def _free_name(self, name: str) -> str:
        number = 1
        while f"{name}#{number}" in self.marks or f"{name}#{number}" in self._entries:
            number += 1
        return f"{name}#{number}"

    def _why(self, name: str, mark: Mark) -> str:
        size = self._entries[name].size
        if size < mark.end:
            return (
                f"{name} was cut from {mark.end} bytes or more to {size}; it is read "
                "from its beginning"
            )
        return f"{name} begins otherwise now: it is another file, read anew"


def _is_as_long(entry: Entry, mark: Mark) -> bool:
    return entry.size >= max(mark.end, mark.head_bytes)


def _extends(name: str, known: str) -> bool:
    """Say whether a name is that of a rotated log, such as ``app.log.1``."""
    return name.startswith((f"{known}.", f"{known}-"))


@contextmanager
def reading(storage: Storage, name: str) -> Iterator[BinaryIO]:
    """Open a log file; whatever goes wrong with it is a ``SourceError``."""
    try:
        with storage.open(name) as stream:
            yield stream
    except OSError as error:
        raise SourceError(
            "file_unreadable",
            f"{name} cannot be sorted by table: {error.strerror}",
            where=name,
        ) from error


def begin_of(stream: BinaryIO, length: int) -> bytes:
    """Return the first bytes of a file."""
    stream.seek(0)
    blocks = []
    while length > 0 and (block := stream.read(length)):
        blocks.append(block)
        length -= len(block)
    return b"".join(blocks)


def digest_of(stream: BinaryIO, length: int) -> str:
    """Return a digest of how a file begins."""
    return _digest(begin_of(stream, length))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first_line(begin: bytes) -> bytes:
    return begin.partition(b"\n")[0]

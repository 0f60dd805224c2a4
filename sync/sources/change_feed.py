"""A change feed: log files whose lines each tell one change of one row.

A file is a partition. It may grow; what is new in it are its whole lines after the
place up to which it was known. Files are told apart by identity and by how they
begin, because names move on when logs are rotated.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import BinaryIO

from sync.errors import SourceError
from sync.model_json import MAX_BYTES, Entity, Model, parse_model
from sync.sources.base import (
    WHOLE,
    Discovery,
    Form,
    Listing,
    Partition,
    PartitionState,
    Renamed,
    Stretch,
    TableFile,
)
from sync.sources.folder_models import MODEL
from sync.sources.spool import BLOCK, Segment, Spool
from sync.sources.storage import Directory, Entry, Kind, Storage

SUFFIX = ".log"
# One pass reads so much, so that a look can end between two.
SEGMENT_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 4096
BROKEN = "line_malformed"

_ReadModel = Callable[[], Model | None]


@dataclass(frozen=True)
class Mark:
    """What is remembered of a log file: how to know it again, and how far it is known.

    ``key`` names its spool. ``gone`` says that its content is nowhere any more.
    """

    key: str
    identity: str
    head: str
    head_bytes: int
    end: int = 0
    lines: int = 0
    modified: int = 0
    gone: bool = False

    def text(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Mark:
        """Return the mark of a text that ``text`` made."""
        return cls(**json.loads(text))


class ChangeFeed:
    """A ``Source`` over the log files of a folder, or one file. Safe for threads.

    ``only`` is the name of the file if it is one. ``uploaded`` is the model that is
    used while the folder has none. Spool files are written below ``spool``.
    """

    form = Form.CHANGES

    def __init__(
        self,
        storage: Storage,
        spool: Path,
        *,
        only: str = "",
        uploaded: Model | None = None,
    ) -> None:
        self._storage = storage
        self._root = spool
        self._only = only
        self._uploaded = uploaded
        self._known_model: tuple[bytes, Model] | None = None

    def model(self) -> Model | None:
        """Return the folder's model.json, else the uploaded one.

        Raises ``SourceError`` with ``not_an_export`` where there is no log file.
        """
        model = self._model()
        if not any(self._is_log(entry.name) for entry in self._entries().values()):
            raise SourceError(
                "not_an_export",
                f"There is no {self._only or '*' + SUFFIX} in the location",
                where=self._only,
                remedy="Give the directory that holds the log files, or one of them.",
            )
        return model

    def listing(self) -> Listing:
        """List the log files, with their sizes."""
        entries = self._entries()
        logs = [entry for name, entry in sorted(entries.items()) if self._is_log(name)]
        state = hashlib.sha256(self._model_bytes() or b"")
        for entry in entries.values():
            told = (entry.name, entry.size, entry.identity, entry.modified)
            state.update(repr(told).encode())
        now = datetime.now(UTC)
        newest = logs[-1].name if logs else ""
        names = tuple((now, entry.name) for entry in logs)
        return Listing(newest, now, names, state.hexdigest())

    def discover(
        self,
        known: Mapping[str, str],
        listing: Listing | None = None,
        seconds: float = math.inf,
        files: float = math.inf,
    ) -> Discovery:
        """Look for new log files and for whole lines that are new in known ones.

        After a line of which nobody can say to which table it belongs nothing later is
        taken: it may be of any table.
        """
        entries = self._entries()
        follower = _Follower(self._storage, entries, known)
        renamed = follower.follow(self._is_log)
        marks = follower.marks
        look = _Look(time.monotonic() + seconds, self._model)
        # Those that are known already first: what they have is older.
        names = [
            name for name in sorted(entries) if name in marks and not marks[name].gone
        ]
        names += [
            name for name in sorted(entries) if name not in marks and self._is_log(name)
        ]
        keys = {mark.key for mark in marks.values()}
        for name in names:
            if look.over:
                break
            try:
                mark = marks.get(name)
                mark = mark or self._first_mark(entries[name], keys)
                self._look_into(look, entries[name], mark)
            except SourceError as error:
                look.fail(error)
        present = {name for name in names if name in entries}
        spooled = (n for n, m in marks.items() if Spool(self._root, m.key).is_there)
        return Discovery(
            listing.marker if listing else max(present, default=""),
            tuple(look.found),
            look.problem,
            frozenset(present.union(spooled)),
            cut_short=look.cut_short,
            renamed=renamed,
        )

    def present(self) -> frozenset[str]:
        """Return the names of the log files that are there now."""
        return frozenset(self._entries())

    def remembered(self, names: Collection[str]) -> frozenset[str]:
        """Return those of the names that are there."""
        return self.present().intersection(names)

    def entity(self, partition: str, table: str) -> Entity:
        """Return the table's entity of the newest model, with its key declared."""
        model = self._model()
        if model is None:
            raise SourceError("entity_missing", f"There is no {MODEL} yet", where=MODEL)
        entity = model.entity(table)
        if entity is None:
            raise SourceError(
                "entity_missing",
                f"{MODEL} does not describe {table}",
                where=f"{partition}, {table}",
                remedy="Describe the table in model.json, then retry.",
            )
        return _keyed(entity)

    def files(
        self, partition: str, table: str, stretch: Stretch = WHOLE
    ) -> tuple[TableFile, ...]:
        """Return the table's spool files of a stretch; absent ones are made again."""
        mark = Mark.read(stretch.mark)
        if stretch.anew:
            mark = self._as_it_is_now(partition, mark)
        spool = Spool(self._root, mark.key)
        found: list[TableFile] = []
        at = stretch.start
        while at < stretch.end:
            segment = self._segment(partition, mark, at, stretch.end, self._model)
            if segment.end <= at:
                raise SourceError(
                    "file_changed",
                    f"{partition} no longer has whole lines from byte {at} to "
                    f"{stretch.end}",
                    where=partition,
                )
            found += spool.files(segment, table)
            at = segment.end
            # The next segment is counted from here.
            mark = replace(mark, end=at, lines=segment.first_line + segment.lines)
        return tuple(found)

    @contextmanager
    def open(self, file: TableFile) -> Iterator[BinaryIO]:
        """Open a spool file for reading; unbuffered bytes."""
        with Directory(self._root).open(file.path) as stream:
            yield stream

    def release(self, applied: Mapping[str, int]) -> None:
        """Remove the spool files up to these offsets."""
        offsets = {Mark.read(mark).key: offset for mark, offset in applied.items()}
        try:
            folders = [folder.name for folder in self._root.iterdir()]
        except FileNotFoundError:
            return
        for folder in folders:
            key = folder.partition("-")[0]
            if key in offsets:
                Spool(self._root, folder).release(offsets[key])

    def _as_it_is_now(self, name: str, mark: Mark) -> Mark:
        """Return a mark with a spool of its own for the file as it is written now.

        Other tables may be reading what was prepared before.
        """
        entry = self._entries().get(name)
        return replace(mark, key=f"{mark.key}-{entry.modified}") if entry else mark

    def _look_into(self, look: _Look, entry: Entry, mark: Mark) -> None:
        """Read what is new in a file, pass by pass, until time is up."""
        gathered: dict[str, int] = {}
        start = mark.end
        while mark.end < entry.size and not look.over:
            end = min(entry.size, mark.end + SEGMENT_BYTES)
            segment = self._segment(entry.name, mark, mark.end, end, lambda: look.model)
            for table, size in segment.tables.items():
                gathered[table] = gathered.get(table, 0) + size
            moved = segment.end > mark.end
            mark = replace(
                mark, end=segment.end, lines=segment.first_line + segment.lines
            )
            if segment.broken:
                look.problem = _broken(entry.name, segment.broken)
            if not moved:
                break
            look.is_over()
        if mark.end > start:
            mark = replace(self._with_head(entry, mark), modified=entry.modified)
            look.add(entry.name, gathered, start, mark)

    def _segment(
        self, name: str, mark: Mark, start: int, end: int, model: _ReadModel
    ) -> Segment:
        """Return the segment from ``start``, made again where it is absent."""
        segment = Spool(self._root, mark.key).find(start, end)
        if segment is None:
            end = min(end, start + SEGMENT_BYTES)
            lines = self._lines_before(name, mark, start)
            segment = self._pass(name, mark, start, end, lines, model())
        return segment

    def _pass(
        self,
        name: str,
        mark: Mark,
        start: int,
        end: int,
        lines: int,
        model: Model | None,
    ) -> Segment:
        known = [entity.name for entity in model.entities] if model else []
        spool = Spool(self._root, mark.key)
        with _reading(self._storage, name) as stream:
            if _digest(stream, mark.head_bytes) != mark.head:
                raise SourceError(
                    "file_changed", f"{name} is another file now", where=name
                )
            return spool.make(stream, start, end, lines, known)

    def _first_mark(self, entry: Entry, taken: Collection[str]) -> Mark:
        """Return the mark of a new file.

        Two looks at it find the same key, and no other file has it, not even one that
        was in its place and began as it does.
        """
        head_bytes = min(entry.size, HEAD_BYTES)
        with _reading(self._storage, entry.name) as stream:
            head = _digest(stream, head_bytes)
        told = f"{entry.name}\0{entry.identity}\0{head}"
        keys = (
            hashlib.sha256(f"{n}\0{told}".encode()).hexdigest()[:32] for n in count()
        )
        key = next(key for key in keys if key not in taken)
        return Mark(key, entry.identity, head, head_bytes)

    def _with_head(self, entry: Entry, mark: Mark) -> Mark:
        """Remember how the file begins, up to a limit.

        That is of what was taken alone: what comes after it may still be mended.
        """
        head_bytes = min(mark.end, HEAD_BYTES)
        if (head_bytes, entry.identity) == (mark.head_bytes, mark.identity):
            return mark
        with _reading(self._storage, entry.name) as stream:
            if _digest(stream, mark.head_bytes) != mark.head:
                return mark  # another file has the name by now
            head = _digest(stream, head_bytes)
        return replace(mark, head=head, head_bytes=head_bytes, identity=entry.identity)

    def _lines_before(self, name: str, mark: Mark, offset: int) -> int:
        if offset == 0:
            return 0
        if offset == mark.end:
            return mark.lines
        count = 0
        with _reading(self._storage, name) as stream:
            while offset > 0 and (block := stream.read(min(BLOCK, offset))):
                count += block.count(b"\n")
                offset -= len(block)
        return count

    def _model(self) -> Model | None:
        data = self._model_bytes()
        if not data:
            return self._uploaded
        known = self._known_model
        if known is None or known[0] != data:
            known = self._known_model = (data, parse_model(data))
        return known[1]

    def _model_bytes(self) -> bytes | None:
        return self._storage.read(MODEL, MAX_BYTES + 1)

    def _entries(self) -> dict[str, Entry]:
        """Return the files of the folder by name, or the one file alone."""
        found = {}
        for entry in self._storage.entries():
            if self._only and entry.name != self._only:
                continue
            if entry.kind is Kind.LINK and self._is_log(entry.name):
                raise SourceError(
                    "unsafe_path",
                    f"{entry.name} is a symbolic link",
                    where=entry.name,
                )
            if entry.kind is Kind.FILE and not entry.name.startswith("."):
                found[entry.name] = entry
        return found

    def _is_log(self, name: str) -> bool:
        return bool(self._only) or name.lower().endswith(SUFFIX)


class _Look:
    """What one look has found so far, and whether its time is up."""

    def __init__(self, end: float, read_model: _ReadModel) -> None:
        self._end = end
        self._read_model = read_model
        self.found: list[Partition] = []
        self.problem: SourceError | None = None
        self.cut_short = False

    @property
    def over(self) -> bool:
        return self.problem is not None or self.cut_short

    @cached_property
    def model(self) -> Model | None:
        """The model, read once in a look; every entity has its key declared."""
        model = self._read_model()
        return model and replace(model, entities=_all_keyed(model))

    def fail(self, error: SourceError) -> None:
        """End the look at a file that cannot be read: later ones wait for it."""
        if error.code == "file_missing":
            self.cut_short = True  # it got another name since it was listed
        else:
            self.problem = error

    def is_over(self) -> None:
        """Let the look end here when its time is up."""
        self.cut_short = self.cut_short or time.monotonic() > self._end

    def add(
        self,
        name: str,
        sizes: dict[str, int],
        since: int,
        mark: Mark,
    ) -> None:
        # A moment later each, so that they stay in the order in which they were read.
        now = datetime.now(UTC) + timedelta(microseconds=len(self.found))
        self.found.append(
            Partition(
                name,
                now,
                now,
                PartitionState.READY,
                files={t: (TableFile(name, size),) for t, size in sizes.items()},
                model=self.model,
                extent=mark.end,
                since=since,
                mark=mark.text(),
            )
        )


class _Follower:
    """Finds the known files again, whatever they are called now."""

    def __init__(
        self, storage: Storage, entries: Mapping[str, Entry], known: Mapping[str, str]
    ) -> None:
        self._storage = storage
        self._known = known
        self._entries = entries
        self._by_identity = {e.identity: e for e in entries.values() if e.identity}
        self._heads: dict[str, bytes] = {}
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
        """Let a file that is nowhere any more give its name to another one."""
        if name not in self._entries:
            self.marks[name] = mark
            return
        mark = replace(mark, gone=True)
        new = self._free_name(name)
        moves[name] = self._rename(name, new, mark, self._why(name, mark))

    def _rename(self, old: str, new: str, mark: Mark, reason: str) -> Renamed:
        self.marks[new] = mark
        return Renamed(old, new, self._known[old], mark.text(), reason)

    def _in_order(self, moves: dict[str, Renamed]) -> Iterator[Renamed]:
        """Yield the moves so that each goes to a name that is free by then."""
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
        head = self._heads.get(entry.name)
        if head is None:
            with _reading(self._storage, entry.name) as stream:
                head = self._heads[entry.name] = _begin(stream, HEAD_BYTES)
        return hashlib.sha256(head[: mark.head_bytes]).hexdigest() == mark.head

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


def _all_keyed(model: Model) -> tuple[Entity, ...]:
    return tuple(map(_keyed, model.entities))


def _keyed(entity: Entity) -> Entity:
    """Return the entity with its key declared; in the first dialect it is ``Id``."""
    if entity.key:
        return entity
    key = (entity.attributes[position].name for position in entity.key_positions)
    return replace(entity, key=tuple(key))


def _is_as_long(entry: Entry, mark: Mark) -> bool:
    return entry.size >= max(mark.end, mark.head_bytes)


def _extends(name: str, known: str) -> bool:
    """Say whether a name is that of a rotated log, such as ``app.log.1``."""
    return name.startswith((f"{known}.", f"{known}-"))


@contextmanager
def _reading(storage: Storage, name: str) -> Iterator[BinaryIO]:
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


def _begin(stream: BinaryIO, length: int) -> bytes:
    stream.seek(0)
    blocks = []
    while length > 0 and (block := stream.read(length)):
        blocks.append(block)
        length -= len(block)
    return b"".join(blocks)


def _digest(stream: BinaryIO, length: int) -> str:
    """Return a digest of how a file begins."""
    return hashlib.sha256(_begin(stream, length)).hexdigest()


def _broken(name: str, line: int) -> SourceError:
    return SourceError(
        BROKEN,
        f"{name}, line {line} does not say to which table it belongs",
        where=f"{name}, line {line}",
    )

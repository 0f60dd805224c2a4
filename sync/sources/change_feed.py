"""A change feed: log files whose lines each tell one change of one row.

A file is a partition. It may grow; what is new in it are its whole lines after the
place up to which it was known. Files are told apart by identity and by how they
begin, because names move on when logs are rotated.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from sync.errors import SourceError
from sync.model_json import MAX_BYTES, Dialect, Entity, Model, parse_model
from sync.sources.base import (
    WHOLE,
    Discovery,
    Form,
    Listing,
    Partition,
    PartitionState,
    Stretch,
    TableFile,
)
from sync.sources.feed_lines import MAX_LINE
from sync.sources.folder_models import MODEL
from sync.sources.log_files import (
    Follower,
    Mark,
    digest_of,
    first_mark,
    reading,
    with_head,
)
from sync.sources.spool import BLOCK, Segment, Spool
from sync.sources.storage import Directory, Entry, Kind, Storage

SUFFIX = ".log"
# One pass reads so much, so that a look can end between two.
SEGMENT_BYTES = 64 * 1024 * 1024
BROKEN = "line_malformed"

_ReadModel = Callable[[], Model | None]


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
        follower = Follower(self._storage, entries, known)
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
                mark = mark or first_mark(self._storage, entries[name], keys)
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
        return _keyed(entity, model.dialect)

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
            mark = replace(
                with_head(self._storage, entry, mark), modified=entry.modified
            )
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
        with reading(self._storage, name) as stream:
            if digest_of(stream, mark.head_bytes) != mark.head:
                raise SourceError(
                    "file_changed", f"{name} is another file now", where=name
                )
            if not _begins_a_line(stream, start):
                raise SourceError(
                    "file_changed",
                    f"{name} was changed so that no line begins at byte {start} any "
                    "more, up to where it is known",
                    where=name,
                    remedy="Give what was changed its old length, with blanks at the "
                    "end of its line.",
                )
            return spool.make(stream, start, end, lines, known)

    def _lines_before(self, name: str, mark: Mark, offset: int) -> int:
        if offset == 0:
            return 0
        if offset == mark.end:
            return mark.lines
        count = 0
        with reading(self._storage, name) as stream:
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


def _all_keyed(model: Model) -> tuple[Entity, ...]:
    return tuple(_keyed(entity, model.dialect) for entity in model.entities)


def _keyed(entity: Entity, dialect: Dialect) -> Entity:
    """Return the entity with its key declared; in the first dialect it is ``Id``.

    In the others a column of that name that nobody declared to be the key is none.
    """
    if entity.key or dialect is not Dialect.CDM:
        return entity
    key = (entity.attributes[position].name for position in entity.key_positions)
    return replace(entity, key=tuple(key))


def _begins_a_line(stream: BinaryIO, start: int) -> bool:
    """Say whether a line begins at a place, or ends there without its line end."""
    if start == 0:
        return True
    stream.seek(start - 1)
    before, after = stream.read(1), stream.read(1)
    return before == b"\n" or after.isspace() or not after


def _broken(name: str, line: int) -> SourceError:
    return SourceError(
        BROKEN,
        f"{name}, line {line} does not say to which table it belongs, or is longer "
        f"than {MAX_LINE // 2**20} MiB",
        where=f"{name}, line {line}",
    )

"""Looking for exports and change feeds, and at what one looks like from outside."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sync.errors import SourceError
from sync.sources.change_feed import SUFFIX
from sync.sources.csv_rows import BOM
from sync.sources.feed_lines import is_change
from sync.sources.folder_models import MODEL
from sync.sources.folder_names import folder_time
from sync.sources.storage import Directory, Entry, Kind
from sync.sources.synapse_link import MARKER, SynapseLink

# A search ends with the first of these; one may still browse by hand.
DEPTH = 4
FOLDERS = 2_000
SECONDS = 2.0
# So much of a log file tells whether its first line is a change.
FIRST_LINE = 4096


@dataclass(frozen=True)
class Glance:
    """What a folder looks like: its marker and closed change folders, or its log files.

    ``begun`` says that there is a marker, ``model`` that there is a model.json. Of an
    export ``first`` and ``last`` are closed change folders, of a change feed log files.
    ``lines`` says that the first log file begins with a change. ``problem`` is why the
    place cannot be read.
    """

    marker: str = ""
    closed: int = 0
    first: str = ""
    last: str = ""
    begun: bool = False
    model: bool = False
    problem: str = ""
    logs: int = 0
    bytes: int = 0
    lines: bool = False

    @property
    def is_source(self) -> bool:
        """Whether it looks like an export or a feed, perhaps one without data yet."""
        return self.begun or self.model or self.lines

    @property
    def is_closed(self) -> bool:
        """Whether nothing is to be looked for below it; logs lie in many places."""
        return self.begun or self.model

    @property
    def is_both(self) -> bool:
        """Whether it looks like an export and like a change feed."""
        return self.begun and self.logs > 0


@dataclass(frozen=True)
class Found:
    """What a search found: paths with looks; ``cut_short`` when it was given up."""

    sources: tuple[tuple[str, Glance], ...]
    cut_short: bool


def glance(directory: Directory) -> Glance:
    """Look at a directory; raises ``SourceError`` when it cannot be listed."""
    return _glance(directory, directory.entries())


def find_sources(root: Directory, seconds: float = SECONDS) -> Found:
    """Search a directory for exports and feeds, the nearest first, for some time."""
    found: list[tuple[str, Glance]] = []
    end = time.monotonic() + seconds
    queue = deque([("", 0)])
    looked = 0
    while queue:
        if looked >= FOLDERS or time.monotonic() > end:
            return Found(tuple(found), True)
        path, depth = queue.popleft()
        looked += 1
        try:
            entries = root.entries(path)
        except SourceError:
            continue  # one that may not be read holds up nothing
        seen = _glance(Directory(root.root / path), entries)
        if seen.is_source:
            found.append((path, seen))
        if not seen.is_closed and depth < DEPTH:
            names = (folder.name for folder in folders(entries))
            queue.extend((f"{path}/{name}".lstrip("/"), depth + 1) for name in names)
    return Found(tuple(found), False)


def folders(entries: list[Entry]) -> Iterator[Entry]:
    """Yield the folders that one may go into, without hidden and change folders."""
    for entry in entries:
        hidden = entry.name.startswith(".") or folder_time(entry.name) is not None
        if entry.kind is Kind.FOLDER and not hidden:
            yield entry


def _glance(directory: Directory, entries: list[Entry]) -> Glance:
    kinds = {entry.name: entry.kind for entry in entries}
    seen = _feed(directory, entries, model=kinds.get(MODEL) is Kind.FILE)
    if kinds.get(MARKER.partition("/")[0]) is not Kind.FOLDER:
        return seen
    try:
        marker, moment = SynapseLink(directory).marker()
    except SourceError as error:
        if error.code == "not_an_export":
            return seen
        return replace(seen, begun=True, problem=str(error))
    closed = sorted(
        (time_, entry.name)
        for entry in entries
        if entry.kind is Kind.FOLDER
        and (time_ := folder_time(entry.name)) is not None
        and time_ < moment
    )
    first, last = (closed[0][1], closed[-1][1]) if closed else ("", "")
    return replace(
        seen,
        begun=True,
        marker=marker,
        closed=len(closed),
        first=first,
        last=last,
        problem="",
    )


def _feed(directory: Directory, entries: list[Entry], *, model: bool) -> Glance:
    """Return what the log files of a folder look like."""
    named = [entry for entry in entries if is_log(entry.name)]
    logs = [entry for entry in named if entry.kind is Kind.FILE]
    link = next((entry.name for entry in named if entry.kind is Kind.LINK), "")
    return Glance(
        first=logs[0].name if logs else "",
        last=logs[-1].name if logs else "",
        model=model,
        problem=f"{link} is a symbolic link, which is not followed" if link else "",
        logs=len(logs),
        bytes=sum(entry.size for entry in logs),
        lines=_begins_with_change(directory, logs),
    )


def _begins_with_change(directory: Directory, logs: list[Entry]) -> bool:
    filled = next((entry.name for entry in logs if entry.size), None)
    if filled is None:
        return False
    try:
        data = directory.read(filled, FIRST_LINE) or b""
    except SourceError:
        return False
    return is_change(data.removeprefix(BOM).lstrip().partition(b"\n")[0])


def is_log(name: str) -> bool:
    """Say whether a file of this name is one of a change feed."""
    return name.lower().endswith(SUFFIX) and not name.startswith(".")

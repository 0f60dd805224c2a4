"""Looking for exports below a directory, and at what one looks like from outside."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sync.errors import SourceError
from sync.sources.folder_models import MODEL
from sync.sources.folder_names import folder_time
from sync.sources.storage import Directory, Entry, Kind
from sync.sources.synapse_link import MARKER, SynapseLink

# A search ends with the first of these; one may still browse by hand.
DEPTH = 4
FOLDERS = 2_000
SECONDS = 2.0


@dataclass(frozen=True)
class Glance:
    """What a folder looks like: the marker, and the change folders that are closed.

    ``begun`` says that there is a marker, ``model`` that there is a model.json.
    ``problem`` is why its marker cannot be used.
    """

    marker: str = ""
    closed: int = 0
    first: str = ""
    last: str = ""
    begun: bool = False
    model: bool = False
    problem: str = ""

    @property
    def is_export(self) -> bool:
        """Whether it looks like an export, perhaps one without a folder yet."""
        return self.begun or self.model


@dataclass(frozen=True)
class Found:
    """What a search found: paths of exports; ``cut_short`` when it was given up."""

    exports: tuple[tuple[str, Glance], ...]
    cut_short: bool


def glance(directory: Directory) -> Glance:
    """Look at a directory; raises ``SourceError`` when it cannot be listed."""
    return _glance(directory, directory.entries())


def find_exports(root: Directory, seconds: float = SECONDS) -> Found:
    """Search a directory for exports, the nearest first, for a limited time."""
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
        if seen.is_export:
            found.append((path, seen))
        elif depth < DEPTH:
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
    model = kinds.get(MODEL) is Kind.FILE
    if kinds.get(MARKER.partition("/")[0]) is not Kind.FOLDER:
        return Glance(model=model)
    try:
        marker, moment = SynapseLink(directory).marker()
    except SourceError as error:
        begun = error.code != "not_an_export"
        return Glance(begun=begun, model=model, problem=str(error) if begun else "")
    closed = sorted(
        (time_, entry.name)
        for entry in entries
        if entry.kind is Kind.FOLDER
        and (time_ := folder_time(entry.name)) is not None
        and time_ < moment
    )
    first, last = (closed[0][1], closed[-1][1]) if closed else ("", "")
    return Glance(marker, len(closed), first, last, True, model)

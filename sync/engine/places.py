"""Where sources may be: the directories below ``DVSYNC_ROOTS``, found and checked.

The pages offer these only; the command line takes any directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from sync.errors import ConfigError, SourceError
from sync.sources.browsing import Glance, find_sources, folders, glance
from sync.sources.storage import Directory
from sync.sources.storage import Kind as EntryKind

OUTSIDE = "is not below one of the directories that DVSYNC_ROOTS names"


# Of a folder that nobody looked into yet.
UNSEEN = Glance()


@dataclass(frozen=True)
class Root:
    """A directory of the setting; ``problem`` is why nothing in it can be offered."""

    path: str
    problem: str = ""


@dataclass(frozen=True)
class Place:
    """A directory that may be an export or a feed, and what it looks like."""

    path: str
    seen: Glance = UNSEEN

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Search:
    """The exports and feeds that were found; ``cut_short`` when there may be more."""

    places: tuple[Place, ...]
    cut_short: bool = False


@dataclass(frozen=True)
class Folder:
    """A directory that one browses: itself, what is above it, and what is in it.

    ``links`` are symbolic links in it, which are not followed; ``unnameable`` is how
    many folders cannot be offered because their names are no text.
    """

    place: Place
    above: str
    folders: tuple[Place, ...]
    links: tuple[str, ...]
    unnameable: int


@dataclass(frozen=True)
class LocationKind:
    """A kind of location: how the pages find places of it, and check a given one.

    ``checked`` returns the location as it is stored, or raises ``ConfigError``.
    """

    name: str
    label: str
    sources: Callable[[], Search]
    browse: Callable[[str], Folder]
    checked: Callable[[str], str]


def roots() -> list[Root]:
    """Return the directories below which sources are offered."""
    return [_root(Path(path)) for path in settings.ROOTS]


def checked(path: str, *, file: bool = False) -> str:
    """Return the real path of a directory below a root; else ``ConfigError``.

    With ``file`` it may be a file as well. Symbolic links and ``..`` are resolved
    first, so no text leads out of the roots.
    """
    real, _ = _inside(path)
    if file and os.path.isfile(real):  # noqa: PTH113
        return real
    if not os.path.isdir(real):  # noqa: PTH112 - Path is no better at odd bytes
        raise ConfigError(f"{real} is no directory, or no longer there", where=real)
    return real


def look(path: str) -> Place:
    """Look at a directory below a root; raises ``ConfigError``."""
    real = checked(path)
    try:
        return Place(real, glance(Directory(real)))
    except SourceError as error:
        raise ConfigError(
            error.message, where=error.where, remedy=error.remedy
        ) from error


def sources() -> Search:
    """Search all roots for exports and feeds, each for a limited time."""
    found: dict[str, Place] = {}
    cut_short = False
    for root in roots():
        if root.problem:
            continue
        search = find_sources(Directory(root.path))
        cut_short = cut_short or search.cut_short
        for relative, seen in search.sources:
            path = str(Path(root.path, relative))
            found[path] = Place(path, seen)
    return Search(tuple(found.values()), cut_short)


def browse(path: str) -> Folder:
    """Return a directory below a root and its folders; raises ``ConfigError``."""
    real, root = _inside(path)
    storage = Directory(root)
    relative = os.path.relpath(real, root) if real != root else ""
    place = look(real)
    try:
        entries = storage.entries(relative)
    except SourceError as error:
        raise ConfigError(error.message, where=error.where) from error
    inner = tuple(Place(f"{real}/{folder.name}") for folder in folders(entries))
    return Folder(
        place=place,
        above=str(Path(real).parent) if real != root else "",
        folders=() if place.seen.is_closed else inner,
        links=tuple(e.name for e in entries if e.kind is EntryKind.LINK),
        unnameable=sum(e.kind is EntryKind.UNNAMEABLE for e in entries),
    )


DIRECTORY = LocationKind(
    "directory", "A directory on this machine", sources, browse, checked
)
# What the pages offer; a kind that joins is a line here.
KINDS = {kind.name: kind for kind in (DIRECTORY,)}


def _root(path: Path) -> Root:
    real = os.path.realpath(path)
    try:
        with os.scandir(real):
            return Root(real)
    except FileNotFoundError:
        return Root(real, "does not exist")
    except OSError as error:
        return Root(real, f"cannot be read: {error.strerror}")


def _inside(path: str) -> tuple[str, str]:
    """Return a path without links, and the innermost root that it is below."""
    real = ""
    try:
        path.encode()
        if os.path.isabs(path):  # noqa: PTH117
            real = os.path.realpath(path)
            real.encode()  # a link may lead to a name that is no text
    except (UnicodeEncodeError, ValueError, OSError):
        real = ""
    above = [root.path for root in roots() if _is_below(real, root.path)]
    if not real or not above:
        raise ConfigError(f"{ascii(path)[1:-1][:200]} {OUTSIDE}")
    return real, max(above, key=len)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")

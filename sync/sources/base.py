"""What the engine may ask of a source, whatever kind of export it reads."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, Protocol

from sync.errors import SourceError
from sync.model_json import Entity, Model


class Form(StrEnum):
    """What the files of a source hold.

    ``ROWS`` are CSV rows with all columns, which versions put in order. ``CHANGES`` are
    lines that each tell one change, in their order.
    """

    ROWS = "rows"
    CHANGES = "changes"


class PartitionState(StrEnum):
    """What dvsync makes of a partition of the export."""

    WAITING = "waiting"
    READY = "ready"
    SKIPPED = "skipped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table; ``path`` is relative to the export's root.

    Of a partition that grows it holds what lies from ``start`` to ``end``.
    """

    path: str
    size: int
    start: int = 0
    end: int = 0

    @property
    def name(self) -> str:
        """Return the file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a partition that grows: what lies from ``start`` to ``end``, in bytes.

    ``mark`` is what the source said of the partition when it was found. With ``anew``
    nothing that was prepared before is used. The default is the whole of a partition
    that never grows.
    """

    start: int = 0
    end: int = 0
    mark: str = ""
    anew: bool = False


WHOLE = Stretch()


@dataclass(frozen=True, slots=True)
class Renamed:
    """A known partition that has another name now, and why.

    It is the one that was known with the mark ``before``.
    """

    old: str
    new: str
    before: str
    mark: str
    reason: str


@dataclass(frozen=True)
class Partition:
    """One partition as the source sees it now.

    ``files`` holds every table that has files, or should have; none of a waiting
    partition. ``model`` is None when it does not parse: ``reason`` then says why.
    ``notes`` are facts that a person should see, such as files that were passed over.

    ``extent`` is up to where a partition that may grow is complete, else 0; ``files``
    are then what came after ``since``, up to where it was known before. ``mark`` is for
    the source alone, which gets it back as what is known of the partition.
    """

    name: str
    opened_at: datetime
    closed_at: datetime
    state: PartitionState
    reason: str = ""
    files: Mapping[str, tuple[TableFile, ...]] = field(default_factory=dict)
    model: Model | None = None
    notes: tuple[str, ...] = ()
    extent: int = 0
    since: int = 0
    mark: str = ""

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return the bytes of every file, by table and file name."""
        return {
            table: {file.name: file.size for file in files}
            for table, files in self.files.items()
        }


@dataclass(frozen=True)
class Listing:
    """What a source lists at the moment: its marker and its partitions, in time order.

    ``state`` is short and equal while nothing came, went or was closed.
    """

    marker: str
    open_since: datetime
    partitions: tuple[tuple[datetime, str], ...]
    state: str


@dataclass(frozen=True)
class Discovery:
    """One look at a source: its marker, and every partition not known as it is.

    ``problem`` is set when a partition could not be looked into; it waits, and
    every later one with it. ``present`` are the names of all partitions that are
    there, also of the open one and of known ones. ``purged`` are names of closed
    ones that the source says it wrote, in time order, but that are not there.
    ``cut_short`` says that time was up before the last partitions. ``renamed`` are
    known partitions with other names, to be renamed before the others are recorded.
    """

    marker: str
    partitions: tuple[Partition, ...]
    problem: SourceError | None = None
    present: frozenset[str] = frozenset()
    purged: tuple[str, ...] = ()
    cut_short: bool = False
    renamed: tuple[Renamed, ...] = ()


class Source(Protocol):
    """A place that changes are read from. All methods raise ``SourceError``."""

    @property
    def form(self) -> Form:
        """What its files hold."""
        ...

    def model(self) -> Model | None:
        """Return the newest model, None when there is none to read yet.

        Raises ``SourceError`` with ``not_an_export`` when this is no such place.
        """
        ...

    def listing(self) -> Listing:
        """List the partitions, without a look into any of them."""
        ...

    def discover(
        self,
        known: Mapping[str, str],
        listing: Listing | None = None,
        seconds: float = math.inf,
        files: float = math.inf,
    ) -> Discovery:
        """Look for complete partitions that are not known, or have grown.

        ``known`` holds marks by names. ``listing`` is one that was made just now, if
        there is one. After so many ``seconds``, or tables with ``files``, no further
        partition is looked into; one is in any case.
        """
        ...

    def present(self) -> frozenset[str]:
        """Return the names of all partitions that are there now."""
        ...

    def remembered(self, names: Collection[str]) -> frozenset[str]:
        """Return those of the names that are there or that the source knows of.

        Raises ``SourceError`` when that cannot be said for sure.
        """
        ...

    def entity(self, partition: str, table: str) -> Entity:
        """Return the schema with which the table's rows of a partition are read."""
        ...

    def files(
        self, partition: str, table: str, stretch: Stretch = WHOLE
    ) -> tuple[TableFile, ...]:
        """List the table's files in a partition as they are now, in their order."""
        ...

    def open(self, file: TableFile) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; unbuffered bytes, at any place of it."""
        ...

    def release(self, applied: Mapping[str, int]) -> None:
        """Let go what was prepared of partitions, by marks, up to these offsets."""
        ...

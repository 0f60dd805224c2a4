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


class PartitionState(StrEnum):
    """What dvsync makes of a partition of the export."""

    WAITING = "waiting"
    READY = "ready"
    SKIPPED = "skipped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table; ``path`` is relative to the export's root."""

    path: str
    size: int

    @property
    def name(self) -> str:
        """Return the file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Partition:
    """One partition as the source sees it now.

    ``files`` holds every table that has files, or should have; none of a waiting
    partition. ``model`` is None when it does not parse: ``reason`` then says why.
    ``notes`` are facts that a person should see, such as files that were passed over.
    """

    name: str
    opened_at: datetime
    closed_at: datetime
    state: PartitionState
    reason: str = ""
    files: Mapping[str, tuple[TableFile, ...]] = field(default_factory=dict)
    model: Model | None = None
    notes: tuple[str, ...] = ()

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
    """One look at a source: its marker, and every partition not known before.

    ``problem`` is set when a partition could not be looked into; it waits, and
    every later one with it. ``present`` are the names of all partitions that are
    there, also of the open one and of known ones. ``purged`` are names of closed
    ones that the source says it wrote, in time order, but that are not there.
    ``cut_short`` says that time was up before the last partitions.
    """

    marker: str
    partitions: tuple[Partition, ...]
    problem: SourceError | None = None
    present: frozenset[str] = frozenset()
    purged: tuple[str, ...] = ()
    cut_short: bool = False


class Source(Protocol):
    """A place that changes are read from. All methods raise ``SourceError``."""

    def listing(self) -> Listing:
        """List the partitions, without a look into any of them."""
        ...

    def discover(
        self,
        known: Collection[str],
        listing: Listing | None = None,
        seconds: float = math.inf,
        files: float = math.inf,
    ) -> Discovery:
        """Look for complete partitions whose names are not in ``known``.

        ``listing`` is one that was made just now, if there is one. After so many
        ``seconds``, or tables with ``files``, no further partition is looked into; one
        is in any case.
        """
        ...

    def entity(self, partition: str, table: str) -> Entity:
        """Return the schema with which the table's rows of a partition are read."""
        ...

    def files(self, partition: str, table: str) -> tuple[TableFile, ...]:
        """List the table's files in a partition as they are now, in name order."""
        ...

    def open(self, file: TableFile) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; unbuffered bytes, at any place of it."""
        ...

"""Exports that the tests of the reading side make, and storages that watch or fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
import time_machine
from hypothesis import HealthCheck, settings

from sync.errors import SourceError
from sync.sources.base import Discovery, Partition, PartitionState
from sync.sources.storage import Directory, Entry
from sync.sources.synapse_link import SynapseLink

DATA = Path(__file__).parents[2] / "data"
SECRET = b"the canary outside the export"
ROWS = b"1,a\n"
# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# An export opens a folder every quarter of an hour; it is now shortly after the last.
FIRST = "2026-03-01T08.00.00Z"
SECOND = "2026-03-01T08.15.01Z"
THIRD = "2026-03-01T08.30.00Z"
OPEN = "2026-03-01T08.45.00Z"
NOW = datetime(2026, 3, 1, 8, 46, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 12, tzinfo=UTC)


def model(*entities: str, **partitions: list[dict[str, str]]) -> bytes:
    return json.dumps(
        {
            "name": "cdm",
            "entities": [
                {
                    "$type": "LocalEntity",
                    "name": name,
                    "attributes": [
                        {"name": "Id", "dataType": "guid"},
                        {"name": "name", "dataType": "string"},
                    ],
                    "partitions": partitions.get(name, []),
                }
                for name in entities
            ],
        }
    ).encode()


def listed(*names: str, location: str = "") -> list[dict[str, str]]:
    return [{"name": name, "location": location} for name in names]


ACCOUNT = model("account", "contact")


class Export:
    """An export in a directory, with a secret beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "export"
        self.root.mkdir()
        (base / "canary.csv").write_bytes(SECRET)
        self.mark(OPEN)

    def mark(self, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.write("Changelog/changelog.info", data)

    def write(self, path: str, data: bytes = b"") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def folder(self, name: str, *files: str, model: bytes | None = ACCOUNT) -> Path:
        """Make a change folder with CSV files of some rows."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for file in files:
            self.write(f"{name}/{file}", ROWS)
        if model is not None:
            self.write(f"{name}/model.json", model)
        return folder

    @property
    def source(self) -> SynapseLink:
        return SynapseLink(Directory(self.root))

    def discover(self, *known: str) -> Discovery:
        return self.source.discover(known)

    def look(self, name: str = FIRST) -> Partition:
        """Return one partition as it is found."""
        return {found.name: found for found in self.discover().partitions}[name]

    def states(self, *known: str) -> dict[str, PartitionState]:
        found = self.discover(*known).partitions
        return {partition.name: partition.state for partition in found}

    def ready(self, *known: str) -> list[str]:
        """Return the names of the complete folders, in the order of discovery."""
        states = self.states(*known)
        return [name for name, state in states.items() if state == "ready"]

    def paths(self, name: str = FIRST) -> dict[str, list[str]]:
        """Return the files that were found of each table."""
        found = self.look(name).files
        return {table: [f.path for f in files] for table, files in found.items()}

    def refusal(self, table: str, name: str = FIRST) -> SourceError:
        """Return what reading a table ends in."""
        with pytest.raises(SourceError) as caught:
            self.read(table, name)
        return caught.value

    def read(self, table: str, name: str) -> bytes:
        """Read all files of a table, as a load does."""
        source, rows = self.source, b""
        source.entity(name, table)
        for file in source.files(name, table):
            with source.open(file) as stream:
                rows += stream.read()
        return rows


def at(moment: datetime) -> time_machine.travel:
    return time_machine.travel(moment, tick=False)


class Watched:
    """A directory that remembers what was asked of it, and calls back after it."""

    def __init__(
        self, root: Path, after: Callable[[str], None] = lambda path: None
    ) -> None:
        self._directory = Directory(root)
        self._after = after
        self.asked: list[str] = []

    def entries(self, path: str = "") -> list[Entry]:
        self.asked.append(path)
        found = self._directory.entries(path)
        self._after(path)
        return found

    def read(self, path: str, limit: int) -> bytes | None:
        self.asked.append(path)
        found = self._directory.read(path, limit)
        self._after(path)
        return found

    def open(self, path: str) -> BinaryIO:
        self.asked.append(path)
        return self._directory.open(path)


class Failing(Directory):
    """A directory of which some paths cannot be read for now."""

    def __init__(self, root: Path, *paths: str) -> None:
        super().__init__(root)
        self.paths = {*paths}

    def entries(self, path: str = "") -> list[Entry]:
        self._check(path)
        return super().entries(path)

    def open(self, path: str) -> BinaryIO:
        self._check(path)
        return super().open(path)

    def _check(self, path: str) -> None:
        if path in self.paths:
            raise SourceError("file_unreadable", f"{path} cannot be read", where=path)

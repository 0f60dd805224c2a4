"""Azure Synapse Link's incremental change folders, and which are complete.

The rules are those of the format document: a folder is complete when it is
strictly older than the one that ``Changelog/changelog.info`` names and holds a
model.json that is not empty. Rows are read with their own folder's model.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from sync.errors import SourceError
from sync.model_json import MAX_BYTES, Entity, Model
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
from sync.sources.folder_models import MODEL, FolderModels, export_model, own_path
from sync.sources.folder_names import folder_time, gone, logged_names
from sync.sources.storage import Entry, Kind, Storage
from sync.sources.table_files import (
    TableFiles,
    by_entity,
    csv_files,
    missing,
    table_folders,
    table_names,
)

__all__ = ["SynapseLink", "folder_time"]

MARKER = "Changelog/changelog.info"
LOG = "Changelog/Synapse.log"
# Seven years of a folder every five minutes.
LOG_BYTES = 16 * 1024 * 1024
# Synapse Link finalises a folder within seconds of its successor's birth; one that
# is still not finalised after this time never will be.
ABANDONED_AFTER = timedelta(hours=1)
EMPTY = "an empty folder that a retry left behind"
NEVER_FINALISED = (
    "never finalised: its model.json did not come within an hour; Synapse Link is "
    "expected to send its rows again"
)


@dataclass(frozen=True)
class _Tables:
    """What the table folders of a change folder hold; ``problem`` may pass."""

    files: TableFiles
    notes: tuple[str, ...]
    problem: SourceError | None


class SynapseLink:
    """A ``Source`` over the change folders in a storage. Safe for threads."""

    form = Form.ROWS

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._models = FolderModels(storage)

    def marker(self) -> tuple[str, datetime]:
        """Return the open folder's name and time, as the marker file says them."""
        data = self._storage.read(MARKER, 4096)
        if data is None:
            raise SourceError(
                "not_an_export", f"There is no {MARKER} in the location", where=MARKER
            )
        text = data.decode("utf-8-sig", errors="replace").strip().rstrip("/").strip()
        moment = folder_time(text)
        if moment is None:
            said = (
                f"holds {text[:80]!r}, which is no folder name" if text else "is empty"
            )
            raise SourceError("marker_unusable", f"{MARKER} {said}", where=MARKER)
        return text, moment

    def listing(self) -> Listing:
        """List the folders, after the marker was read.

        What the marker calls closed was complete before we looked, and what is born
        meanwhile is later than the marker.
        """
        marker, open_since = self.marker()
        folders = tuple(self._folders())
        log = self._size_of_log()
        state = hashlib.sha256(f"{marker}\n{log}".encode())
        for _, name in folders:
            state.update(f"\n{name}".encode())
        return Listing(marker, open_since, folders, state.hexdigest())

    def _size_of_log(self) -> int:
        folder, _, name = LOG.partition("/")
        entries = self._storage.entries(folder)
        return next((entry.size for entry in entries if entry.name == name), 0)

    def discover(
        self,
        known: Collection[str],
        listing: Listing | None = None,
        seconds: float = math.inf,
        files: float = math.inf,
    ) -> Discovery:
        """Look for complete folders whose names are not in ``known``, in time order.

        The folders are listed before their files. After a folder that waits every
        later one waits too. After so many ``seconds``, or tables with ``files``,
        no further folder is looked into; one is in any case.
        """
        end = time.monotonic() + seconds
        listing = listing or self.listing()
        marker, open_since = listing.marker, listing.open_since
        folders = listing.partitions
        present = frozenset(name for _, name in folders)
        closed = [name for moment, name in folders if moment < open_since]
        following = [*(moment for moment, _ in folders[1:]), open_since]
        found: list[Partition] = []
        problem: SourceError | None = None
        cut_short = False
        waits_for = ""
        for name, successor in zip(closed, following, strict=False):
            if name in known:
                continue
            tables = sum(len(partition.files) for partition in found[-1:])
            files -= tables
            if found and (files <= 0 or time.monotonic() > end):
                cut_short = True
                break
            closed_at = min(successor, open_since)
            if waits_for:
                found.append(_waiting(name, closed_at, f"waits for {waits_for}"))
                continue
            try:
                partition = self._examine(name, closed_at)
            except SourceError as error:
                problem = error
                partition = _waiting(name, closed_at, str(error))
            found.append(partition)
            if partition.state is PartitionState.WAITING:
                waits_for = name
        purged = self._purged(present, open_since)
        return Discovery(marker, tuple(found), problem, present, purged, cut_short)

    def present(self) -> frozenset[str]:
        """Return the names of all change folders that are there now."""
        return frozenset(name for _, name in self._folders())

    def remembered(self, names: Collection[str]) -> frozenset[str]:
        """Return the names of change folders that are there or in Synapse.log.

        A time has several spellings, which count as one. Raises ``SourceError`` when
        that cannot be said for sure.
        """
        self.marker()  # without it, the place is not the export
        times = {moment for moment, _ in self._folders()}
        data = self._storage.read(LOG, LOG_BYTES + 1)
        times.update(
            moment
            for name in logged_names(data or b"", LOG_BYTES)
            if (moment := folder_time(name))
        )
        return frozenset(name for name in names if folder_time(name) in times)

    def entity(self, partition: str, table: str) -> Entity:
        """Return the table's entity of the folder's model.json, or of its own model."""
        return self._models.describe(partition, table).entity

    def files(
        self, partition: str, table: str, stretch: Stretch = WHOLE
    ) -> tuple[TableFile, ...]:
        """List the table's files in the folder; refuse when a listed one is gone.

        When no model describes the table, no file is missed.
        """
        described = self._models.find(partition, table)
        files: tuple[TableFile, ...] = ()
        path = f"{partition}/{table}"
        try:
            files, _ = csv_files(self._storage, path, Kind.FOLDER)
        except SourceError as error:
            if error.code != "file_missing":
                raise
            if (
                described
                and described.model
                and (folder := self._folder_of(partition, table, described.model))
            ):
                path = f"{partition}/{folder.name}"
                files, _ = csv_files(self._storage, path, folder.kind)
        if described and (lacking := missing(described.entity, files)):
            model = MODEL if described.model else own_path(table)
            raise SourceError(
                "file_missing",
                f"{model} lists {lacking} of {table}, but the file is not there",
                where=f"{path}/{lacking}",
            )
        return files

    @contextmanager
    def open(self, file: TableFile) -> Iterator[BinaryIO]:
        """Open a file for reading; unbuffered bytes."""
        with self._storage.open(file.path) as stream:
            yield stream

    def release(self, applied: Mapping[str, int]) -> None:
        """Do nothing: the files themselves are read."""

    def model(self) -> Model | None:
        """Return the export's newest model; refuse a place that is no export."""
        self.marker()
        return self.root_model()

    def root_model(self) -> Model | None:
        """Return the export's newest model, None when there is none to read yet."""
        data = self.root_model_bytes()
        return export_model(data) if data else None

    def root_model_bytes(self) -> bytes | None:
        """Return the bytes of the export's newest model, None without one."""
        return self._storage.read(MODEL, MAX_BYTES + 1)

    def _folders(self) -> list[tuple[datetime, str]]:
        found = []
        for entry in self._storage.entries():
            moment = folder_time(entry.name)
            if moment is None or entry.kind in {Kind.FILE, Kind.OTHER}:
                continue
            if entry.kind is Kind.LINK:
                raise SourceError(
                    "unsafe_path",
                    f"The change folder {entry.name} is a symbolic link",
                    where=entry.name,
                )
            found.append((moment, entry.name))
        return sorted(found)

    def _folder_of(self, partition: str, table: str, model: Model) -> Entry | None:
        """Find the folder of a table that is spelled in another case there."""
        folders = list(table_folders(self._storage.entries(partition)))
        names = table_names(
            [folder.name for folder in folders],
            [entity.name for entity in model.entities],
        )
        return next((f for f in folders if names[f.name] == table), None)

    def _purged(self, present: frozenset[str], open_since: datetime) -> tuple[str, ...]:
        """Return the closed folders that Synapse Link once wrote and are not there.

        Its log is no contract: what cannot be read says nothing.
        """
        try:
            data = self._storage.read(LOG, LOG_BYTES + 1)
        except SourceError:
            return ()
        names = logged_names(data or b"", LOG_BYTES) - present
        return gone(names, present, open_since) if names else ()

    def _examine(self, name: str, closed_at: datetime) -> Partition:
        tables = self._tables(name)
        reason, model = "", None
        try:
            data = self._models.data(name)
            if not data:
                return _unfinished(name, closed_at, tables, data)
            model = self._models.parse(name, data)
        except SourceError as error:  # the tables that have files will meet it again
            if not error.permanent:
                raise
            reason = str(error)
        files, notes = tables.files, tables.notes
        if model is not None:
            files, unlisted = by_entity(files, model)
            notes += model.warnings + unlisted
        return Partition(
            name,
            _time(name),
            closed_at,
            PartitionState.READY,
            reason,
            files,
            model,
            notes + self._own_models(name, files, model, reason),
        )

    def _own_models(
        self, name: str, tables: TableFiles, model: Model | None, reason: str
    ) -> tuple[str, ...]:
        """Note which tables are read with a model of their own, and why."""
        notes: list[str] = []
        why = reason or "model.json does not describe it"
        for table in tables:
            if model is not None and model.entity(table) is not None:
                continue
            try:
                own = self._models.own(name, table)
            except SourceError:  # the load of this table will meet it again
                continue
            notes.append(f"{table} is read with {own_path(table)}: {why}")
            notes.extend(own.warnings)
        return tuple(notes)

    def _tables(self, name: str) -> _Tables:
        tables: dict[str, tuple[TableFile, ...]] = {}
        problem = None
        entries = self._storage.entries(name)
        notes = [
            f"{name}/{entry.name} is a {entry.kind.value} and is not read"
            for entry in entries
            if entry.kind is Kind.UNNAMEABLE
        ]
        for entry in table_folders(entries):
            path = f"{name}/{entry.name}"
            try:
                files, passed_over = csv_files(self._storage, path, entry.kind)
            except SourceError as error:  # the load of this table will meet it again
                tables[entry.name] = ()
                notes.append(str(error))
                problem = problem if error.permanent else error
            else:
                notes.extend(passed_over)
                if files:
                    tables[entry.name] = files
        return _Tables(tables, tuple(notes), problem)


def _time(name: str) -> datetime:
    moment = folder_time(name)
    if moment is None:
        raise ValueError(name)
    return moment


def _waiting(name: str, closed_at: datetime, reason: str) -> Partition:
    return Partition(name, _time(name), closed_at, PartitionState.WAITING, reason)


def _unfinished(
    name: str, closed_at: datetime, tables: _Tables, data: bytes | None
) -> Partition:
    """Judge a closed folder without a model: it waits, or was abandoned."""
    if datetime.now(UTC) - closed_at <= ABANDONED_AFTER:
        said = "no model.json yet" if data is None else "an empty model.json"
        return _waiting(name, closed_at, f"has {said}")
    if tables.problem:  # what could not be listed must not be called empty
        raise tables.problem
    # A table without files is one whose folder is refused.
    has_rows = any(
        not files or any(file.size for file in files) for files in tables.files.values()
    )
    return Partition(
        name,
        _time(name),
        closed_at,
        PartitionState.SKIPPED,
        NEVER_FINALISED if has_rows else EMPTY,
        tables.files if has_rows else {},
        notes=tables.notes,
    )

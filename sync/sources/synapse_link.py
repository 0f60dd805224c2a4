"""Azure Synapse Link's incremental change folders, and which are complete.

The rules are those of the format document: a folder is complete when it is
strictly older than the one that ``Changelog/changelog.info`` names and holds a
model.json that is not empty. Rows are read with their own folder's model.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import unquote

from sync.errors import ModelError, SourceError
from sync.model_json import MAX_BYTES, Entity, FilePartition, Model, parse_model
from sync.sources.base import Discovery, Partition, PartitionState, TableFile
from sync.sources.storage import Entry, Kind, Storage

MARKER = "Changelog/changelog.info"
MODEL = "model.json"
# Synapse Link finalises a folder within seconds of its successor's birth; one
# without data that is still not finalised after this time is a retry's remains.
ABANDONED_AFTER = timedelta(hours=1)
# Models are kept for the tables of a run to share. Equal entities are one object,
# so that a model costs little more than the files it lists.
MODELS_KEPT = 2_000

_FOLDER = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d)[.:](\d\d)[.:](\d\d)(?:\.(\d{1,7}))?[Zz]?", re.ASCII
)
# Folders that are no tables, compared without regard to case.
_NO_TABLES = frozenset(
    {
        "changelog",
        "optionsetmetadata",
        "microsoft.athena.tricklefeedservice",
        "entitysyncfailure",
        "snapshot",
        "deltalake",
        "enumtranslation",
    }
)


def folder_time(name: str) -> datetime | None:
    """Return the time that a change folder's name holds, None for other names."""
    match = _FOLDER.fullmatch(name)
    if match is None:
        return None
    *parts, fraction = match.groups()
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        return datetime(*map(int, parts), microsecond, tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


class SynapseLink:
    """A ``Source`` over the change folders in a storage. Safe for threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._entities: dict[str, Entity] = {}
        self._lock = threading.Lock()

    def marker(self) -> tuple[str, datetime]:
        """Return the open folder's name and time, as the marker file says them."""
        data = self._storage.read(MARKER, 4096)
        if data is None:
            raise SourceError(
                "not_an_export", f"There is no {MARKER} in the location", where=MARKER
            )
        text = data.decode("utf-8-sig", errors="replace").strip().rstrip("/").strip()
        time = folder_time(text)
        if time is None:
            said = (
                f"holds {text[:80]!r}, which is no folder name" if text else "is empty"
            )
            raise SourceError("marker_unusable", f"{MARKER} {said}", where=MARKER)
        return text, time

    def discover(self, known: Collection[str]) -> Discovery:
        """Look for complete folders whose names are not in ``known``, in time order.

        The marker is read before the folders are listed, and the folders before
        their files: what the marker calls closed was complete before we looked.
        After a folder that waits every later one waits too.
        """
        marker, open_since = self.marker()
        folders = self._folders()
        names = [name for time, name in folders if time < open_since]
        following = [*(time for time, _ in folders[1:]), open_since]
        found: list[Partition] = []
        problem: SourceError | None = None
        waits_for = ""
        for name, successor in zip(names, following, strict=False):
            if name in known:
                continue
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
        return Discovery(marker, tuple(found), problem)

    def entity(self, partition: str, table: str) -> Entity:
        """Return the table's entity of the folder's own model.json."""
        entity = self._model(partition).entity(table)
        if entity is None:
            raise SourceError(
                "entity_missing",
                f"model.json of {partition} does not describe {table}",
                where=f"{partition}/{MODEL}",
            )
        return entity

    def files(self, partition: str, table: str) -> tuple[TableFile, ...]:
        """List the table's files in the folder; refuse when a listed one is gone."""
        entity = self.entity(partition, table)
        model = self._model(partition)
        files: tuple[TableFile, ...] = ()
        path = f"{partition}/{table}"
        try:
            files, _ = self._csv_files(path, Kind.FOLDER)
        except SourceError as error:
            if error.code != "file_missing":
                raise
            folders = list(_table_folders(self._storage.entries(partition)))
            names = _table_names([folder.name for folder in folders], model)
            for folder in folders:
                if names[folder.name] == table:
                    path = f"{partition}/{folder.name}"
                    files, _ = self._csv_files(path, folder.kind)
        if missing := _missing(entity, files):
            raise SourceError(
                "file_missing",
                f"model.json lists {missing} of {table}, but the file is not there",
                where=f"{path}/{missing}",
            )
        return files

    @contextmanager
    def open(self, file: TableFile) -> Iterator[BinaryIO]:
        """Open a file for reading; unbuffered bytes."""
        with self._storage.open(file.path) as stream:
            yield stream

    def root_model(self) -> Model | None:
        """Return the export's newest model, None when there is none to read yet."""
        data = self._storage.read(MODEL, MAX_BYTES + 1)
        return parse_model(data) if data else None

    def _folders(self) -> list[tuple[datetime, str]]:
        found = []
        for entry in self._storage.entries():
            time = folder_time(entry.name)
            if time is None or entry.kind in {Kind.FILE, Kind.OTHER}:
                continue
            if entry.kind is Kind.LINK:
                raise SourceError(
                    "unsafe_path",
                    f"The change folder {entry.name} is a symbolic link",
                    where=entry.name,
                )
            found.append((time, entry.name))
        return sorted(found)

    def _examine(self, name: str, closed_at: datetime) -> Partition:
        entries = self._storage.entries(name)
        tables, notes = self._tables(name, entries)
        reason, model = "", None
        try:
            data = self._storage.read(f"{name}/{MODEL}", MAX_BYTES + 1)
            if not data:
                state, reason = _without_model(tables, closed_at, data)
                return Partition(name, _time(name), closed_at, state, reason)
            model = parse_model(data)
        except SourceError as error:  # the tables that have files will meet it again
            reason = str(error)
        else:
            model = self._remember(name, model)
            tables, unlisted = _by_entity(tables, model)
            notes += model.warnings + unlisted
        return Partition(
            name,
            _time(name),
            closed_at,
            PartitionState.READY,
            reason,
            tables,
            model,
            notes,
        )

    def _tables(
        self, name: str, entries: list[Entry]
    ) -> tuple[dict[str, tuple[TableFile, ...]], tuple[str, ...]]:
        tables: dict[str, tuple[TableFile, ...]] = {}
        notes = [
            f"{name}/{entry.name} is a {entry.kind.value} and is not read"
            for entry in entries
            if entry.kind is Kind.UNNAMEABLE
        ]
        for entry in _table_folders(entries):
            try:
                files, passed_over = self._csv_files(f"{name}/{entry.name}", entry.kind)
            except SourceError as error:  # the load of this table will meet it again
                tables[entry.name] = ()
                notes.append(str(error))
            else:
                notes.extend(passed_over)
                if files:
                    tables[entry.name] = files
        return tables, tuple(notes)

    def _csv_files(
        self, folder: str, kind: Kind
    ) -> tuple[tuple[TableFile, ...], list[str]]:
        """Return the CSV files of a table's folder and notes on what else is there.

        Names that begin with a dot are the drafts of copy tools.
        """
        if kind is Kind.LINK:
            raise SourceError(
                "unsafe_path", f"{folder} is a symbolic link", where=folder
            )
        files, notes = [], []
        for entry in self._storage.entries(folder):
            path = f"{folder}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if not entry.name.lower().endswith(".csv"):
                notes.append(f"{path} is no CSV file and is not read")
            elif entry.kind in {Kind.LINK, Kind.UNNAMEABLE}:
                raise SourceError(
                    "unsafe_path", f"{path} is a {entry.kind.value}", where=path
                )
            elif entry.kind is not Kind.FILE:
                notes.append(f"{path} is a {entry.kind.value} and is not read")
            else:
                files.append(TableFile(path, entry.size))
        return tuple(files), notes

    def _model(self, partition: str) -> Model:
        with self._lock:
            if (model := self._models.get(partition)) is not None:
                self._models.move_to_end(partition)
                return model
        data = self._storage.read(f"{partition}/{MODEL}", MAX_BYTES + 1)
        if not data:
            raise SourceError(
                "file_missing",
                f"{partition} has no {MODEL} any more",
                where=f"{partition}/{MODEL}",
            )
        try:
            model = parse_model(data)
        except ModelError as error:
            raise ModelError(
                f"{partition}: {error.message}",
                where=f"{partition}/{error.where or MODEL}",
            ) from error
        return self._remember(partition, model)

    def _remember(self, partition: str, model: Model) -> Model:
        with self._lock:
            model = replace(model, entities=tuple(map(self._shared, model.entities)))
            self._models[partition] = model
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
        return model

    def _shared(self, entity: Entity) -> Entity:
        known = self._entities.get(entity.name)
        if known is None or known.attributes != entity.attributes:
            self._entities[entity.name] = replace(entity, partitions=())
            return entity
        if not entity.partitions and known == entity:
            return known
        return replace(entity, attributes=known.attributes)


def _time(name: str) -> datetime:
    time = folder_time(name)
    if time is None:
        raise ValueError(name)
    return time


def _waiting(name: str, closed_at: datetime, reason: str) -> Partition:
    return Partition(name, _time(name), closed_at, PartitionState.WAITING, reason)


def _table_folders(entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        hidden = entry.name.startswith(".") or entry.name.lower() in _NO_TABLES
        if entry.kind in {Kind.FOLDER, Kind.LINK} and not hidden:
            yield entry


def _without_model(
    tables: Mapping[str, tuple[TableFile, ...]], closed_at: datetime, data: bytes | None
) -> tuple[PartitionState, str]:
    has_rows = any(file.size for files in tables.values() for file in files)
    if not has_rows and datetime.now(UTC) - closed_at > ABANDONED_AFTER:
        return PartitionState.SKIPPED, "an empty folder that a retry left behind"
    said = "no model.json yet" if data is None else "an empty model.json"
    return PartitionState.WAITING, f"has {said}"


def _table_names(folders: Iterable[str], model: Model) -> dict[str, str]:
    """Return, for each table folder, the entity whose rows it holds.

    The format says that their names are equal; a copy through a system that folds
    case may have changed the case, which is accepted where only one folder and one
    entity can be meant. Other folders keep their own name, which no entity has.
    """
    names = {folder: folder for folder in folders}
    entities = {entity.name for entity in model.entities}
    alike: dict[str, list[str]] = {}
    for name in (*entities, *(f for f in names if f not in entities)):
        alike.setdefault(name.lower(), []).append(name)
    for folder in names:
        group = alike[folder.lower()]
        owner = group[0] if len(group) == 2 and group[0] in entities else folder
        if folder not in entities and owner not in names:
            names[folder] = owner
    return names


def _by_entity(
    tables: Mapping[str, tuple[TableFile, ...]], model: Model
) -> tuple[dict[str, tuple[TableFile, ...]], tuple[str, ...]]:
    """Name the tables as the model does, and add those whose files are missing.

    Also return a note for every table with files that the model does not list.
    """
    names = _table_names(tables, model)
    named = {names[folder]: files for folder, files in tables.items()}
    notes = []
    for entity in model.entities:
        files = named.get(entity.name, ())
        listed = {name for p in entity.partitions for name in _file_names(p)}
        if unlisted := [file.name for file in files if file.name not in listed]:
            notes.append(
                f"model.json does not list {', '.join(unlisted)} of {entity.name}; "
                "read all the same"
            )
        if entity.name not in named and _missing(entity, ()):
            named[entity.name] = ()
    return named, tuple(notes)


def _file_names(partition: FilePartition) -> tuple[str, str, str]:
    """Return the names that a listed file may have; a location is never a path."""
    by_location = unquote(partition.location).rpartition("/")[2].partition("?")[0]
    return by_location, f"{partition.name}.csv", partition.name


def _missing(entity: Entity, files: tuple[TableFile, ...]) -> str | None:
    """Return the name of a file that the model lists but the folder lacks."""
    present = {file.name for file in files}
    for partition in entity.partitions:
        names = _file_names(partition)
        if present.isdisjoint(names):
            return names[0] or names[1]
    return None

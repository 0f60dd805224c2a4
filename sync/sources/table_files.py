"""The table folders of a change folder: their CSV files, and whose rows they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import unquote

from sync.errors import SourceError
from sync.model_json import Entity, FilePartition, Model
from sync.sources.base import TableFile
from sync.sources.storage import Entry, Kind, Storage

TableFiles = Mapping[str, tuple[TableFile, ...]]

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


def table_folders(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries of a change folder that are folders of tables, or links."""
    for entry in entries:
        hidden = entry.name.startswith(".") or entry.name.lower() in _NO_TABLES
        if entry.kind in {Kind.FOLDER, Kind.LINK} and not hidden:
            yield entry


def csv_files(
    storage: Storage, folder: str, kind: Kind
) -> tuple[tuple[TableFile, ...], list[str]]:
    """Return the CSV files of a table's folder and notes on what else is there.

    Names that begin with a dot are the drafts of copy tools. A link is refused.
    """
    if kind is Kind.LINK:
        raise SourceError("unsafe_path", f"{folder} is a symbolic link", where=folder)
    files, notes = [], []
    for entry in storage.entries(folder):
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


def table_names(folders: Iterable[str], entities: Collection[str]) -> dict[str, str]:
    """Return, for each table folder, the entity whose rows it holds.

    The format says that their names are equal; a copy through a system that folds
    case may have changed the case, which is accepted where only one folder and one
    entity can be meant. Other folders keep their own name, which no entity has.
    """
    names = {folder: folder for folder in folders}
    entities = set(entities)
    alike: dict[str, list[str]] = {}
    for name in (*entities, *(f for f in names if f not in entities)):
        alike.setdefault(name.lower(), []).append(name)
    for folder in names:
        group = alike[folder.lower()]
        owner = group[0] if len(group) == 2 and group[0] in entities else folder
        if folder not in entities and owner not in names:
            names[folder] = owner
    return names


def by_entity(
    tables: TableFiles, model: Model
) -> tuple[dict[str, tuple[TableFile, ...]], tuple[str, ...]]:
    """Name the tables as the model does, and add those whose files are missing.

    Also return a note for every table with files that the model does not list.
    """
    names = table_names(tables, [entity.name for entity in model.entities])
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
        if entity.name not in named and missing(entity, ()):
            named[entity.name] = ()
    return named, tuple(notes)


def missing(entity: Entity, files: Iterable[TableFile]) -> str | None:
    """Return the name of a file that the model lists but the folder lacks."""
    present = {file.name for file in files}
    for partition in entity.partitions:
        names = _file_names(partition)
        if present.isdisjoint(names):
            return names[0] or names[1]
    return None


def _file_names(partition: FilePartition) -> tuple[str, str, str]:
    """Return the names that a listed file may have; a location is never a path."""
    by_location = unquote(partition.location).rpartition("/")[2].partition("?")[0]
    return by_location, f"{partition.name}.csv", partition.name

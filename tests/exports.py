"""Write small Synapse Link exports, as Synapse Link would.

A typical test::

    w = ExportWriter(tmp_path)
    w.upsert("account", 1, name="Anna")
    w.delete("account", 2)
    w.close_folder()

Every row that is written comes back as a ``Change``, and ``tests.oracle.replay(w)``
says what a correct replica of the export holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
STEP = timedelta(minutes=5)
CONTAINER = "https://contoso.dfs.core.windows.net:443/dataverse-contoso-unq0"
FULL_COPY_AT = "3/1/2026 7:04:11 AM"

# Cells that are quoted; all other cells are bare.
QUOTED = {"string", "datetime", "datetimeoffset", "date", "time"}


class Auto:
    """The type of ``AUTO``."""


AUTO: Final = Auto()

Key = UUID | str | int
Sink = datetime | str | int | None
ModelState = Literal["written", "missing", "empty"]


@dataclass(frozen=True)
class Column:
    """One attribute of model.json."""

    name: str
    data_type: str = "string"

    @classmethod
    def parse(cls, spec: str | Column) -> Column:
        """Read ``name:dataType``; a name alone is a string."""
        if isinstance(spec, Column):
            return spec
        name, _, data_type = spec.partition(":")
        return cls(name, data_type or "string")

    @property
    def is_sink(self) -> bool:
        """Whether the column says when Synapse Link wrote the row."""
        return self.name.lower() in {"sinkcreatedon", "sinkmodifiedon"}


HEAD = ("Id:guid", "SinkCreatedOn:dateTime", "SinkModifiedOn:dateTime")
TAIL = ("versionnumber:int64", "createdon:dateTimeOffset", "IsDelete:boolean")
TAIL_WITHOUT_VERSION = ("IsDelete:boolean",)
OWN = ("name:string", "amount:decimal")


@dataclass
class TableDef:
    """One entity: its name and its attributes in order."""

    name: str
    columns: list[Column]

    @property
    def has_version(self) -> bool:
        return self.find("versionnumber") is not None

    def find(self, name: str) -> Column | None:
        """Return the attribute of this name, whatever its case."""
        wanted = name.lower()
        return next((c for c in self.columns if c.name.lower() == wanted), None)


@dataclass(frozen=True)
class Change:
    """One row of a file: the values by attribute, as far as the row is wide.

    ``number`` counts the rows of the table in the folder, over all its files.
    """

    table: str
    folder: str
    file: str
    number: int
    values: Mapping[str, object]

    def get(self, name: str) -> object:
        """Return the value of an attribute, whatever its case; None if not there."""
        wanted = name.lower()
        return next((v for k, v in self.values.items() if k.lower() == wanted), None)


@dataclass
class Folder:
    """One change folder, as far as the writer knows it."""

    name: str
    changes: dict[str, list[Change]] = field(default_factory=dict)
    columns: dict[str, tuple[Column, ...]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    model: str = ""
    closed: bool = False
    has_model: bool = False


def guid(key: Key) -> UUID:
    """Return the Id of a key: a small number stands for a made-up Id."""
    return UUID(int=key) if isinstance(key, int) else UUID(str(key))


def us_time(moment: datetime) -> str:
    """Return a time as the Sink columns have it: 6/28/2026 4:34:35 PM."""
    day = f"{moment.month}/{moment.day}/{moment.year}"
    half = "PM" if moment.hour >= 12 else "AM"
    return f"{day} {moment.hour % 12 or 12}:{moment:%M:%S} {half}"


def cell(column: Column, value: object) -> str:
    """Return the text of one cell, quotes included."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        value = _time_text(column, value)
    text = _plain(value)
    # The word for an empty cell that is not NULL exists with quotes only.
    if column.data_type.lower() in QUOTED or text == "":
        return '"' + text.replace('"', '""') + '"'
    return text


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _time_text(column: Column, moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    if column.is_sink:
        return us_time(moment)
    zone = "+00:00" if column.data_type.lower() == "datetimeoffset" else "Z"
    day = f"{moment.year:04}-{moment:%m-%d}"
    return f"{day}T{moment:%H:%M:%S}.{moment.microsecond:06}0{zone}"


def folder_name(moment: datetime) -> str:
    """Return the name of a folder opened at a moment."""
    return moment.strftime("%Y-%m-%dT%H.%M.%SZ")


class ExportWriter:
    """An export on disk, with one open folder."""

    def __init__(
        self,
        root: Path,
        *,
        start: datetime = START,
        step: timedelta = STEP,
        synapse_log: bool = True,
        list_files: bool = True,
    ) -> None:
        """Open the first folder.

        ``synapse_log`` says whether Changelog/Synapse.log is kept, ``list_files``
        whether model.json lists the files of a folder as partitions.
        """
        self.root = root
        self.step = step
        self.synapse_log = synapse_log
        self.list_files = list_files
        self.start = start
        self.opened_at = start
        self.clock = start
        self.tables: dict[str, TableDef] = {}
        self.folders: list[Folder] = []
        self._version = 0
        (root / "Changelog").mkdir(parents=True, exist_ok=True)
        self._open()
        self._announce()

    # Tables and columns

    def table(
        self,
        name: str,
        columns: Iterable[str | Column] = OWN,
        *,
        versioned: bool = True,
    ) -> TableDef:
        """Declare a table.

        A list of columns with ``Id`` in it is taken as it is; any other gets the
        usual columns around it, without versionnumber if ``versioned`` is false.
        """
        own = [Column.parse(c) for c in columns]
        if not any(c.name.lower() == "id" for c in own):
            tail = TAIL if versioned else TAIL_WITHOUT_VERSION
            own = [*map(Column.parse, HEAD), *own, *map(Column.parse, tail)]
        table = self.tables[name] = TableDef(name, own)
        return table

    def add_column(self, table: str, column: str | Column) -> Column:
        """Append a column; the rows that are already written stay narrow."""
        added = Column.parse(column)
        self._table(table).columns.append(added)
        return added

    def remove_column(self, table: str, name: str) -> None:
        """Remove a column: only possible before the first row of a folder."""
        if self.folder.changes.get(table):
            raise ValueError(f"{self.folder.name} has rows of {table} already")
        definition = self._table(table)
        gone = definition.find(name)
        if gone is None:
            raise KeyError(name)
        definition.columns.remove(gone)

    # Rows

    def upsert(
        self,
        table: str,
        key: Key,
        *,
        version: int | Auto | None = AUTO,
        sink: Sink | Auto = AUTO,
        file: str = "2026.csv",
        **values: object,
    ) -> Change:
        """Write the whole current row of a key.

        Without ``version`` every row is newer than all before it. ``sink`` is
        SinkModifiedOn: a time, a text, seconds since the start, or None for empty.
        """
        definition = self._table(table)
        if definition.has_version:
            values["versionnumber"] = self._next(version)
        return self._row(definition, key, sink, file, values)

    def delete(
        self,
        table: str,
        key: Key,
        *,
        version: int | Auto | None = None,
        sink: Sink | Auto = AUTO,
        file: str = "1.csv",
        **values: object,
    ) -> Change:
        """Write a delete row; it has no version unless one is given."""
        definition = self._table(table)
        if version is not None:
            values["versionnumber"] = self._next(version)
        return self._row(definition, key, sink, file, {"IsDelete": True, **values})

    def resend(
        self, change: Change, *, file: str | None = None, sink: Sink | Auto = AUTO
    ) -> Change:
        """Write an earlier row again, with a new SinkModifiedOn if one is given."""
        values = dict(change.values)
        if not isinstance(sink, Auto):
            values["SinkModifiedOn"] = self._sink(sink)
        return self.write(change.table, values, file=file or change.file)

    def write(
        self, table: str, values: Mapping[str, object], *, file: str = "2026.csv"
    ) -> Change:
        """Write one row by its attribute names; what is not given is empty."""
        definition = self._table(table)
        given = {name.lower(): value for name, value in values.items()}
        full = {c.name: given.get(c.name.lower()) for c in definition.columns}
        if unknown := given.keys() - {c.name.lower() for c in definition.columns}:
            raise KeyError(f"{table} has no column {', '.join(sorted(unknown))}")
        cells = (cell(c, full[c.name]) for c in definition.columns)
        self.raw(table, file, (",".join(cells) + "\n").encode())
        rows = self.folder.changes.setdefault(table, [])
        change = Change(table, self.folder.name, file, len(rows), full)
        rows.append(change)
        return change

    def raw(
        self, table: str, file: str, data: bytes, *, folder: str | None = None
    ) -> Path:
        """Append bytes to a file as they are; the oracle does not see them."""
        place = self.find(folder) if folder else self.folder
        path = self.root / place.name / table / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.write(data)
        files = place.files.setdefault(table, [])
        if file not in files:
            files.append(file)
        return path

    # Folders

    @property
    def folder(self) -> Folder:
        """The open folder."""
        return self.folders[-1]

    def find(self, name: str) -> Folder:
        """Return a folder by its name."""
        return next(folder for folder in self.folders if folder.name == name)

    def close_folder(
        self, *, model: ModelState = "written", gap: timedelta | None = None
    ) -> str:
        """Close the open folder, open its successor, and return the closed one's name.

        ``model`` says what becomes of model.json: written, missing, or there with
        0 bytes; ``deliver_model`` writes it later. ``gap`` replaces the usual step.
        """
        closed = self.folder
        closed.closed = True
        closed.columns = {t.name: tuple(t.columns) for t in self.tables.values()}
        closed.model = json.dumps(self._model(closed), indent=1)
        self.opened_at += gap or self.step
        self.clock = max(self.clock, self.opened_at)
        self._open()
        if model == "written":
            self.deliver_model(closed.name)
        elif model == "empty":
            (self.root / closed.name / "model.json").touch()
        self._announce()
        return closed.name

    def deliver_model(self, name: str | None = None) -> str:
        """Write the model.json of a closed folder: the oldest that waits for it."""
        waiting = self.waiting()
        folder = self.find(name or waiting[0])
        path = self.root / folder.name / "model.json"
        path.write_text(folder.model, encoding="utf-8")
        folder.has_model = True
        if not any(f.has_model for f in self.folders if f.name > folder.name):
            (self.root / "model.json").write_text(folder.model, encoding="utf-8")
        return folder.name

    def waiting(self) -> list[str]:
        """Return the closed folders whose model.json was not delivered."""
        return [f.name for f in self.folders if f.closed and not f.has_model]

    def complete(self) -> list[str]:
        """Return the folders that may be applied: none overtakes a waiting one."""
        names = []
        for folder in self.folders:
            if not (folder.closed and folder.has_model):
                break
            names.append(folder.name)
        return names

    # The parts

    def _table(self, name: str) -> TableDef:
        return self.tables[name] if name in self.tables else self.table(name)

    def _row(
        self,
        table: TableDef,
        key: Key,
        sink: Sink | Auto,
        file: str,
        values: Mapping[str, object],
    ) -> Change:
        written_at = self._sink(sink)
        frame: dict[str, object] = {"Id": guid(key)}
        frame |= {c.name: written_at for c in table.columns if c.is_sink}
        return self.write(table.name, {**frame, **values}, file=file)

    def _sink(self, sink: Sink | Auto) -> object:
        if isinstance(sink, Auto):
            self.clock += timedelta(seconds=1)
            return self.clock
        if isinstance(sink, int):
            return self.start + timedelta(seconds=sink)
        return sink

    def _next(self, version: int | Auto | None) -> int | None:
        if isinstance(version, Auto):
            version = self._version + 1
        self._version = max(self._version, version or 0)
        return version

    def _open(self) -> None:
        folder = Folder(folder_name(self.opened_at))
        (self.root / folder.name).mkdir()
        self.folders.append(folder)

    def _announce(self) -> None:
        log = self.root / "Changelog"
        if self.synapse_log:
            earlier = ",".join(folder.name for folder in self.folders[:-1])
            (log / "Synapse.log").write_text(earlier, encoding="utf-8")
        (log / "changelog.info").write_text(self.folder.name, encoding="utf-8")

    def _model(self, folder: Folder) -> dict[str, object]:
        return {
            "name": "cdm",
            "description": "cdm",
            "version": "1.0",
            "entities": [
                self._entity(self.tables[name], folder) for name in sorted(self.tables)
            ],
        }

    def _entity(self, table: TableDef, folder: Folder) -> dict[str, object]:
        files: Sequence[str] = folder.files.get(table.name, [])
        listed = sorted(files) if self.list_files else []
        return {
            "$type": "LocalEntity",
            "name": table.name,
            "description": table.name,
            "annotations": [
                {"name": "Athena:PartitionGranularity", "value": "Year"},
                {"name": "Athena:InitialSyncState", "value": "Completed"},
                {
                    "name": "Athena:InitialSyncDataCompletedTime",
                    "value": FULL_COPY_AT,
                },
            ],
            "attributes": [
                {"name": c.name, "dataType": c.data_type, "maxLength": -1}
                for c in table.columns
            ],
            "partitions": [_partition(folder.name, table.name, f) for f in listed],
        }


def _partition(folder: str, table: str, file: str) -> dict[str, object]:
    stem = file.removesuffix(".csv")
    return {
        "name": stem,
        "location": f"{CONTAINER}/{folder}/{table}/{file}",
        "fileFormatSettings": {
            "$type": "CsvFormatSettings",
            "columnHeaders": False,
            "delimiter": ",",
            "quoteStyle": "QuoteStyle.Csv",
            "csvStyle": "CsvStyle.QuoteAlways",
            "encoding": "UTF-8",
        },
        "annotations": [
            {"name": "Athena:PartitionYear", "value": re.split("[_-]", stem)[0]}
        ],
    }

"""Writes the export that is measured: a full copy of one table, a delta, a tick.

The table has what costs time when it is read: guids, dates in the US form,
timestamps of seven digits, decimals, and quoted text with newlines. The same number
of rows gives the same bytes. Only a chunk of lines is ever in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from math import gcd
from pathlib import Path
from typing import NamedTuple

TABLE = "account"
# Name and data type in model.json, in the order of the cells.
ATTRIBUTES = (
    ("Id", "guid"),
    ("SinkCreatedOn", "dateTime"),
    ("SinkModifiedOn", "dateTime"),
    ("name", "string"),
    ("description", "string"),
    ("statecode", "int64"),
    ("numberofemployees", "int64"),
    ("donotemail", "boolean"),
    ("creditonhold", "boolean"),
    ("revenue", "decimal"),
    ("exchangerate", "decimal"),
    ("versionnumber", "int64"),
    ("createdon", "dateTimeOffset"),
    ("modifiedon", "dateTime"),
    ("IsDelete", "boolean"),
)
MIN_ROWS = 1000
# Rows of the delta by rows of the table, and at most so many in the tick.
DELTA_SHARE = 10
TICK_ROWS = 1000
# Updates of each key, where few keys change again and again.
HOT_CHANGES = 100
# Versions of the full copy begin here; lower ones are older than any row.
FIRST_VERSION = 10**9

_CONTAINER = "https://contoso.dfs.core.windows.net:443/dataverse-contoso"
_FOLDERS = tuple(f"2026-03-01T08.{minute:02d}.00Z" for minute in (0, 15, 30, 45))
_SINKS = tuple(f'"3/1/2026 8:{minute:02d}:07 AM"' for minute in (1, 16, 31))
YEARS = range(2022, 2027)
_DELETES = 1  # deletes have no creation year
_CHUNK = 5000

# What a hundred lines of a delta are. An update that is older than the row, and one
# that is followed by a newer one of the same row, make the guard necessary.
_STALE, _REPEATED = 0, 59
_UPDATES, _INSERTS, _DELETES_IN = range(60), range(60, 90), range(90, 100)

_WORDS = (
    *("Nordwind", "Adatum", "Fabrikam", "Contoso", "Litware", "Tailspin"),
    *("Müller", "Øst", "Çelik"),
)
_NAMES = [
    f"{_WORDS[i % 9]} {_WORDS[i * 5 % 8]} {('AG', 'Ltd', 'GmbH')[i % 3]}"
    for i in range(997)
]
# Quotes are doubled as CSV wants it; each third text has a newline.
_TEXTS = [
    f'said ""call back"", {_WORDS[i % 9]}{chr(10) if i % 3 == 0 else " "}visit {i}'
    for i in range(1009)
]
_BOOLEANS = ("True", "False")
_RATES = [f"{1 + i / 101:.10f}" for i in range(101)]
_TIMES = [
    f"-{1 + i % 12:02d}-{1 + i % 28:02d}T{i % 24:02d}:{i * 7 % 60:02d}"
    f":{i * 11 % 60:02d}.{i * 7919 % 10_000_000:07d}"
    for i in range(4093)
]


class Change(NamedTuple):
    """One line: the number of its row, and the version that it has after it."""

    row: int
    version: int | None
    """None for a delete, which has none."""


@dataclass(frozen=True)
class Step:
    """One closed folder: what it holds, and what a correct load makes of it."""

    title: str
    directory: Path
    files: tuple[str, ...]
    size: int
    lines: int
    inserted: int
    updated: int
    deleted: int
    total: int
    """Rows of the table afterwards."""


class Export:
    """An export of three folders, of which as many are closed as one says.

    A folder has a file for each of the ``years`` in which rows were created.
    """

    def __init__(self, root: Path, rows: int, years: range = YEARS) -> None:
        if rows < MIN_ROWS:
            raise ValueError(f"There must be {MIN_ROWS} rows at least.")
        self.root = root
        self.rows = rows
        self._years = years
        self._next_row = rows
        self._picked = 0
        self._stride = next(
            n for n in range(rows * 618 // 1000, rows) if gcd(n, rows) == 1
        )

    def write_initial(self) -> Step:
        """Write the full copy."""
        (self.root / "Changelog").mkdir(parents=True)
        directory, files = self._write_folder(0, self.initial_changes())
        return step_of("initial load", directory, files, (self.rows, 0, 0, 0), 0)

    def write_delta(self, number: int, title: str, lines: int, before: int) -> Step:
        """Write 60 % updates, 30 % inserts and 10 % deletes of ``before`` rows."""
        directory, files = self._write_folder(number, self.changes(number, lines))
        return step_of(title, directory, files, delta_counts(lines), before)

    def write_hot(self, number: int, title: str, keys: int, before: int) -> Step:
        """Write ``HOT_CHANGES`` updates of each of so many keys."""
        directory, files = self._write_folder(number, self.hot_changes(number, keys))
        return step_of(title, directory, files, hot_counts(keys), before)

    def write_all(self) -> list[Step]:
        """Write the full copy, a delta and a tick; return them in this order."""
        initial = self.write_initial()
        lines = self.rows // DELTA_SHARE
        delta = self.write_delta(1, "delta", lines, initial.total)
        tick = self.write_delta(2, "tick", min(TICK_ROWS, lines), delta.total)
        return [initial, delta, tick]

    def close(self, folders: int) -> None:
        """Let the marker say that the first so many folders are closed."""
        (self.root / _FOLDERS[folders]).mkdir(exist_ok=True)
        log = self.root / "Changelog"
        (log / "Synapse.log").write_text(",".join(_FOLDERS[:folders]))
        (log / "changelog.info").write_text(_FOLDERS[folders])

    def initial_changes(self) -> Iterator[Change]:
        """Yield the lines of the full copy."""
        return (Change(row, FIRST_VERSION + row) for row in range(self.rows))

    def changes(self, number: int, lines: int) -> Iterator[Change]:
        """Yield the lines of a delta."""
        row = 0
        for line in range(lines):
            kind = line % 100
            version = number * 10**10 + line
            if kind in _DELETES_IN:
                yield Change(self._pick(), None)
            elif kind in _INSERTS:
                yield Change(self._next_row, version)
                self._next_row += 1
            else:
                row = row if kind == _REPEATED else self._pick()
                yield Change(row, row if kind == _STALE else version)

    def hot_changes(self, number: int, keys: int) -> Iterator[Change]:
        """Yield updates of a few keys, all of them in turn."""
        rows = [self._pick() for _ in range(keys)]
        for line in range(keys * HOT_CHANGES):
            yield Change(rows[line % keys], number * 10**10 + line)

    def line(self, change: Change, number: int) -> str:
        """Return a line of a folder's files."""
        return _line(change, self._year(change), _SINKS[number])

    def _pick(self) -> int:
        """Return a row of the full copy that was not picked before."""
        self._picked += 1
        return self._picked * self._stride % self.rows

    def _year(self, change: Change) -> int:
        if change.version is None:
            return _DELETES
        share = min(change.row, self.rows - 1) * len(self._years) // self.rows
        return self._years[share]

    def _write_folder(
        self, number: int, changes: Iterable[Change]
    ) -> tuple[Path, tuple[str, ...]]:
        directory = self.root / _FOLDERS[number] / TABLE
        directory.mkdir(parents=True)
        source = iter(changes)
        with ExitStack() as stack:
            files = {
                year: stack.enter_context((directory / f"{year}.csv").open("wb"))
                for year in ((_DELETES, *self._years) if number else self._years)
            }
            while chunk := list(islice(source, _CHUNK)):
                lines: dict[int, list[str]] = {year: [] for year in files}
                for change in chunk:
                    year = self._year(change)
                    lines[year].append(_line(change, year, _SINKS[number]))
                for year, part in lines.items():
                    files[year].write("".join(part).encode())
        names = tuple(f"{year}.csv" for year in files)
        model = json.dumps(model_of(_FOLDERS[number], names), indent=1)
        (directory.parent / "model.json").write_text(model)
        (self.root / "model.json").write_text(model)
        return directory, names


def delta_counts(lines: int) -> tuple[int, int, int, int]:
    """Return inserts, updates, deletes, and lines of a delta that change nothing."""
    kinds = [line % 100 for line in range(lines)]
    unchanged = sum(kind in {_STALE, _REPEATED} for kind in kinds)
    return (
        sum(kind in _INSERTS for kind in kinds),
        sum(kind in _UPDATES for kind in kinds) - unchanged,
        sum(kind in _DELETES_IN for kind in kinds),
        unchanged,
    )


def hot_counts(keys: int) -> tuple[int, int, int, int]:
    """Return the same of few keys that change again and again."""
    return 0, keys, 0, keys * (HOT_CHANGES - 1)


def step_of(
    title: str,
    directory: Path,
    files: tuple[str, ...],
    counts: tuple[int, int, int, int],
    before: int,
) -> Step:
    """Return a step by its files and what a correct load makes of them."""
    inserted, updated, deleted, _ = counts
    return Step(
        title=title,
        directory=directory,
        files=files,
        size=sum((directory / name).stat().st_size for name in files),
        lines=sum(counts),
        inserted=inserted,
        updated=updated,
        deleted=deleted,
        total=before + inserted - deleted,
    )


def _guid(row: int) -> str:
    text = blake2b(row.to_bytes(8, "big"), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _line(change: Change, year: int, sink: str) -> str:
    row, version = change
    if version is None:
        return f"{_guid(row)},{sink},{sink},,,,,,,,,,,,True\n"
    mix = row * 31 + version
    return (
        f'{_guid(row)},{sink},{sink},"{_NAMES[row % 997]} {row}",'
        f'"{_TEXTS[mix % 1009]}",{mix & 1},{mix % 5000},'
        f"{_BOOLEANS[row & 1]},{_BOOLEANS[mix >> 3 & 1]},"
        f"{mix * 7919 % 10**8}.{mix % 100:02d},{_RATES[row % 101]},{version},"
        f'"{year}{_TIMES[row % 4093]}+00:00","2026{_TIMES[mix % 4093]}Z",\n'
    )


def model_of(folder: str, files: Sequence[str]) -> dict[str, object]:
    """Return the model.json of a folder with these files."""
    entity = {
        "$type": "LocalEntity",
        "name": TABLE,
        "description": TABLE,
        "annotations": [
            {"name": "Athena:PartitionGranularity", "value": "Year"},
            {"name": "Athena:InitialSyncState", "value": "Completed"},
        ],
        "attributes": [
            {"name": name, "dataType": data_type, "maxLength": -1}
            for name, data_type in ATTRIBUTES
        ],
        "partitions": [
            {
                "name": file.removesuffix(".csv"),
                "location": f"{_CONTAINER}/{folder}/{TABLE}/{file}",
                "fileFormatSettings": {
                    "$type": "CsvFormatSettings",
                    "columnHeaders": False,
                    "delimiter": ",",
                    "quoteStyle": "QuoteStyle.Csv",
                    "csvStyle": "CsvStyle.QuoteAlways",
                    "encoding": "UTF-8",
                },
            }
            for file in files
        ],
    }
    return {
        "name": "cdm",
        "description": "cdm",
        "version": "1.0",
        "entities": [entity],
    }

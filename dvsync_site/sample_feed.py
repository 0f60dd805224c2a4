"""Writes a sample change feed: log files of the row changes of a small shop.

The same arguments give the same lines but for their times. It may grow on disk, line
by line, and go on after a restart, even of a killed writer::

    feed = SampleFeed(directory, rows=100, seed=1)
    feed.write_initial()
    feed.write_changes(12)
    feed.expected_rows("account")             # what a replica must hold now

    feed = SampleFeed.resume(directory)
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dvsync_site.sample_tables import (
    CITIES,
    COMPANIES,
    COMPANY_ENDS,
    DAYS,
    FIRST_NAMES,
    ITEMS,
    LAST_NAMES,
    ODD_TEXTS,
)
from dvsync_site.sample_values import UTC, Dice

NOTES = ".dvsync-sample.json"
# After so many lines the next file begins.
LINES_PER_FILE = 5_000
# Every table begins with so many rows for each account.
SHARES = {"account": 1, "contact": 2, "orderline": 3}
LINES_PER_ORDER = 3

Value = str | int | float | bool | None
Row = dict[str, Value]
Key = tuple[Value, ...]


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    make: Callable[[Dice], Value]


def _pick(name: str, *values: Value, type_: str = "string") -> _Column:
    return _Column(name, type_, lambda dice: values[dice.roll(len(values))])


def _number(name: str, limit: int) -> _Column:
    return _Column(name, "int32", lambda dice: dice.roll(limit))


def _amount(name: str, limit: int) -> _Column:
    return _Column(name, "decimal", lambda dice: dice.roll(limit * 100) / 100)


def _phone(dice: Dice) -> Value:
    return f"{100 + dice.roll(900)}-555-{dice.roll(10_000):04d}"


_TABLES: dict[str, tuple[tuple[str, ...], tuple[_Column, ...]]] = {
    "account": (
        ("accountid",),
        (
            _Column(
                "name",
                "string",
                lambda dice: (
                    f"{COMPANIES[dice.roll(len(COMPANIES))]} "
                    f"{COMPANY_ENDS[dice.roll(len(COMPANY_ENDS))]}"
                ),
            ),
            _Column("telephone1", "string", _phone),
            _pick("address1_city", *CITIES),
            _number("numberofemployees", 5_000),
            _amount("revenue", 1_000_000),
            _pick("donotemail", True, False, False, None, type_="boolean"),
            _pick("modifiedon", *(f"{d}T16:21:12Z" for d in DAYS), type_="dateTime"),
        ),
    ),
    "contact": (
        ("contactid",),
        (
            _pick("firstname", *FIRST_NAMES),
            _pick("lastname", *LAST_NAMES),
            _Column("telephone1", "string", _phone),
            _pick("description", *ODD_TEXTS),
            _pick("birthdate", None, *DAYS, type_="date"),
            _Column("accountid", "string", lambda dice: f"acc-{dice.roll(97):06d}"),
        ),
    ),
    "orderline": (
        ("orderid", "linenumber"),
        (
            _pick("product", *ITEMS),
            _number("quantity", 100),
            _amount("price", 5_000),
            _pick("shipped", True, False, False, type_="boolean"),
        ),
    ),
}


class SampleFeed:
    """A growing change feed. ``rows`` is the number of accounts at its beginning."""

    def __init__(self, directory: Path, *, rows: int = 100, seed: int = 1) -> None:
        if rows < 1:
            raise ValueError("rows must be at least 1.")
        self.directory = directory
        self.lines = 0
        self._arguments = {"rows": rows, "seed": seed}
        self._rows: dict[str, dict[Key, Row]] = {table: {} for table in _TABLES}
        # The same keys in lists, of which one can be picked.
        self._keys: dict[str, list[Key]] = {table: [] for table in _TABLES}
        self._born = dict.fromkeys(_TABLES, 0)
        self._dice = Dice(seed, "feed")
        self._changes = self._all_changes()

    @classmethod
    def resume(cls, directory: Path) -> SampleFeed:
        """Take up the feed in a directory where it was left, even if killed."""
        feed = cls(directory, **json.loads((directory / NOTES).read_bytes()))
        written = sum(_whole_lines(path) for path in feed.files)
        for _ in islice(feed._changes, written):
            feed.lines += 1
        feed.write_initial()
        return feed

    @property
    def files(self) -> list[Path]:
        """Return the log files, in their order."""
        return sorted(self.directory.glob("*.log"))

    @property
    def tables(self) -> list[str]:
        """Return the names of the tables."""
        return list(_TABLES)

    @property
    def first_lines(self) -> int:
        """Return how many lines bring the first rows."""
        return self._arguments["rows"] * sum(SHARES.values())

    def expected_rows(self, table: str) -> list[Row]:
        """Return the rows that a replica must hold now."""
        return list(self._rows[table].values())

    def write_initial(self) -> None:
        """Write model.json, and what is missing of the first rows."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "model.json").write_text(json.dumps(_model()))
        (self.directory / NOTES).write_text(json.dumps(self._arguments))
        self.write_changes(max(0, self.first_lines - self.lines))

    def write_changes(self, changes: int) -> str:
        """Append so many lines; return the name of the file that has the last one."""
        name = self._name()
        while changes > 0:
            name = self._name()
            count = min(changes, LINES_PER_FILE - self.lines % LINES_PER_FILE)
            made = list(islice(self._changes, count))
            now = dt.datetime.now(UTC)
            text = "".join(f"{now:%Y-%m-%dT%H:%M:%SZ} | {change}\n" for change in made)
            with (self.directory / name).open("ab") as log:
                log.write(text.encode())
            self.lines += count
            changes -= count
        return name

    def _name(self) -> str:
        return f"changes-{self.lines // LINES_PER_FILE + 1:06d}.log"

    def _all_changes(self) -> Iterator[str]:
        """Yield the lines without their times, and keep the rows up to date."""
        for table, share in SHARES.items():
            for _ in range(self._arguments["rows"] * share):
                yield self._insert(table)
        tables = list(_TABLES)
        while True:
            table = tables[self._dice.roll(len(tables))]
            chance = self._dice.roll(100)
            if chance < 25 or not self._keys[table]:
                yield self._insert(table)
            elif chance < 85:
                yield self._update(table)
            elif chance < 97:
                yield self._delete(table)
            else:
                yield self._update_of_none(table)

    def _insert(self, table: str) -> str:
        key = self._new_key(table)
        row = self._row(table, key)
        for column in _TABLES[table][1]:
            row[column.name] = column.make(self._dice)
        self._rows[table][key] = row
        self._keys[table].append(key)
        return _line("INSERT", table, row)

    def _update(self, table: str) -> str:
        """Change one to three columns of a row."""
        keys = self._keys[table]
        key = keys[self._dice.roll(len(keys))]
        told = self._told(table, key)
        self._rows[table][key].update(told)
        return _line("UPDATE", table, told)

    def _delete(self, table: str) -> str:
        keys = self._keys[table]
        place = self._dice.roll(len(keys))
        keys[place], keys[-1] = keys[-1], keys[place]
        key = keys.pop()
        del self._rows[table][key]
        return _line("DELETE", table, self._row(table, key))

    def _update_of_none(self, table: str) -> str:
        """Change a row that is not there, as feeds do when they begin in the middle."""
        key: Key = ("none", 0)[: len(_TABLES[table][0])]
        return _line("UPDATE", table, self._told(table, key))

    def _told(self, table: str, key: Key) -> Row:
        columns = _TABLES[table][1]
        told = self._row(table, key)
        for _ in range(1 + self._dice.roll(3)):
            column = columns[self._dice.roll(len(columns))]
            told[column.name] = column.make(self._dice)
        return told

    def _row(self, table: str, key: Key) -> Row:
        return dict(zip(_TABLES[table][0], key, strict=True))

    def _new_key(self, table: str) -> Key:
        number = self._born[table]
        self._born[table] += 1
        if table == "orderline":
            order, line = divmod(number, LINES_PER_ORDER)
            return f"ord-{order:06d}", line + 1
        return (f"{table[:3]}-{number:06d}",)


def _line(verb: str, table: str, row: Row) -> str:
    return f"{verb} | {table} | {json.dumps(row, ensure_ascii=False)}"


def _model() -> dict[str, object]:
    types = {"linenumber": "int32"}
    entities = []
    for table, (keys, columns) in _TABLES.items():
        described = [(key, types.get(key, "string"), True) for key in keys]
        described += [(column.name, column.type, False) for column in columns]
        attributes = [
            {"logicalName": name, "type": type_, "isPrimaryKey": is_key}
            for name, type_, is_key in described
        ]
        entities.append({"logicalName": table, "attributes": attributes})
    return {"entities": entities}


def _whole_lines(path: Path) -> int:
    """Count the lines of a file, after cutting off one that a killed writer left."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("rb+") as log:
            log.truncate(end)
    return data.count(b"\n")

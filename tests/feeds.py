"""Write small change feeds, as the original utility's input was described.

A typical test::

    feed = FeedWriter(tmp_path)
    feed.table("account", "accountid", "name", "score:int64")
    feed.insert("account", accountid="acc-001", name="Anna")
    feed.update("account", accountid="acc-001", name="Anne")

Every line that is written comes back as a ``Line``; ``tests.feed_oracle`` says what a
correct replica of them holds. Each log file is a ``Stream`` through all its names: what
is done to files is done by ``rename``, ``truncate``, ``recreate`` and ``remove``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2024, 9, 10, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    """One change, as it was written to a file."""

    file: str
    number: int
    verb: str
    table: str
    values: Mapping[str, Any]


@dataclass(eq=False)
class Stream:
    """One log file, by the name under which it is known or was known last.

    ``over`` says that its content is nowhere any more.
    """

    name: str
    data: bytes = b""
    over: bool = False


@dataclass
class FeedWriter:
    """A directory of log files with its model.json; ``file`` is written to.

    ``dialect`` is that of model.json: "logicalName", or "cdm", in which the key of
    every table is a column ``Id``.
    """

    root: Path
    file: str = "2024-09-10.log"
    dialect: str = "logicalName"
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    past: list[Stream] = field(default_factory=list)
    clock: int = 0

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def table(self, name: str, *columns: str, key: tuple[str, ...] = ()) -> None:
        """Describe a table: ``name:type`` for each column, the first is the key."""
        parsed = [column.partition(":") for column in columns]
        self.tables[name] = {name: type_ or "string" for name, _, type_ in parsed}
        self.keys[name] = key or (parsed[0][0],)
        self.write_model()

    def write_model(self) -> None:
        """Write model.json."""
        entities = [self._entity(name) for name in self.tables]
        (self.root / "model.json").write_text(json.dumps({"entities": entities}))

    def _entity(self, table: str) -> dict[str, Any]:
        columns = self.tables[table]
        if self.dialect == "cdm":
            attributes = [{"name": n, "dataType": t} for n, t in columns.items()]
            return {"$type": "LocalEntity", "name": table, "attributes": attributes}
        return {
            "logicalName": table,
            "attributes": [
                {
                    "logicalName": name,
                    "type": type_,
                    "isPrimaryKey": name in self.keys[table],
                }
                for name, type_ in columns.items()
            ],
        }

    @property
    def path(self) -> Path:
        """The file that is written to."""
        return self.root / self.file

    def insert(self, table: str, **values: Any) -> Line:
        return self.change("INSERT", table, values)

    def update(self, table: str, **values: Any) -> Line:
        return self.change("UPDATE", table, values)

    def delete(self, table: str, **values: Any) -> Line:
        return self.change("DELETE", table, values)

    def change(self, verb: str, table: str, values: Mapping[str, Any]) -> Line:
        """Append a change."""
        text = f"{self.moment()} | {verb} | {table} | {json.dumps(values)}\n"
        number = self.raw(text)
        line = Line(self.file, number, verb, table, dict(values))
        self.lines.append(line)
        self.clock += 1
        return line

    def raw(self, text: str | bytes) -> int:
        """Append text to the file as it is; return the number of its first line."""
        data = text.encode() if isinstance(text, str) else text
        stream = self.streams.setdefault(self.file, Stream(self.file))
        number = stream.data.count(b"\n") + 1
        stream.data += data
        with self.path.open("ab") as file:
            file.write(data)
        return number

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, as a rotation does; it goes on there."""
        (self.root / old).rename(self.root / new)
        stream = self.streams[new] = self.streams.pop(old)
        stream.name = new

    def truncate(self, name: str) -> None:
        """Cut a file to nothing; it stays the same file."""
        self._end(name)
        (self.root / name).write_bytes(b"")
        self.streams[name] = Stream(name)

    def recreate(self, name: str) -> None:
        """Put an empty file in a file's place; another one, with its name."""
        self._end(name)
        fresh = self.root / ".fresh"
        fresh.write_bytes(b"")
        fresh.rename(self.root / name)
        self.streams[name] = Stream(name)

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._end(name)
        (self.root / name).unlink()

    def _end(self, name: str) -> None:
        stream = self.streams.pop(name)
        stream.over = True
        self.past.append(stream)

    def moment(self) -> str:
        """Return the time of the next line."""
        now = START + timedelta(seconds=self.clock)
        return f"{now:%Y-%m-%dT%H:%M:%SZ}"

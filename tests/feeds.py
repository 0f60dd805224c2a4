"""Write small change feeds, as the original utility's input was described.

A typical test::

    feed = FeedWriter(tmp_path)
    feed.table("account", "accountid", "name", "score:int64")
    feed.insert("account", accountid="acc-001", name="Anna")
    feed.update("account", accountid="acc-001", name="Anne")

Every line that is written comes back as a ``Line``; ``tests.feed_oracle`` says what a
correct replica of them holds.
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


@dataclass
class FeedWriter:
    """A directory of log files with its model.json; ``file`` is written to."""

    root: Path
    file: str = "2024-09-10.log"
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def table(self, name: str, *columns: str, key: tuple[str, ...] = ()) -> None:
        """Describe a table: ``name:type`` for each column, the first is the key."""
        parsed = [column.partition(":") for column in columns]
        self.tables[name] = {name: type_ or "string" for name, _, type_ in parsed}
        self.keys[name] = key or (parsed[0][0],)
        self.write_model()

    def write_model(self) -> None:
        """Write model.json, in the dialect of the original utility."""
        entities = [
            {
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
            for table, columns in self.tables.items()
        ]
        (self.root / "model.json").write_text(json.dumps({"entities": entities}))

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
        return line

    def raw(self, text: str | bytes) -> int:
        """Append text to the file as it is; return the number of its first line."""
        data = text.encode() if isinstance(text, str) else text
        number = self._numbers.get(self.file, 0) + 1
        self._numbers[self.file] = number - 1 + data.count(b"\n")
        with self.path.open("ab") as stream:
            stream.write(data)
        return number

    def moment(self) -> str:
        """Return the time of the next line."""
        now = START + timedelta(seconds=len(self.lines))
        return f"{now:%Y-%m-%dT%H:%M:%SZ}"

"""What a correct replica of a change feed holds, worked out one line at a time.

It is written from the specification and shares nothing with the engine. ``whole_lines``
reads the bytes of a log file, ``replay`` folds lines, in the order in which they were
applied, into a dictionary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.oracle import Row, stored

VERBS = ("INSERT", "UPDATE", "DELETE")
TEXTS = {"string", "char", "lookup"}
BOM = b"\xef\xbb\xbf"
_PIECE = re.compile(rb"[^\n]*\n|[^\n]+")
_INTEGER = re.compile(r"-?\d+")

Key = tuple[object, ...]


@dataclass(frozen=True)
class Schema:
    """A table's columns with their types, and its key."""

    columns: Mapping[str, str]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """A whole line; a bad one has no ``values``. ``end`` is before its line end."""

    table: str
    number: int
    end: int
    verb: str = ""
    values: Mapping[str, object] | None = None

    @property
    def is_bad(self) -> bool:
        return self.values is None


class _Digits(str):
    """A number as it is written."""

    __slots__ = ()


def whole_lines(data: bytes, schemas: Mapping[str, Schema]) -> list[Told]:
    """Return the whole lines of a log file that are not blank."""
    return list(_lines(data, schemas))


def extent(data: bytes) -> int:
    """Return where the last whole line ends.

    A last line without line end is whole when its JSON is.
    """
    end = data.rfind(b"\n") + 1
    rest = data[end:]
    return len(data) if rest.strip() and _document(rest) is not None else end


def _lines(data: bytes, schemas: Mapping[str, Schema]) -> Iterator[Told]:
    start = 0
    pieces = _PIECE.findall(data[: extent(data)])
    for number, piece in enumerate(pieces, 1):
        line = piece.removeprefix(BOM) if start == 0 else piece
        if line.strip():
            yield _line(line, number, start + len(piece.rstrip()), schemas)
        start += len(piece)


def _line(line: bytes, number: int, end: int, schemas: Mapping[str, Schema]) -> Told:
    parts = [*line.split(b"|", 3), b"", b""]  # one without bars is of no table
    verb, name = parts[1].strip(), parts[2].strip().decode()
    told = Told(name, number, end)
    schema = schemas.get(name)
    word = verb.decode().upper()
    values = _document(line)
    if schema is None or word not in VERBS or values is None:
        return told
    try:
        typed = {name: _typed(value, schema, name) for name, value in values.items()}
    except (ValueError, KeyError, ArithmeticError):
        return told
    if any(typed.get(name) is None for name in schema.key):
        return told
    return Told(name, number, end, word, typed)


def _document(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a line; None when there is none."""
    parts = line.split(b"|", 3)
    try:
        found = json.loads(parts[3], parse_float=_Digits)
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _typed(value: object, schema: Schema, name: str) -> object:
    """Return what the target holds for a value; raises for one that does not fit."""
    kind = schema.columns[name]
    if kind in TEXTS and value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\0" in text:
            raise ValueError(text)
        text.encode()
        return text
    if kind == "int64" and value not in (None, ""):
        if (
            not _INTEGER.fullmatch(str(value))
            or not -(2**63) <= int(str(value)) < 2**63
        ):
            raise ValueError(value)
        return int(str(value))
    return stored(value, kind)


@dataclass
class Replay:
    """What the lines of one table came to: its rows, and changes that had no row."""

    schema: Schema
    insert_unknown: bool = False
    rows: dict[Key, Row] = field(default_factory=dict)
    missing: int = 0

    def apply(self, line: Told) -> None:
        """Apply the next line; a bad one changes nothing."""
        if line.values is None:
            return
        key = tuple(line.values[name] for name in self.schema.key)
        nothing: Row = dict.fromkeys(self.schema.columns)
        if line.verb == "INSERT":
            self.rows[key] = {**nothing, **line.values}
        elif key not in self.rows and not (
            line.verb == "UPDATE" and self.insert_unknown
        ):
            self.missing += 1
        elif line.verb == "UPDATE":
            self.rows[key] = {**self.rows.get(key, nothing), **line.values}
        else:
            del self.rows[key]


def replay(
    lines: Iterable[Told], schema: Schema, *, insert_unknown: bool = False
) -> Replay:
    """Return what lines of one table come to, in the order in which they are given."""
    done = Replay(schema, insert_unknown)
    for line in lines:
        done.apply(line)
    return done


def of_table(lines: Iterable[Told], table: str) -> list[Told]:
    """Return the lines of a table."""
    return [line for line in lines if line.table == table]

"""The lines of a change feed: which table each is about, and its values as text.

A line is ``time | VERB | table | {JSON object}``: a UTC time, INSERT, UPDATE or DELETE
in any case, and the columns with their values. An INSERT is the whole row, an UPDATE
the columns that changed, a DELETE at least the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NoReturn

from sync.model_json import MAX_NAME, Entity

# A longer line is refused rather than held in memory.
MAX_LINE = 16 * 1024 * 1024

_LINE = re.compile(
    rb"\s*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)\s*\|"
    rb"\s*([A-Za-z]+)\s*\|[^|]*\|\s*(.*)",
    re.DOTALL,
)
_VERBS = {b"INSERT": "I", b"UPDATE": "U", b"DELETE": "D"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What COPY's text format gives another meaning.
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NULL = r"\N"
# PostgreSQL takes words such as "now" for the time of the load. None of them is made of
# these signs alone.
_TIME = re.compile(r"[0-9TtZzAaPpMm:.,/+ -]*")
_SHAPES_KEPT = 1_000
_TOO_DEEP = "It is nested too deeply"


class BadLineError(Exception):
    """A line cannot be a change of its table; ``column`` is at fault, if one is."""

    def __init__(self, code: str, message: str, column: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.column = column


def table_of(line: bytes, known: Collection[str]) -> str | None:
    """Return the table that a line is about, None when that cannot be said.

    A line that is damaged elsewhere is still about a table of the ``known`` names.
    """
    parts = line.split(b"|", 3)
    if len(parts) < 4:
        return None
    try:
        name = parts[2].strip().decode()
    except UnicodeDecodeError:
        return None
    if name in known:
        return name
    if not name or _UNSAFE.search(name) or len(name.encode()) > MAX_NAME:
        return None
    return name if is_change(line) else None


def is_change(line: bytes) -> bool:
    """Say whether a line, or how it begins, is a change of some table."""
    match = _LINE.match(line)
    return match is not None and match[2].upper() in _VERBS


def is_whole(line: bytes) -> bool:
    """Say whether a line without its end is a whole one: its JSON object is closed."""
    match = _LINE.match(line)
    if match is None:
        return False
    try:
        return isinstance(_decode(match[3]), dict)
    except BadLineError:
        return False


class LineShape:
    """Makes lines of a table what COPY reads, in PostgreSQL's text format.

    A row has the verb (I, U or D), which columns the change tells (NULL when it is all
    of them), and the columns in the entity's order.
    """

    def __init__(
        self, entity: Entity, times: Collection[int], texts: Collection[int]
    ) -> None:
        names = [attribute.name for attribute in entity.attributes]
        self._names = names
        self._all = frozenset(names)
        self._keys = [names[position] for position in entity.key_positions]
        self._times = [names[position] for position in times]
        self._not_texts = {
            name for position, name in enumerate(names) if position not in texts
        }
        self._folded: dict[str, str] = {}
        for name in reversed(names):
            self._folded[name.lower()] = name
        self._told: dict[tuple[str, ...], str] = {}

    def row(self, line: bytes) -> bytes:
        """Return the row of a line, with its line end; raises ``BadLineError``."""
        match = _LINE.match(line)
        if match is None:
            _refuse("It is not: time | VERB | table | JSON object")
        verb = _VERBS.get(match[2].upper())
        if verb is None:
            shown = match[2][:40].decode()
            _refuse(f"{shown} is no verb: INSERT, UPDATE or DELETE")
        values = _decode(match[3])
        if not isinstance(values, dict):
            _refuse("What is told of the row is no JSON object")
        if not values.keys() <= self._all:
            values = self._renamed(values)
        self._check(values)
        told = self._which(values) if verb == "U" else _NULL
        get = values.get
        try:
            cells = [verb, told, *[_cell(get(name)) for name in self._names]]
            return ("\t".join(cells) + "\n").encode()
        except UnicodeEncodeError as error:
            raise BadLineError("bad_encoding", "It holds half a character") from error
        except RecursionError as error:
            raise BadLineError("bad_row", _TOO_DEEP) from error

    def _check(self, values: dict[str, Any]) -> None:
        for name in self._keys:
            if values.get(name) is None:
                _refuse(f"It has no {name}, by which its row is known", name)
        for name in self._times:
            value = values.get(name)
            if isinstance(value, str) and not _TIME.fullmatch(value):
                raise BadLineError("bad_value", f"{value[:100]!r} is no time", name)
        for name in self._not_texts & values.keys():
            if values[name] == "":  # as an empty cell of a CSV file
                values[name] = None

    def _renamed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Name the values as the model does, where only the case is another."""
        renamed: dict[str, Any] = {}
        for name, value in values.items():
            known = name if name in self._all else self._folded.get(name.lower())
            if known is None:
                _refuse(f"The model has no column {name[:100]!r}", name[:100])
            if known in renamed:
                _refuse(f"The column {known} is told twice", known)
            renamed[known] = value
        return renamed

    def _which(self, values: dict[str, Any]) -> str:
        """Return the columns that are told as a string of bits."""
        shape = tuple(values)
        told = self._told.get(shape)
        if told is None:
            told = "".join("1" if name in values else "0" for name in self._names)
            if len(self._told) < _SHAPES_KEPT:
                self._told[shape] = told
        return told


def _cell(value: object) -> str:
    """Return a value as COPY's text format has it."""
    if value is None:
        return _NULL
    if isinstance(value, str):
        return value.translate(_ESCAPES) if _SPECIAL.search(value) else value
    if value is True or value is False:
        return "true" if value else "false"
    return _json(value).translate(_ESCAPES)


def _json(value: object) -> str:
    """Return a value as JSON again, its numbers as they were written."""
    if isinstance(value, dict):
        items = (f"{json.dumps(k)}:{_json(v)}" for k, v in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, _Number):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        _refuse("A column is told twice")
    return values


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON")


class _Number(str):
    """A number as it is written: no digit of it may be lost, nor the sign of -0."""

    __slots__ = ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_Number,
    parse_int=_Number,
    parse_constant=_no_constant,
)


def _decode(document: bytes) -> Any:
    """Return a JSON text as Python has it; numbers stay as they are written."""
    try:
        return _DECODER.decode(document.decode())
    except UnicodeDecodeError as error:
        raise BadLineError("bad_encoding", "It is not UTF-8") from error
    except RecursionError as error:
        raise BadLineError("bad_row", _TOO_DEEP) from error
    except ValueError as error:
        raise BadLineError("bad_row", f"It is no JSON: {error}") from error


def _refuse(message: str, column: str = "") -> NoReturn:
    raise BadLineError("bad_row", message, column)

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
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
# JSON has to escape it, so that a document without this holds none of it.
_TELLS_SPECIAL = re.compile(rb"\\(?:[nrt\\]|u00(?:0|5[Cc]))")
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
        self._keys = tuple(entity.key_positions)
        self._times = tuple(times)
        self._not_texts = tuple(p for p in range(len(names)) if p not in texts)
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
        document = match[3]
        told = _decode(document)
        if not isinstance(told, dict):
            _refuse("What is told of the row is no JSON object")
        if not told.keys() <= self._all:
            told = self._renamed(told)
        values = list(map(told.get, self._names))
        self._check(values)
        which = self._which(told) if verb == "U" else _NULL
        try:
            cells = _joined(values)
            if _TELLS_SPECIAL.search(document):
                cells = _escaped(values, cells)
            return f"{verb}\t{which}\t{cells}\n".encode()
        except UnicodeEncodeError as error:
            raise BadLineError("bad_encoding", "It holds half a character") from error
        except RecursionError as error:
            raise BadLineError("bad_row", _TOO_DEEP) from error

    def _check(self, values: list[Any]) -> None:
        for position in self._keys:
            if values[position] is None:
                name = self._names[position]
                _refuse(f"It has no {name}, by which its row is known", name)
        # All at once: that each of them may be a time is the usual case.
        times = [v for p in self._times if isinstance(v := values[p], str)]
        if not _TIME.fullmatch("".join(times)):
            self._check_times(values)
        if "" in values:
            for position in self._not_texts:
                if values[position] == "":  # as an empty cell of a CSV file
                    values[position] = None

    def _check_times(self, values: list[Any]) -> None:
        for position in self._times:
            value = values[position]
            if isinstance(value, str) and not _TIME.fullmatch(value):
                name = self._names[position]
                raise BadLineError("bad_value", f"{value[:100]!r} is no time", name)

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


def _joined(values: list[Any]) -> str:
    """Return the values as a row of COPY's text format, its texts as they are."""
    return "\t".join(
        [v if v.__class__ is str else _NULL if v is None else _cell(v) for v in values]
    )


def _escaped(values: list[Any], row: str) -> str:
    """Return the row of the values with what is special in their texts escaped."""
    tabs, backslashes = row.count("\t"), row.count("\\")
    if tabs == len(values) - 1 and backslashes == values.count(None):
        # All of them are the row's own.
        return row.replace("\n", r"\n").replace("\r", r"\r")
    return _joined([v.translate(_ESCAPES) if isinstance(v, str) else v for v in values])


def _cell(value: object) -> str:
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
# A class of our own for each number is slow, and only matters inside a value.
_FLAT_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=str,
    parse_int=str,
    parse_constant=_no_constant,
)


def _decode(document: bytes) -> Any:
    """Return a JSON text as Python has it; numbers stay as they are written."""
    nested = b"[" in document or b"{" in document[1:]
    decoder = _DECODER if nested else _FLAT_DECODER
    try:
        text = document.decode()
        value, end = decoder.raw_decode(text)
        return value if end == len(text) else decoder.decode(text)
    except UnicodeDecodeError as error:
        raise BadLineError("bad_encoding", "It is not UTF-8") from error
    except RecursionError as error:
        raise BadLineError("bad_row", _TOO_DEEP) from error
    except ValueError as error:
        raise BadLineError("bad_row", f"It is no JSON: {error}") from error


def _refuse(message: str, column: str = "") -> NoReturn:
    raise BadLineError("bad_row", message, column)

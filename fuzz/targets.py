"""What is fuzzed: each target takes any bytes and raises when its property is broken.

The first sentence of a target is its property. No target needs a database, and none
needs atheris, so that the ordinary tests can run them too.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest import mock

from sync.errors import ModelError, SourceError, TargetError
from sync.model_json import Attribute, Entity, parse_model
from sync.sources.careful_rows import (
    BadRow,
    Row,
    Widths,
    checked_rows,
    first_time_word,
    records,
)
from sync.sources.csv_rows import BOM, RecordCounter
from sync.sources.feed_lines import BadLineError, LineShape, table_of
from sync.sources.spool import Segment, Spool, numbered_lines
from sync.sources.storage import Directory, Kind
from sync.sources.time_words import WORDS, WordWatch
from sync.target.tables import MAX_NAME, choose_name, columns_for
from tests.slow_csv import SlowRecord, slow_cells, slow_records, slow_value, slow_words

Target = Callable[[bytes], None]

_HALF_DAY = re.compile(rb"\s*[ap]m", re.I)
_SYSTEM = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}
_TYPES = ("string", "int64", "dateTime", "boolean", "decimal", "guid", "odd")
# Of blocks; the engine's own is larger than any input.
_SIZES = (1, 2, 3, 7, 64, 300, 10_000)
_SECRET = b"outside the export"


class BrokenError(AssertionError):
    """A property does not hold."""


def holds(truth: object, what: str) -> None:
    """Raise ``BrokenError`` unless it does; ``assert`` could be switched off."""
    if not truth:
        raise BrokenError(what)


def model_json(data: bytes) -> None:
    """Any bytes are a model with unique names, the same each time, or refused."""
    try:
        model = parse_model(data)
    except ModelError as error:
        holds(error.message, "a refusal says why")
        return
    holds(parse_model(data) == model, "the same bytes are the same model")
    names = [entity.name for entity in model.entities]
    holds(len(set(names)) == len(names), "entities have names of their own")
    for entity in model.entities:
        holds(model.entity(entity.name) is entity, "an entity is found")
        columns = [attribute.name for attribute in entity.attributes]
        holds(columns, "an entity has attributes")
        holds(len(set(columns)) == len(columns), "attributes have names of their own")
        for name in (entity.name, *columns):
            holds(name.strip() and name.encode() and "\0" not in name, "a usable name")


def cut_records(data: bytes) -> None:
    """Blocks of any size give the records that a slow reader finds."""
    blocks, content = _blocks(data)
    found = [SlowRecord(r.line, r.raw, r.closed, r.ended) for r in records(blocks)]
    holds(found == slow_records(content), "records are those of the rule")


def counter(data: bytes) -> None:
    """Counter and records agree where lines end in LF or CR LF."""
    blocks, content = _blocks(data)
    count, whole = RecordCounter(), RecordCounter()
    for block in blocks:
        count.feed(block)
    whole.feed(content)
    holds(vars(count).keys() == vars(whole).keys(), "same state")
    holds(
        (count.total, count.open_bytes) == (whole.total, whole.open_bytes),
        "blocks make no difference",
    )
    found = slow_records(content)
    holds(count.total <= len(found), "a record more than there are")
    last = found[-1] if found else SlowRecord(1, b"")
    if b"\r" not in content.replace(b"\r\n", b""):
        holds(count.total == len(found), "as many as there are")
        open_bytes = 0 if last.ended else len(last.raw)
        holds(count.open_bytes == open_bytes, "the open record begins where it does")


def rows(data: bytes) -> None:
    """Every record is one row or bad row, in order, and a row keeps its cells."""
    widths = Widths(full=1 + len(data) % 5, least=1 + len(data) % 2)
    if widths.least > widths.full:
        return
    blocks, content = _blocks(data)
    expected = slow_records(content)
    found = list(checked_rows(blocks, widths, {1, 3}, {0, 2}))
    raws = [(row.record.line, row.record.raw) for row in found]
    holds(raws == [(r.line, r.raw) for r in expected], "no record is lost")
    for row in found:
        if isinstance(row, Row):
            _check_row(row, widths)
        else:
            _check_bad_row(row)
    taken = [row.width for row in found if isinstance(row, Row)]
    holds(all(a <= b for a, b in pairwise(taken)), "rows only ever grow")


def _check_row(row: Row, widths: Widths) -> None:
    before, after = slow_cells(row.record.raw), slow_cells(row.data)
    holds(row.record.closed, "a row is closed")
    holds(row.width == len(after), "the width is that of the row")
    holds(widths.least <= row.width <= widths.full, "the width is allowed")
    if row.trimmed:
        holds(before.pop() == b"", "only an empty cell is trimmed")
    holds(len(before) == len(after), "no other cell goes")
    holds(len(slow_records(row.data + b"\n")) == 1, "a row is one record")
    holds(b"\0" not in row.data and row.data.decode() is not None, "a row is text")
    holds(row.data != b"\\.", "no row ends the copy")
    for column, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            holds(column in {1, 3}, "only times are mended")
            holds(_HALF_DAY.sub(b"", old) == new, "only AM and PM go")
        if column in {1, 3}:
            words = slow_words(slow_value(new))
            holds(not {*WORDS}.intersection(words), "no time is that of the load")
        if column in {0, 2} and not row.record.ended:
            value = slow_value(new).lower()
            holds(value in {b"", b"true", b"false", b"1", b"0"}, "no boolean is cut")


def _check_bad_row(row: BadRow) -> None:
    codes = {"bad_row", "bad_value", "bad_encoding"}
    holds(row.code in codes and row.message, "a bad row says why")
    holds((row.column or 0) < len(slow_cells(row.record.raw)), "the column exists")


def words(data: bytes) -> None:
    """No word in a cell of a time column escapes, and none escapes the watch."""
    blocks, content = _blocks(data)
    watch = WordWatch()
    for block in blocks:
        watch.feed(block)
    found = [slow_cells(record.raw) for record in slow_records(content)]
    there = any(
        not {*WORDS}.isdisjoint(slow_words(slow_value(cell)))
        for cells in found
        for cell in cells[1:]
    )
    says = first_time_word(blocks, range(1, 50 + content.count(b",")))
    holds(says == there, "a word is found where there is one")
    times = any(_time_like(slow_value(cell)) for cells in found for cell in cells)
    holds(watch.suspicious or not times, "the watch sees what may be a time")


def _time_like(value: bytes) -> bool:
    """Say whether a value is a word, with digits and such, and at most a zone."""
    if not value.isascii() or len(value) > 128:
        return False
    found = slow_words(value)
    others = [word for word in found if word not in WORDS]
    return len(others) < len(found) and len(others) <= 1


def feed(data: bytes) -> None:
    """Whole lines are taken once, in order; what is left is no whole line."""
    blocks, content = _blocks(data)
    cut = data[-1] * len(content) // 256 if data else 0
    size = len(blocks[0]) if blocks else 1
    with tempfile.TemporaryDirectory() as place, mock.patch(f"{_SPOOL}.BLOCK", size):
        spool = Spool(Path(place), "key")
        start = lines = 0
        for end in (cut, len(content), len(content)):
            segment = spool.make(io.BytesIO(content), start, end, lines, _KNOWN)
            _check_segment(Path(place), spool, segment, content[:end])
            start, lines = segment.end, lines + segment.lines
            if segment.broken:
                break


def _check_segment(place: Path, spool: Spool, segment: Segment, content: bytes) -> None:
    taken, left = content[segment.start : segment.end], content[segment.end :]
    holds(segment.lines == taken.count(b"\n"), "line ends are counted")
    expected = []
    for number, raw in enumerate(taken.split(b"\n"), segment.first_line + 1):
        at_start = segment.start == 0 and number == 1
        line = (raw.removeprefix(BOM) if at_start else raw).rstrip()
        if line.strip():
            expected.append((number, line))
    found = []
    for table in segment.tables:
        for file in spool.files(segment, table):
            stream = io.BytesIO((place / file.path).read_bytes())
            mine = list(numbered_lines(stream))
            holds(mine == sorted(mine), "lines stay in order")
            found += mine
    holds(sorted(found) == expected, "every line is in one table")
    for _, line in found:
        _check_line(line)
    if segment.broken is None:
        holds(b"\n" not in left, "whole lines are taken")
    else:
        first = left.partition(b"\n")[0]
        first = (first.removeprefix(BOM) if segment.end == 0 else first).rstrip()
        holds(table_of(first, _KNOWN) is None, "only a line of nobody stops")


def _check_line(line: bytes) -> None:
    try:
        row = _SHAPE.row(line)
    except BadLineError as error:
        codes = {"bad_row", "bad_value", "bad_encoding"}
        holds(error.code in codes and error.message, "a bad line says why")
        holds(error.column.encode(errors="replace") is not None, "a column is text")
        return
    holds(row.endswith(b"\n") and row.count(b"\n") == 1, "a row is one line")
    holds(b"\r" not in row and row.decode() is not None, "a row is text")
    verb, told, *cells = row.removesuffix(b"\n").split(b"\t")
    holds(verb in {b"I", b"U", b"D"}, "a known verb")
    holds((verb == b"U") == (told != rb"\N"), "updates tell their columns")
    holds(len(cells) == len(_ENTITY.attributes), "a cell for each column")
    holds(cells[0] != rb"\N", "a row has its key")
    for cell in cells:
        holds(cell == rb"\N" or _ESCAPED.fullmatch(cell), "what is special is escaped")


_SPOOL = "sync.sources.spool"
_KNOWN = ("account", "Contact")
_ENTITY = Entity(
    "account",
    tuple(Attribute(name, kind) for name, kind in zip("abcd", _TYPES, strict=False)),
    key=("a",),
)
_SHAPE = LineShape(_ENTITY, times={2}, texts={0})
_ESCAPED = re.compile(rb"(?:[^\\]|\\[\\tnr])*", re.DOTALL)


def names(data: bytes) -> None:
    """Columns have names of their own that fit, and keep them when others come."""
    lines = dict.fromkeys(data.decode(errors="ignore").split("\n"))
    attributes = tuple(
        Attribute(name, _TYPES[len(name) % len(_TYPES)])
        for name in lines
        if name.strip() and "\0" not in name and name.lower() != "id"
    )
    try:
        few = columns_for(Entity("t", (Attribute("Id", "guid"), *attributes[:2])), ())
        entity = Entity("t", (Attribute("Id", "guid"), *attributes))
        columns = columns_for(entity, ())
    except TargetError as error:
        holds(error.code in {"target_limit", "unsupported_entity"}, "a known refusal")
        return
    holds(columns_for(entity, columns) == columns, "nothing changes by itself")
    holds(columns_for(entity, few) == columns, "later columns change no earlier one")
    found = [column.name for column in columns]
    holds(len({*found}) == len(found) and not _SYSTEM & {*found}, "names are free")
    holds(all(0 < len(name.encode()) <= MAX_NAME for name in found), "names fit")
    holds([c.attribute for c in columns] == [a.name for a in entity.attributes], "all")
    for source in lines:
        taken = {*found, choose_name(source, found)}
        holds(choose_name(source, taken) not in taken, "another free name")


def paths(data: bytes) -> None:
    """No path leads out of the export, and a refusal is a ``SourceError``."""
    root, inside = _export()
    directory = Directory(root)
    for path in (
        _path(data),
        os.fsdecode(data),
        data[: len(data) & ~1].decode("utf-16-le", "surrogatepass"),
    ):
        try:
            content = directory.read(path, 100)
            holds(content is None or content == b"inside", "only files of the export")
            if content is not None:
                with directory.open(path) as stream:
                    found = os.fstat(stream.fileno()).st_ino
                holds(found in inside, "only what is below the root")
        except SourceError as error:
            holds(error.message.encode(), "the refusal can be shown")
        try:
            entries = directory.entries(path)
            holds(all(e.kind in Kind for e in entries), "a known kind")
            holds("secret" not in [e.name for e in entries], "only folders inside")
        except SourceError as error:
            holds(error.message.encode(), "the refusal can be shown")


_STEPS = (
    *("..", ".", "", "/", "//", "folder", "file.csv", "link", "up", "secret", "out"),
    *("\\", "\0", "%2e%2e", "~", "C:", "\u2024\u2024", "\udc80", "a" * 300, "pipe"),
)


def _path(data: bytes) -> str:
    return "/".join(_STEPS[byte % len(_STEPS)] for byte in data[:12])


@cache
def _export() -> tuple[Path, frozenset[int]]:
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    base = Path(place.name)
    (base / "secret").write_bytes(_SECRET)
    root = base / "export"
    folder = root / "folder"
    folder.mkdir(parents=True)
    files = (root / "file.csv", folder / "file.csv")
    for file in files:
        file.write_bytes(b"inside")
    (root / "link").symlink_to(base / "secret")
    (root / "up").symlink_to(base)
    (folder / "up").symlink_to("../..")
    (folder / "out").symlink_to("/")
    os.mkfifo(folder / "pipe")
    return root, frozenset(file.stat().st_ino for file in files)


def _blocks(data: bytes) -> tuple[list[bytes], bytes]:
    """Take the size of the blocks from the first byte; return them and the rest."""
    size = _SIZES[data[0] % len(_SIZES)] if data else 1
    content = data[1:]
    return [content[at : at + size] for at in range(0, len(content), size)], content


TARGETS: dict[str, Target] = {
    "model_json": model_json,
    "records": cut_records,
    "counter": counter,
    "rows": rows,
    "words": words,
    "feed": feed,
    "names": names,
    "paths": paths,
}

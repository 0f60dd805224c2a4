"""One file of the source into the staging table, with every row accounted for."""

from __future__ import annotations

from collections.abc import Iterator

from sync import faultpoints
from sync.engine.control import Control
from sync.errors import RowError, SourceError
from sync.model_json import Entity
from sync.sources.base import Source, TableFile
from sync.sources.csv_rows import Record, RecordCounter, blocks, find_record, record_at
from sync.sources.row_widths import BadWidthError, Widths, padded
from sync.target.staging import CopyRefusedError, Staging

VALUE_SHOWN = 100

_BAD_WIDTH = "22P04"
_NO_KEY = "23502"
_BAD_ENCODING = {"22021", "22P05"}


class WidthsDifferError(Exception):
    """A row has not as many cells as the model has columns; padding may help."""


def copy_file(
    staging: Staging,
    source: Source,
    file: TableFile,
    entity: Entity,
    control: Control,
    table_id: int,
    widths: Widths | None = None,
) -> int:
    """Copy a file and return its rows; with ``widths`` narrow rows are padded.

    Raises ``RowError`` for a row that does not fit, with file, line and column,
    and when PostgreSQL took another number of rows than the file holds. Raises
    ``SourceError`` when the file is not of the size that was listed, and
    ``WidthsDifferError`` when a row is refused that padding might mend.
    """
    stream = _Stream(source, file, control, table_id)
    rows = padded(stream.blocks(), widths) if widths else stream.blocks()
    try:
        copied = staging.copy(len(entity.attributes), rows)
    except CopyRefusedError as refused:
        if refused.error.sqlstate == _BAD_WIDTH and widths is None:
            raise WidthsDifferError from refused
        raise _explain(refused, source, file, entity) from refused.error
    except BadWidthError as error:
        raise RowError(
            "bad_row", error.message, where=f"{file.path}, line {error.line}"
        ) from error
    stream.check(copied)
    faultpoints.reach("file_copied")
    return copied


class _Stream:
    """The bytes of a file, counted on their way to COPY."""

    def __init__(
        self, source: Source, file: TableFile, control: Control, table_id: int
    ) -> None:
        self._source = source
        self._file = file
        self._control = control
        self._table_id = table_id
        self._counter = RecordCounter()
        self._read = 0

    def blocks(self) -> Iterator[bytes]:
        with self._source.open(self._file) as raw:
            try:
                for block in blocks(raw):
                    self._control.check()
                    self._counter.feed(block)
                    yield block
                    self._control.beat(self._table_id, len(block))
                    faultpoints.reach("block_copied")
                self._read = raw.tell()
            except OSError as error:
                raise SourceError(
                    "file_unreadable",
                    f"{self._file.path} cannot be read: {error.strerror}",
                    where=self._file.path,
                ) from error

    def check(self, copied: int) -> None:
        """Refuse a file of another size or with another number of rows."""
        path, size = self._file.path, self._file.size
        if self._read != size:
            raise SourceError(
                "file_changed",
                f"{path} had {size} bytes when it was listed and {self._read} when it "
                "was read",
                where=path,
            )
        if copied != self._counter.total:
            raise RowError(
                "row_count",
                f"{path} holds {self._counter.total} rows, PostgreSQL read {copied}",
                where=path,
            )


def _explain(
    refused: CopyRefusedError, source: Source, file: TableFile, entity: Entity
) -> RowError:
    state = refused.error.sqlstate or ""
    record = None
    if refused.line is not None:
        with source.open(file) as raw:
            number = record_at(raw, refused.line)
        with source.open(file) as raw:
            record = find_record(raw, number)
    cells = record.cells() if record else []
    said = refused.error.diag.message_primary or str(refused.error)
    column = refused.column
    if state in _BAD_ENCODING:
        code, column = "bad_encoding", _unreadable_cell(cells)
        message = _encoding_message(record)
    elif state in {_BAD_WIDTH, _NO_KEY}:
        code = "bad_row"
        message = "The row has no key" if state == _NO_KEY else f"Unreadable: {said}"
    else:
        code = "bad_value"
        message = _value_message(cells, entity, column, said)
    place = [file.path]
    if record is not None:
        place.append(f"line {record.line}")
    if column is not None and column < len(entity.attributes):
        place.append(f"column {entity.attributes[column].name}")
    return RowError(code, message, where=", ".join(place))


def _value_message(
    cells: list[str], entity: Entity, column: int | None, said: str
) -> str:
    width = len(entity.attributes)
    if column is None or column >= min(len(cells), width):
        return f"A value does not convert: {said}"
    value = cells[column]
    shown = repr(value[:VALUE_SHOWN]) + ("…" if len(value) > VALUE_SHOWN else "")
    message = f"{shown} is no {entity.attributes[column].data_type}: {said}"
    if len(cells) != width:
        message += f"; the row has {len(cells)} cells, but model.json {width} columns"
    return message


def _encoding_message(record: Record | None) -> str:
    if record is not None and b"\0" in record.raw:
        return "The row holds a NUL character"
    return "The row holds bytes that are not UTF-8"


def _unreadable_cell(cells: list[str]) -> int | None:
    for index, cell in enumerate(cells):
        if "\0" in cell or "\N{REPLACEMENT CHARACTER}" in cell:
            return index
    return None

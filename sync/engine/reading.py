"""One file of the source into the staging table, with every row accounted for."""

from __future__ import annotations

from collections.abc import Iterator

from sync import faultpoints
from sync.engine.control import Control
from sync.errors import RowError, SourceError
from sync.model_json import Entity
from sync.sources.base import Source, TableFile
from sync.sources.csv_rows import Record, RecordCounter, blocks, find_record
from sync.target.staging import CopyRefusedError, Staging

VALUE_SHOWN = 100

_BAD_ROW = {"22P04", "23502"}
_BAD_ENCODING = {"22021", "22P05"}


def copy_file(
    staging: Staging,
    source: Source,
    file: TableFile,
    entity: Entity,
    control: Control,
    table_id: int,
) -> int:
    """Copy a file and return its rows.

    Raises ``RowError`` for a row that does not fit, with file, line and column,
    and when PostgreSQL took another number of rows than the file holds. Raises
    ``SourceError`` when the file is not of the size that was listed.
    """
    counter = RecordCounter()
    read = 0

    def stream() -> Iterator[bytes]:
        nonlocal read
        with source.open(file) as raw:
            try:
                for block in blocks(raw):
                    control.check()
                    counter.feed(block)
                    yield block
                    control.advance(table_id, len(block))
                    faultpoints.reach("block_copied")
                read = raw.tell()
            except OSError as error:
                raise SourceError(
                    "file_unreadable",
                    f"{file.path} cannot be read: {error.strerror}",
                    where=file.path,
                ) from error

    try:
        copied = staging.copy(len(entity.attributes), stream())
    except CopyRefusedError as refused:
        raise _explain(refused, source, file, entity) from refused.error
    if read != file.size:
        raise SourceError(
            "file_changed",
            f"{file.path} had {file.size} bytes when it was listed and {read} when it "
            "was read",
            where=file.path,
        )
    if copied != counter.total:
        raise RowError(
            "row_count",
            f"{file.path} holds {counter.total} rows, but PostgreSQL read {copied}",
            where=file.path,
        )
    faultpoints.reach("file_copied")
    return copied


def _explain(
    refused: CopyRefusedError, source: Source, file: TableFile, entity: Entity
) -> RowError:
    state = refused.error.sqlstate or ""
    record = None
    if refused.record is not None:
        with source.open(file) as raw:
            record = find_record(raw, refused.record)
    cells = record.cells() if record else []
    said = refused.error.diag.message_primary or str(refused.error)
    column = refused.column
    if state in _BAD_ENCODING:
        code, column = "bad_encoding", _unreadable_cell(cells)
        message = _encoding_message(record)
    elif state in _BAD_ROW:
        code = "bad_row"
        message, column = _row_message(cells, entity, state, said, column)
    else:
        code = "bad_value"
        message = _value_message(cells, entity, column, said)
    place = [file.path]
    if record is not None:
        place.append(f"line {record.line}")
    if column is not None and column < len(entity.attributes):
        place.append(f"column {entity.attributes[column].name}")
    return RowError(code, message, where=", ".join(place))


def _row_message(
    cells: list[str], entity: Entity, state: str, said: str, column: int | None
) -> tuple[str, int | None]:
    if state == "23502":
        return "The row has no key", column
    width = len(entity.attributes)
    if cells and len(cells) != width:
        return (
            f"The row has {len(cells)} cells, but model.json has {width} columns",
            None,
        )
    return f"The row cannot be read: {said}", None


def _value_message(
    cells: list[str], entity: Entity, column: int | None, said: str
) -> str:
    if column is None or column >= min(len(cells), len(entity.attributes)):
        return f"A value does not convert: {said}"
    value = cells[column]
    shown = repr(value[:VALUE_SHOWN]) + ("…" if len(value) > VALUE_SHOWN else "")
    return f"{shown} is no {entity.attributes[column].data_type}: {said}"


def _encoding_message(record: Record | None) -> str:
    if record is not None and b"\0" in record.raw:
        return "The row holds a NUL character"
    return "The row holds bytes that are not UTF-8"


def _unreadable_cell(cells: list[str]) -> int | None:
    for index, cell in enumerate(cells):
        if "\0" in cell or "\N{REPLACEMENT CHARACTER}" in cell:
            return index
    return None

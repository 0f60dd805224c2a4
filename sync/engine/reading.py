"""One file of the source into the staging table, with every row accounted for.

Raw bytes go to COPY, and the records in them are counted beside it. A file that
PostgreSQL does not take like that is read again record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sync import faultpoints
from sync.engine.bad_rows import BadRows
from sync.engine.careful import copy_carefully
from sync.engine.control import Control
from sync.errors import SourceError
from sync.model_json import Entity
from sync.sources.base import Source, TableFile
from sync.sources.careful_rows import (
    MAX_RECORD,
    RecordTooLongError,
    Widths,
    cut_boolean,
    first_time_word,
    records,
)
from sync.sources.csv_rows import RecordCounter, blocks
from sync.sources.time_words import WordWatch
from sync.target.staging import CopyRefusedError, Staging
from sync.target.types import BOOLEAN, TIME_TYPES, columns_of


@dataclass
class Reader:
    """Copies the files of one partition into the staging table.

    ``widths`` is asked only for a file that needs it. Bad rows go to ``bad_rows``.
    """

    staging: Staging
    source: Source
    entity: Entity
    control: Control
    table_id: int
    widths: Callable[[], Widths]
    bad_rows: BadRows
    time_columns: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.time_columns = columns_of(self.entity, TIME_TYPES)

    def copy(self, file: TableFile) -> int:
        """Copy a file and return the rows in it, those set aside included.

        Raises ``RowError`` for a row that does not fit, with file, line and column,
        and ``SourceError`` when the file is not of the size that was listed.
        """
        stream = _Stream(self.source, file, self.control, self.table_id)
        try:
            if self.bad_rows.concerns(file.path):
                raise _NeedsCareError
            with self.staging.savepoint():
                rows = self._copy_raw(file, stream)
        except _NeedsCareError:
            self.control.advance(self.table_id, -stream.read)
            stream = _Stream(self.source, file, self.control, self.table_id)
            rows = copy_carefully(
                self.staging,
                file.path,
                stream.blocks(),
                self.entity,
                self.widths(),
                self.bad_rows,
            )
            stream.check()
        faultpoints.reach("file_copied")
        return rows

    def _copy_raw(self, file: TableFile, stream: _Stream) -> int:
        counter, words = RecordCounter(), WordWatch()

        def watched() -> Iterator[bytes]:
            for block in stream.blocks():
                counter.feed(block)
                if self.time_columns:
                    words.feed(block)
                yield block

        try:
            copied = self.staging.copy(len(self.entity.attributes), watched())
        except CopyRefusedError as refused:
            raise _NeedsCareError from refused
        stream.check()
        if (
            copied != counter.total
            or (counter.open_end and self._may_be_cut(stream, counter.open_bytes))
            or (words.suspicious and self._has_word(file))
        ):
            raise _NeedsCareError
        return copied

    def _may_be_cut(self, stream: _Stream, length: int) -> bool:
        """Say whether the last row, which has no line end, may have been cut."""
        if length > MAX_RECORD:
            return True
        columns = columns_of(self.entity, {BOOLEAN})
        last = records([stream.tail(length)])
        return any(cut_boolean(record, columns) is not None for record in last)

    def _has_word(self, file: TableFile) -> bool:
        again = _Stream(self.source, file, Control(), self.table_id)
        try:
            return first_time_word(self._beating(again.blocks()), self.time_columns)
        except RecordTooLongError:
            return True  # it cannot be ruled out

    def _beating(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for block in stream:
            self.control.check()
            self.control.beat(self.table_id)
            yield block


class _NeedsCareError(Exception):
    """The file is to be read record by record."""


class _Stream:
    """The bytes of a file, counted on their way to COPY."""

    def __init__(
        self, source: Source, file: TableFile, control: Control, table_id: int
    ) -> None:
        self.read = 0
        self._source = source
        self._file = file
        self._control = control
        self._table_id = table_id
        self._end = 0

    def blocks(self) -> Iterator[bytes]:
        with self._source.open(self._file) as raw:
            try:
                for block in blocks(raw):
                    self._control.check()
                    yield block
                    self.read += len(block)
                    self._control.beat(self._table_id, len(block))
                    faultpoints.reach("block_copied")
                self._end = raw.tell()
            except OSError as error:
                raise self._unreadable(error) from error

    def tail(self, length: int) -> bytes:
        """Return the last bytes of the file again."""
        with self._source.open(self._file) as raw:
            try:
                raw.seek(self._file.size - length)
                return b"".join(blocks(raw))
            except OSError as error:
                raise self._unreadable(error) from error

    def check(self) -> None:
        """Refuse a file of another size than was listed."""
        path, size = self._file.path, self._file.size
        if self._end != size:
            raise SourceError(
                "file_changed",
                f"{path} had {size} bytes when it was listed and {self._end} when it "
                "was read",
                where=path,
            )

    def _unreadable(self, error: OSError) -> SourceError:
        path = self._file.path
        message = f"{path} cannot be read: {error.strerror}"
        return SourceError("file_unreadable", message, where=path)

"""What happens to the rows of one sample table, and which version is the newest.

The histories keep to what a reader can know (docs/architecture.md, "Which change
wins"): changes of a row come in later seconds; a row whose delete has no version
is created again in a later folder only; stale re-sends have a lower version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dvsync_site.sample_tables import Origin, Table
from dvsync_site.sample_values import Column, Dice, unquote

# Rows that never were: their deletes must do nothing.
GHOSTS = 1 << 40
BATCH = 2048
# File name without .csv, and text.
Line = tuple[str, str]


class Change(NamedTuple):
    """One line of a file, and the newest state of a row."""

    row: int
    version: int
    sink: int  # Unix time of SinkModifiedOn
    deleted: bool = False


class History:
    """The rows of one table. Remembers only the rows that changed."""

    def __init__(self, table: Table, origin: Origin) -> None:
        self.table = table
        self._origin = origin
        self._folder = 0
        self._columns = table.columns(0)
        self._closed_columns = self._columns
        # First version that has a value in a column added later.
        self._since: dict[str, int] = {}
        self._closed: dict[int, Change] = {}
        self._open: dict[int, Change] = {}
        self._next_row = self._closed_rows = origin.rows
        self._next_version = origin.first_change
        self._ghosts = GHOSTS
        self._dice = Dice()
        self._deleted: deque[tuple[int, int]] = deque(maxlen=500)  # row, folder
        self._older: deque[tuple[int, int]] = deque(maxlen=500)  # row, old version
        self._touched: deque[int] = deque(maxlen=100)  # rows changed in this folder
        self._chances: list[Callable[[int], Change | None]] = [
            *[self._update] * 45,
            *[self._insert] * 25,
            *[self._delete_row] * 12,
            *[self._resend] * 5,
            *[self._resend_older] * 4,
            *[self._create_again] * 4,
            *[self._change_again] * 4,
            self._delete_ghost,
        ]

    def open_folder(self, folder: int) -> None:
        """Go on to the next folder: what is in the one before is now the truth."""
        self._closed.update(self._open)
        self._open.clear()
        self._closed_rows = self._next_row
        self._closed_columns = self._columns
        self._folder = folder
        self._columns = self.table.columns(folder)
        self._touched.clear()
        self._dice = Dice(self._origin.seed, self.table.name, folder)
        for number, column in self.table.late:
            if number == folder:
                self._since[column.name] = self._next_version

    def closed_columns(self) -> list[Column]:
        """Return the columns that the newest closed folder has."""
        return self._closed_columns

    def initial_lines(self) -> Iterator[list[Line]]:
        """Yield the lines of the initial copy, in batches."""
        origin, end = self._origin, self._origin.rows
        for first in range(0, end, BATCH):
            rows = list(range(first, min(first + BATCH, end)))
            versions = [origin.version(row) for row in rows]
            sinks = [origin.sink(row) for row in rows]
            parts, cells = self._upserts(rows, versions, sinks, self._columns)
            yield [
                (part, ",".join(line) + "\n")
                for part, line in zip(parts, cells, strict=True)
            ]

    def changes(self, count: int, first: int, last: int) -> Iterator[Change]:
        """Make this many changes between two seconds of the open folder."""
        for i in range(count):
            sink = first + i * (last - first + 1) // count
            yield self._change(sink) or self._insert(sink)

    def newest(self) -> Iterator[Change]:
        """Yield the newest closed version of every row that is not deleted."""
        for row in range(self._closed_rows):
            change = self._closed.get(row)
            if change is None and row < self._origin.rows:
                change = self._initial(row)
            if change is not None and not change.deleted:
                yield change

    def expected_rows(self) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Yield Id and values of every row after the closed folders."""
        columns = self._closed_columns
        names = [column.name for column in columns]
        for chunk in _chunks(self.newest()):
            _, lines = self._upserts(*_unzip(chunk), columns)
            for cells in lines:
                yield cells[0], dict(zip(names, map(unquote, cells), strict=True))

    def lines(self, changes: Iterable[Change]) -> Iterator[list[Line]]:
        """Yield the lines of the changes, in batches."""
        for chunk in _chunks(changes):
            upserts = zip(
                *self._upserts(
                    *_unzip([c for c in chunk if not c.deleted]), self._columns
                ),
                strict=True,
            )
            deletes = self._deletes([c for c in chunk if c.deleted])
            yield [
                (part, ",".join(cells) + "\n")
                for part, cells in (
                    next(deletes if change.deleted else upserts) for change in chunk
                )
            ]

    def _upserts(
        self,
        rows: list[int],
        versions: list[int],
        sinks: list[int],
        columns: list[Column],
    ) -> tuple[list[str], Iterator[Sequence[str]]]:
        """Return file names and cells."""
        batch = self.table.batch(rows, versions, sinks, self._origin)
        made = []
        for column in columns:
            cells = column.cells(batch)
            if since := self._since.get(column.name):
                pairs = zip(cells, versions, strict=True)
                cells = [cell if v >= since else "" for cell, v in pairs]
            made.append(cells)
        return self.table.parts(batch), zip(*made, strict=True)

    def _deletes(self, chunk: list[Change]) -> Iterator[tuple[str, Sequence[str]]]:
        ids = self.table.batch(*_unzip(chunk), self._origin).ids
        for id_, change in zip(ids, chunk, strict=True):
            filled = self.table.delete_cells(id_, change.version, change.sink)
            yield "1", [filled.get(column.name, "") for column in self._columns]

    def _initial(self, row: int) -> Change:
        return Change(row, self._origin.version(row), self._origin.sink(row))

    def _state(self, row: int) -> Change:
        return self._open.get(row) or self._closed.get(row) or self._initial(row)

    def _change(self, sink: int) -> Change | None:
        """Let chance do something; None when it cannot be done now."""
        return self._chances[self._dice.roll(100)](sink)

    def _some_row(self, sink: int) -> Change | None:
        """Return a living row that may change at this second."""
        state = self._state(self._dice.roll(self._next_row))
        return None if state.deleted or state.sink >= sink else state

    def _write(self, row: int, sink: int, *, deleted: bool = False) -> Change:
        change = Change(row, self._next_version, sink, deleted)
        self._next_version += 1
        self._open[row] = change
        self._touched.append(row)
        return change

    def _update(self, sink: int) -> Change | None:
        if state := self._some_row(sink):
            self._older.append((state.row, state.version))
            return self._write(state.row, sink)
        return None

    def _insert(self, sink: int) -> Change:
        self._next_row += 1
        return self._write(self._next_row - 1, sink)

    def _delete_row(self, sink: int) -> Change | None:
        if state := self._some_row(sink):
            self._older.append((state.row, state.version))
            self._deleted.append((state.row, self._folder))
            return self._write(state.row, sink, deleted=True)
        return None

    def _resend(self, sink: int) -> Change | None:
        """Send a row once more: same version, later SinkModifiedOn."""
        if state := self._some_row(sink):
            self._open[state.row] = change = state._replace(sink=sink)
            return change
        return None

    def _resend_older(self, sink: int) -> Change | None:
        """Send an outdated version once more; the truth stays."""
        if not self.table.versioned or not self._older:
            return None
        row, version = self._older.popleft()
        return Change(row, version, sink)

    def _create_again(self, sink: int) -> Change | None:
        if not self._deleted:
            return None
        row, folder = self._deleted.popleft()
        state = self._state(row)
        orderly = self.table.versioned and self.table.versioned_deletes
        if state.sink >= sink or (folder == self._folder and not orderly):
            self._deleted.append((row, folder))
            return None
        return self._write(row, sink)

    def _change_again(self, sink: int) -> Change | None:
        """Change a row once more in the same folder."""
        if not self._touched:
            return None
        state = self._state(self._touched.popleft())
        if state.deleted or state.sink >= sink:
            return None
        self._older.append((state.row, state.version))
        if state.version % 4:
            return self._write(state.row, sink)
        self._deleted.append((state.row, self._folder))
        return self._write(state.row, sink, deleted=True)

    def _delete_ghost(self, sink: int) -> Change:
        self._ghosts += 1
        self._next_version += 1
        return Change(self._ghosts, self._next_version - 1, sink, deleted=True)


def _unzip(changes: list[Change]) -> tuple[list[int], list[int], list[int]]:
    return (
        [change.row for change in changes],
        [change.version for change in changes],
        [change.sink for change in changes],
    )


def _chunks(changes: Iterable[Change]) -> Iterator[list[Change]]:
    chunk: list[Change] = []
    for change in changes:
        chunk.append(change)
        if len(chunk) == BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

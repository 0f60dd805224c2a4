"""Live progress of loads: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sync.engine.control import Control
from sync.engine.load import LoadResult
from sync.engine.words import plural
from sync.models import SyncTable
from sync.printable import printable as printable

SECONDS_BETWEEN_LINES = 10.0


class Display(Control):
    """Shows how the loads of a command come along; this one shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is left to clear."""

    def begin(self, table: SyncTable, size: int) -> None:
        """Take note that a table's load begins; ``size`` is its backlog in bytes."""

    def end(self, table: SyncTable) -> None:
        """Take note that a table's load ended."""


class Lines(Display):
    """A line every ten seconds, for logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write
        self._written_at = time.monotonic()
        self._count_lock = threading.Lock()
        self._tables = self._done = self._bytes = 0

    def begin(self, table: SyncTable, size: int) -> None:
        """Count the table."""
        with self._count_lock:
            self._tables += 1

    def end(self, table: SyncTable) -> None:
        """Count the table as done."""
        with self._count_lock:
            self._done += 1

    def advance(self, table_id: int, size: int) -> None:
        """Write a line when the last one is old enough."""
        with self._count_lock:
            self._bytes += size
            if time.monotonic() - self._written_at < SECONDS_BETWEEN_LINES:
                return
            self._written_at = time.monotonic()
            self._write(
                f"{self._done} tables done, {self._tables - self._done} under way, "
                f"{self._bytes / 1e6:,.0f} MB read"
            )


class Bars(Display):
    """A bar for each running table and one for all, by bytes."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        super().__init__()
        self._total = self._progress.add_task("all tables", total=0)
        self._tasks: dict[int, TaskID] = {}
        self._uncommitted: dict[int, int] = {}
        self._bars_lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bars away."""
        self._progress.stop()

    def begin(self, table: SyncTable, size: int) -> None:
        """Show a bar for the table."""
        with self._bars_lock:
            task = self._progress.add_task(printable(table.entity), total=size)
            self._tasks[table.pk] = task
            total = self._progress.tasks[0].total or 0
            self._progress.update(self._total, total=total + size)

    def end(self, table: SyncTable) -> None:
        """Take the table's bar away."""
        with self._bars_lock:
            self._progress.remove_task(self._tasks.pop(table.pk))

    def advance(self, table_id: int, size: int) -> None:
        """Move the table's bar and the one for all."""
        self._uncommitted[table_id] = self._uncommitted.get(table_id, 0) + size
        self._move(table_id, size)

    def committed(self, table_id: int) -> None:
        """Keep what the bars show."""
        self._uncommitted.pop(table_id, None)

    def rolled_back(self, table_id: int) -> None:
        """Move the bars back."""
        self._move(table_id, -self._uncommitted.pop(table_id, 0))

    def _move(self, table_id: int, size: int) -> None:
        with self._bars_lock:
            if (task := self._tasks.get(table_id)) is not None:
                self._progress.advance(task, size)
            self._progress.advance(self._total, size)


def summary(table: SyncTable, result: LoadResult) -> str:
    """Return one line about a table's load."""
    name = printable(table.label)
    if result.error is not None:
        return f"{name}: {result.status}: {printable(str(result.error))}"
    rows = result.rows
    line = (
        f"{name}: {result.status}, {plural(result.partitions, table.config.unit)}, "
        f"{rows.inserted} inserted, {rows.updated} updated, {rows.deleted} deleted, "
        f"{rows.unchanged} unchanged"
    )
    if table.config.is_feed and rows.missing:
        line += f", {plural(rows.missing, 'change')} of missing keys among them"
    return f"{line}, {rows.rejected} set aside" if rows.rejected else line

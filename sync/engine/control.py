"""Following loads and stopping them, from another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from sync.errors import Cancelled


class Control:
    """What a load reports to, and asks whether it shall go on. Safe for threads."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[psycopg.Connection[object]] = set()
        self._pulses: dict[int, int] = {}

    def beat(self, table_id: int, size: int = 0) -> None:
        """Take note that a load moved on, by so many bytes or to its next phase."""
        self._pulses[table_id] = self._pulses.get(table_id, 0) + 1
        if size:
            self.advance(table_id, size)

    def pulse(self, table_id: int) -> int:
        """Return a number that changes whenever the table's load moves on."""
        return self._pulses.get(table_id, 0)

    def advance(self, table_id: int, size: int) -> None:
        """Take note that so many bytes more of a table were copied."""

    def committed(self, table_id: int) -> None:
        """Take note that what was copied of a table is there to stay."""

    def rolled_back(self, table_id: int) -> None:
        """Take note that what was copied of a table since then is gone again."""

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled.is_set()

    @property
    def waits_for_database(self) -> bool:
        """Whether a load whose database is away shall wait for it, however long."""
        return False

    def check(self) -> None:
        """Raise ``Cancelled`` once somebody asked to stop."""
        if self.cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Stop every load that reports here; their transactions roll back."""
        self._cancelled.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.cancel_safe(timeout=5)
            except psycopg.Error:
                # The load still stops at its next block or statement.
                continue

    @contextmanager
    def interruptible(self, connection: psycopg.Connection[object]) -> Iterator[None]:
        """Let ``cancel`` interrupt a statement of this connection in the block."""
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)

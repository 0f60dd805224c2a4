"""Ending a load on which nothing moves any more.

A frozen proxy or a half-open network keeps a connection waiting for ever; neither
TCP's keepalive nor PostgreSQL notices. Only the loader itself can.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg

ASK_TIMEOUT_SECONDS = 10


class Watchdog:
    """Breaks a connection when ``pulse()`` did not change for so many seconds.

    A server that is still working on a statement is left alone: whether it is, a
    second connection asks. ``bit`` says whether the connection was broken.
    """

    def __init__(
        self,
        connection: psycopg.Connection[object],
        seconds: float,
        pulse: Callable[[], int],
    ) -> None:
        self.bit = False
        self._connection = connection
        self._seconds = seconds
        self._pulse = pulse
        self._pid = connection.info.backend_pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        last = self._pulse()
        while not self._done.wait(self._seconds):
            now = self._pulse()
            if now == last and not self._server_works():
                self._bite()
                return
            last = now

    def _server_works(self) -> bool:
        return self._ask(
            "SELECT state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' "
            "FROM pg_stat_activity WHERE pid = %s"
        )

    def _ask(self, question: str) -> bool:
        """Ask about the watched session over a connection of its own."""
        info = self._connection.info
        try:
            with psycopg.connect(
                info.dsn,
                password=info.password or None,
                connect_timeout=ASK_TIMEOUT_SECONDS,
                options="-c statement_timeout=10s",
                tcp_user_timeout=ASK_TIMEOUT_SECONDS * 1000,
            ) as other:
                row = other.execute(question, [self._pid]).fetchone()
        except psycopg.Error:
            return False
        return bool(row and row[0])

    def _bite(self) -> None:
        if self._done.is_set():
            return
        self.bit = True
        with socket.socket(fileno=os.dup(self._connection.fileno())) as line:
            # The session may not notice for a long time, and holds the table's lock.
            self._ask("SELECT pg_terminate_backend(%s)")
            # The thread that waits on the socket meets its end as a lost connection.
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

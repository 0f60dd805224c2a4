"""Stopping a load that runs: its table was paused, or its process shall end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from django.db import DatabaseError, InterfaceError, connection

from sync.engine.control import Control
from sync.models import SyncTable

LOOK_SECONDS = 1.0
JOIN_SECONDS = 5.0

log = logging.getLogger(__name__)


class Overseer(Control):
    """A ``Control`` that cancels the load of a table by itself, within seconds.

    It does so when ``stopping()`` says so, and when the table or its sync is paused:
    nobody who pauses has to wait for the load. It looks over a connection of its own.
    """

    def __init__(self, table: SyncTable, stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._table = table.pk
        self._stopping = stopping
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._oversee, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Look no more; a look that hangs in the network is left alone."""
        self._done.set()
        self._thread.join(JOIN_SECONDS)

    @property
    def waits_for_database(self) -> bool:
        """A worker has nothing else to do meanwhile, until it shall end."""
        return not self.cancelled

    def _oversee(self) -> None:
        try:
            while not self._done.wait(LOOK_SECONDS):
                if self._stopping() or self._is_paused():
                    self.cancel()
                    return
        finally:
            connection.close()  # this thread's own

    def _is_paused(self) -> bool:
        try:
            table = SyncTable.objects.select_related("config").get(pk=self._table)
        except SyncTable.DoesNotExist:
            return True
        except (DatabaseError, InterfaceError) as error:
            # The load meets it as well, and ends by it or goes on.
            log.debug("The load could not be overseen: %s", error)
            connection.close()
            return False
        return table.paused

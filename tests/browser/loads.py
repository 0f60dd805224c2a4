"""A real load in a thread of the test, which stops where it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from sync import faultpoints
from sync.engine.load import sync_table
from sync.models import SyncTable

PATIENCE_SECONDS = 60.0


class SteppedLoad:
    """A load that stands still after each block of bytes until ``step``."""

    def __init__(self, table: SyncTable) -> None:
        self._table = table
        self._reached = threading.Semaphore(0)
        self._may_go = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._free = False

    def await_block(self) -> None:
        """Wait until a block was copied."""
        assert self._reached.acquire(timeout=PATIENCE_SECONDS), "no block was copied"

    def step(self) -> None:
        """Let the next block be copied, and wait for it."""
        self._may_go.release()
        self.await_block()

    def _stand(self) -> None:
        # The trap is for one reach: it is set again for the next block.
        faultpoints._traps["block_copied"].remaining = 0 if self._free else 1
        self._reached.release()
        assert self._free or self._may_go.acquire(timeout=PATIENCE_SECONDS)

    def finish(self) -> None:
        """Let it run to its end."""
        self._free = True
        self._may_go.release()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            sync_table(self._table)
        finally:
            connections.close_all()


@contextmanager
def stepped(table: SyncTable) -> Iterator[SteppedLoad]:
    """Begin a load, which is over after the block."""
    load = SteppedLoad(table)
    with faultpoints.armed("block_copied", action=load._stand):
        load._thread.start()
        try:
            load.await_block()
            yield load
        finally:
            load.finish()

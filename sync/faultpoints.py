"""Named points of a load at which a test may crash it; inert otherwise.

A test in the same process arms a point with an action of its own. For a process
of its own the environment variable ``DVSYNC_FAULTPOINT`` holds ``name`` or
``name:n``: the process kills itself with SIGKILL at the n-th reach of the point.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

POINTS = (
    "discovered",  # the folders were read, nothing is written
    "discovery_recorded",  # the progress rows are written, not committed
    "attempt_counted",  # committed: the attempt is counted
    "table_altered",  # the table is created or altered, not committed
    "load_started",  # the lock is held, nothing is read
    "staging_created",
    "block_copied",  # after each block of bytes
    "file_copied",  # after each file
    "partition_copied",  # after each partition
    "winners_chosen",
    "rows_deleted",
    "rows_inserted",
    "rows_updated",
    "tombstones_written",
    "progress_written",  # everything is written, COMMIT comes next
    "committed",  # COMMIT was answered, nothing else happened yet
    "failure_recorded",
)


@dataclass
class _Trap:
    remaining: int
    action: Callable[[], object]


_traps: dict[str, _Trap] = {}


def reach(name: str) -> None:
    """Say that the load is at the point ``name``."""
    if not _traps:
        return
    trap = _traps.get(name)
    if trap is None:
        return
    trap.remaining -= 1
    if trap.remaining == 0:
        trap.action()


@contextmanager
def armed(name: str, count: int = 1, *, action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` at the ``count``-th reach of the point, inside the block."""
    if name not in POINTS:
        raise KeyError(name)
    _traps[name] = _Trap(count, action)
    try:
        yield
    finally:
        del _traps[name]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm_from_environment() -> None:
    """Arm the point that ``DVSYNC_FAULTPOINT`` names, if it names one."""
    name, _, count = os.environ.get("DVSYNC_FAULTPOINT", "").partition(":")
    if name:
        if name not in POINTS:
            raise KeyError(name)
        _traps[name] = _Trap(int(count or 1), _kill)

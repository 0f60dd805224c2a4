"""Ends the services of a supervisor that was killed.

The kernel asks their first processes to end, on Linux; one that hangs would not listen.
The guard is a process of its own. It learns by a pipe which groups there are, and by
the pipe's end that the supervisor is gone. It imports the standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

PAUSE = 0.1


class Guard:
    """The supervisor's side. A guard that was killed itself is done without."""

    def __init__(self, grace: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(grace)],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # Ctrl-C is not meant for it
        )

    def watch(self, group: int) -> None:
        """Have a group killed if this process is."""
        self._say(group)

    def forget(self, group: int) -> None:
        """Take note that a group has ended: its number may become another's."""
        self._say(-group)

    def end(self) -> None:
        """Let the guard go."""
        with suppress(OSError):
            self._process.communicate()

    def _say(self, number: int) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(b"%d\n" % number)
                self._process.stdin.flush()


def _ask_to_end(groups: set[int]) -> None:
    if sys.platform != "linux":  # there the kernel has done it
        for group in groups:
            with suppress(OSError):
                os.kill(group, signal.SIGTERM)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _kill(group: int) -> None:
    with suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def main(grace: float) -> None:
    """Listen until the supervisor's end; kill what it left, after a grace."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    _ask_to_end(groups)
    end = time.monotonic() + grace
    while groups and time.monotonic() < end:
        # Looked at often: a number is free for others once its group has ended.
        for group in [group for group in groups if not _lives(group)]:
            _kill(group)  # those that outlive their first process
            groups.discard(group)
        time.sleep(PAUSE)
    for group in groups:
        _kill(group)


if __name__ == "__main__":
    main(float(sys.argv[1]))

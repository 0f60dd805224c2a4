"""What a soak does to the processes of ``up``: kills, freezes, ends and thaws them."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.soak.processes import GONE, Processes
from tests.soak.watch import Watch, say

LONGEST_FREEZE = 30.0
# Loads are short: a busy worker is waited for.
BUSY_SECONDS = 10.0
PAUSE = (2.0, 10.0)
# A supervisor that is killed leaves everything to be started anew.
UP_PAUSE = (150.0, 400.0)


class Chaos:
    """Does one bad thing after the other, chosen by a seed."""

    def __init__(self, processes: Processes, watch: Watch, seed: int) -> None:
        self.deeds: list[tuple[dt.datetime, str]] = []
        self.counts: Counter[str] = Counter()
        self._processes = processes
        self._watch = watch
        self._random = random.Random(seed)  # noqa: S311
        self._frozen: list[tuple[threading.Timer, psutil.Process]] = []
        self._up_at = time.monotonic() + self._random.uniform(*UP_PAUSE)
        self._kinds: list[tuple[int, Callable[[], str]]] = [
            (3, self._kill_busy_worker),
            (3, lambda: self._kill(self._queue("leaf"), "worker")),
            (3, lambda: self._kill(self._queue("leaf"), "monitor or pusher")),
            (2, lambda: self._kill(self._queue("sentinel"))),
            (1, lambda: self._kill(self._queue("main"))),
            (2, self._kill_cluster),
            (2, self._end_cluster),
            (1, lambda: self._kill("web worker")),
            (1, lambda: self._kill("web master")),
            (1, lambda: self._kill("demo")),
            (1, lambda: self._kill("postgres main")),
            (1, lambda: self._kill("postgres session")),
            (2, self._end_session),
            (1, lambda: self._kill("keeper")),
            (6, self._freeze),
        ]

    def strike(self) -> None:
        """Do one thing, say it, and remember it."""
        weights = [weight for weight, _ in self._kinds]
        [(_, deed)] = self._random.choices(self._kinds, weights)
        if time.monotonic() > self._up_at:
            self._up_at = time.monotonic() + self._random.uniform(*UP_PAUSE)
            deed = self._kill_up
        with suppress(*GONE, ProcessLookupError):
            if done := deed():
                self.deeds.append((dt.datetime.now(dt.UTC), done))
                say(f"  {done}")

    def pause(self) -> float:
        """Return how long nothing happens now, in seconds."""
        return self._random.uniform(*PAUSE)

    def end(self) -> None:
        """Let all go on that are frozen."""
        for timer, process in self._frozen:
            timer.cancel()
            _thaw(process)

    def _queue(self, part: str) -> str:
        return f"{self._random.choice(('poll', 'sync'))} {part}"

    def _some(self, kind: str, role: str = "") -> psutil.Process | None:
        found = self._processes.of(kind)
        if role:
            workers = self._watch.workers()
            found = [p for p in found if (p.pid in workers) == (role == "worker")]
        found = [p for p in found if p.pid != self._watch.backend]
        return self._random.choice(found) if found else None

    def _count(self, kind: str, process: psutil.Process) -> str:
        self.counts[kind] += 1
        return f"{kind} {process.pid}"

    def _kill(self, kind: str, role: str = "") -> str:
        process = self._some(kind, role)
        if process is None:
            return ""
        process.kill()
        return self._count(f"SIGKILL {kind.replace('leaf', role)}", process)

    def _kill_up(self) -> str:
        return self._kill("up")

    def _kill_busy_worker(self) -> str:
        end = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < end:
            leaves = {p.pid: p for p in self._processes.of("sync leaf")}
            # Asked after that, and often: a load takes a moment.
            for _ in range(20):
                for pid in self._watch.busy() & leaves.keys():
                    leaves[pid].kill()
                    return self._count("SIGKILL sync worker in a load", leaves[pid])
                time.sleep(0.02)
        return ""

    def _kill_cluster(self) -> str:
        kind = self._queue("main")
        main = self._some(kind)
        if main is None or os.getpgid(main.pid) != main.pid:
            return ""
        os.killpg(main.pid, signal.SIGKILL)
        return self._count(f"SIGKILL {kind.split()[0]} cluster whole", main)

    def _end_cluster(self) -> str:
        kind = self._queue("main")
        main = self._some(kind)
        if main is None:
            return ""
        main.terminate()
        return self._count(f"SIGTERM {kind}", main)

    def _end_session(self) -> str:
        session = self._some("postgres session")
        if session is None:
            return ""
        session.terminate()
        return self._count("SIGTERM postgres session", session)

    def _freeze(self) -> str:
        kinds = sorted(k for k, found in self._processes.all().items() if found)
        kind = self._random.choice(kinds)
        process = self._some(kind)
        if process is None:
            return ""
        seconds = self._random.uniform(1, LONGEST_FREEZE)
        process.suspend()
        timer = threading.Timer(seconds, _thaw, [process])
        timer.start()
        self._frozen.append((timer, process))
        return f"{self._count(f'SIGSTOP {kind}', process)} for {seconds:.0f} s"


def _thaw(process: psutil.Process) -> None:
    with suppress(*GONE):
        process.resume()

"""How far a load is: what pages show of it while it runs.

PostgreSQL tells what was read so far. Between two files it tells nothing for a moment,
so the process remembers the most that it saw of each load: a bar never goes back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sync.engine.overview import TableStatus
from sync.target.activity import Blocker

# A rate is told when a load was watched for so long.
STEADY_AFTER = 5.0
# How much the rates of now and of all of it may differ while a load is steady.
STEADY_FACTOR = 1.5
WATCHED = 20.0
FORGOTTEN_AFTER = 600.0

PHASES = {"copy": "reading the files", "merge": "applying the changes"}


@dataclass(frozen=True)
class LoadProgress:
    """A load of now. ``total`` is None when nobody knows how much there is to read.

    ``left`` is how long the reading will take, while it goes on steadily.
    """

    phase: str
    done: int
    total: int | None
    rows_per_second: int | None
    elapsed: timedelta | None
    left: timedelta | None
    waiting: bool
    blockers: tuple[Blocker, ...]

    @property
    def percent(self) -> int | None:
        """How much of it is read; None when that is not known."""
        return self.done * 100 // self.total if self.total else None


@dataclass
class _Track:
    """What this process saw of one load: how much was read when."""

    seen_at: float = 0.0
    done: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, done: int) -> int:
        """Take note of a look; return the most that was ever read."""
        self.seen_at, self.done = now, max(self.done, done)
        self.samples.append((now, self.done))
        while now - self.samples[0][0] > WATCHED:
            self.samples.popleft()
        return self.done

    def rate(self) -> float | None:
        """Return the bytes per second of late; None when it was watched too briefly."""
        (began, first), (now, last) = self.samples[0], self.samples[-1]
        return (last - first) / (now - began) if now - began >= 2 else None


class Watch:
    """What one process saw of the loads that run; safe to use from many threads."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[int, datetime | None], _Track] = {}
        self._lock = threading.Lock()

    def look(
        self, status: TableStatus, now: datetime, clock: float | None = None
    ) -> LoadProgress | None:
        """Return the progress of a table's load; None when there is none."""
        load = status.running
        if load is None:
            return None
        moment = time.monotonic() if clock is None else clock
        with self._lock:
            self._forget(moment)
            track = self._tracks.setdefault((load.table_id, load.since), _Track())
            done = track.add(moment, load.bytes + (load.copied or 0))
            rate = track.rate()
        # Before it says what it does, its batch may be that of an attempt before.
        total = status.begun_bytes if load.phase else None
        total = max(total, done) if total is not None else None
        elapsed = max(now - load.since, timedelta()) if load.since else None
        return LoadProgress(
            phase=PHASES.get(load.phase, load.phase or "at work"),
            done=done,
            total=total,
            rows_per_second=_rows_per_second(load.copied_rows, load.statement_seconds),
            elapsed=elapsed,
            left=_left(done, total, elapsed, rate) if load.phase == "copy" else None,
            waiting=load.waiting,
            blockers=load.blockers,
        )

    def _forget(self, now: float) -> None:
        for key, track in list(self._tracks.items()):
            if now - track.seen_at > FORGOTTEN_AFTER:
                del self._tracks[key]


def _rows_per_second(rows: int | None, seconds: float | None) -> int | None:
    if rows is None or seconds is None or seconds < 1:
        return None
    return int(rows / seconds)


def _left(
    done: int, total: int | None, elapsed: timedelta | None, rate: float | None
) -> timedelta | None:
    """Return how long the rest takes when the rate is steady, else None."""
    if not total or not rate or elapsed is None:
        return None
    seconds = elapsed.total_seconds()
    if seconds < STEADY_AFTER or not done:
        return None
    overall = done / seconds
    if not 1 / STEADY_FACTOR <= rate / overall <= STEADY_FACTOR:
        return None
    return timedelta(seconds=(total - done) / overall)


WATCH = Watch()

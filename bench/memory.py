"""Proves that syncnow's memory does not grow with the file that it loads."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Dvsync
from bench.data import Export, Step
from bench.feed import Feed, FeedLines
from bench.measure import say, verify
from bench.server import Server

# 2 GB; the rows are about 270 bytes long, twice that as lines of a change feed.
ROWS = 7_500_000
FEED_SHARE = 3
LIMIT = 150_000_000


def peak(server: Server, directory: Path, rows: int) -> tuple[int, str]:
    """Load a large file of either input; return the highest peak, and sentences."""
    found = [
        _csv(server, directory, rows),
        _feed(server, directory, rows // FEED_SHARE),
    ]
    limit = f"The limit is {LIMIT / 1e6:.0f} MB."
    return max(peak for peak, _ in found), " ".join([*(t for _, t in found), limit])


def _csv(server: Server, directory: Path, rows: int) -> tuple[int, str]:
    say(f"Writing a file of {rows:,} rows")
    export = Export(directory / "export", rows, years=range(2026, 2027))
    step = export.write_initial()
    export.close(1)
    return _load(server, Dvsync(server, export.root, directory / "dvsync"), step)


def _feed(server: Server, directory: Path, rows: int) -> tuple[int, str]:
    say(f"Writing a log file of {rows:,} lines")
    feed = Feed(directory / "feed")
    step = FeedLines(directory / "lines", rows).write_initial()
    feed.extend(step)
    dvsync = Dvsync(server, feed.root, directory / "dvsync", sync="feed")
    return _load(server, dvsync, step)


def _load(server: Server, dvsync: Dvsync, step: Step) -> tuple[int, str]:
    with server.database("bench_memory") as database:
        dvsync.create_sync(database)
        say(f"Loading {step.size / 1e9:.2f} GB")
        timing = dvsync.load(database, step)
        verify(server, database, [dvsync], step)
    what = "log file of a change feed" if dvsync.sync == "feed" else "file"
    return timing.peak, (
        f"syncnow loaded one {what} of {step.size / 1e9:.2f} GB with {step.lines:,} "
        f"rows in {timing.seconds:.0f} s; its process had at most "
        f"{timing.peak / 1e6:.0f} MB resident."
    )

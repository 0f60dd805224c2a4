"""Proves that syncnow's memory does not grow with the file that it loads."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Dvsync
from bench.data import Export
from bench.measure import say, verify
from bench.server import Server

# 2 GB; the rows are about 270 bytes long.
ROWS = 7_500_000
LIMIT = 150_000_000


def peak(server: Server, directory: Path, rows: int) -> tuple[int, str]:
    """Load one large file; return the highest resident memory, and a sentence."""
    say(f"Writing a file of {rows:,} rows")
    export = Export(directory / "export", rows, years=range(2026, 2027))
    step = export.write_initial()
    export.close(1)
    dvsync = Dvsync(server, export.root, directory / "dvsync")
    with server.database("bench_memory") as database:
        dvsync.create_sync(database)
        say(f"Loading {step.size / 1e9:.2f} GB")
        timing = dvsync.load(database, step)
        verify(server, database, [dvsync], step)
    return timing.peak, (
        f"syncnow loaded one file of {step.size / 1e9:.2f} GB with {rows:,} rows in "
        f"{timing.seconds:.0f} s; its process had at most {timing.peak / 1e6:.0f} MB "
        f"resident (the limit is {LIMIT / 1e6:.0f} MB)."
    )

"""Tells which statements the time of dvsync goes to, by PostgreSQL's own log."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from psycopg import sql

from bench.contenders import Dvsync
from bench.data import Export, Step
from bench.measure import say
from bench.server import ROLE, Server

_ENTRY = re.compile(
    r"LOG:  duration: ([\d.]+) ms(?:  (?:statement|parse [^:]*|bind [^:]*"
    r"|execute [^:]*): (.*?))?(?=^\d{4}-\d\d-\d\d |\Z)",
    re.DOTALL | re.MULTILINE,
)
_SHOWN = 76
_STATEMENTS = 12


def profile(server: Server, directory: Path, rows: int) -> str:
    """Load every step once and return its slowest statements as a Markdown table."""
    say(f"Writing an export of {rows:,} rows")
    export = Export(directory / "export", rows)
    steps = export.write_all()
    export.close(1)
    dvsync = Dvsync(server, export.root, directory / "dvsync")
    lines = ["| step | statement | calls | s |", "|---|---|---:|---:|"]
    with server.database("bench_profile") as database:
        dvsync.create_sync(database)
        log_all = sql.SQL("ALTER ROLE {} SET log_min_duration_statement = 0")
        server.execute(database, log_all.format(sql.Identifier(ROLE)))
        for number, step in enumerate(steps):
            export.close(number + 1)
            server.settle(database)
            lines += _step(server, dvsync, database, step)
    return "\n".join(lines)


def _step(server: Server, dvsync: Dvsync, database: str, step: Step) -> list[str]:
    log = server.log()
    start = log.stat().st_size
    timing = dvsync.load(database, step)
    with log.open("rb") as file:
        file.seek(start)
        entries = _ENTRY.findall(file.read().decode(errors="replace"))
    spent: dict[str, list[float]] = defaultdict(list)
    for milliseconds, text in entries:
        spent[" ".join(text.split())[:_SHOWN]].append(float(milliseconds) / 1000)
    total = sum(map(sum, spent.values()))
    slowest = sorted(spent.items(), key=lambda item: -sum(item[1]))[:_STATEMENTS]
    lines = [
        f"| | `{text.replace('|', '/')}` | {len(times)} | {sum(times):.3f} |"
        for text, times in slowest
    ]
    shown = sum(sum(times) for _, times in slowest)
    return [
        f"| {step.title} | all of syncnow | 1 | {timing.seconds:.3f} |",
        *lines,
        f"| | other statements | | {total - shown:.3f} |",
        f"| | Python, Django, waiting | | {timing.seconds - total:.3f} |",
    ]

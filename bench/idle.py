"""What a poll costs when nothing happened in a large export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from bench.contenders import ROOT
from bench.latency import manage
from bench.measure import say
from bench.server import Server, WrongResultError

FOLDERS, TABLES, ROUNDS = 10_000, 300, 60
DATABASE = "bench_idle"
USUAL, THOROUGH = "a poll", "one that looks at all again, every ten minutes"


def idle(server: Server, directory: Path) -> str:
    """Poll again and again; return what it cost, as Markdown."""
    with server.database(DATABASE) as database:
        environment = {
            **os.environ,
            "DATABASE_URL": server.url(database),
            "DVSYNC_DATA": str(directory / "dvsync"),
            "DJANGO_SETTINGS_MODULE": "dvsync_site.settings",
        }
        manage(environment, "migrate", "--verbosity", "0")
        done = subprocess.run(
            [sys.executable, "-m", "bench.idle", str(directory / "idle")],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise WrongResultError("the export could not be polled")
    return _report(json.loads(done.stdout))


def _report(found: dict[str, list[float]]) -> str:
    lines = [
        f"An export of {FOLDERS:,} folders with {TABLES} tables, a tenth of them in "
        f"each folder, all applied; {ROUNDS} polls of each kind in turn.",
        "",
        "| poll | p50 ms | p95 ms | most ms |",
        "|---|---:|---:|---:|",
    ]
    for name, seconds in found.items():
        p95 = quantiles(seconds, n=20, method="inclusive")[-1]
        figures = [median(seconds), p95, max(seconds)]
        shown = " | ".join(f"{figure * 1000:.0f}" for figure in figures)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def _poll(root: Path) -> dict[str, list[float]]:
    """Make the export and poll it; return the seconds of each poll."""
    import django

    django.setup()
    from django.db import connection
    from django.utils import timezone

    from bench.crowd import make_idle
    from sync.models import SyncConfig
    from sync.tasks import jobs

    say(f"Making {FOLDERS:,} folders")
    make_idle(root, folders=FOLDERS, tables=TABLES)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    seconds: dict[str, list[float]] = {USUAL: [], THOROUGH: []}
    jobs.poll(timezone.now().isoformat())
    for _ in range(ROUNDS):
        for name, found in seconds.items():
            if name == THOROUGH:
                SyncConfig.objects.update(settled_at=None)
            began = time.perf_counter()
            jobs.poll(timezone.now().isoformat())
            found.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    json.dump(_poll(Path(sys.argv[1])), sys.stdout)

"""The results as Markdown, on the terminal and in docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.contenders import ROOT, Timing
from bench.data import Step
from bench.measure import COPIED, DVSYNC, MERGED, Results

DOCUMENT = ROOT / "docs" / "performance.md"
_ENGINE = "dvsync, the load alone"


def machine(postgres: str) -> str:
    """Describe the machine without naming it."""
    cores = os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB "
        f"of memory, PostgreSQL {postgres}, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def speed(results: Results, where: str) -> str:
    """Return the table of all steps and contenders."""
    repeats = len(next(iter(results.timings.values())))
    lines = [
        f"Measured on {where}; {repeats} repeats.",
        "",
        "| step | by | best s | to psql | median s | to psql | rows/s | MB/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for step in results.steps:
        lines += _step_lines(step, results)
    peaks = [timing.peak for timing in results.timings[results.steps[0].title, DVSYNC]]
    lines += [
        "",
        f"The process of dvsync had at most {max(peaks) / 1e6:.0f} MB resident during "
        "the initial load.",
    ]
    return "\n".join(lines)


def _step_lines(step: Step, results: Results) -> list[str]:
    seconds: dict[str, list[float]] = {}
    for title in (DVSYNC, MERGED, COPIED):
        timings = results.timings.get((step.title, title), [])
        if timings:
            seconds[title] = [timing.seconds for timing in timings]
        if title == DVSYNC:
            seconds[_ENGINE] = _engine(timings)
    psql = seconds[MERGED]
    lines = []
    for title, values in seconds.items():
        name = f"{step.title}, {step.lines:,} rows, {step.size / 1e6:.1f} MB"
        cells = [
            name if title == DVSYNC else "",
            title,
            f"{min(values):.2f}",
            f"{min(values) / min(psql):.2f}",
            f"{median(values):.2f}",
            f"{median(values) / median(psql):.2f}",
            f"{step.lines / median(values):,.0f}",
            f"{step.size / 1e6 / median(values):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _engine(timings: Sequence[Timing]) -> list[float]:
    return [timing.engine for timing in timings if timing.engine is not None]


def write(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Replace what stands between the marks of this name in the document."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- bench: end of {name} -->"
    found = document.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(found):
        raise ValueError(f"{document.name} has no marks for {name!r}.")
    block = f"{begin}\n\n{text}\n\n{end}"
    document.write_text(pattern.sub(lambda _: block, found), encoding="utf-8")

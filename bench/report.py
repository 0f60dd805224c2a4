"""The results as Markdown, on the terminal and in docs/performance.md."""

from __future__ import annotations

import math
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
        f"Measured on {where}; every step {repeats} times.",
        "",
        "| step | by | best s | to psql | median s | to psql "
        "| CPU s | to psql | rows/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
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
    found = {
        title: results.timings[step.title, title]
        for title in (DVSYNC, MERGED, COPIED)
        if results.timings[step.title, title]
    }
    lines = [
        _line(title, step, timings, found[MERGED]) for title, timings in found.items()
    ]
    engine = [
        Timing(timing.engine, math.nan, 0)
        for timing in found[DVSYNC]
        if timing.engine is not None
    ]
    lines.insert(1, _line("dvsync, the load alone", step, engine, found[MERGED]))
    name = f"{step.title}, {step.lines:,} rows, {step.size / 1e6:,.1f} MB"
    return [f"| {name if line is lines[0] else ''} | {line} |" for line in lines]


def _line(
    title: str, step: Step, timings: Sequence[Timing], psql: Sequence[Timing]
) -> str:
    best, usual = _seconds(timings)
    best_psql, usual_psql = _seconds(psql)
    cpu, cpu_psql = (
        median(timing.cpu for timing in list_) for list_ in (timings, psql)
    )
    cells = [
        title,
        f"{best:.2f}",
        f"{best / best_psql:.2f}",
        f"{usual:.2f}",
        f"{usual / usual_psql:.2f}",
        f"{cpu:.2f}",
        f"{cpu / cpu_psql:.2f}" if cpu_psql else "",
        f"{step.lines / usual:,.0f}",
    ]
    return " | ".join("" if cell == "nan" else cell for cell in cells)


def _seconds(timings: Sequence[Timing]) -> tuple[float, float]:
    """Return the best and the median."""
    seconds = [timing.seconds for timing in timings]
    return min(seconds), median(seconds)


def write(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Replace what stands between the marks of this name in the document."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- bench: end of {name} -->"
    found = document.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(found):
        raise ValueError(f"{document.name} has no marks for {name!r}.")
    block = f"{begin}\n\n{text}\n\n{end}"
    document.write_text(pattern.sub(lambda _: block, found), encoding="utf-8")

"""Measures a change feed beside an export: the same rows, by both inputs."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

from bench.contenders import Dvsync, Timing
from bench.data import (
    ATTRIBUTES,
    DELTA_SHARE,
    FIRST_VERSION,
    TABLE,
    Change,
    Export,
    Step,
    delta_counts,
    hot_counts,
    model_of,
    step_of,
)
from bench.measure import say, timed, verify
from bench.server import Server

HOT_KEYS = 1_000
# The requirement: the feed's throughput is that of the CSV path within this factor.
FACTOR = 2.0
CSV, FEED = "export of CSV files", "change feed"
_LOG = "2026-03-01.log"
_CHUNK = 5_000
_TYPES = dict(ATTRIBUTES)
_NAMES = tuple(_TYPES)
_NUMBERS = {"int64", "decimal"}
# What an update of a row never changes.
_KEPT = {"name", "donotemail", "exchangerate", "createdon", "IsDelete"}


class FeedLines:
    """The changes of an ``Export`` as lines of a log, a file for each step."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows = rows
        self._folder = folder
        self._export = Export(folder, rows)
        folder.mkdir(parents=True)

    def write_initial(self) -> Step:
        """Write an INSERT of every row."""
        counts = (self.rows, 0, 0, 0)
        return self._write(0, "initial load", self._export.initial_changes(), counts, 0)

    def write_delta(self, number: int, title: str, lines: int, before: int) -> Step:
        """Write 60 % partial updates, 30 % inserts and 10 % deletes."""
        changes = self._export.changes(number, lines)
        return self._write(number, title, changes, delta_counts(lines), before)

    def write_hot(self, number: int, title: str, keys: int, before: int) -> Step:
        """Write many partial updates of a few keys."""
        changes = self._export.hot_changes(number, keys)
        return self._write(number, title, changes, hot_counts(keys), before)

    def _write(
        self,
        number: int,
        title: str,
        changes: Iterable[Change],
        counts: tuple[int, int, int, int],
        before: int,
    ) -> Step:
        path = self._folder / f"{number}.lines"
        lines = self._lines(changes, number)
        with path.open("wb") as file:
            while chunk := list(islice(lines, _CHUNK)):
                file.write("".join(chunk).encode())
        return step_of(title, self._folder, (path.name,), counts, before)

    def _lines(self, changes: Iterable[Change], number: int) -> Iterator[str]:
        for second, change in enumerate(changes):
            verb, values = self._told(change, number)
            pairs = ", ".join(f"{json.dumps(name)}: {v}" for name, v in values.items())
            yield f"{_moment(number, second)} | {verb} | {TABLE} | {{{pairs}}}\n"

    def _told(self, change: Change, number: int) -> tuple[str, dict[str, str]]:
        """Return the verb, and what is told of the row, as JSON."""
        row, version = change
        if version is None:
            return "DELETE", {"Id": self._values(change, number)["Id"]}
        if number == 0 or row >= self.rows:
            return "INSERT", self._values(change, number)
        if version < FIRST_VERSION:
            # A feed has no version that is too old: the row is told as it is.
            change, number = Change(row, FIRST_VERSION + row), 0
        values = self._values(change, number)
        return "UPDATE", {n: v for n, v in values.items() if n not in _KEPT}

    def _values(self, change: Change, number: int) -> dict[str, str]:
        (cells,) = csv.reader([self._export.line(change, number)])
        named = zip(_NAMES, cells, strict=True)
        return {name: _json(name, cell) for name, cell in named}


def _json(name: str, cell: str) -> str:
    if not cell:
        return "null"
    if _TYPES[name] == "boolean":
        return cell.lower()
    if _TYPES[name] in _NUMBERS:
        return cell
    return json.dumps(cell, ensure_ascii=False)


def _moment(number: int, line: int) -> str:
    second = line // 100
    return (
        f"2026-03-{1 + number:02d}T{second // 3600 % 24:02d}:"
        f"{second // 60 % 60:02d}:{second % 60:02d}Z"
    )


class Feed:
    """A directory with one log file, which grows step by step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        (root / "model.json").write_text(json.dumps(model_of("", ())))

    def extend(self, step: Step) -> None:
        """Append the lines of a step."""
        with (self.root / _LOG).open("ab") as log:
            for name in step.files:
                with (step.directory / name).open("rb") as lines:
                    shutil.copyfileobj(lines, log)


@dataclass
class Results:
    """What the inputs hold in each step, and how long their loads took."""

    steps: dict[str, list[Step]]
    timings: dict[tuple[int, str], list[Timing]] = field(
        default_factory=lambda: defaultdict(list)
    )


def measure(server: Server, directory: Path, rows: int, repeat: int) -> Results:
    """Load the same rows by both inputs, in turn, ``repeat`` times."""
    say(f"Writing {rows:,} rows for both inputs")
    export = Export(directory / "export", rows)
    lines = FeedLines(directory / "lines", rows)
    results = Results({CSV: _write_all(export), FEED: _write_all(lines)})
    for turn in range(repeat):
        say(f"Repeat {turn + 1} of {repeat}")
        feed = Feed(directory / f"feed-{turn}")
        data = directory / f"dvsync-{turn}"
        inputs = [
            Dvsync(server, export.root, data, CSV),
            Dvsync(server, feed.root, data, FEED, sync="feed"),
        ]
        with server.database(f"bench_feed_{turn}") as database:
            _run(server, export, feed, inputs, results, database, turn)
    return results


def _write_all(made: Export | FeedLines) -> list[Step]:
    lines = made.rows // DELTA_SHARE
    keys = min(HOT_KEYS, lines)
    initial = made.write_initial()
    delta = made.write_delta(1, "delta", lines, initial.total)
    return [initial, delta, made.write_hot(2, "hot keys", keys, delta.total)]


def _run(
    server: Server,
    export: Export,
    feed: Feed,
    inputs: list[Dvsync],
    results: Results,
    database: str,
    turn: int,
) -> None:
    for number, steps in enumerate(zip(*results.steps.values(), strict=True)):
        export.close(number + 1)
        feed.extend(results.steps[FEED][number])
        if number == 0:
            for each in inputs:
                each.create_sync(database)
        pairs = list(zip(inputs, steps, strict=True))
        for each, step in pairs if (turn + number) % 2 else reversed(pairs):
            server.settle(database)
            timing = timed(server, each, database, step)
            results.timings[number, each.title].append(timing)
            say(f"  {step.title}: {each.title} {timing.seconds:.2f} s")
        verify(server, database, inputs, steps[0])


def report(results: Results, where: str) -> str:
    """Return the table of all steps and inputs."""
    repeats = len(results.timings[0, CSV])
    lines = [
        f"Measured on {where}; every step {repeats} times.",
        "",
        "| step | input | MB | best s | to CSV | CPU s | to CSV | rows/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for number in range(len(results.steps[CSV])):
        lines += _step_lines(results, number)
    peaks = [timing.peak for timing in results.timings[0, FEED]]
    lines += [
        "",
        f"The process had at most {max(peaks) / 1e6:.0f} MB resident during the "
        "initial load of the feed. The throughput shall be within a factor of "
        f"{FACTOR:.0f} of the export's: at the worst it is {worst(results):.2f}.",
    ]
    return "\n".join(lines)


def worst(results: Results) -> float:
    """Return the highest ratio of the feed's seconds to those of the CSV files."""
    return max(
        _best(results, number, FEED) / _best(results, number, CSV)
        for number in range(len(results.steps[CSV]))
    )


def _step_lines(results: Results, number: int) -> Iterator[str]:
    base = _best(results, number, CSV), _cpu(results, number, CSV)
    for title, steps in results.steps.items():
        step = steps[number]
        best, cpu = _best(results, number, title), _cpu(results, number, title)
        name = f"{step.title}, {step.lines:,} rows" if title == CSV else ""
        yield (
            f"| {name} | {title} | {step.size / 1e6:,.1f} | {best:.2f} "
            f"| {best / base[0]:.2f} | {cpu:.2f} | {cpu / base[1]:.2f} "
            f"| {step.lines / best:,.0f} |"
        )


def _best(results: Results, number: int, title: str) -> float:
    return min(timing.seconds for timing in results.timings[number, title])


def _cpu(results: Results, number: int, title: str) -> float:
    return median(timing.cpu for timing in results.timings[number, title])

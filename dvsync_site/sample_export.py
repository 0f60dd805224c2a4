"""Writes a sample export: what Synapse Link would write for a busy small company.

The same arguments give the same bytes, whatever the size: values come from
hashes, and only rows that changed are remembered. An export may grow on disk,
folder by folder, and go on after a restart::

    export = SampleExport(directory, tables=5, rows=1000, seed=1)
    export.write_initial()
    export.write_changes()                    # closes a folder, opens the next
    dict(export.expected_rows("account"))     # what a replica must hold now

    export = SampleExport.resume(directory)
    export.write_changes(changes=50)

The format is described in docs/synapse-link-format.md.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dvsync_site.sample_history import Change, History, Line
from dvsync_site.sample_model import entity, model, option_sets
from dvsync_site.sample_tables import Origin
from dvsync_site.sample_tables import tables as sample_tables
from dvsync_site.sample_values import UTC, Calendar, Dice, moment, us_time

START = dt.datetime(2026, 3, 1, 8, tzinfo=UTC)
INTERVAL = 15 * 60
# The folder that Synapse Link owns and readers leave alone.
SERVICE = "Microsoft.Athena.TrickleFeedService"
NOTES = "dvsync-sample.json"
# Rows of a table that the open folder holds already.
EARLY_ROWS = 3


@dataclass(frozen=True)
class ExportSummary:
    """What an export holds; rows are the lines of all CSV files of tables."""

    folders: int
    tables: int
    rows: int
    bytes: int
    marker: str


def write_export(
    directory: Path,
    *,
    tables: int = 5,
    rows: int = 1000,
    folders: int = 6,
    seed: int = 1,
) -> ExportSummary:
    """Write an export with this many closed folders, and an open one."""
    if folders < 1:
        raise ValueError("folders must be at least 1.")
    export = SampleExport(directory, tables=tables, rows=rows, seed=seed)
    export.write_initial()
    for _ in range(folders - 1):
        export.write_changes()
    return export.summary()


class SampleExport:
    """A growing export. ``rows`` is the size of each table's initial copy."""

    def __init__(
        self,
        directory: Path,
        *,
        tables: int = 5,
        rows: int = 1000,
        seed: int = 1,
        start: dt.datetime = START,
    ) -> None:
        if tables < 1 or rows < 1:
            raise ValueError("tables and rows must be at least 1.")
        self.directory = directory
        self._arguments = {"tables": tables, "rows": rows, "seed": seed}
        self._opened = int(start.timestamp())
        self._origin = Origin(
            seed, rows, self._opened, 4_000_000 + seed % 1000, Calendar(self._opened)
        )
        made = sample_tables(tables, seed)
        self._histories = {table.name: History(table, self._origin) for table in made}
        self._calls: list[tuple[int, int]] = []  # changes and opening of each folder
        self._names = [_folder_name(self._opened)]
        self._early: list[tuple[History, list[Change]]] = []
        self._rows = 0
        self._replaying = False

    @classmethod
    def resume(cls, directory: Path) -> SampleExport:
        """Take up the export in a directory where it was left, even if killed."""
        notes = json.loads((directory / SERVICE / NOTES).read_bytes())
        start = moment(notes.pop("start"))
        calls = notes.pop("calls")
        export = cls(directory, start=start, **notes)
        marker = (directory / "Changelog" / "changelog.info").read_text()
        export._replaying = True
        for changes, opens in calls:
            if export.marker == marker:
                break
            export._go_on(changes, opens)
        export._replaying = False
        export._forget_half_written()
        export._write_open_folder()
        return export

    @property
    def marker(self) -> str:
        """Return the name of the open folder."""
        return self._names[-1]

    @property
    def opened(self) -> dt.datetime:
        """Return when the open folder was opened, as its name says."""
        return moment(self._opened)

    @property
    def closed(self) -> list[str]:
        """Return the names of the closed folders."""
        return self._names[:-1]

    @property
    def tables(self) -> list[str]:
        """Return the names of the tables, in the order of model.json."""
        return sorted(self._histories)

    def columns(self, table: str) -> list[str]:
        """Return a table's columns as the newest closed folder has them."""
        return [column.name for column in self._histories[table].closed_columns()]

    def expected_rows(self, table: str) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Yield Id and row, as written, of what all closed folders amount to.

        It does not read the files. Empty cells are None.
        """
        return self._histories[table].expected_rows()

    def write_initial(self, *, opens: dt.datetime | None = None) -> None:
        """Write the full copy of all tables, close it, and open the next folder.

        ``opens`` is as in ``write_changes``.
        """
        if self.directory.exists() and any(self.directory.iterdir()):
            raise FileExistsError(f"{self.directory} is not empty.")
        (self.directory / "Changelog").mkdir(parents=True)
        second = self._next_tick() if opens is None else int(opens.timestamp())
        if second <= self._opened:
            raise ValueError("time must not go backwards.")
        self._go_on(0, second)

    def write_changes(
        self, changes: int | None = None, *, opens: dt.datetime | None = None
    ) -> str:
        """Add changes to the open folder, close it, and open the next one.

        ``changes`` is the number of rows to add over all tables, default a small
        share of the rows; ``opens`` is when the next folder opens, default 15
        minutes after this one. Return the name of the folder that is now closed.
        """
        if changes is None:
            each = min(max(5, self._origin.rows // 20), 20_000)
            changes = each * len(self._active(len(self._calls)))
        second = self._next_tick() if opens is None else int(opens.timestamp())
        if changes < 0 or second <= self._opened:
            raise ValueError("changes and time must not go backwards.")
        if not self._calls:
            raise RuntimeError("Call write_initial() first.")
        self._go_on(changes, second)
        return self.closed[-1]

    def summary(self) -> ExportSummary:
        """Count what the export holds."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        return ExportSummary(
            folders=len(self.closed),
            tables=len(self._histories),
            rows=self._rows,
            bytes=sum(path.stat().st_size for path in files),
            marker=self.marker,
        )

    def _next_tick(self) -> int:
        """Return when the next folder opens: a second or so after the tick."""
        ticks = (self._opened - self._origin.start + INTERVAL // 2) // INTERVAL + 1
        drift = Dice(self._origin.seed, "tick", ticks).roll(3)
        return self._origin.start + ticks * INTERVAL + drift

    def _active(self, number: int) -> list[History]:
        """Return the tables that change in a folder."""
        histories = list(self._histories.values())
        dice = Dice(self._origin.seed, "active", number)
        return [h for h in histories if dice.roll(4)] or histories[:1]

    def _go_on(self, changes: int, opens: int) -> None:
        """Fill the open folder up, close it, and open the next one."""
        closing = self._names[-1]
        if self._calls:
            active = self._active(len(self._calls))
            share, rest = divmod(changes, len(active))
            first = min(self._opened + 1, opens - 1)
            for i, history in enumerate(active):
                made = history.changes(share + (i < rest), first, opens - 1)
                self._write_changes(history, made)
        else:
            self._write_initial()
        self._calls.append((changes, opens))
        self._names.append(_folder_name(opens))
        self._opened = opens
        for history in self._histories.values():
            history.open_folder(len(self._calls))
        self._early = [
            (history, list(self._counted(history.changes(EARLY_ROWS, opens, opens))))
            for history in self._active(len(self._calls))
        ]
        if not self._replaying:
            self._write_open_folder()
            self._close(closing)

    def _write_open_folder(self) -> None:
        """Write what the open folder holds from the start."""
        for history, changes in self._early:
            self._append(history, history.lines(changes))
        self._write(f"{self.marker}/model.json", b"")
        self._write_option_sets()

    def _write_initial(self) -> None:
        self._rows += self._origin.rows * len(self._histories)
        if not self._replaying:
            limit = max(200, self._origin.rows // 3 + 1)
            for history in self._histories.values():
                self._append(history, history.initial_lines(), limit)
            self._write_option_sets()

    def _write_changes(self, history: History, changes: Iterator[Change]) -> None:
        counted = self._counted(changes)
        if self._replaying:
            deque(counted, maxlen=0)
        else:
            self._append(history, history.lines(counted))

    def _counted(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            self._rows += 1
            yield change

    def _append(
        self, history: History, batches: Iterable[list[Line]], limit: int = 1 << 60
    ) -> None:
        """Append lines to the table's files in the open folder.

        A file that reaches the limit of rows goes on as 2025_001.csv.
        """
        folder = self.directory / self.marker / history.table.name
        written: dict[str, int] = defaultdict(int)
        for batch in batches:
            folder.mkdir(parents=True, exist_ok=True)
            parts: dict[str, list[bytes]] = defaultdict(list)
            for part, line in batch:
                number = written[part] // limit
                written[part] += 1
                name = f"{part}_{number:03d}" if number else part
                # By line: joined first, one emoji would make all text four bytes wide.
                parts[name].append(line.encode())
            for name, lines in parts.items():
                with (folder / f"{name}.csv").open("ab") as file:
                    file.writelines(lines)

    def _close(self, name: str) -> None:
        """Write what makes a folder complete; the marker comes last."""
        completed = us_time(self._origin.start + INTERVAL - 60).strip('"')
        entities = []
        for table in self.tables:
            history = self._histories[table]
            parts = sorted(
                p.stem for p in (self.directory / name / table).glob("*.csv")
            )
            made = entity(
                history.table,
                history.closed_columns(),
                folder=name,
                parts=parts,
                completed=completed,
            )
            entities.append(made)
            self._write(f"{SERVICE}/{table}-model.json", model([made]))
            if parts:
                self._write(f"{name}/{SERVICE}/{table}-model.json", model([made]))
        text = model(entities)
        self._write(f"{name}/model.json", text)
        self._write("model.json", text)
        self._write("Changelog/Synapse.log", ",".join(self.closed).encode())
        start, calls = self._origin.start, self._calls
        notes = {**self._arguments, "start": start, "calls": calls}
        self._write(f"{SERVICE}/{NOTES}", json.dumps(notes).encode())
        self._write("Changelog/changelog.info", self.marker.encode())

    def _write_option_sets(self) -> None:
        histories = [self._histories[name] for name in self.tables]
        made = option_sets((h.table, h.closed_columns()) for h in histories)
        for name, content in made.items():
            self._write(f"{self.marker}/OptionsetMetadata/{name}", content)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file beside, then rename it: readers see all of it or nothing."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(content)
        draft.replace(path)

    def _forget_half_written(self) -> None:
        """Drop what a killed writer may have left in the open folder or after it."""
        for path in self.directory.iterdir():
            if re.match(r"\d{4}-", path.name) and path.name >= self.marker:
                shutil.rmtree(path)


def _folder_name(second: int) -> str:
    return f"{moment(second):%Y-%m-%dT%H.%M.%SZ}"

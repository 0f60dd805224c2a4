"""A crash at every reach of every fault point, over data of many shapes.

A run that passes untouched tells how often each point is reached; then a crash comes
at the first, second, third... reach of each, up to the last: SQLite's way of testing.
A crash in this process is an exception that no handler may catch; each point is met
by a real SIGKILL once as well.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from unittest import mock

import pytest
from psycopg import sql

from sync import faultpoints
from sync.engine import load
from sync.models import SyncConfig
from sync.sources import csv_rows
from tests import processes, snapshot
from tests.exports import ExportWriter
from tests.invariants import Observation, check_invariants
from tests.sync.conftest import Export, run_sql

BAD_ROW = b"no row\n"


class Crash(BaseException):
    """The loader dies here; nothing may catch it."""


@dataclass(frozen=True)
class Shape:
    """Folders to write, and how many of them are loaded before the fault.

    ``budget`` is the bytes of a batch. ``spoilt`` is the folder that holds a bad row
    until its table has failed.
    """

    write: Callable[[ExportWriter], None]
    before: int
    budget: int
    spoilt: int | None


SHAPES: list[Shape] = []
Write = Callable[[ExportWriter], None]


def shape(
    before: int = 0, *, budget: int = 10**9, spoilt: int | None = None
) -> Callable[[Write], Write]:
    def add(write: Write) -> Write:
        SHAPES.append(Shape(write, before, budget, spoilt))
        return write

    return add


@shape()
def a_single_row_creates_schema_and_table(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.close_folder()


@shape()
def a_table_without_rows(w: ExportWriter) -> None:
    w.table("lead")
    w.upsert("account", 1, name="a")
    w.close_folder()


@shape(before=1)
def several_files(w: ExportWriter) -> None:
    for key in (1, 2, 3):
        w.upsert("account", key, name="before")
    w.close_folder()
    w.upsert("account", 1, name="a", file="2025.csv")
    w.upsert("account", 4, name="b\nof two lines", file="2025_001.csv")
    w.upsert("account", 2, name="c", file="2026.csv")
    w.delete("account", 3, file="1.csv")
    w.close_folder()


def _three_folders(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.upsert("account", 2, name="b")
    w.close_folder()
    w.upsert("account", 1, name="a2")
    w.delete("account", 2)
    w.upsert("account", 3, name="c")
    w.close_folder()
    w.upsert("account", 2, name="b2")
    w.delete("account", 1)
    w.upsert("account", 3, name="c2")
    w.close_folder()


@shape(before=1)
def several_partitions_in_one_batch(w: ExportWriter) -> None:
    _three_folders(w)


@shape(before=1, budget=0)
def one_partition_per_batch(w: ExportWriter) -> None:
    _three_folders(w)


@shape(before=1)
def deletes_without_version(w: ExportWriter) -> None:
    for key in (1, 2):
        w.upsert("account", key, name="a")
    w.close_folder()
    w.delete("account", 1)
    w.delete("account", 9)
    w.close_folder()
    w.upsert("account", 9, name="after its delete")
    w.close_folder()


@shape(before=2)
def tombstones_from_before(w: ExportWriter) -> None:
    stale = w.upsert("account", 1, version=5, name="old")
    w.upsert("account", 2, version=6, name="old")
    w.close_folder()
    w.delete("account", 1, version=7)
    w.delete("account", 2, version=8)
    w.close_folder()
    w.resend(stale)
    w.upsert("account", 2, version=9, name="made again")
    w.close_folder()


@shape(before=1)
def a_column_added_in_mid_file(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.close_folder()
    w.upsert("account", 2, name="narrow")
    w.add_column("account", "colour:string")
    w.upsert("account", 1, name="full", colour="red")
    w.close_folder()


@shape(before=1)
def a_column_that_left(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a", amount=Decimal("1.50"))
    w.upsert("account", 2, name="b", amount=Decimal(2))
    w.close_folder()
    w.remove_column("account", "amount")
    w.upsert("account", 1, name="a2")
    w.delete("account", 2)
    w.close_folder()
    w.upsert("account", 2, name="b2")
    w.close_folder()


@shape()
def empty_files(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.raw("account", "2024.csv", b"")
    w.close_folder()
    w.raw("account", "2026.csv", b"")
    w.close_folder()


@shape()
def a_file_of_several_blocks(w: ExportWriter) -> None:
    for key in range(1, 8):
        w.upsert("account", key, name="x" * 50)
    w.close_folder()


@shape()
def two_tables(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.upsert("contact", 1, name="b")
    w.close_folder()


@shape(before=1)
def updates_only(w: ExportWriter) -> None:
    for name in ("a", "b"):
        for key in (1, 2, 3):
            w.upsert("account", key, name=name)
        w.close_folder()


@shape(before=2)
def contents_sent_again(w: ExportWriter) -> None:
    first = [w.upsert("account", key, name="a") for key in (1, 2)]
    w.close_folder()
    second = [w.upsert("account", 1, name="b"), w.delete("account", 2, version=9)]
    w.close_folder()
    for change in (*first, *second):
        w.resend(change)
    w.close_folder()


@shape(before=1)
def a_table_without_versions(w: ExportWriter) -> None:
    w.table("account", versioned=False)
    for key in (1, 2):
        w.upsert("account", key, name="a")
    w.close_folder()
    w.upsert("account", 1, name="b")
    w.delete("account", 2)
    w.close_folder()
    w.upsert("account", 2, name="made again")
    w.close_folder()


@shape(spoilt=1)
def bad_data_that_is_corrected(w: ExportWriter) -> None:
    for name in ("a", "b"):
        w.upsert("account", 1, name=name)
        w.close_folder()


@pytest.fixture
def observer() -> Iterator[snapshot.Connection]:
    with snapshot.connect() as connection:
        yield connection


@pytest.mark.fault(
    "F01",
    injected="a crash at every reach of every fault point, over many shapes of data",
    outcome="every invariant holds after it; the next run is exact",
)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.write.__name__)
def test_a_crash_at_any_reach_of_any_point_changes_nothing(
    export: Export, observer: snapshot.Connection, shape: Shape
) -> None:
    shape.write(export)
    export.config.delete()
    reached: Counter[str] = Counter()
    with (
        fresh_sync(export),
        mock.patch.object(faultpoints, "reach", lambda name: reached.update([name])),
    ):
        Run(export, observer, shape).untouched(reached.clear)
    unmet = set() if shape.spoilt is not None else {"failure_recorded"}
    assert reached.keys() == set(faultpoints.POINTS) - unmet
    for point, times in reached.items():
        for reach in range(1, times + 1):
            with fresh_sync(export):
                try:
                    Run(export, observer, shape).crash(point, reach)
                except AssertionError as error:
                    error.add_note(f"crashed at reach {reach} of {point}")
                    raise


@contextmanager
def fresh_sync(export: Export) -> Iterator[None]:
    """Give an export a sync that knows nothing of it yet."""
    name = f"crashes_{export.root.name}"
    export.config = SyncConfig.objects.create(
        name=name, location=str(export.root), schema_name=name
    )
    try:
        yield
    finally:
        schema = sql.Identifier(name)
        run_sql(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        export.config.delete()


class Run:
    """One play of a shape, with a crash in it."""

    def __init__(
        self, export: Export, observer: snapshot.Connection, shape: Shape
    ) -> None:
        self.export = export
        self.observer = observer
        self.shape = shape
        self.seen: Observation | None = None

    def untouched(self, begin: Callable[[], None]) -> None:
        """Play the shape; ``begin`` is called where a fault may come from then on."""
        self.prepare()
        begin()
        with self.as_shaped():
            self.play()
        self.check(settled=True)

    def crash(self, point: str, reach: int) -> None:
        """Play the shape up to the crash, which must come, and play on."""

        def die() -> None:
            raise Crash

        self.prepare()
        with self.as_shaped():
            with pytest.raises(Crash), faultpoints.armed(point, reach, action=die):
                self.play()
            self.check(settled=False)
            self.play()
        self.check(settled=True)

    @contextmanager
    def as_shaped(self) -> Iterator[None]:
        with (
            mock.patch.object(load, "BATCH_BYTES", self.shape.budget),
            mock.patch.object(csv_rows, "BLOCK", 400),
        ):
            yield

    def prepare(self) -> None:
        self.spoil()
        self.reveal(self.shape.before)
        self.export.sync()
        self.check(settled=False)
        self.reveal(len(self.export.folders) - 1)

    def reveal(self, folders: int) -> None:
        """Let so many folders be closed."""
        marker = self.export.root / "Changelog" / "changelog.info"
        marker.write_text(self.export.folders[folders].name)

    def play(self) -> None:
        self.export.sync()
        if self.shape.spoilt is None:
            return
        if self.spoilt().endswith(BAD_ROW):
            self.check(settled=True, failed=["account"])
            self.mend()
        self.export.sync()  # the changed size is noticed
        self.export.sync()

    def spoilt(self, data: bytes | None = None) -> bytes:
        assert self.shape.spoilt is not None
        folder = self.export.folders[self.shape.spoilt].name
        path = self.export.root / folder / "account" / "2026.csv"
        if data is not None:
            path.write_bytes(data)
        return path.read_bytes()

    def spoil(self) -> None:
        if self.shape.spoilt is not None:
            self.spoilt(self.spoilt().removesuffix(BAD_ROW) + BAD_ROW)

    def mend(self) -> None:
        self.spoilt(self.spoilt().removesuffix(BAD_ROW))

    def check(self, *, settled: bool, failed: list[str] | None = None) -> None:
        self.seen = check_invariants(
            self.export,
            self.export.config.pk,
            before=self.seen,
            settled=settled,
            failed=failed or [],
            connection=self.observer,
        )


# Real processes.


def history(export: Export, dice: random.Random) -> None:
    """Write two folders of upserts and deletes, and one with narrow rows."""
    for _ in range(2):
        for _ in range(200):
            key = dice.randint(1, 100)
            if dice.random() < 0.25:
                export.delete("account", key)
            else:
                export.upsert("account", key, name=f"v{dice.random()}")
            export.upsert("contact", key, name=f"c{dice.random()}")
        export.close_folder()


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of a process at every fault point",
    outcome="every invariant holds after it; the next run is exact",
)
@pytest.mark.parametrize("point", faultpoints.POINTS)
def test_killed_by_sigkill_at_a_point_it_still_ends_exact(
    export: Export, point: str
) -> None:
    dice = random.Random(point)  # noqa: S311
    history(export, dice)
    export.sync()
    history(export, dice)
    export.upsert("account", 1, name="narrow")
    export.add_column("account", "colour:string")
    export.upsert("account", 2, name="x", colour="red")
    export.upsert("lead", 1, name="one that fails")
    export.raw("lead", "2026.csv", BAD_ROW)
    export.close_folder()
    number = export.config.pk
    seen = check_invariants(export, number, settled=False)

    code, _, err = processes.run("syncnow", DVSYNC_FAULTPOINT=point)
    assert code == -signal.SIGKILL, err
    seen = check_invariants(export, number, before=seen, settled=False)
    results = export.sync()

    statuses = {name: result.status for name, result in results.items()}
    assert statuses.pop("lead") == "failed"
    assert set(statuses.values()) <= {"success"}
    check_invariants(export, number, before=seen, failed=["lead"])

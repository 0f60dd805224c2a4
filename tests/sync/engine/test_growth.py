"""What the ledger knows of log files that grow, move on, come back, and are applied."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from django.db import connection, transaction

from sync.engine.growth import record_growth, record_returned, release, rename
from sync.models import (
    DataSyncProgress,
    QuarantinedRow,
    SourceKind,
    SyncConfig,
    SyncPartition,
    SyncTable,
)
from sync.sources.base import Partition, PartitionState, Renamed, Source, TableFile
from sync.target.winners import RowCounts

NOW = datetime(2024, 9, 10, 12, tzinfo=UTC)
Status = DataSyncProgress.Status


@dataclass
class Ledger:
    """A sync of two tables, of which one is not followed."""

    config: SyncConfig
    tables: dict[str, SyncTable] = field(default_factory=dict)

    def partition(
        self, name: str, extent: int = 100, mark: str = "", **fields: Any
    ) -> SyncPartition:
        return SyncPartition.objects.create(
            config=self.config,
            name=name,
            opened_at=NOW,
            closed_at=NOW,
            state=fields.pop("state", SyncPartition.State.READY),
            extent=extent,
            mark=mark or f"mark of {name}",
            sizes={"account": {name: 50}},
            **fields,
        )

    def progress(
        self, partition: str, table: str = "account", **fields: Any
    ) -> DataSyncProgress:
        defaults: dict[str, Any] = {"end_offset": 100, "applied_offset": 100}
        if fields.get("copy_status") == Status.SUCCESS:
            defaults["attempts"] = 1
        return DataSyncProgress.objects.create(
            config=self.config,
            partition=partition,
            table_name=table,
            **{**defaults, **fields},
        )

    def of(self, partition: str, table: str = "account") -> DataSyncProgress:
        return DataSyncProgress.objects.get(
            config=self.config, partition=partition, table_name=table
        )

    def known(self) -> dict[str, str]:
        return dict(self.config.partitions.values_list("name", "mark"))

    def events(self) -> list[tuple[str, str]]:
        found = self.config.events.order_by("pk")
        return list(found.values_list("kind", "partition"))


@pytest.fixture
def ledger(db: None) -> Ledger:
    return make_ledger()


def make_ledger() -> Ledger:
    config = SyncConfig.objects.create(
        name="growing",
        kind=SourceKind.CHANGE_FEED,
        location="/nowhere",
        schema_name="growing",
    )
    made = Ledger(config)
    for name in ("account", "contact"):
        made.tables[name] = SyncTable.objects.create(
            config=config, entity=name, target_name=name
        )
    return made


def grown(
    name: str = "a.log", since: int = 100, extent: int = 180, **sizes: int
) -> Partition:
    later = NOW + timedelta(hours=1)
    files = {
        table: (TableFile(name, size),)
        for table, size in (sizes or {"account": 30}).items()
    }
    return Partition(
        *(name, later, later, PartitionState.READY),
        files=files,
        extent=extent,
        since=since,
        mark=f"mark at {extent}",
    )


def moved(old: str, new: str, **fields: str) -> Renamed:
    before = fields.get("before", f"mark of {old}")
    return Renamed(old, new, before, f"mark of {new}", f"{old} is called {new} now")


class TestGrowth:
    def test_what_was_applied_waits_for_the_rest(self, ledger: Ledger) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", copy_status=Status.SUCCESS, bytes=50, rows_inserted=7)
        record_growth(ledger.config, [grown()])

        row = ledger.of("a.log")
        assert (row.copy_status, row.attempts) == (Status.PENDING, 0)
        assert (row.applied_offset, row.end_offset, row.bytes) == (100, 180, 30)
        assert row.rows_inserted == 7
        assert not row.was_killed
        partition = ledger.config.partitions.get()
        assert (partition.extent, partition.mark) == (180, "mark at 180")
        assert partition.sizes == {"account": {"a.log": 80}}
        assert partition.opened_at == NOW
        assert partition.closed_at > NOW

    @pytest.mark.parametrize(
        "before",
        [
            {"copy_status": Status.PENDING, "attempts": 0},
            {"copy_status": Status.PENDING, "attempts": 2},
            {"copy_status": Status.FAILURE, "attempts": 3, "error_code": "bad_row"},
        ],
    )
    def test_what_waits_or_failed_waits_or_fails_for_more(
        self, ledger: Ledger, before: dict[str, Any]
    ) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", bytes=50, **(before | {"applied_offset": 20}))
        record_growth(ledger.config, [grown()])

        row = ledger.of("a.log")
        assert (row.applied_offset, row.end_offset, row.bytes) == (20, 180, 80)
        assert {name: getattr(row, name) for name in before} == before
        assert ledger.config.partitions.get().closed_at == NOW

    def test_a_table_that_begins_in_the_new_part_starts_there(
        self, ledger: Ledger
    ) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", copy_status=Status.SUCCESS)
        record_growth(ledger.config, [grown(account=10, contact=20, unknown=30)])

        row = ledger.of("a.log", "contact")
        assert (row.applied_offset, row.end_offset, row.bytes) == (100, 180, 20)
        assert (row.copy_status, row.attempts) == (Status.PENDING, 0)
        assert not ledger.config.progress.filter(table_name="unknown").exists()
        sizes = ledger.config.partitions.get().sizes
        assert sizes["unknown"] == {"a.log": 30}

    def test_a_table_without_new_lines_stays_applied(self, ledger: Ledger) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", copy_status=Status.SUCCESS)
        ledger.progress("a.log", "contact", copy_status=Status.SUCCESS)
        record_growth(ledger.config, [grown(contact=30)])

        assert ledger.of("a.log").copy_status == Status.SUCCESS
        assert ledger.of("a.log").end_offset == 100
        assert ledger.of("a.log", "contact").copy_status == Status.PENDING

    @pytest.mark.parametrize("since", [0, 50, 120, 180])
    def test_what_another_look_knows_otherwise_is_left_to_the_next(
        self, ledger: Ledger, since: int
    ) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", copy_status=Status.SUCCESS)
        record_growth(ledger.config, [grown(since=since)])

        assert ledger.of("a.log").copy_status == Status.SUCCESS
        assert ledger.config.partitions.get().extent == 100

    def test_the_same_growth_is_recorded_once(self, ledger: Ledger) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log", copy_status=Status.SUCCESS)
        for _ in range(2):
            record_growth(ledger.config, [grown()])

        assert ledger.of("a.log").bytes == 30

    @pytest.mark.parametrize(
        ("extent", "state"), [(0, "ready"), (100, "lost"), (100, "skipped")]
    )
    def test_folders_and_lost_files_do_not_grow(
        self, ledger: Ledger, extent: int, state: str
    ) -> None:
        ledger.partition("a.log", extent, state=state)
        record_growth(ledger.config, [grown(since=extent), replace(grown(), mark="")])

        assert ledger.config.partitions.get().extent == extent
        assert not ledger.config.progress.exists()

    def test_a_load_that_ends_meanwhile_makes_no_second_row(
        self, transactional_db: None
    ) -> None:
        ledger = make_ledger()
        ledger.partition("a.log")
        ledger.progress("a.log", attempts=1, applied_offset=0, bytes=50)
        written, may_commit = threading.Event(), threading.Event()

        def load() -> None:
            try:
                with transaction.atomic():
                    row = ledger.of("a.log")
                    row.record_success(RowCounts(inserted=5), 50, start=0, end=100)
                    written.set()
                    may_commit.wait(30)
            finally:
                connection.close()

        thread = threading.Thread(target=load)
        thread.start()
        assert written.wait(30)
        threading.Timer(0.3, may_commit.set).start()
        with transaction.atomic():
            record_growth(ledger.config, [grown()])
        thread.join()

        row = ledger.of("a.log")
        assert (row.copy_status, row.attempts, row.bytes) == (Status.PENDING, 0, 30)
        assert (row.applied_offset, row.end_offset) == (100, 180)
        assert row.rows_inserted == 5

    def test_a_file_that_grows_within_a_load_waits_again_after_it(
        self, ledger: Ledger
    ) -> None:
        ledger.partition("a.log")
        row = ledger.progress("a.log", attempts=1, applied_offset=0, bytes=50)
        record_growth(ledger.config, [grown()])
        row.record_success(RowCounts(inserted=5), 50, start=0, end=100)

        row = ledger.of("a.log")
        assert (row.copy_status, row.attempts, row.bytes) == (Status.PENDING, 0, 30)
        assert (row.applied_offset, row.end_offset) == (100, 180)
        row.record_success(RowCounts(updated=2, missing=1), 30, start=100, end=180)
        row = ledger.of("a.log")
        assert row.copy_status == Status.SUCCESS
        assert (row.rows_inserted, row.rows_updated, row.rows_missing) == (5, 2, 1)


class TestRenaming:
    def test_a_name_changes_wherever_it_is(self, ledger: Ledger) -> None:
        ledger.partition("a.log")
        ledger.partition("b.log")
        for name in ("a.log", "b.log"):
            ledger.progress(name)
        table = ledger.tables["account"]
        naming = ("last_partition", "base_partition", "filled_from")
        SyncTable.objects.filter(pk=table.pk).update(
            **dict.fromkeys(naming, "a.log"), approved_partition="b.log"
        )
        for name in ("a.log", "b.log"):
            QuarantinedRow.objects.create(
                table=table, partition=name, file=name, line=1, least_width=0
            )
        rename(ledger.config, [moved("a.log", "a.log.1")])

        assert ledger.known() == {
            "a.log.1": "mark of a.log.1",
            "b.log": "mark of b.log",
        }
        found = set(ledger.config.progress.values_list("partition", flat=True))
        assert found == {"a.log.1", "b.log"}
        table.refresh_from_db()
        assert {getattr(table, name) for name in naming} == {"a.log.1"}
        assert table.approved_partition == "b.log"
        rows = QuarantinedRow.objects.order_by("pk").values_list("partition", "file")
        assert list(rows) == [("a.log.1", "a.log.1"), ("b.log", "b.log")]
        assert ledger.events() == [("partition_renamed", "a.log.1")]

    def test_another_sync_keeps_its_names(self, ledger: Ledger) -> None:
        other = SyncConfig.objects.create(
            name="other", kind=SourceKind.CHANGE_FEED, location="/x", schema_name="o"
        )
        mine, theirs = ledger.partition("a.log"), Ledger(other)
        theirs.partition("a.log", mark=mine.mark)
        theirs.progress("a.log")
        rename(ledger.config, [moved("a.log", "z.log")])

        assert set(theirs.known()) == {"a.log"}
        assert theirs.config.progress.get().partition == "a.log"
        assert theirs.events() == []

    def test_a_chain_moves_on_and_a_ring_goes_round(self, ledger: Ledger) -> None:
        for name in ("a", "b", "c"):
            ledger.partition(name)
            ledger.progress(name, rows_inserted=ord(name))
        aside = "a#1"
        rename(
            ledger.config,
            [
                moved("a", aside),
                moved("c", "a"),
                moved("b", "c"),
                moved(aside, "b"),
            ],
        )

        found = {name: chr(ledger.of(name).rows_inserted) for name in ("a", "b", "c")}
        assert found == {"a": "c", "c": "b", "b": "a"}

    def test_what_another_look_renamed_stays_so(self, ledger: Ledger) -> None:
        ledger.partition("a.log")
        ledger.progress("a.log")
        steps = [moved("a.log", "b.log")]
        rename(ledger.config, steps)
        rename(ledger.config, steps)
        ledger.partition("a.log", mark="of a new file")
        rename(ledger.config, steps)
        rename(ledger.config, [moved("a.log", "c.log")])

        assert ledger.known() == {"b.log": "mark of b.log", "a.log": "of a new file"}
        assert len(ledger.events()) == 1


class TestReturning:
    def test_tables_go_on_with_a_file_that_is_there_again(self, ledger: Ledger) -> None:
        ledger.partition("a.log", state=SyncPartition.State.LOST, reason="is gone")
        failed: dict[str, Any] = {"copy_status": Status.FAILURE, "attempts": 9}
        ledger.progress("a.log", error_code="history_lost", **failed)
        ledger.progress("a.log", "contact", error_code="bad_row", **failed)
        SyncTable.objects.filter(config=ledger.config).update(
            state=SyncTable.State.PARKED
        )
        record_returned(ledger.config, {"a.log", "b.log"})

        partition = ledger.config.partitions.get()
        assert (partition.state, partition.reason) == ("ready", "")
        row, other = ledger.of("a.log"), ledger.of("a.log", "contact")
        assert (row.copy_status, row.error_code) == (Status.PENDING, "")
        assert (other.copy_status, other.error_code) == (Status.FAILURE, "bad_row")
        states = dict(SyncTable.objects.values_list("entity", "state"))
        assert states == {"account": "active", "contact": "parked"}
        assert ledger.events() == [("partition_returned", "a.log")]

    def test_a_file_that_is_not_there_stays_lost(self, ledger: Ledger) -> None:
        ledger.partition("a.log", state=SyncPartition.State.LOST)
        record_returned(ledger.config, {"b.log"})

        assert ledger.config.partitions.get().state == "lost"
        assert ledger.events() == []


class Releasing:
    """A source that notes what it may let go."""

    def __init__(self) -> None:
        self.released: dict[str, int] | None = None

    def release(self, applied: Mapping[str, int]) -> None:
        self.released = dict(applied)


class TestReleasing:
    def released(self, ledger: Ledger) -> dict[str, int] | None:
        source = Releasing()
        release(ledger.config, cast("Source", source))
        return source.released

    def test_it_goes_up_to_what_the_slowest_table_has_applied(
        self, ledger: Ledger
    ) -> None:
        ledger.partition("a.log", extent=200)
        ledger.progress("a.log", copy_status=Status.FAILURE, applied_offset=50)
        ledger.progress("a.log", "contact", applied_offset=80)
        ledger.partition("b.log", extent=200)
        ledger.progress("b.log", copy_status=Status.SUCCESS, applied_offset=120)
        ledger.partition("c.log", extent=300)

        assert self.released(ledger) == {
            "mark of a.log": 50,
            "mark of b.log": 200,
            "mark of c.log": 300,
        }

    def test_an_export_of_folders_has_nothing_to_let_go(self, ledger: Ledger) -> None:
        SyncPartition.objects.create(
            config=ledger.config, name="f", opened_at=NOW, closed_at=NOW, state="ready"
        )
        ledger.progress("f")

        assert self.released(ledger) is None

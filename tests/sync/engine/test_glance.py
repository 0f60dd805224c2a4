"""What pages read of everything: rates, sizes, and how far a load is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from psycopg import sql

from sync import faultpoints
from sync.engine.overview import Scope, TableStatus, look, overview
from sync.engine.progress import LoadProgress, Watch
from sync.engine.rates import MINUTES, bars
from sync.engine.service import service_status
from sync.models import Cluster, DataSyncProgress, Heartbeat, Worker
from sync.target.activity import Running
from tests.catalogue.steps import ago
from tests.elsewhere import elsewhere, session
from tests.sync.conftest import Export

MakeExport = Callable[..., Export]
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def write(export: Export, keys: range = range(1, 2), entity: str = "account") -> str:
    for key in keys:
        export.upsert(entity, key, name="a")
    return export.close_folder()


def of(export: Export, scope: Scope, entity: str = "account") -> TableStatus:
    tables = (table for sync in look(scope).syncs for table in sync.tables)
    return next(table for table in tables if table.table.entity == entity)


# The scope


def test_one_sync_or_table_is_as_in_the_overview(make_export: MakeExport) -> None:
    first, second = (make_export(start=ago(seconds=100)) for _ in range(2))
    for export in (first, second):
        write(export)
        write(export, range(2, 4), "contact")
        export.sync()
        write(export, range(5, 6))
        export.poll()
    everything = overview()
    for sync in everything.syncs:
        [alone] = look(Scope(sync=sync.config.pk, rates=True, sizes=True)).syncs
        assert (alone.verdict, alone.applied_through) == (
            sync.verdict,
            sync.applied_through,
        )
        assert [t.table for t in alone.tables] == [t.table for t in sync.tables]
        for table, other in zip(sync.tables, alone.tables, strict=True):
            [[this]] = [s.tables for s in look(Scope(table=table.table.pk)).syncs]
            for found in (this, other):
                assert found.verdict == table.verdict
                assert found.backlog == table.backlog


def test_what_is_not_there_is_empty(export: Export) -> None:
    assert look(Scope(sync=0)).syncs == []
    assert look(Scope(table=0)).syncs == []
    assert look(Scope(names=["nobody"])).syncs == []


def test_the_service_is_the_same_with_and_without_a_sync(export: Export) -> None:
    Heartbeat.begin(ago(seconds=3))
    Heartbeat.end()
    for queue in ("poll", "sync"):
        cluster = Cluster.objects.create(queue=queue, host="h", pid=4)
        Worker.objects.create(cluster=cluster, pid=5, queue_row=7)
    with_one, alone = overview().service, service_status()
    assert (with_one.polls, with_one.polled_at) == (alone.polls, alone.polled_at)
    assert (with_one.workers, with_one.busy, with_one.polling) == (1, 1, True)
    assert (alone.workers, alone.busy, alone.polling) == (1, 1, True)
    assert with_one.worker_age is not None
    export.config.delete()
    assert overview().service.polls == 1


# Rates


def test_rows_are_counted_by_the_minute_of_the_last_hour(export: Export) -> None:
    write(export, range(1, 4))
    export.load("account")
    sync = look(Scope(sync=export.config.pk, rates=True)).syncs[0]
    assert len(sync.rates) == MINUTES
    assert sum(sync.rates) == 3
    old = timezone.now() - timedelta(minutes=61)
    DataSyncProgress.objects.update(finished_at=old)
    sync = look(Scope(sync=export.config.pk, rates=True)).syncs[0]
    assert sum(sync.rates) == 0
    assert overview().syncs[0].rates == ()


def test_each_minute_has_its_bar() -> None:
    found = [
        {"minute": "2026-11-22T11:01:00", "rows": 5},
        {"minute": "2026-11-22T12:00:00", "rows": 7},
        {"minute": "2026-11-22T12:01:00", "rows": 1},  # of a clock that is ahead
    ]
    numbers = bars(found, NOW)
    assert (numbers[0], numbers[-1], sum(numbers)) == (5, 8, 13)


# The last load


def test_the_rows_of_the_last_load_are_those_of_its_folders_together(
    export: Export,
) -> None:
    write(export)
    export.load("account")
    write(export, range(2, 5))
    write(export, range(1, 3))
    export.load("account")
    table = of(export, Scope(sync=export.config.pk)).table
    last = (table.last_inserted, table.last_updated, table.last_deleted)
    assert last == (3, 1, 0)
    assert table.inserted_total == 4


# Sizes


def test_the_size_of_a_target_is_that_on_disk(export: Export) -> None:
    write(export)
    export.load("account")
    size = of(export, Scope(sync=export.config.pk, sizes=True)).size
    assert size is not None
    assert size > 8000
    assert of(export, Scope(sync=export.config.pk)).size is None


def test_a_target_that_is_gone_has_no_size(export: Export) -> None:
    write(export)
    write(export, entity="contact")
    export.sync()
    with session() as other:
        drop = sql.SQL("DROP TABLE {}")
        other.execute(drop.format(export.entity("account").target().relation))
    scope = Scope(sync=export.config.pk, sizes=True)
    assert of(export, scope).size is None
    assert of(export, scope, "contact").size


@pytest.mark.parametrize("what", ["table", "index"])
def test_nobody_waits_for_a_target_that_is_locked(export: Export, what: str) -> None:
    write(export)
    write(export, entity="contact")
    export.sync()
    relation = export.entity("account").target().relation
    with session() as other:
        if what == "table":
            lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
        else:
            lock = sql.SQL("REINDEX TABLE {}")
        other.execute(lock.format(relation))
        scope = Scope(sync=export.config.pk, sizes=True)
        assert of(export, scope).size is None
        assert of(export, scope, "contact").size


# How far a load is


def test_a_real_load_tells_how_much_it_took_and_read(export: Export) -> None:
    write(export)
    export.load("account")
    write(export, range(2, 40))
    write(export, range(41, 80))
    seen: list[tuple[TableStatus, LoadProgress | None]] = []

    def watch() -> None:
        scope = Scope(sync=export.config.pk)
        status = elsewhere(lambda: of(export, scope))
        seen.append((status, Watch().look(status, timezone.now())))

    with faultpoints.armed("rows_inserted", action=watch):
        export.load("account")
    [(status, progress)] = seen
    rows = export.progress("account")[1:]
    assert status.begun_bytes == sum(row.bytes for row in rows)
    assert progress is not None
    assert (progress.done, progress.total) == (status.begun_bytes, status.begun_bytes)
    assert (progress.percent, progress.phase) == (100, "applying the changes")
    assert progress.left is None
    assert of(export, Scope(sync=export.config.pk)).begun_bytes is None


def test_what_a_killed_attempt_took_is_not_counted(export: Export) -> None:
    write(export)
    export.load("account")
    write(export, range(2, 40))
    write(export, range(41, 80))
    export.poll()
    rows = export.entity("account").progress.filter(copy_status=0)
    rows.begin_attempt()  # and then it was killed
    seen: list[int | None] = []
    scope = Scope(sync=export.config.pk)
    with faultpoints.armed(
        "staging_created",
        action=lambda: seen.append(elsewhere(lambda: of(export, scope).begun_bytes)),
    ):
        export.load("account")
    assert seen[0] == export.progress("account")[1].bytes


STATUS_OF = Running(
    table_id=5,
    pid=1,
    phase="copy",
    bytes=0,
    since=NOW,
    copied=None,
    waiting=False,
    blockers=(),
)


class Watched:
    """A load of 1,000 bytes, watched by one process."""

    def __init__(self, export: Export) -> None:
        self.status = of(export, Scope(sync=export.config.pk))
        self.watch = Watch()

    def at(self, second: float, **load: object) -> LoadProgress:
        running = replace(STATUS_OF, **load)  # type: ignore[arg-type]
        status = replace(self.status, running=running, begun_bytes=1000)
        found = self.watch.look(status, NOW + timedelta(seconds=second), second)
        assert found is not None
        return found


@pytest.fixture
def watched(export: Export) -> Watched:
    write(export)
    export.load("account")
    return Watched(export)


def test_a_bar_never_goes_back(watched: Watched) -> None:
    """Between two files, and while one is read in pieces, PostgreSQL tells less."""
    looks = [(0, 100), (0, 400), (0, None), (400, None), (400, 50), (0, 10)]
    done = [
        watched.at(n, bytes=before, copied=copied).done
        for n, (before, copied) in enumerate(looks)
    ]
    assert done == [100, 400, 400, 400, 450, 450]
    # The next load of the table begins anew.
    later = watched.at(7, copied=10, since=NOW + timedelta(seconds=6))
    assert later.done == 10


def test_more_than_was_listed_is_no_more_than_all(watched: Watched) -> None:
    found = watched.at(1, bytes=1200)
    assert (found.percent, found.total) == (100, 1200)


def test_the_rest_is_told_only_while_a_load_is_steady(watched: Watched) -> None:
    lefts = [watched.at(n, copied=n * 10).left for n in range(31)]
    assert lefts[:5] == [None] * 5
    assert lefts[30] == timedelta(seconds=70)
    told = [left for left in lefts if left is not None]
    assert told == sorted(told, reverse=True)
    # It stands still: nobody knows any more.
    stuck = [watched.at(n, copied=300).left for n in range(31, 60)]
    assert stuck[-1] is None
    # In a burst neither.
    assert watched.at(62, copied=900).left is None


def test_rows_per_second_are_those_of_the_copy_of_now(watched: Watched) -> None:
    assert watched.at(1).rows_per_second is None
    early = watched.at(2, copied_rows=40, statement_seconds=0.2)
    assert early.rows_per_second is None
    assert watched.at(3, copied_rows=90, statement_seconds=3.0).rows_per_second == 30


def test_before_a_load_says_what_it_does_nothing_is_promised(watched: Watched) -> None:
    found = watched.at(1, phase="")
    assert (found.total, found.percent, found.phase) == (None, None, "at work")


def test_loads_that_ended_are_forgotten(watched: Watched) -> None:
    watched.at(1)
    watched.at(700, since=NOW + timedelta(seconds=650))
    assert len(watched.watch._tracks) == 1
    assert watched.watch.look(watched.status, NOW) is None

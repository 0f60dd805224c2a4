"""The refresh of a table as a task, in this process and in real clusters."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from psycopg import sql

from sync.engine import switches
from sync.engine.locks import Namespace, exclusive
from sync.engine.refresh import refresh_table
from sync.engine.removal import remove_sync
from sync.errors import Cancelled, TargetError
from sync.models import Event, SyncTable
from sync.tasks import deeds, queue, refreshing
from tests.invariants import check_invariants
from tests.service import Service, eventually, next_poll, slow_down, speed_up
from tests.sync.conftest import Export, run_sql
from tests.sync.tasks.test_kills import under_way

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(autouse=True)
def database(transactional_db: None) -> None:
    """Every test here commits."""


@pytest.fixture
def spoilt(export: Export) -> SyncTable:
    """Return a table of two rows, of which somebody deleted one by hand."""
    export.upsert("account", 1, name="a")
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.sync()
    table = export.entity("account")
    relation = table.target().relation
    run_sql(sql.SQL("DELETE FROM {} WHERE name = 'b'").format(relation))
    return table


def names(table: SyncTable) -> list[str]:
    query = sql.SQL("SELECT name FROM {} ORDER BY name")
    return [name for (name,) in run_sql(query.format(table.target().relation))]


def refresh(table: SyncTable) -> None:
    refreshing.refresh(table.pk, timezone.now().isoformat())


def kinds(table: SyncTable) -> list[str]:
    events = Event.objects.filter(table_name=table.entity, kind__contains="refresh")
    return list(events.order_by("pk").values_list("kind", flat=True))


def queued() -> list[str]:
    return [row.task["func"] for row in OrmQ.objects.all()]


def test_a_refresh_mends_the_table_and_says_so(spoilt: SyncTable) -> None:
    refresh(spoilt)
    assert names(spoilt) == ["a", "b"]
    assert kinds(spoilt) == ["refresh_begun", "table_refreshed"]


def test_a_refresh_that_is_refused_says_why(export: Export, spoilt: SyncTable) -> None:
    (export.root / spoilt.last_partition).rename(export.root.parent / "away")
    refresh(spoilt)
    assert kinds(spoilt) == ["refresh_begun", "refresh_failed"]
    event = Event.objects.get(kind="refresh_failed")
    assert event.level == "error"
    assert "which is gone" in event.message
    assert "Bring back what is gone" in event.message


def test_a_paused_table_is_not_refreshed(spoilt: SyncTable) -> None:
    switches.pause(spoilt, by="bob")
    refresh(spoilt)
    assert kinds(spoilt) == ["refresh_failed"]
    assert names(spoilt) == ["a"]


def test_a_refresh_of_a_table_that_is_gone_does_nothing() -> None:
    refreshing.refresh(0, timezone.now().isoformat())


def test_a_refresh_waits_for_a_load(spoilt: SyncTable) -> None:
    with ExitStack() as load:
        load.enter_context(exclusive(Namespace.TABLE, spoilt.pk))
        sleep = mock.Mock(side_effect=lambda _: load.close())
        with mock.patch("sync.tasks.refreshing.time.sleep", sleep):
            refresh(spoilt)
    assert sleep.call_count == 1
    assert names(spoilt) == ["a", "b"]


def test_a_refresh_that_killed_its_workers_is_given_up(spoilt: SyncTable) -> None:
    since = timezone.now()
    for _ in range(3):
        Event.record(spoilt.config, "refresh_begun", table_name="account")
    refreshing.refresh(spoilt.pk, since.isoformat())
    assert names(spoilt) == ["a"]
    assert "was killed 3 times" in Event.objects.get(kind="refresh_failed").message
    # Another wish has its own three.
    refresh(spoilt)
    assert names(spoilt) == ["a", "b"]


def test_a_fault_of_dvsync_in_a_refresh_is_recorded(spoilt: SyncTable) -> None:
    with mock.patch.object(
        refreshing, "refresh_table", side_effect=ZeroDivisionError("x")
    ):
        refresh(spoilt)
    assert "ZeroDivisionError" in Event.objects.get(kind="refresh_failed").message


@pytest.mark.parametrize("outages", [1, 3])
def test_a_database_that_goes_away_is_met_again_a_few_times(
    spoilt: SyncTable, outages: int
) -> None:
    down = TargetError("database_unavailable", "is away")
    answers = [down] * outages + [mock.DEFAULT]
    with (
        mock.patch.object(refreshing, "refresh_table", side_effect=answers) as tried,
        mock.patch.object(refreshing, "AGAIN_SECONDS", 0),
    ):
        refresh(spoilt)
    assert tried.call_count == min(outages + 1, 3)
    assert ("refresh_failed" in kinds(spoilt)) == (outages == 3)


def test_a_refresh_that_the_clusters_end_stopped_is_enqueued_again(
    spoilt: SyncTable,
) -> None:
    with mock.patch.object(refreshing, "refresh_table", side_effect=Cancelled):
        refresh(spoilt)
    assert queued() == [queue.REFRESH]
    assert kinds(spoilt) == ["refresh_begun"]


def test_a_refresh_that_a_pause_stopped_is_not(spoilt: SyncTable) -> None:
    def pause(*_: object, **__: object) -> None:
        switches.pause(SyncTable.objects.get(pk=spoilt.pk), by="bob")
        raise Cancelled

    with mock.patch.object(refreshing, "refresh_table", side_effect=pause):
        refresh(spoilt)
    assert queued() == []
    assert "was paused meanwhile" in Event.objects.get(kind="refresh_failed").message


def test_a_refresh_whose_table_went_meanwhile_says_nothing(spoilt: SyncTable) -> None:
    def delete(*_: object, **__: object) -> None:
        SyncTable.objects.filter(pk=spoilt.pk).delete()
        raise Cancelled

    with mock.patch.object(refreshing, "refresh_table", side_effect=delete):
        refresh(spoilt)
    assert queued() == []


def test_a_refresh_whose_sync_is_deleted_meanwhile_is_no_fault_of_dvsync(
    spoilt: SyncTable, caplog: pytest.LogCaptureFixture
) -> None:
    def deleted_before(table: SyncTable, **how: Any) -> object:
        remove_sync(table.config, drop_tables=False, by="bob")
        return refresh_table(table, **how)

    with mock.patch.object(refreshing, "refresh_table", deleted_before):
        refresh(spoilt)
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == []


def test_two_who_ask_at_the_same_moment_get_one_refresh(spoilt: SyncTable) -> None:
    with exclusive(Namespace.QUEUE, spoilt.pk):
        assert not queue.enqueue_refresh(spoilt, "now")
    # PostgreSQL frees the lock when it notices that its session is over.
    eventually(lambda: queue.enqueue_refresh(spoilt, "now"))
    assert not queue.enqueue_refresh(spoilt, "now")
    assert queue.queued_tables() == {spoilt.pk}


def test_a_look_that_is_at_work_is_followed_by_another(export: Export) -> None:
    assert queue.enqueue_look(export.config)
    assert not queue.enqueue_look(export.config)
    OrmQ.objects.update(lock=timezone.now() + timedelta(minutes=3))
    assert queue.enqueue_look(export.config)
    assert queue.enqueue_look(export.config, insist=True)
    with exclusive(Namespace.QUEUE, -export.config.pk):
        assert not queue.enqueue_look(export.config)
    assert len(queued()) == 3


# Real clusters


def test_the_service_looks_when_it_is_asked_to(
    export: Export, service: Service
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    with exclusive(Namespace.POLL, 0):  # no poll looks meanwhile
        service.both()
        deeds.sync_now(export.config, "alice")
        done = export.config.progress.filter(copy_status=1)
        eventually(done.exists, service.logs)


def test_a_killed_refresh_is_done_by_another_worker_and_no_load_comes_between(
    export: Export, spoilt: SyncTable, service: Service
) -> None:
    slow_down(spoilt, 600)
    service.both()
    assert deeds.refresh(spoilt, "alice").done
    eventually(lambda: under_way(spoilt), service.logs)
    export.upsert("account", 3, name="c")
    export.close_folder()
    for _ in range(2):
        next_poll()
        [(queued,)] = run_sql("SELECT count(*) FROM django_q_ormq WHERE key = 'sync'")
        assert queued == 1
    assert not deeds.refresh(spoilt, "bob").done
    worker = service.clusters[1].busy(spoilt)
    assert worker is not None
    worker.kill()
    eventually(lambda: not under_way(spoilt), "PostgreSQL goes on without a client")
    speed_up(spoilt)
    eventually(lambda: names(spoilt) == ["a", "b", "c"], service.logs)
    assert kinds(spoilt).count("refresh_begun") == 2
    eventually(lambda: not OrmQ.objects.filter(key="sync").exists(), service.logs)
    check_invariants(export, export.config.pk)


def test_a_refresh_goes_on_with_the_next_cluster(
    export: Export, spoilt: SyncTable, service: Service
) -> None:
    slow_down(spoilt, 600)
    first = service.add("sync").ready()
    deeds.refresh(spoilt, "alice")
    eventually(lambda: under_way(spoilt), service.logs)
    assert first.stop() == 0
    assert names(spoilt) == ["a"]
    speed_up(spoilt)
    service.add("sync").ready()
    eventually(lambda: names(spoilt) == ["a", "b"], service.logs)
    eventually(lambda: not OrmQ.objects.exists(), service.logs)


def test_a_pause_stops_a_refresh_within_seconds(
    spoilt: SyncTable, service: Service
) -> None:
    slow_down(spoilt, 600)
    service.add("sync").ready()
    deeds.refresh(spoilt, "alice")
    eventually(lambda: under_way(spoilt), service.logs)
    assert deeds.pause(SyncTable.objects.get(pk=spoilt.pk), "alice").done
    eventually(lambda: "refresh_failed" in kinds(spoilt), service.logs)
    assert names(spoilt) == ["a"]
    eventually(lambda: not OrmQ.objects.exists(), service.logs)

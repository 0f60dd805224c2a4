"""What is old goes, and nothing is loaded again, parked or revived because of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import Settings

from sync.engine import retention, switches
from sync.engine.configs import edit_config
from sync.engine.load import sync_table
from sync.engine.locks import Namespace, lock
from sync.engine.quarantine import dismiss, reprocess
from sync.engine.reconcile import reconcile_table
from sync.engine.refresh import refresh_table
from sync.engine.retention import prune
from sync.errors import SyncError
from sync.models import (
    Cluster,
    DataSyncProgress,
    Event,
    Incident,
    QuarantinedRow,
    SyncPartition,
    Tombstone,
    Worker,
)
from tests.catalogue.steps import configure
from tests.invariants import check_invariants
from tests.sync.conftest import Export

DAY = timedelta(days=1)
KEEP_DAYS = 10


@pytest.fixture(autouse=True)
def keep_ten_days(settings: Settings) -> None:
    settings.KEEP_DAYS = KEEP_DAYS


@pytest.fixture
def daily(make_export: Callable[..., Export]) -> Export:
    """Return an export with a folder a day and no log."""
    return make_export(step=DAY, synapse_log=False)


def backdate(export: Export) -> None:
    """Let what was done just now have been done when the export stood there."""
    then, recent = export.opened_at, timezone.now() - timedelta(hours=1)
    DataSyncProgress.objects.filter(finished_at__gt=recent).update(finished_at=then)
    Tombstone.objects.filter(deleted_at__gt=recent).update(deleted_at=then)
    QuarantinedRow.objects.filter(decided_at__gt=recent).update(decided_at=then)


def day(export: Export) -> str:
    """End a day: close the folder, sync, and return the folder's name."""
    name = export.close_folder()
    export.sync()
    backdate(export)
    return name


def days(export: Export, number: int, entity: str = "contact") -> list[str]:
    """Let days pass on which another table changes."""
    found = []
    for _ in range(number):
        export.upsert(entity, 1, name="x")
        found.append(day(export))
    return found


def purge(export: Export, *names: str) -> None:
    for name in names:
        shutil.move(export.root / name, export.root.parent / f"away-{name}")


def bring_back(export: Export, *names: str) -> None:
    for name in names:
        shutil.move(export.root.parent / f"away-{name}", export.root / name)


def prune_now(export: Export) -> dict[str, int]:
    return prune(export.opened_at)


def partitions(export: Export, entity: str = "account") -> list[str]:
    return [row.partition for row in export.progress(entity)]


def names(export: Export) -> list[str]:
    return [name for (name,) in export.rows("account", "name")]


def tombstones(export: Export) -> int:
    return Tombstone.objects.filter(table=export.entity("account")).count()


def assert_right(export: Export, **options: Any) -> None:
    check_invariants(export, export.config.pk, **options)


# What people alone read.


def test_old_records_go_and_the_others_stay(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = apps.get_model("django_q", "Task")
    now = timezone.now()
    config = export.config
    for number, age in enumerate((KEEP_DAYS + 1, KEEP_DAYS - 1)):
        then = now - age * DAY
        Event.objects.create(config=config, kind=f"e{number}", happened_at=then)
        Incident.objects.create(
            config=config, table_name=f"t{number}", opened_at=then, closed_at=then
        )
        Incident.objects.create(
            config=config, table_name=f"o{number}", opened_at=then - 99 * DAY
        )
        task._default_manager.create(
            id=f"task{number}", func="f", started=then, stopped=then, success=False
        )
        Cluster.objects.create(
            queue="sync", host=f"h{number}", pid=1, beat_at=now - age * DAY / 10
        )
    Worker.objects.create(cluster=Cluster.objects.get(host="h0"), pid=2)
    assert prune() == {"events": 1, "incidents": 1, "tasks": 1, "clusters": 1}
    assert prune() == {}
    assert [event.kind for event in Event.objects.all()] == ["e1"]
    left = Incident.objects.order_by("table_name").values_list("table_name", flat=True)
    assert list(left) == ["o0", "o1", "t1"]
    assert [cluster.host for cluster in Cluster.objects.all()] == ["h1"]
    assert not Worker.objects.exists()


def test_who_paused_and_why_is_kept_as_long_as_it_is_paused(export: Export) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    for entity in ("account", "contact"):
        switches.pause(export.entity(entity), by="bob", reason="upgrade")
    switches.pause(export.config, by="bob", reason="move")
    switches.resume(export.entity("contact"), by="bob")
    Event.objects.update(happened_at=timezone.now() - (KEEP_DAYS + 1) * DAY)
    prune()
    left = Event.objects.values_list("kind", "table_name", "message")
    assert set(left) == {
        ("paused", "account", "by bob: upgrade"),
        ("paused", "", "by bob: move"),
    }
    switches.resume(export.config, by="bob")
    prune()
    events = Event.objects.filter(kind="paused")
    assert [event.table_name for event in events] == ["account"]


def test_one_call_deletes_so_many_of_a_kind(
    daily: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_ROWS", 2)
    old = timezone.now() - 99 * DAY
    for number in range(5):
        Event.objects.create(config=daily.config, kind=f"e{number}", happened_at=old)
        daily.upsert("account", number, name="a")
    first = day(daily)
    for number in range(5):
        daily.delete("account", number, version=100 + number)
    second = day(daily)
    gone = days(daily, 20)[:5]
    purge(daily, first, second, *gone)
    assert prune_now(daily) == {"progress": 2, "tombstones": 2}
    assert prune_now(daily) == {"progress": 2, "tombstones": 2}
    assert prune_now(daily) == {"progress": 2, "tombstones": 1}
    assert prune()["events"] == 2
    assert_right(daily)


# The ledger.


def test_progress_of_purged_folders_goes_and_nothing_is_asked_again(
    daily: Export,
) -> None:
    daily.upsert("account", 1, name="a")
    first = day(daily)
    daily.upsert("account", 2, name="b")
    daily.delete("account", 1)
    second = day(daily)
    days(daily, 12)
    assert "progress" not in prune_now(daily), "all folders are there"
    purge(daily, first, second)
    assert prune_now(daily)["progress"] == 2
    assert partitions(daily) == []
    assert names(daily) == ["b"]
    assert_right(daily)
    assert daily.poll().due == []
    daily.upsert("account", 3, name="c")
    day(daily)
    assert names(daily) == ["b", "c"]
    assert_right(daily)


def test_what_is_young_or_listed_or_logged_or_not_applied_stays(
    make_export: Callable[..., Export],
) -> None:
    export = make_export(step=DAY)
    for number in range(4):
        export.upsert("account", number, name="a")
        day(export)
    export.raw("account", "2026.csv", b"bad\n")
    export.upsert("account", 9, name="b")
    export.close_folder()
    export.sync()
    everything = partitions(export)
    days(export, 12)
    purge(export, everything[0], everything[1], everything[4])
    log = export.root / "Changelog" / "Synapse.log"
    log.write_text(everything[1].replace(".", ":").replace("Z", ""))
    export.poll()
    backdate(export)
    DataSyncProgress.objects.filter(partition=everything[2]).update(
        finished_at=export.opened_at
    )
    assert prune_now(export)["progress"] == 1
    assert partitions(export) == everything[1:]


@pytest.mark.parametrize("problem", ["marker", "mount", "log"])
def test_an_export_that_cannot_be_read_keeps_its_ledger(
    daily: Export, problem: str
) -> None:
    daily.upsert("account", 1, name="a")
    first = day(daily)
    days(daily, 12)
    purge(daily, first)
    if problem == "marker":
        (daily.root / "Changelog" / "changelog.info").write_text("")
    elif problem == "mount":
        shutil.move(daily.root, daily.root.parent / "elsewhere")
        daily.root.mkdir()
    else:
        (daily.root / "Changelog" / "Synapse.log").symlink_to(daily.root)
    assert "progress" not in prune_now(daily)
    assert partitions(daily) == [first]


def test_a_table_that_is_left_out_and_selected_again_loads_nothing_again(
    daily: Export,
) -> None:
    daily.upsert("account", 1, name="a")
    first = day(daily)
    days(daily, 12)
    purge(daily, first)
    prune_now(daily)
    edit_config(daily.config, {"exclude": ["account"]})
    daily.upsert("account", 2, name="b")
    day(daily)
    edit_config(daily.config, {"exclude": []})
    daily.sync()
    assert daily.entity("account").state == "active"
    assert len(partitions(daily)) == 1
    assert names(daily) == ["a", "b"]
    assert_right(daily)


def test_a_folder_that_was_pruned_and_comes_back_is_not_applied_again(
    daily: Export,
) -> None:
    daily.upsert("account", 1, name="a")
    daily.raw("contact", "2026.csv", b"bad\n")
    daily.upsert("contact", 1, name="c")
    first = day(daily)
    days(daily, 12, "lead")
    purge(daily, first)
    daily.sync()
    assert SyncPartition.objects.get(name=first).state == "lost"
    assert prune_now(daily)["progress"] == 1
    bring_back(daily, first)
    assert [table.entity for table in daily.poll().due] == ["contact"]
    assert partitions(daily) == []
    assert daily.entity("account").state == "active"


def test_a_refresh_after_a_pruned_folder_came_back_counts_it_once(
    daily: Export,
) -> None:
    daily.upsert("account", 1, name="a")
    daily.upsert("account", 2, name="b")
    first = day(daily)
    daily.delete("account", 2)
    second = day(daily)
    days(daily, 12)
    purge(daily, first, second)
    prune_now(daily)
    with pytest.raises(SyncError):
        refresh_table(daily.entity("account"))
    bring_back(daily, first, second)
    refresh_table(daily.entity("account"))
    assert partitions(daily) == [first, second]
    assert daily.entity("account").pruned_growth == 0
    assert_right(daily)


def test_reconcile_says_that_pruned_folders_cannot_be_verified(daily: Export) -> None:
    daily.upsert("account", 1, name="a")
    first = day(daily)
    daily.upsert("account", 2, name="b")
    second = day(daily)
    days(daily, 12)
    purge(daily, first)
    prune_now(daily)
    found = reconcile_table(daily.entity("account"))
    assert (found.extra, found.missing, found.stale) == (0, 0, 0)
    assert found.unverifiable == 1
    purge(daily, second)
    prune_now(daily)
    found = reconcile_table(daily.entity("account"))
    assert (found.extra, found.missing, found.stale) == (0, 0, 0)
    assert found.unverifiable == 2


# Rows that were set aside.

BAD = b'00000000-0000-0000-0000-000000000009,,,"x",1,9,,maybe\n'


def test_a_row_that_is_open_keeps_its_progress_and_is_counted_there(
    daily: Export,
) -> None:
    configure(daily, bad_rows="quarantine")
    daily.upsert("account", 1, name="a")
    daily.raw("account", "2026.csv", BAD)
    first = day(daily)
    days(daily, 12)
    purge(daily, first)
    assert "progress" not in prune_now(daily)
    row = QuarantinedRow.objects.get()
    QuarantinedRow.objects.update(raw=BAD.strip().replace(b"maybe", b"False"))
    row.refresh_from_db()
    assert reprocess(row).done == "inserted"
    backdate(daily)
    days(daily, 12)
    assert prune_now(daily) == {"progress": 1, "quarantined": 1}
    assert daily.entity("account").pruned_growth == 2
    assert not QuarantinedRow.objects.exists()


def test_a_dismissed_row_is_remembered_while_its_folder_is_there(
    daily: Export,
) -> None:
    configure(daily, bad_rows="quarantine")
    daily.upsert("account", 1, name="a")
    daily.raw("account", "2026.csv", BAD)
    first = day(daily)
    dismiss(QuarantinedRow.objects.get())
    backdate(daily)
    days(daily, 12)
    assert prune_now(daily) == {}
    configure(daily, bad_rows="stop")
    refresh_table(daily.entity("account"))
    purge(daily, first)
    backdate(daily)
    days(daily, 12)
    assert prune_now(daily) == {"progress": 1, "quarantined": 1}


# Deletes.


@pytest.fixture
def deleted(daily: Export) -> Export:
    """Return an export in which row 1 was deleted on the second day."""
    daily.upsert("account", 1, name="a", version=10)
    daily.upsert("account", 2, name="b", version=11)
    day(daily)
    daily.delete("account", 1, version=20)
    day(daily)
    return daily


def test_a_delete_is_forgotten_when_it_is_old(deleted: Export) -> None:
    days(deleted, KEEP_DAYS)
    assert prune_now(deleted) == {}
    days(deleted, 1)
    assert prune_now(deleted) == {"tombstones": 1}
    assert tombstones(deleted) == 0
    assert_right(deleted)


def test_a_later_delete_of_the_row_renews_the_tombstone(deleted: Export) -> None:
    days(deleted, 8)
    deleted.delete("account", 1, version=30)
    day(deleted)
    days(deleted, 8)
    assert prune_now(deleted) == {}
    days(deleted, 3)
    assert prune_now(deleted) == {"tombstones": 1}


def leave_a_backlog(export: Export) -> None:
    export.close_folder()


def need_a_refresh(export: Export) -> None:
    export.close_folder()
    export.sync()
    export.entity("account").need_refresh("for a reason")


def set_a_row_aside(export: Export) -> None:
    configure(export, bad_rows="quarantine")
    export.raw("account", "2026.csv", BAD)
    export.close_folder()
    export.sync()


def leave_the_table_out(export: Export) -> None:
    edit_config(export.config, {"exclude": ["account"]})
    export.close_folder()


@pytest.mark.parametrize(
    "hinder", [leave_a_backlog, need_a_refresh, set_a_row_aside, leave_the_table_out]
)
def test_a_delete_is_kept_while_a_folder_could_bring_the_row_back(
    deleted: Export, hinder: Callable[[Export], None]
) -> None:
    deleted.upsert("account", 1, name="old", version=10)
    hinder(deleted)
    for _ in range(20):
        deleted.upsert("contact", 1, name="x")
        deleted.close_folder()
        deleted.poll()
        sync_table(deleted.entity("contact"))
    Tombstone.objects.update(deleted_at=deleted.start + 2 * DAY)
    assert "tombstones" not in prune_now(deleted)
    edit_config(deleted.config, {"exclude": []})
    deleted.sync()
    assert names(deleted) == ["b"]


def test_a_folder_that_cannot_be_read_yet_keeps_the_deletes_before_it(
    deleted: Export,
) -> None:
    deleted.upsert("account", 1, name="old", version=10)
    waiting = deleted.close_folder()
    days(deleted, 20)
    deleted.config.partitions.filter(name=waiting).update(state="waiting")
    deleted.config.progress.filter(partition=waiting).delete()
    assert prune_now(deleted) == {}


def test_a_paused_sync_keeps_its_deletes_until_it_caught_up(deleted: Export) -> None:
    # Nobody looks at the export: what is in it by now is not known.
    deleted.upsert("account", 1, name="old", version=10)
    for _ in range(20):
        deleted.close_folder()
    assert prune_now(deleted) == {}
    deleted.sync()
    assert names(deleted) == ["b"]


def test_a_table_that_is_being_loaded_is_left_alone(deleted: Export) -> None:
    days(deleted, 12)
    number = deleted.entity("account").pk
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                lock(Namespace.TABLE, number)
                held.set()
                done.wait(60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(hold)
        held.wait(60)
        try:
            assert prune_now(deleted) == {}
        finally:
            done.set()
        other.result()
    assert prune_now(deleted) == {"tombstones": 1}


def late(export: Export, after: int, **values: Any) -> str:
    """Write a folder that arrives only so many days after the next one."""
    export.upsert("account", 1, name="old", version=10)
    name = export.close_folder()
    purge(export, name)
    days(export, after)
    prune_now(export)
    bring_back(export, name)
    return name


def test_a_late_folder_from_before_deletes_were_forgotten_is_refused(
    deleted: Export,
) -> None:
    name = late(deleted, 15)
    assert tombstones(deleted) == 0
    result = deleted.sync()["account"]
    assert result.error is not None
    assert result.error.code == "late_partition"
    assert "refreshtable" in result.error.remedy
    assert names(deleted) == ["b"]

    refresh_table(deleted.entity("account"))
    assert names(deleted) == ["b"]
    assert tombstones(deleted) == 1
    assert deleted.entity("account").state == "active"
    assert name in partitions(deleted)
    assert_right(deleted)


def test_a_late_folder_from_after_that_time_is_applied(deleted: Export) -> None:
    days(deleted, 14)
    deleted.upsert("account", 3, name="c", version=40)
    name = deleted.close_folder()
    purge(deleted, name)
    days(deleted, 2)
    assert prune_now(deleted) == {"tombstones": 1}
    bring_back(deleted, name)
    assert deleted.sync()["account"].status == "success"
    assert names(deleted) == ["b", "c"]


def test_without_a_forgotten_delete_a_late_folder_of_any_age_is_applied(
    deleted: Export,
) -> None:
    deleted.entity("account").need_refresh("so that all deletes are kept")
    late(deleted, 15)
    assert deleted.sync()["account"].status == "success"
    assert names(deleted) == ["b"]

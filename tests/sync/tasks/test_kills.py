"""Processes of the service are killed, stopped and frozen; it goes on by itself.

The clusters are real, and so is PostgreSQL. An init system is played by the tests: a
cluster that ends although nobody asked it to is started again.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from sync.models import Cluster, SyncTable, Worker
from tests.invariants import check_invariants
from tests.service import (
    QCluster,
    Service,
    eventually,
    next_poll,
    slow_down,
    speed_up,
)
from tests.sync.conftest import Export, run_sql

pytestmark = pytest.mark.timeout(280)

# Twice as long as it takes to be counted among the dead.
FROZEN_SECONDS = 60.0


def filled(export: Export, *tables: str) -> Export:
    """Load a first folder, so that the targets are there."""
    for table in tables:
        export.upsert(table, 1, name="first")
    export.close_folder()
    export.sync()
    return export


def changed(export: Export, *tables: str) -> None:
    """Close a folder with changes of these tables."""
    for number in (1, 2):
        for table in tables:
            export.upsert(table, number, name="second")
    export.close_folder()


def done(export: Export) -> bool:
    """Say whether every complete folder is known and applied."""
    rows = {(r.partition, r.table_name): r.copy_status for r in progress(export)}
    complete = [export.find(name) for name in export.complete()]
    wanted = {(folder.name, table) for folder in complete for table in folder.changes}
    return all(rows.get(place) == 1 for place in wanted)


def progress(export: Export) -> list:  # type: ignore[type-arg]
    return list(export.config.progress.all())


def exact(export: Export, service: Service) -> None:
    """Wait until all is applied; then everything must be as it should."""
    eventually(lambda: done(export), service.logs)
    check_invariants(export, export.config.pk)


def under_way(table: SyncTable) -> set[int]:
    """Return the sessions of loads of the table that are in their merge."""
    rows = run_sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name LIKE 'dvsync table={table.pk} %' "
        "AND wait_event = 'PgSleep'"
    )
    return {pid for (pid,) in rows}


def gone(cluster: QCluster) -> None:
    """Wait until no process of a cluster is left."""
    eventually(lambda: cluster.tree() == [], "orphans are left")


def waits(cluster: QCluster) -> None:
    """Wait until a cluster says that it waits for its database."""
    eventually(lambda: "Waiting" in cluster.log.read_text(), cluster.log.read_text)


def test_a_folder_is_applied_without_anybody_doing_anything(
    export: Export, service: Service
) -> None:
    filled(export, "account", "contact")
    service.both()
    changed(export, "account", "contact")
    exact(export, service)


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of a worker in the middle of a load",
    outcome="another worker loads the table; nothing is lost or doubled",
)
def test_a_killed_busy_worker_costs_one_attempt(
    export: Export, service: Service
) -> None:
    filled(export, "account", "contact")
    account = export.entity("account")
    slow_down(account, 600)
    _, loads = service.both()
    changed(export, "account", "contact")
    sessions = eventually(lambda: under_way(account), service.logs)
    worker = loads.busy(account)
    assert worker is not None
    worker.kill()
    eventually(
        lambda: sessions.isdisjoint(under_way(account)),
        "PostgreSQL goes on without a client",
    )
    speed_up_when_free(account)  # the next load may have begun

    exact(export, service)
    [row] = [r for r in export.progress("account") if r.attempts > 1]
    assert row.copy_status == 1
    assert loads.main.poll() is None, "the other worker was not disturbed"


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of idle workers, who wait with the lock of the local queue",
    outcome="the cluster notices that tasks do not arrive, and ends to be restarted",
)
def test_a_cluster_whose_queue_hangs_ends_itself(
    export: Export, service: Service
) -> None:
    # As many as there are workers: the pusher must not hang with the second one.
    filled(export, "account", "contact")
    _, loads = service.both()
    for _ in range(4):  # until the one that holds the lock was met
        for worker in loads.workers():
            worker.kill()
        time.sleep(1)
    changed(export, "account", "contact")
    eventually(lambda: done(export) or loads.main.poll() is not None, service.logs)
    if loads.main.poll() is not None:
        gone(loads)
        service.add("sync").ready()
    exact(export, service)


@pytest.mark.parametrize("queue", ["poll", "sync"])
@pytest.mark.fault(
    "F01",
    injected="SIGKILL of a cluster's sentinel in the middle of a load",
    outcome="its processes end with it; a new cluster goes on",
)
def test_a_killed_sentinel_leaves_no_orphan(
    export: Export, service: Service, queue: str
) -> None:
    filled(export, "account")
    account = export.entity("account")
    slow_down(account, 600)
    both = dict(zip(("poll", "sync"), service.both(), strict=True))
    changed(export, "account")
    eventually(lambda: under_way(account), service.logs)
    both[queue].sentinel.kill()
    eventually(lambda: both[queue].main.poll() is not None, "main goes on alone")
    gone(both[queue])
    service.add(queue).ready()
    if queue == "sync":
        eventually(lambda: not under_way(account), "PostgreSQL goes on")
    speed_up_when_free(account)
    exact(export, service)


def speed_up_when_free(table: SyncTable) -> None:
    """Undo ``slow_down`` although a load sleeps: it is ended for it."""
    run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    speed_up(table)


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of a cluster's main process in the middle of a load",
    outcome="the whole tree ends with it; a new cluster goes on",
)
def test_a_killed_main_process_takes_its_tree_along(
    export: Export, service: Service
) -> None:
    filled(export, "account")
    account = export.entity("account")
    slow_down(account, 600)
    _, loads = service.both()
    changed(export, "account")
    eventually(lambda: under_way(account), service.logs)
    loads.main.kill()
    gone(loads)
    eventually(lambda: not under_way(account), "PostgreSQL goes on")
    speed_up(account)
    service.add("sync").ready()
    exact(export, service)


@pytest.mark.fault(
    "F02",
    injected="SIGTERM to a cluster in the middle of a load",
    outcome="rolled back within seconds, not counted as an attempt; done by the next",
)
def test_sigterm_rolls_a_load_back_and_leaves_nothing(
    export: Export, service: Service
) -> None:
    filled(export, "account")
    account = export.entity("account")
    slow_down(account, 600)
    _, loads = service.both()
    changed(export, "account")
    eventually(lambda: under_way(account), service.logs)
    assert loads.stop() == 0, service.logs()
    assert loads.tree() == []
    assert not under_way(account)
    [row] = [r for r in export.progress("account") if r.copy_status != 1]
    assert (row.copy_status, row.attempts) == (0, 0)
    speed_up(account)
    service.add("sync").ready()
    exact(export, service)


@pytest.mark.fault(
    "F02",
    injected="SIGTERM to the whole process group of a cluster",
    outcome="it ends within its grace",
)
def test_sigterm_to_the_whole_group_ends_it_too(service: Service) -> None:
    polls, loads = service.both()
    for cluster in (polls, loads):
        os.killpg(cluster.main.pid, signal.SIGTERM)
    for cluster in (polls, loads):
        cluster.main.wait(40)
        gone(cluster)


@pytest.mark.fault(
    "F03",
    injected="SIGSTOP of a cluster for 60 s in the middle of a load, another one works",
    outcome="the frozen load holds its table alone; all is exact after SIGCONT",
)
def test_a_frozen_cluster_goes_on_where_it_was(
    export: Export, service: Service
) -> None:
    filled(export, "account", "contact")
    account = export.entity("account")
    slow_down(account, 8)
    _, loads = service.both()
    changed(export, "account", "contact")
    # Not in the middle of both, or there would be nothing for the other cluster.
    eventually(
        lambda: len(applied(export, "contact")) == 2 and under_way(account),
        service.logs,
    )
    frozen = [loads.main.pid, *(process.pid for process in loads.tree())]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + FROZEN_SECONDS
    service.add("sync").ready()
    changed(export, "contact")
    eventually(lambda: len(applied(export, "contact")) == 3, service.logs)
    while time.monotonic() < end:
        next_poll()
        assert len(applied(export, "account")) == 1
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    exact(export, service)


def applied(export: Export, table: str) -> list[str]:
    return [row.partition for row in export.progress(table) if row.copy_status == 1]


@pytest.mark.fault(
    "F01",
    injected="a host with both clusters dies at once, in the middle of a load",
    outcome="the clusters of the other host take over",
)
def test_a_host_that_dies_is_replaced_by_the_other(
    export: Export, service: Service
) -> None:
    filled(export, "account", "contact")
    account = export.entity("account")
    slow_down(account, 600)
    first = service.both()
    changed(export, "account", "contact")
    eventually(lambda: under_way(account), service.logs)
    second = service.both()
    for cluster in first:
        os.killpg(cluster.main.pid, signal.SIGKILL)
    eventually(lambda: not under_way(account), "PostgreSQL goes on")
    speed_up_when_free(account)
    exact(export, service)
    assert all(cluster.main.poll() is None for cluster in second)


def test_a_load_that_outlasts_many_polls_is_enqueued_once(
    export: Export, service: Service
) -> None:
    filled(export, "account")
    account = export.entity("account")
    slow_down(account, 22)
    service.both()
    changed(export, "account")
    eventually(lambda: under_way(account), service.logs)
    for _ in range(3):
        next_poll()
        [(queued,)] = run_sql("SELECT count(*) FROM django_q_ormq WHERE key = 'sync'")
        assert queued == 1
    speed_up_when_free(account)
    exact(export, service)


def test_both_clusters_wait_for_a_database_that_is_not_there(
    service: Service, tmp_path: Path
) -> None:
    nowhere = "postgres://nobody@127.0.0.1:9/nothing"
    clusters = [service.add(queue, DATABASE_URL=nowhere) for queue in ("poll", "sync")]
    for cluster in clusters:
        waits(cluster)
        assert cluster.main.poll() is None
        assert cluster.stop() in {0, -signal.SIGTERM, 1}


def test_a_killed_cluster_is_forgotten_when_the_next_one_starts(
    service: Service,
) -> None:
    _, loads = service.both()
    dead = loads.row()
    assert dead is not None
    loads.main.kill()
    loads.main.wait(10)
    long_ago = timezone.now() - timedelta(minutes=1)
    Cluster.objects.filter(pk=dead.pk).update(beat_at=long_ago)
    service.add("sync").ready()
    assert not Cluster.objects.filter(pk=dead.pk).exists()
    assert not Worker.objects.filter(cluster_id=dead.pk).exists()

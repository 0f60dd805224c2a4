"""PostgreSQL is killed, restarted, away and full; the service goes on by itself.

The server is one of the test's own: nothing here disturbs that of the run.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from django_q.models import OrmQ
from psycopg import sql
from pytest_django import DjangoDbBlocker

from dvsync_site import embedded
from sync.models import DataSyncProgress, Incident, SyncConfig, SyncTable, Worker
from tests import service as running
from tests.invariants import check_invariants
from tests.own_server import (
    OwnServer,
    new_directory,
    own_server,
)
from tests.service import (
    QCluster,
    Service,
    eventually,
    let_go,
    next_poll,
    patiently,
    slow_down,
)
from tests.sync.conftest import Export, run_sql
from tests.sync.tasks.test_kills import applied, changed, done, filled, under_way

pytestmark = [
    pytest.mark.timeout(280),
    pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL"),
]

# Two polls of the service as it is usually set.
AWAY_SECONDS = 40.0


@pytest.fixture
def server(migrated: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[OwnServer]:
    with django_db_blocker.unblock(), own_server(migrated) as server:
        yield server


@pytest.fixture
def service(server: OwnServer, tmp_path: Path) -> Iterator[Service]:
    with running.service(tmp_path) as service:
        yield service


@pytest.fixture
def export(server: OwnServer, tmp_path: Path) -> Export:
    return make_export(tmp_path / "export")


def make_export(root: Path) -> Export:
    export = Export(root)
    export.config = SyncConfig.objects.create(
        name="export", location=str(root), schema_name="export"
    )
    return export


def settled(export: Export, service: Service) -> None:
    """Wait until all is as if nothing had happened; then it must be exact."""
    # Also when it met the fault twice, and waits for its third attempt.
    eventually(patiently(lambda: done(export)), service.logs, within=150)
    check_invariants(export, export.config.pk)
    eventually(lambda: not Incident.objects.filter(closed_at=None).exists())
    eventually(lambda: not OrmQ.objects.filter(key="sync").exists(), service.logs)
    busy = Worker.objects.filter(cluster__queue="sync", queue_row__isnull=False)
    eventually(lambda: not busy.exists(), service.logs)
    next_poll()
    states = SyncTable.objects.values_list("state", flat=True)
    assert set(states) == {SyncTable.State.ACTIVE}
    blamed = DataSyncProgress.objects.filter(error_code="loader_killed")
    assert not blamed.exists()
    assert all(cluster.main.poll() is None for cluster in service.clusters)
    assert all(helpers(cluster) <= 5 for cluster in service.clusters)


def helpers(cluster: QCluster) -> int:
    """Return the processes of a cluster beside its first: of a sentinel's."""
    return len(cluster.tree())


def kill_backend(server: OwnServer) -> None:
    """Kill the session of the load: PostgreSQL then ends all, and recovers."""
    [(pid,)] = run_sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    os.kill(pid, signal.SIGKILL)
    eventually(server.answers)


@pytest.mark.fault(
    "F10",
    injected="SIGKILL of the postmaster, a fast restart, or SIGKILL of the load's "
    "session in the middle of a load",
    outcome="rolled back and tried again; no table is blamed, no cluster ends",
)
@pytest.mark.parametrize("end", [OwnServer.kill, OwnServer.restart, kill_backend])
def test_a_load_that_postgresql_ends_is_done_by_a_later_attempt(
    server: OwnServer,
    export: Export,
    service: Service,
    end: Callable[[OwnServer], None],
) -> None:
    filled(export, "account", "contact")
    account = export.entity("account")
    slow_down(account, 600)
    service.both()
    changed(export, "account", "contact")
    eventually(lambda: under_way(account), service.logs)
    end(server)
    connection.close()
    let_go(account)
    settled(export, service)


@pytest.mark.fault(
    "F10",
    injected="PostgreSQL is away for 40 s, longer than anybody waits for it, while "
    "every worker loads a table",
    outcome="the workers are free again when it is back, and all is loaded",
)
def test_postgresql_may_be_away_while_all_workers_load(
    server: OwnServer, export: Export, service: Service
) -> None:
    filled(export, "account", "contact")
    tables = [export.entity(name) for name in ("account", "contact")]
    for table in tables:
        slow_down(table, 600)
    polls, loads = service.both()
    changed(export, "account", "contact")
    eventually(lambda: all(map(under_way, tables)), service.logs)
    connection.close()
    server.stop()
    end = time.monotonic() + AWAY_SECONDS
    for cluster in (polls, loads):
        gives_up(cluster)
    time.sleep(max(0.0, end - time.monotonic()))
    server.start()
    # Known as what it was, not as loads that killed their workers.
    away = {"account": "database_unavailable", "contact": "database_unavailable"}
    eventually(patiently(lambda: failures(export) == away), service.logs)
    let_go(*tables)
    settled(export, service)


def failures(export: Export) -> dict[str, str]:
    """Return the errors of the tables that failed once."""
    failed = export.config.progress.filter(copy_status=2, attempts=1)
    return {row.table_name: row.error_code for row in failed}


def waiting(query: str) -> bool:
    """Say whether a session waits for a lock in such a query."""
    found = sql.SQL(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND query LIKE {}"
    )
    return bool(run_sql(found.format(sql.Literal(query))))


def gives_up(cluster: QCluster) -> None:
    """Wait until a cluster has waited for PostgreSQL in vain, and began anew."""
    said = "reincarnated pusher"
    eventually(lambda: said in cluster.log.read_text(), cluster.log.read_text)


@pytest.mark.fault(
    "F10",
    injected="PostgreSQL is away for longer than anybody waits for it, in the middle "
    "of a poll",
    outcome="the polls go on when it is back",
)
def test_postgresql_may_be_away_in_the_middle_of_a_poll(
    server: OwnServer, export: Export, service: Service
) -> None:
    filled(export, "account")
    polls, _ = service.both()
    next_poll()
    user = server.connect()
    user.autocommit = False
    user.execute("LOCK TABLE sync_heartbeat IN EXCLUSIVE MODE")
    eventually(lambda: waiting('UPDATE "sync_heartbeat"%'), service.logs)
    connection.close()
    server.stop()
    user.close()
    gives_up(polls)
    changed(export, "account")
    server.start()
    settled(export, service)


# Disks that are full


class Disk:
    """A small disk of memory; ``fill`` leaves it no room, ``free`` gives it back."""

    def __init__(self, place: Path, size: str) -> None:
        self.place = place
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "dvsync"]
        done = subprocess.run([*command, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this machine lets nobody mount a disk")

    def fill(self, *, but: int = 0) -> None:
        """Leave so many bytes of room."""
        status = os.statvfs(self.place)
        room = status.f_bavail * status.f_frsize - but
        with (self.place / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room, 1))

    def free(self) -> None:
        (self.place / "filler").unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], check=True)


@pytest.fixture
def disk() -> Iterator[Callable[[str], Disk]]:
    """Make small disks, which are gone in the end."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    made: list[Disk] = []

    def make(size: str) -> Disk:
        made.append(Disk(new_directory(), size))
        return made[-1]

    yield make
    for each in made:
        each.remove()
        each.place.rmdir()


def large(export: Export, table: str, rows: int = 600) -> None:
    """Write rows that no compression makes small, ten kilobytes each."""
    for number in range(rows):
        export.upsert(table, 100 + number, name=secrets.token_hex(5_000))


def failure(export: Export, table: str) -> str:
    """Return the error of the table's last folder, if there is one."""
    return export.progress(table)[-1].error_code


@pytest.mark.fault(
    "F13",
    injected="no room on the disk of one table, a small tablespace",
    outcome="disk_full; the others go on; applied once there is room",
)
def test_a_table_without_room_waits_for_it_alone(
    disk: Callable[[str], Disk], server: OwnServer, export: Export, service: Service
) -> None:
    small = disk("64m")
    (small.place / "space").mkdir(mode=0o700)
    owner = (server.home / "data").stat()
    os.chown(small.place / "space", owner.st_uid, owner.st_gid)
    filled(export, "account", "contact")
    place = sql.Literal(str(small.place / "space"))
    with server.connect() as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(place))
        admin.execute("ALTER TABLE export.account SET TABLESPACE small")
    small.fill(but=1_000_000)
    service.both()
    large(export, "account")
    changed(export, "account", "contact")
    eventually(lambda: failure(export, "account") == "disk_full", service.logs)
    changed(export, "contact")
    eventually(lambda: len(applied(export, "contact")) == 3, service.logs)
    assert export.entity("account").state == SyncTable.State.ACTIVE
    small.free()
    settled(export, service)


@pytest.mark.fault(
    "F14",
    injected="no room on the disk of everything, PostgreSQL's WAL included",
    outcome="it waits, PostgreSQL down or not; all is applied once there is room",
)
def test_a_full_disk_of_everything_is_waited_for(
    disk: Callable[[str], Disk],
    migrated: Path,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    whole = disk("512m")
    with (
        django_db_blocker.unblock(),
        own_server(migrated, whole.place) as server,
        running.service(tmp_path) as service,
    ):
        export = make_export(tmp_path / "export")
        filled(export, "account", "contact")
        service.both()
        whole.fill(but=4_000_000)
        large(export, "account", 4_000)
        changed(export, "account", "contact")
        log = server.home / "postgres.log"
        eventually(lambda: "No space left" in log.read_text(), service.logs)
        whole.free()
        eventually(server.answers)
        connection.close()
        settled(export, service)

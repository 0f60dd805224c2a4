"""``manage.py up`` ends in the middle of a load, as asked or not; a next goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from dvsync_site import embedded
from tests.dvsync_site.test_up import Up, is_listening, up
from tests.own_server import OwnServer, copy_into
from tests.service import Service, eventually, let_go, next_poll, slow_down
from tests.sync.conftest import Export
from tests.sync.tasks.test_kills import changed, filled, under_way
from tests.sync.tasks.test_postgresql import make_export, settled

__all__ = ["up"]

pytestmark = [
    pytest.mark.timeout(280),
    pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL"),
]


@pytest.fixture
def server(
    up: Up,
    migrated: Path,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[OwnServer]:
    """Return the server that ``up`` is to run, which this process talks to."""
    copy_into(up.data, migrated)
    server = OwnServer(up.data)
    with django_db_blocker.unblock(), server.as_ours():
        yield server
        server.stop()


def run(up: Up) -> Up:
    return up.start("--workers", "2", DVSYNC_POLL_SECONDS="5").says("look at http")


def in_a_load(up: Up, export: Export) -> list[psutil.Process]:
    """Let ``up`` come to the middle of a load; return all its processes."""
    filled(export, "account", "contact")
    account = export.entity("account")
    slow_down(account, 600)
    changed(export, "account", "contact")
    eventually(lambda: under_way(account), up.text)
    assert up.process is not None
    connection.close()
    return psutil.Process(up.process.pid).children(recursive=True)


def leave_nothing(up: Up, tree: list[psutil.Process]) -> None:
    eventually(lambda: not alive(tree), lambda: f"{alive(tree)} are left")
    eventually(lambda: not up.servers(), "PostgreSQL is left")
    assert not is_listening(up.port)


def alive(tree: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in tree if p.is_running() and p.status() != "zombie"]


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of the supervisor in the middle of a load",
    outcome="nothing is left running; the next one goes on",
)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="needs PR_SET_PDEATHSIG")
def test_a_killed_supervisor_leaves_nothing_and_the_next_one_goes_on(
    up: Up,
    server: OwnServer,
    tmp_path: Path,
) -> None:
    run(up)
    export = make_export(tmp_path / "export")
    tree = in_a_load(up, export)
    up.stop(signal.SIGKILL)
    leave_nothing(up, tree)
    run(up)
    let_go(export.entity("account"))
    settled(export, Service(tmp_path))
    assert up.stop() == 0


@pytest.mark.fault(
    "F02",
    injected="SIGTERM to the supervisor in the middle of a load",
    outcome="rolled back and not counted, nothing is left; the next one goes on",
)
def test_a_supervisor_that_is_stopped_rolls_a_load_back(
    up: Up,
    server: OwnServer,
    tmp_path: Path,
) -> None:
    run(up)
    export = make_export(tmp_path / "export")
    tree = in_a_load(up, export)
    assert up.stop() == 0
    assert "did not stop in time" not in up.text()
    leave_nothing(up, tree)

    server.start()
    [row] = [row for row in export.progress("account") if row.copy_status != 1]
    assert (row.copy_status, row.attempts) == (0, 0)
    run(up)
    let_go(export.entity("account"))
    settled(export, Service(tmp_path))
    connection.close()
    assert up.stop() == 0


@pytest.mark.fault(
    "F03",
    injected="SIGSTOP of the web server and of both clusters of `up`, for good",
    outcome="each is killed and started again; the polls and the loads go on",
)
def test_parts_that_stand_still_are_replaced(
    up: Up,
    server: OwnServer,
    tmp_path: Path,
) -> None:
    run(up)
    export = make_export(tmp_path / "export")
    filled(export, "account")
    next_poll()
    frozen = parts(up)
    for process in frozen:
        process.suspend()
    eventually(lambda: up.text().count("killing it") == 3, up.text, within=200)
    assert "questions without an answer" in up.text()
    assert up.text().count("no sign of life") == 2
    eventually(lambda: not alive(frozen), lambda: f"{alive(frozen)} are left")
    changed(export, "account")
    settled(export, Service(tmp_path))
    connection.close()
    assert up.stop() == 0


def parts(up: Up) -> list[psutil.Process]:
    """Return the processes of the web server and of the clusters."""
    assert up.process is not None
    found = psutil.Process(up.process.pid).children()
    mains = [p for p in found if {"gunicorn", "qcluster"} & set(p.cmdline())]
    assert len(mains) == 3
    return [p for main in mains for p in (main, *main.children(recursive=True))]

"""``manage.py up`` as a process of its own, from an empty directory to its end."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from dvsync_site import embedded, embedded_keeper, embedded_places
from dvsync_site.sample_export import SampleExport
from dvsync_site.sample_feed import SampleFeed
from sync.models import SyncConfig
from tests.dvsync_site.test_supervisor import ROOT, processes, wait_until
from tests.processes import database_url

PASSWORD = re.compile(r"the user is admin, the password (\S+)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)):
            return True
    except OSError:
        return False


class Up:
    """A data directory, a port, and ``up`` on them."""

    def __init__(self) -> None:
        # Short: sockets of PostgreSQL may lie in it.
        self.data = Path(tempfile.mkdtemp(prefix="dvsync-up-"))
        self.log = self.data.with_suffix(".log")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **variables: str) -> Up:
        ours = ("PG", "DATABASE_URL", "DVSYNC_", "DJANGO_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        environment = {
            **kept,
            "DVSYNC_DATA": str(self.data),
            "DVSYNC_METRICS_TOKEN": f"token-of-{self.data.name}",
            **variables,
        }
        command = ["manage.py", "up", "--port", str(self.port), *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def text(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> Up:
        assert self.process is not None
        wait_until(lambda: text in self.text() or self.process.poll() is not None)  # type: ignore[union-attr]
        assert text in self.text()
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def code(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def servers(self) -> bool:
        """Tell whether the embedded server or its keeper is there."""
        lock = embedded_places.homes(self.data)[0] / "keeper.lock"
        if not lock.exists():
            return False
        with lock.open("r+") as file:
            return not embedded_keeper.try_lock(file.fileno())

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        wait_until(lambda: not self.servers())
        for pid in processes(str(self.data)):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.data, ignore_errors=True)
        self.log.unlink(missing_ok=True)


@pytest.fixture
def up() -> Iterator[Up]:
    made = Up()
    # The server of a root's test runs as another user, who must reach it.
    made.data.chmod(0o755)
    yield made
    made.end()


def sign_in(port: int, password: str) -> str:
    """Sign in to the admin as its first user does; return the page."""
    page = f"http://127.0.0.1:{port}/admin/"
    jar = http.cookiejar.CookieJar()
    handler = urllib.request.HTTPCookieProcessor(jar)
    browser = urllib.request.build_opener(handler)
    browser.open(f"{page}login/").read()
    token = next(cookie.value for cookie in jar if cookie.name == "dvsync-csrf")
    form = {
        "username": "admin",
        "password": password,
        "csrfmiddlewaretoken": str(token),
        "next": "/admin/",
    }
    answer = browser.open(f"{page}login/", urllib.parse.urlencode(form).encode())
    return str(answer.read().decode())


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_from_an_empty_directory_to_the_admin_and_back(up: Up) -> None:
    up.start("--workers", "1").says(f"look at http://localhost:{up.port}")
    found = PASSWORD.findall(up.text())
    assert len(found) == 1
    assert "Site administration" in sign_in(up.port, found[0])
    assert all(f" {name} " in up.text() for name in ("web", "poll", "sync"))

    assert up.stop() == 0
    assert up.text().rstrip().endswith("stopped")
    assert not up.servers()
    assert processes(str(up.data)) == []
    assert processes(f"fd://{up.port}") == []
    assert not is_listening(up.port)

    up.start("--workers", "1").says("look at http")
    assert "the password" not in up.text()
    assert up.stop(signal.SIGINT) == 0
    assert f"token-of-{up.data.name}" not in up.text()


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_nothing_is_left_of_it_when_it_is_killed(up: Up) -> None:
    up.start().says("look at http")
    up.stop(signal.SIGKILL)
    wait_until(lambda: not up.servers())
    wait_until(lambda: not is_listening(up.port))


def test_a_port_in_use_is_refused_before_anything_is_started(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.port)):
        assert up.start().code() == 2
    assert f"Port {up.port} of 127.0.0.1 cannot be used" in up.text()
    assert "Traceback" not in up.text()
    assert not (up.data / "postgres").exists()


@pytest.mark.parametrize(
    "arguments", [["--port", "99999"], ["--host", "no.such.host.invalid"]]
)
def test_an_impossible_address_is_refused(up: Up, arguments: list[str]) -> None:
    assert up.start(*arguments).code() == 2
    assert "--port" in up.text()


def test_no_workers_are_refused(up: Up) -> None:
    assert up.start("--workers", "0").code() == 2


def test_a_demo_without_pause_is_refused(up: Up) -> None:
    assert up.start("--demo", "--demo-every", "0").code() == 2
    assert "--demo-every" in up.text()


@pytest.fixture
def late(up: Up, transactional_db: None) -> Iterator[str]:
    """Return the address of the test's database behind a folder not yet there."""
    host = urllib.parse.quote(connection.settings_dict["HOST"], safe="")
    link = up.data / "late"
    yield database_url().replace(host, urllib.parse.quote(str(link), safe=""))
    link.unlink(missing_ok=True)


def arrive(up: Up) -> None:
    (up.data / "late").symlink_to(connection.settings_dict["HOST"])


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_it_waits_for_a_database_that_is_not_there_yet(up: Up, late: str) -> None:
    up.start(DATABASE_URL=late).says("waiting for the database")
    assert "Traceback" not in up.text()
    arrive(up)
    up.says("look at http")
    assert User.objects.filter(username="admin", is_superuser=True).count() == 1
    assert up.stop() == 0
    assert not (up.data / "postgres").exists()


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_a_user_named_admin_keeps_what_he_may(up: Up, late: str) -> None:
    User.objects.create_user("admin", password="secret")
    arrive(up)
    up.start(DATABASE_URL=late).says("createsuperuser")
    assert up.says("look at http").stop() == 0
    assert not User.objects.get().is_superuser


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_it_runs_once_under_a_data_directory(up: Up, late: str) -> None:
    up.start(DATABASE_URL=late).says("waiting for the database")
    first, up.port = up.process, free_port()
    assert first is not None
    try:
        assert up.start(DATABASE_URL=late).code() == 2
        assert f"process {first.pid}" in up.text()
    finally:
        first.kill()
        first.wait()


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_the_demo_brings_an_export_that_closes_now(up: Up, late: str) -> None:
    arrive(up)
    up.start("--demo", "--demo-every", "1", DATABASE_URL=late).says("look at http")
    up.says("Closed the folder").says("lines to changes-")
    config = SyncConfig.objects.get(name="demo")
    assert up.stop() == 0
    export = SampleExport.resume(Path(config.location))
    assert len(export.closed) > 1
    closed = f"{export.opened:%Y-%m-%dT%H.%M.%SZ}"
    assert closed == export.marker
    assert 0 <= (time.time() - export.opened.timestamp()) < 600
    feed = SampleFeed.resume(Path(SyncConfig.objects.get(name="demo_feed").location))
    assert feed.lines > feed.first_lines

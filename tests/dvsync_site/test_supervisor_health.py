"""What makes a supervisor kill a service, with a real database and real servers."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from dvsync_site import embedded, supervisor_health
from dvsync_site.supervisor import Life
from dvsync_site.supervisor_health import (
    ClusterCheck,
    EmbeddedCare,
    WebCheck,
    answers,
)
from sync.models import Cluster, Heartbeat

OLD = timedelta(seconds=100)


def life(age: float = 100.0, pid: int = 4711) -> Life:
    return Life(pid, time.monotonic() - age)


def long_known(check: ClusterCheck) -> ClusterCheck:
    """Let a check have seen the database answer for some time."""
    check(life())
    check._answers_since = time.monotonic() - 100
    return check


def beat(ago: timedelta) -> None:
    moment = timezone.now() - ago
    Heartbeat.objects.create(name=Heartbeat.POLL, beat_at=moment, slot=moment)


def cluster(ago: timedelta, **changes: Any) -> None:
    of = {"queue": "sync", "host": socket.gethostname(), "pid": 4711, **changes}
    Cluster.objects.create(beat_at=timezone.now() - ago, **of)


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def take_away() -> None:
        monkeypatch.setitem(connection.settings_dict, "HOST", "/no/such/folder")

    return take_away


@pytest.mark.django_db(transaction=True)
class TestClusters:
    def test_a_poll_that_beats_lives(self) -> None:
        beat(timedelta(seconds=5))
        assert long_known(ClusterCheck("poll"))(life()) is None

    def test_a_poll_that_stopped_is_killed(self) -> None:
        beat(OLD)
        reason = long_known(ClusterCheck("poll"))(life())
        assert reason is not None
        assert reason.startswith("no sign of life for 10")

    def test_a_poll_that_never_was_is_killed(self) -> None:
        reason = long_known(ClusterCheck("poll"))(life())
        assert reason is not None
        assert "since its start" in reason

    def test_a_fresh_one_has_time(self) -> None:
        beat(OLD)
        assert long_known(ClusterCheck("poll"))(life(age=89)) is None

    def test_a_sync_cluster_is_known_by_its_host_and_process(self) -> None:
        cluster(OLD)
        cluster(timedelta(), host="another")
        cluster(timedelta(), pid=4712)
        cluster(timedelta(), queue="poll")
        assert long_known(ClusterCheck("sync"))(life()) is not None
        cluster(timedelta(seconds=5))
        assert long_known(ClusterCheck("sync"))(life()) is None

    def test_none_is_killed_while_the_database_is_away(
        self, no_database: Callable[[], None]
    ) -> None:
        beat(OLD)
        check = long_known(ClusterCheck("poll"))
        no_database()
        assert check(life()) is None

    def test_none_is_killed_when_the_database_has_just_come_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        beat(OLD)
        check = long_known(ClusterCheck("poll"))
        with monkeypatch.context() as patched:
            patched.setitem(connection.settings_dict, "HOST", "/no/such/folder")
            check(life())
        assert check(life()) is None
        assert long_known(check)(life()) is not None

    def test_none_is_killed_after_the_computer_slept(self) -> None:
        beat(OLD)
        check = long_known(ClusterCheck("poll"))
        check._asked_at -= 3600
        assert check(life()) is None

    def test_a_question_to_the_database_has_limits_and_leaves_nothing(self) -> None:
        with supervisor_health.connect() as database:
            assert database.execute("SHOW statement_timeout").fetchone() == ("5s",)
            with pytest.raises(psycopg.errors.QueryCanceled):
                database.execute("SELECT pg_cancel_backend(pg_backend_pid())")
        assert database.closed


@pytest.mark.django_db
def test_a_database_that_is_away_is_named_without_its_password(
    no_database: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers() is None
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "canary")
    no_database()
    reason = answers()
    assert reason is not None
    assert "/no/such/folder" in reason
    assert "canary" not in reason


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
@pytest.mark.django_db
def test_the_embedded_server_is_looked_after_when_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(supervisor_health, "PAUSE", 0)
    care = EmbeddedCare(settings.DATA_DIR, said.append)
    care()
    assert said == []
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "/no/such/folder")
        care()
    assert said[0].startswith("does not answer")
    assert said[1] == "answers again"


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]))
        self.end_headers()
        sys.stderr.write(self.path + " " + self.headers["Host"] + chr(10))
        sys.stderr.flush()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""


class Web:
    """A web server that always answers the same, or not at all."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def answer(self, status: int) -> None:
        self.listener.close()
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", SERVER, str(self.port), str(status)]
            self.process = subprocess.Popen(command, stderr=log)

    def end(self) -> None:
        self.listener.close()
        if self.process:
            self.process.kill()
            self.process.wait()

    def check(self, **options: Any) -> WebCheck:
        return WebCheck(("127.0.0.1", self.port), timeout=0.2, **options)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path / "log")
    yield made
    made.end()


def await_answer(check: WebCheck, one: Life) -> None:
    end = time.monotonic() + 60
    while not check._answered:
        assert check(one) is None
        assert time.monotonic() < end, "waited in vain"


def test_a_web_server_that_answers_lives_and_is_announced_once(web: Web) -> None:
    web.answer(404)  # any answer will do
    ready = threading.Semaphore(0)
    check, one = web.check(ready=ready.release, name="dvsync.example"), life(0)
    assert check.every < 1
    await_answer(check, one)
    assert check(one) is None
    assert ready.acquire(blocking=False)
    assert not ready.acquire(blocking=False)
    assert check.every == 10
    assert "/healthz dvsync.example" in web.log.read_text()


def test_one_that_stops_answering_is_killed_at_the_third_question(web: Web) -> None:
    web.answer(200)
    check, one = web.check(), life(0)
    await_answer(check, one)
    web.end()
    assert [check(one), check(one)] == [None, None]
    assert check(one) == "3 questions without an answer"
    assert check(life(0)) is None  # the next one begins anew


def test_one_that_is_frozen_is_killed_too(web: Web) -> None:
    web.answer(200)
    check, one = web.check(), life(0)
    await_answer(check, one)
    assert web.process is not None
    web.process.send_signal(19)
    assert [check(one), check(one)] == [None, None]
    assert check(one) is not None


def test_one_that_never_answered_has_a_minute(web: Web) -> None:
    check = web.check()
    one = life(0)
    assert [check(one) for _ in range(4)] == [None] * 4
    assert check(life(61)) is not None


def test_an_error_of_the_server_is_no_answer(web: Web) -> None:
    web.answer(503)
    check = web.check()
    end = time.monotonic() + 60
    while not web.log.exists() or not web.log.read_text():
        assert check(life(0)) is None
        assert time.monotonic() < end
    assert check(life(61)) is not None

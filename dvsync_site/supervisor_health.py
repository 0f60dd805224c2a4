"""Whether the services of a supervisor work: what it is told about them.

Each check runs in a thread, with connections of its own that give up within seconds.
A cluster is judged by what it writes to the database, so only while that answers, and
not before it had time to write again.
"""

from __future__ import annotations

import datetime as dt
import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from django.db import connection

from dvsync_site import embedded
from dvsync_site.supervisor import Life

# A cluster that was not heard of for so long is dead, whatever its processes do.
DEAD_AFTER = 90.0
CLUSTERS_EVERY = 5.0
WEB_EVERY, WEB_TIMEOUT, WEB_FAILURES = 10.0, 5.0, 3
# Until its first answer the web server is asked often, and given time.
WEB_FIRST_EVERY, WEB_FIRST = 0.5, 60.0
PAUSE = 2.0
NETWORK = {"connect_timeout": 5, "tcp_user_timeout": 5000}

POLL_BEAT: LiteralString = "SELECT max(beat_at) FROM sync_heartbeat WHERE name = 'poll'"
CLUSTER_BEAT: LiteralString = (
    "SELECT max(beat_at) FROM sync_cluster "
    "WHERE queue = %(queue)s AND host = %(host)s AND pid = %(pid)s"
)


def connect() -> psycopg.Connection[tuple[Any, ...]]:
    """Connect to dvsync's database, for a short question; fails within seconds."""
    parameters = {**connection.get_connection_params(), **NETWORK}
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    made = psycopg.connect(**parameters, autocommit=True)
    try:
        made.execute("SET statement_timeout = 5000")
    except BaseException:
        made.close()
        raise
    return made


def answers() -> str | None:
    """Return why the database does not answer, None when it does."""
    try:
        with connect() as database:
            database.execute("SELECT 1")
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


class ClusterCheck:
    """Kills a cluster from which nothing is heard although the database answers."""

    def __init__(
        self,
        queue: str,
        *,
        dead_after: float = DEAD_AFTER,
        every: float = CLUSTERS_EVERY,
    ) -> None:
        self.every = every
        self._queue = queue
        self._dead_after = dead_after
        self._answers_since: float | None = None
        self._asked_at = 0.0

    def __call__(self, life: Life) -> str | None:
        """Compare the cluster's last sign of life with the clock."""
        self._mind_the_gap()
        try:
            beat = self._beat(life)
        except psycopg.Error:  # the database's trouble is not the cluster's
            self._answers_since = None
            return None
        now = time.monotonic()
        if self._answers_since is None:
            self._answers_since = now
        if min(life.age, now - self._answers_since) < self._dead_after:
            return None
        if beat is None:
            return f"no sign of life since its start {life.age:.0f} s ago"
        silence = (dt.datetime.now(dt.UTC) - beat).total_seconds()
        if silence < self._dead_after:
            return None
        return f"no sign of life for {silence:.0f} s"

    def _mind_the_gap(self) -> None:
        """Begin anew after a time in which this process stood still too."""
        # The clock of the wall: the other one does not count a computer's sleep.
        now = time.time()
        if abs(now - self._asked_at) > self.every + 30:
            self._answers_since = None
        self._asked_at = now

    def _beat(self, life: Life) -> dt.datetime | None:
        with connect() as database:
            if self._queue == "poll":
                row = database.execute(POLL_BEAT).fetchone()
            else:
                of = {"host": socket.gethostname(), "pid": life.pid}
                row = database.execute(
                    CLUSTER_BEAT, {"queue": self._queue, **of}
                ).fetchone()
        return row[0] if row else None


class WebCheck:
    """Kills a web server that left several questions in a row without answer."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        name: str = "localhost",
        ready: Callable[[], None] = lambda: None,
        every: float = WEB_EVERY,
        timeout: float = WEB_TIMEOUT,
    ) -> None:
        """``name`` is one that the site accepts; ``ready`` is called once."""
        self._address = address
        self._name = name
        self._ready = ready
        self._slow_every = every
        self._timeout = timeout
        self._life: Life | None = None
        self._answered = False  # since the process was started
        self._failures = 0
        self._said = False

    @property
    def every(self) -> float:
        """The seconds between two questions: fewer until the first answer."""
        return self._slow_every if self._answered else WEB_FIRST_EVERY

    def __call__(self, life: Life) -> str | None:
        """Ask /healthz; any answer but a server error will do."""
        if life != self._life:
            self._life, self._answered, self._failures = life, False, 0
        if self._asks_well():
            self._answered, self._failures = True, 0
            self._say_ready()
            return None
        self._failures += 1
        if not self._answered:
            late = life.age > WEB_FIRST
            return f"no answer since its start {life.age:.0f} s ago" if late else None
        if self._failures < WEB_FAILURES:
            return None
        return f"{self._failures} questions without an answer"

    def _say_ready(self) -> None:
        if not self._said:
            self._said = True
            self._ready()

    def _asks_well(self) -> bool:
        host, port = self._address
        request = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            # Named, or a site with a list of other names would log each question.
            request.request("GET", "/healthz", headers={"Host": self._name})
            return request.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            request.close()


class EmbeddedCare:
    """Looks after the embedded PostgreSQL: what was killed is started again."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say

    def __call__(self) -> None:
        """Make the server run if it does not answer; then wait a little."""
        if (reason := answers()) is not None:
            self._say(f"does not answer: {reason}")
            embedded.ensure(self._data_dir)
            self._say("answers again")
        time.sleep(PAUSE)

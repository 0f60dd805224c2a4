"""``manage.py up``: all of dvsync under one supervisor."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from dvsync_site import embedded
from dvsync_site.sample_demo import (
    EVERY,
    FEED_EVERY,
    FEED_NAME,
    FEED_ROWS,
    demo_directory,
    demo_feed_directory,
    make_demo_export,
    make_demo_feed,
    make_demo_sync,
)
from dvsync_site.supervisor import Service, Supervisor, python
from dvsync_site.supervisor_health import (
    ClusterCheck,
    EmbeddedCare,
    WebCheck,
    answers,
)
from dvsync_site.supervisor_output import Output
from sync.engine.locks import one_at_a_time
from sync.management.base import USAGE, DvsyncCommand

SECONDS_BETWEEN_LINES = 10.0
RELEASE_TAKES = 10.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - never bound unasked
ADMIN = "admin"


class Command(DvsyncCommand):
    """Run the service until it is stopped."""

    help = (
        "Runs all of dvsync on this machine: PostgreSQL unless DATABASE_URL names "
        "one, the web pages, the poll that looks at every export, and the workers "
        "that load. What ends or hangs is started again. Ctrl-C or SIGTERM stops all "
        "of it; running loads have 25 seconds to end and are rolled back otherwise. "
        "On the first start a user for the admin is made and its password shown, "
        "once."
    )
    epilog = (
        "Exit codes: 0 stopped on request; 2 wrong use, the port is in use, or it "
        "runs already under this data directory; 5 no database."
    )
    examples = ("up", "up --demo", "up --host 0.0.0.0 --port 80 --workers 8")
    needs_database = False  # it starts or awaits it itself

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="address to listen on (default: 127.0.0.1)",
        )
        parser.add_argument(
            "--port",
            type=int,
            default=8080,
            metavar="N",
            help="port to listen on (default: 8080)",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=settings.WORKERS,
            metavar="N",
            help="tables loaded at the same time (default: DVSYNC_WORKERS, 2)",
        )
        parser.add_argument(
            "--demo",
            action="store_true",
            help="with a sample export and a sample change feed that grow",
        )
        parser.add_argument(
            "--demo-every",
            type=int,
            default=EVERY,
            metavar="N",
            help=f"seconds between two folders of the sample (default: {EVERY})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare everything, supervise, and give PostgreSQL back."""
        if options["workers"] < 1:
            raise CommandError("--workers must be at least 1.", returncode=USAGE)
        if not 1 <= options["port"] <= 65535:
            raise CommandError("--port must be 1 to 65535.", returncode=USAGE)
        if options["demo_every"] < 1:
            raise CommandError("--demo-every must be at least 1.", returncode=USAGE)
        address = options["host"], options["port"]
        with _only_one(Path(settings.DATA_DIR)), _listening(*address) as listener:
            redact = settings.LOGGING["formatters"]["line"]["redact"]
            output = Output(sys.stdout, style=settings.LOG_FORMAT, redact=redact)
            try:
                self._run(output, listener, options)
            finally:
                output.close()

    def _run(
        self, output: Output, listener: socket.socket, options: dict[str, Any]
    ) -> None:
        def say(text: str) -> None:
            output.event("up", text)

        self._await_database(say)
        self._prepare(say, demo=options["demo"])
        connection.close()
        tasks = []
        if embedded.in_use():
            tasks.append(
                EmbeddedCare(settings.DATA_DIR, lambda t: output.event("pg", t))
            )
        Supervisor(_services(listener, say, options), output, tasks=tasks).run()
        if not embedded.release(settings.DATA_DIR, RELEASE_TAKES):
            say("PostgreSQL goes on: another command uses it")
        say("stopped")

    def _await_database(self, say: Callable[[str], None]) -> None:
        """Start the embedded server, or wait until the other one answers."""
        if embedded.in_use():
            say("starting PostgreSQL")
            embedded.ensure(settings.DATA_DIR)
            return
        said = -SECONDS_BETWEEN_LINES
        while (reason := answers()) is not None:
            if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                say(f"waiting for the database: {reason}")
                said = time.monotonic()
            time.sleep(0.5)

    def _prepare(self, say: Callable[[str], None], *, demo: bool) -> None:
        """Bring the tables up to date; make what a first start needs."""
        with one_at_a_time():
            call_command("migrate", verbosity=0, stdout=sys.stderr)
            _make_admin(say)
        _make_root()
        if demo:
            directory = demo_directory(settings.DATA_DIR)
            make_demo_export(directory, say, live=True)
            make_demo_sync(directory)
            feed = demo_feed_directory(settings.DATA_DIR)
            make_demo_feed(feed, say, FEED_ROWS)
            make_demo_sync(feed, FEED_NAME)


def _make_root() -> None:
    """Make the directory for exports if nobody chose another one."""
    default = Path(settings.DATA_DIR) / "exports"
    if [default] == settings.ROOTS:
        default.mkdir(exist_ok=True)


def _make_admin(say: Callable[[str], None]) -> None:
    """Make the first superuser, with a password that is shown this once."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return
    if users.filter(username=ADMIN).exists():
        say(f"the user {ADMIN} is no superuser; make one with createsuperuser")
        return
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    say(f"first start: the user is {ADMIN}, the password {password}")


def _services(
    listener: socket.socket, say: Callable[[str], None], options: dict[str, Any]
) -> list[Service]:
    """Return what is to run."""
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in {"127.0.0.1", "::1", *EVERYWHERE} else host
    env = {
        # The settings compute it; told so, no child starts a server of its own.
        **({"DATABASE_URL": _embedded_url()} if embedded.in_use() else {}),
        "DVSYNC_LOG_TIME": "false",  # each line gets the supervisor's
        "DVSYNC_WORKERS": str(options["workers"]),
        "PYTHONUNBUFFERED": "1",
    }
    manage = python(str(settings.BASE_DIR / "manage.py"))
    fd = listener.fileno()
    gunicorn = python(
        *("-m", "gunicorn", "-c", "python:dvsync_site.gunicorn_settings"),
        *("--chdir", str(settings.BASE_DIR), "--bind", f"fd://{fd}"),
    )
    check = WebCheck(
        (EVERYWHERE.get(host, host), port),
        name=_accepted_name(),
        ready=lambda: say(f"look at http://{shown}:{port}"),
    )
    # A name of the user's would make both clusters serve one queue.
    poll = {**env, "Q_CLUSTER_NAME": "poll"}
    sync = {**env, "Q_CLUSTER_NAME": "sync"}
    cluster = [*manage, "qcluster"]
    services = [
        Service("web", gunicorn, env, check, pass_fds=[fd]),
        Service("poll", cluster, poll, ClusterCheck("poll")),
        Service("sync", cluster, sync, ClusterCheck("sync")),
    ]
    if options["demo"]:
        services += [
            Service(name, [*manage, "growexport", directory, "--every", every], env)
            for name, directory, every in _samples(options["demo_every"])
        ]
    return services


def _samples(every: int) -> Iterator[tuple[str, str, str]]:
    """Yield the parts that let the samples grow: name, directory, and seconds."""
    yield "demo", str(demo_directory(settings.DATA_DIR)), str(every)
    feed = demo_feed_directory(settings.DATA_DIR)
    yield "feed", str(feed), str(min(every, FEED_EVERY))


def _embedded_url() -> str:
    return embedded.default_url(settings.DATA_DIR)


def _accepted_name() -> str:
    """Return a name under which the site answers."""
    name = (settings.ALLOWED_HOSTS or ["localhost"])[0]
    return "localhost" if name == "*" else name.removeprefix(".")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Refuse to run twice under one data directory."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        fd = os.open(data_dir / "up.lock", flags, 0o600)
    except OSError as error:
        raise CommandError(
            f"The data directory {data_dir} cannot be written ({error.strerror}). "
            "Set DVSYNC_DATA to a directory of your own.",
            returncode=USAGE,
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(fd, 20).decode(errors="replace").strip()
            raise CommandError(
                f"dvsync runs already under {data_dir}, process {pid}. Stop that one, "
                "or set DVSYNC_DATA to another directory.",
                returncode=USAGE,
            ) from error
        os.truncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port for as long as the service runs, restarts of the web included."""
    try:
        [(family, *_, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise CommandError(
            f"Port {port} of {host} cannot be used: {error}. "
            "Name another one with --port.",
            returncode=USAGE,
        ) from error
    with listener:
        yield listener

"""A PostgreSQL of a test's own, which it may kill, stop, restart and fill up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import environ
import psycopg
from django.core.management import call_command
from django.db import connection

from dvsync_site import embedded, embedded_keeper, embedded_places
from tests.service import eventually

STOP_SECONDS = 60.0


class OwnServer:
    """An embedded server in a directory of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def start(self) -> None:
        embedded.ensure(self.data_dir)

    def stop(self) -> None:
        """Shut it down, as an administrator does; ``start`` makes it run again."""
        assert embedded.release(self.data_dir, STOP_SECONDS)

    @property
    def home(self) -> Path:
        near, far = embedded_places.homes(self.data_dir)
        return far if (far / "data").exists() else near

    @property
    def postmaster(self) -> int:
        return embedded_keeper.pid_of(embedded_keeper.pid_file(self.home / "data"))

    def kill(self) -> None:
        """End it as the kernel does when memory runs out; its keeper starts another."""
        self._replaced(lambda pid: os.kill(pid, signal.SIGKILL))

    def restart(self) -> None:
        """Restart it fast: every session is ended at once."""
        self._replaced(lambda pid: os.kill(pid, signal.SIGINT))

    def _replaced(self, end: Callable[[int], None]) -> None:
        former = self.postmaster
        end(former)
        eventually(lambda: self.postmaster != former and self.answers())

    def connect(
        self, user: str = embedded_keeper.SUPERUSER
    ) -> psycopg.Connection[tuple[object, ...]]:
        """Open a session of somebody else, who may do everything."""
        return psycopg.connect(
            host=str(embedded.socket_dir(self.data_dir)),
            port=embedded_keeper.PORT,
            user=user,
            dbname="dvsync",
            autocommit=True,
        )

    def answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def as_ours(self) -> Iterator[None]:
        """Let this process, and those that it starts, use this server."""
        settings = connection.settings_dict
        before = dict(settings)
        connection.close()
        # Its host is in percent code where there are odd signs; here are none.
        url = environ.Env.db_url_config(embedded.default_url(self.data_dir))
        settings.update({name: url[name] for name in ("HOST", "PORT", "USER", "NAME")})
        settings["PASSWORD"] = ""
        try:
            yield
        finally:
            connection.close()
            settings.clear()
            settings.update(before)

    def remove(self) -> None:
        """Leave nothing of it."""
        embedded.release(self.data_dir, STOP_SECONDS)
        for home in embedded_places.homes(self.data_dir):
            shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)


def new_directory() -> Path:
    """Make a directory that the server's user can reach: of root it is another one."""
    directory = Path(tempfile.mkdtemp(prefix="dvsync-own-"))
    directory.chmod(0o711)
    return directory


def make_migrated(directory: Path) -> Path:
    """Make a server with dvsync's tables, and stop it: the others are copies."""
    server = OwnServer(directory)
    server.start()
    with server.as_ours():
        call_command("migrate", verbosity=0)
    server.stop()
    return server.home


def copy_into(data_dir: Path, migrated: Path) -> None:
    """Give a data directory a copy of a migrated server that is stopped."""
    subprocess.run(["cp", "-a", migrated, data_dir / "postgres"], check=True)


@contextmanager
def own_server(migrated: Path, directory: Path | None = None) -> Iterator[OwnServer]:
    """Run a copy of a migrated server, which is the one of this process meanwhile."""
    server = OwnServer(directory or new_directory())
    copy_into(server.data_dir, migrated)
    try:
        server.start()
        with server.as_ours():
            yield server
    finally:
        server.remove()

"""The PostgreSQL server of a run, its databases, and what is asked of it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psycopg
from psycopg import sql

from dvsync_site import embedded
from dvsync_site.embedded_keeper import PORT, SUPERUSER

ROLE = "dvsync"
_STOP_SECONDS = 60.0
# What PostgreSQL does in the background by itself would hit one contender or the
# other by chance; every timed step is preceded by a VACUUM and a CHECKPOINT instead.
_QUIET = (
    sql.SQL("ALTER SYSTEM SET autovacuum = off"),
    sql.SQL("ALTER SYSTEM SET checkpoint_timeout = '1h'"),
    sql.SQL("SELECT pg_reload_conf()"),
)


@dataclass(frozen=True)
class Content:
    """What a table holds: its number of rows, and a sum over hashes of the rows."""

    rows: int
    hash: int


class WrongResultError(Exception):
    """A contender did not load what it should have; its time means nothing."""


class Server:
    """An embedded server of our own; ``home`` holds its data and its log."""

    def __init__(self, data_dir: Path) -> None:
        self.host = str(embedded.socket_dir(data_dir))
        self.home = Path(self._show("data_directory")).parent

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as superuser, which CHECKPOINT and CREATE DATABASE need."""
        return psycopg.connect(
            host=self.host,
            port=PORT,
            user=SUPERUSER,
            dbname=database,
            autocommit=True,
        )

    def url(self, database: str) -> str:
        """Return a DATABASE_URL for dvsync."""
        host = quote(self.host, safe="")
        return f"postgres://{ROLE}@:{PORT}/{host}/{database}"

    def version(self) -> str:
        """Return the version of PostgreSQL."""
        return self._show("server_version").split()[0]

    def log(self) -> Path:
        """Return the server's log."""
        return self.home / "postgres.log"

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes so far, also of ended ones.

        Where there is no /proc it is 0.
        """
        try:
            pid_file = self.home / "data" / "postmaster.pid"
            postmaster = int(pid_file.read_text().split()[0])
            own = _times(postmaster)
            while True:
                children = sum(_children(postmaster))
                before, own = own, _times(postmaster)
                # Else one has ended meanwhile, and was counted twice or not at all.
                if own.ended == before.ended:
                    ticks = own.running + own.ended + children
                    return ticks / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0.0

    def execute(self, database: str, *statements: sql.SQL | sql.Composed) -> None:
        """Execute statements one by one, each in a transaction of its own."""
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)

    def settle(self, database: str) -> None:
        """Leave nothing behind for the next step to do: no dead rows, no dirty page."""
        self.execute(database, sql.SQL("VACUUM (ANALYZE)"), sql.SQL("CHECKPOINT"))

    def content(self, database: str, table: sql.Composable) -> Content:
        """Count and hash the rows of a table."""
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) "
            "FROM {} AS t"
        ).format(table)
        with self.connect(database) as connection:
            (row,) = connection.execute(query).fetchall()
        return Content(int(str(row[0])), int(str(row[1])))

    def _show(self, setting: str) -> str:
        with self.connect("postgres") as connection:
            query = "SELECT current_setting(%s)"
            (row,) = connection.execute(query, [setting]).fetchall()
        return str(row[0])

    @contextlib.contextmanager
    def database(self, name: str, template: str = "template1") -> Iterator[str]:
        """Make a database for a while."""
        self.execute(
            "postgres",
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(ROLE), sql.Identifier(template)
            ),
        )
        try:
            yield name
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            self.execute("postgres", drop.format(sql.Identifier(name)))


class _Times(NamedTuple):
    """Ticks of the CPU: of a process that runs, and of its children that ended."""

    parent: int
    running: int
    ended: int


def _times(pid: int) -> _Times:
    # The name of the program, in brackets, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return _Times(int(fields[1]), user + system, children_user + children_system)


def _children(postmaster: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            child = _times(int(folder.name))
            if child.parent == postmaster:
                yield child.running + child.ended


@contextlib.contextmanager
def running(data_dir: Path, *, keep: bool) -> Iterator[Server]:
    """Run a server in a directory of its own; it and its data are gone afterwards."""
    data_dir.mkdir(parents=True)
    embedded.ensure(data_dir)
    server = Server(data_dir)
    try:
        server.execute("postgres", *_QUIET)
        yield server
    finally:
        embedded.release(data_dir, _STOP_SECONDS)
        if not keep:
            # It may lie elsewhere, when its user cannot reach the directory.
            shutil.rmtree(server.home, ignore_errors=True)

"""The PostgreSQL server of a run, its databases, and what is asked of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Server:
    """An embedded server of our own."""

    data_dir: Path

    @property
    def host(self) -> str:
        """The folder of its socket."""
        return str(embedded.socket_dir(self.data_dir))

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
        with self.connect("postgres") as connection:
            text = connection.execute("SHOW server_version").fetchone()
        return str(text[0]).split()[0] if text else "unknown"

    def log(self) -> Path:
        """Return the server's log."""
        return self.home() / "postgres.log"

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
            row = connection.execute(query).fetchone()
        if row is None:
            raise WrongResultError("PostgreSQL counted nothing.")
        return Content(int(str(row[0])), int(str(row[1])))

    def home(self) -> Path:
        """Return the folder of its data and its log."""
        with self.connect("postgres") as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        if row is None:
            raise WrongResultError("PostgreSQL does not know its directory.")
        return Path(str(row[0])).parent

    @contextmanager
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


@contextmanager
def running(data_dir: Path, *, keep: bool) -> Iterator[Server]:
    """Run a server in a directory of its own; it and its data are gone afterwards."""
    data_dir.mkdir(parents=True)
    embedded.ensure(data_dir)
    server = Server(data_dir)
    home = server.home()
    try:
        server.execute("postgres", *_QUIET)
        yield server
    finally:
        embedded.release(data_dir, _STOP_SECONDS)
        if not keep:
            # It may lie elsewhere, when its user cannot reach the directory.
            shutil.rmtree(home, ignore_errors=True)

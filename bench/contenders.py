"""Who is measured: dvsync itself, and what an expert would write for psql."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from psycopg import sql

from bench.data import TABLE, Step
from bench.server import ROLE, Server, WrongResultError
from dvsync_site import embedded
from dvsync_site.embedded_keeper import PORT

ROOT = Path(__file__).resolve().parent.parent
SYNC = "replica"


@dataclass(frozen=True)
class Timing:
    """How long a step took, and what it needed.

    ``engine`` is what dvsync itself calls the load: without the start of Python and
    Django and without discovery. ``cpu`` is that of the client and of PostgreSQL;
    ``peak`` is the client's highest resident memory in bytes.
    """

    seconds: float
    cpu: float
    peak: int
    engine: float | None = None


class Contender(Protocol):
    """Loads steps of the export, in their order, into a table of its own."""

    @property
    def title(self) -> str:
        """How it is called in the results."""
        ...

    @property
    def table(self) -> sql.Identifier:
        """The table that it loads."""
        ...

    def load(self, database: str, step: Step) -> Timing:
        """Load one step; this is measured."""
        ...


@dataclass(frozen=True)
class Dvsync:
    """``manage.py syncnow``, in a process of its own, as a person would run it."""

    server: Server
    location: Path
    data_dir: Path
    title: str = "dvsync"
    sync: str = SYNC

    @property
    def table(self) -> sql.Identifier:
        """The replica, in a schema that is called like the sync."""
        return sql.Identifier(self.sync, TABLE)

    def create_sync(self, database: str) -> None:
        """Create dvsync's own tables and the sync; not measured."""
        self._manage(database, "createsync", self.sync, str(self.location))

    def load(self, database: str, step: Step) -> Timing:
        """Run syncnow, and check what it says about itself."""
        done = self._manage(database, "syncnow", self.sync, "--json")
        (table,) = json.loads(done.output)["syncs"][0]["tables"]
        said = [table["rows"][kind] for kind in ("inserted", "updated", "deleted")]
        true = [step.inserted, step.updated, step.deleted]
        if table["status"] != "success" or said != true:
            raise WrongResultError(
                f"{step.title}: syncnow says {table['status']} and {said}, not {true}."
            )
        return Timing(done.seconds, done.cpu, done.peak, table["seconds"])

    def _manage(self, database: str, *arguments: str) -> _Finished:
        return _run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            cwd=ROOT,
            env={
                "DATABASE_URL": self.server.url(database),
                "DVSYNC_DATA": str(self.data_dir),
                "DJANGO_SECRET_KEY": "of the benchmark",
            },
        )


@dataclass(frozen=True)
class Psql:
    """A script for psql; its files are copied where a line says ``-- copy TABLE``."""

    server: Server
    title: str
    script: str

    @property
    def table(self) -> sql.Identifier:
        """The table that it loads, in a schema that is called like the script."""
        return sql.Identifier(self.script, TABLE)

    def load(self, database: str, step: Step) -> Timing:
        """Run the script in the folder that holds the step's files."""
        path = Path(__file__).with_name("psql") / f"{self.script}.sql"
        lines: list[str] = []
        for line in path.read_text().splitlines():
            if line.startswith("-- copy "):
                table = line.removeprefix("-- copy ")
                lines += (
                    f"\\copy {table} from '{file}' with (format csv)"
                    for file in step.files
                )
            else:
                lines.append(line)
        done = _run(
            [
                *(str(embedded.find_programs() / "psql"), "--no-psqlrc", "--quiet"),
                *("--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"),
            ],
            cwd=step.directory,
            env={
                "PGHOST": self.server.host,
                "PGPORT": str(PORT),
                "PGUSER": ROLE,
                "PGDATABASE": database,
                "PGCLIENTENCODING": "UTF8",
            },
            stdin="\n".join(lines),
        )
        return Timing(done.seconds, done.cpu, done.peak)


@dataclass(frozen=True)
class _Finished:
    output: str
    seconds: float
    cpu: float
    peak: int


def _run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: str = ""
) -> _Finished:
    """Run a command to its end; raise ``WrongResultError`` when it fails."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "DJANGO_", "DVSYNC_", "DATABASE_"))
    }
    with (
        tempfile.TemporaryFile("w+") as source,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        source.write(stdin)
        source.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**clean, **env},
            stdin=source,
            stdout=output,
            stderr=errors,
        )
        # Not wait(): only this tells what this one child used. A child begins with
        # the peak of its parent, so the benchmark itself must stay small.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise WrongResultError(
                f"{Path(command[0]).name} ended with {process.returncode}:\n"
                f"{errors.read()[-2000:]}"
            )
        unit = 1 if sys.platform == "darwin" else 1024
        return _Finished(
            output=output.read(),
            seconds=seconds,
            cpu=usage.ru_utime + usage.ru_stime,
            peak=usage.ru_maxrss * unit,
        )

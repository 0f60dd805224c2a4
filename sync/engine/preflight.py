"""Checks before a sync is created: each on its own, timed, and without a trace.

The dry load is a real one, of the smallest first files of one table, rolled back.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection

from sync.engine import places
from sync.engine.dry_load import dry_load, smallest_first_file
from sync.engine.service import service_status
from sync.engine.session import database_errors, raw_cursor
from sync.engine.words import plural, size
from sync.errors import PROBLEMS, SourceError, SyncError
from sync.model_json import Model
from sync.models import SyncConfig
from sync.sources.browsing import glance
from sync.sources.folder_names import folder_time
from sync.sources.storage import Directory, Kind
from sync.sources.synapse_link import SynapseLink
from sync.sources.table_files import csv_files, table_folders

# How long the source, which may be a mount that hangs, has for each answer.
SOURCE_SECONDS = 10.0
# How long the sizes of files are added up.
SIZES_SECONDS = 4.0
OLDEST_POSTGRESQL = 150_000


class State(StrEnum):
    """How a check ended; only a failed one is in the way."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """One check: what it found in words, what to do about it, and how long it took."""

    title: str
    state: State
    detail: str
    remedy: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All checks in their order, and the bytes that are to be loaded, if known."""

    results: tuple[Result, ...]
    bytes: int | None
    partial: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing is in the way."""
        return all(result.state is not State.FAILED for result in self.results)


@dataclass(frozen=True)
class _Sizes:
    """The bytes of the chosen tables' files in closed folders; perhaps not all."""

    bytes: int
    partial: bool


class _Remark(Exception):
    """A check ended neither well nor in failure."""

    def __init__(self, state: State, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.state, self.detail, self.remedy = state, detail, remedy


def check(config: SyncConfig, model: Model, *, uploaded: bool) -> Report:
    """Make every check for a sync that is not saved; nothing of it stays.

    ``model`` is what its tables were chosen by. Each check has its time at the most.
    """
    checks = _Checks(config, model, uploaded=uploaded)
    results = tuple(_timed(title, work) for title, work in checks.all())
    sizes = checks.sizes
    return Report(
        results, sizes.bytes if sizes else None, bool(sizes and sizes.partial)
    )


def _timed(title: str, work: Callable[[], str]) -> Result:
    began = time.monotonic()
    state, remedy = State.PASSED, ""
    try:
        detail = work()
    except _Remark as remark:
        state, detail, remedy = remark.state, remark.detail, remark.remedy
    except SyncError as error:
        state, detail, remedy = State.FAILED, str(error), error.remedy
    except (DatabaseError, OSError) as error:
        state, detail = State.FAILED, str(error)
        remedy = PROBLEMS["internal_error"].remedy
    return Result(title, state, detail, remedy, round(time.monotonic() - began, 3))


class _Checks:
    """The checks of one sync; each asks anew, so that none depends on another."""

    def __init__(self, config: SyncConfig, model: Model, *, uploaded: bool) -> None:
        self._config = config
        self._model = model
        self._uploaded = uploaded
        self._directory = Directory(config.location)
        self.sizes: _Sizes | None = None

    def all(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield title and work of each check, in order."""
        for title, work in (
            ("Reach the location", self._reach),
            ("List its folders", self._list),
            ("Read a file", self._read),
            ("Understand its model.json", self._parse),
        ):
            yield title, partial(_bounded, work)
        yield "Connect to PostgreSQL", self._connect
        yield "Encoding of the database", self._encoding
        yield "Privileges in the database", self._privileges
        yield "Disk space", self._space
        yield "Load one table, and undo it", self._load
        yield "The service", self._service

    def _reach(self) -> str:
        path = places.checked(self._config.location)
        self._directory.entries()
        return f"{path} can be read"

    def _list(self) -> str:
        seen = glance(self._directory)
        if seen.problem:
            raise _Remark(
                State.FAILED, seen.problem, PROBLEMS["marker_unusable"].remedy
            )
        if not seen.begun:
            detail = "There is no Changelog/changelog.info yet"
            state = State.WARNING if self._uploaded else State.FAILED
            raise _Remark(state, detail, PROBLEMS["not_an_export"].remedy)
        if not seen.closed:
            raise _Remark(
                State.WARNING,
                f"No finished change folder yet; {seen.marker} is open",
                "Nothing: the first rows come when Synapse Link closes that folder.",
            )
        folders = plural(seen.closed, "finished change folder")
        return f"{folders}, the newest is {seen.last}; {seen.marker} is open"

    def _read(self) -> str:
        source = SynapseLink(self._directory)
        found = smallest_first_file(source, self._config)
        if found is None:
            raise _Remark(State.UNKNOWN, "There is no file of a chosen table yet")
        with source.open(found) as stream:
            read = len(stream.read(1 << 16))
        return f"Read {size(read)} of {found.path}"

    def _parse(self) -> str:
        model = SynapseLink(self._directory).root_model()
        if model is None:
            raise _Remark(State.UNKNOWN, "The export has no model.json yet")
        there = {entity.name for entity in model.entities}
        chosen = {
            entity.name
            for entity in self._model.entities
            if self._config.selects(entity.name)
        }
        if missing := sorted(chosen - there):
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise _Remark(
                State.WARNING,
                f"Not in the export: {', '.join(missing[:5])}{more}",
                "These tables wait until they appear. Is it the right export?",
            )
        return f"It describes {plural(len(there), 'table')}"

    def _connect(self) -> str:
        with database_errors():
            raw_cursor().execute("SELECT 1")
            version = connection.pg_version  # type: ignore[attr-defined]
        told = _ask("SHOW server_version")
        if version < OLDEST_POSTGRESQL:
            raise _Remark(
                State.FAILED, f"PostgreSQL {told}", "Use PostgreSQL 15 or newer."
            )
        return f"PostgreSQL {told}, database {_ask('SELECT current_database()')}"

    def _encoding(self) -> str:
        encoding = _ask("SHOW server_encoding")
        if encoding != "UTF8":
            raise _Remark(
                State.FAILED,
                f"The database is in {encoding}",
                "Use a database in UTF8: createdb --encoding UTF8 --template template0",
            )
        return "UTF8"

    def _privileges(self) -> str:
        schema = self._config.schema_name
        exists = _ask("SELECT to_regnamespace(quote_ident(%s))::text", schema)
        lacking = []
        if exists:
            may = "SELECT has_schema_privilege(%s, 'CREATE')::text"
            if _ask(may, schema) != "true":
                lacking.append(f"CREATE on the schema {schema}")
        elif _lacks("CREATE"):
            lacking.append("CREATE on the database")
        if _lacks("TEMPORARY"):
            lacking.append("TEMPORARY on the database")
        if lacking:
            role = _ask("SELECT current_user")
            raise _Remark(
                State.FAILED,
                f"The role {role} lacks {' and '.join(lacking)}",
                "Let an administrator of the database run docs/deploy/grants.sql.",
            )
        made = "is there" if exists else "can be made"
        return f"The schema {schema} {made}; temporary tables can be made"

    def _space(self) -> str:
        self.sizes = _bounded(self._added_up)
        said = f"{'more than ' * self.sizes.partial}{size(self.sizes.bytes)} of files"
        free = _free_space()
        if free is None:
            raise _Remark(
                State.UNKNOWN,
                f"{said}; the disk of this PostgreSQL cannot be seen from here",
                "See that about three times as much is free there.",
            )
        if free < 3 * self.sizes.bytes:
            raise _Remark(
                State.WARNING,
                f"{said}, and {size(free)} free for PostgreSQL",
                "About three times the files' size is needed: rows, index and log.",
            )
        return f"{said}, and {size(free)} free for PostgreSQL"

    def _added_up(self) -> _Sizes:
        end = time.monotonic() + SIZES_SECONDS
        _, moment = SynapseLink(self._directory).marker()
        total = 0
        for folder in self._directory.entries():
            opened = folder_time(folder.name)
            if folder.kind is not Kind.FOLDER or opened is None or opened >= moment:
                continue
            if time.monotonic() > end:
                return _Sizes(total, True)
            total += self._size_of(folder.name)
        return _Sizes(total, False)

    def _size_of(self, folder: str) -> int:
        total = 0
        for table in table_folders(self._directory.entries(folder)):
            if table.kind is Kind.FOLDER and self._config.selects(table.name):
                path = f"{folder}/{table.name}"
                files, _ = csv_files(self._directory, path, table.kind)
                total += sum(file.size for file in files)
        return total

    def _load(self) -> str:
        try:
            said = dry_load(self._config)
        except SyncError as error:
            # What is wrong with one row or file stops its table, not the sync.
            if error.code not in _OF_A_TABLE:
                raise
            raise _Remark(State.WARNING, str(error), error.remedy) from error
        if said is None:
            raise _Remark(State.UNKNOWN, "There is no file that is small enough yet")
        return said

    def _service(self) -> str:
        status = service_status()
        if not status.polling or not status.workers:
            missing = "poll" if not status.polling else "worker for loads"
            raise _Remark(
                State.WARNING,
                f"No {missing} was seen lately: nothing will be loaded by itself",
                "Start it: manage.py up, or the units of docs/operations.md.",
            )
        return f"It polls, and {plural(status.workers, 'worker')} can load"


_OF_A_TABLE = frozenset(
    {
        *("bad_row", "bad_value", "bad_encoding", "row_count", "too_many_bad_rows"),
        *("model_malformed", "entity_missing", "unsupported_entity", "target_limit"),
        *("file_missing", "file_changed", "unsafe_path"),
    }
)


def _bounded(work: Callable[[], Any]) -> Any:
    """Return what the work returns; a place that does not answer in time is refused."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except Exception as error:  # noqa: BLE001 - raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="check of a location", daemon=True)
    thread.start()
    thread.join(SOURCE_SECONDS)
    if not outcome:
        raise SourceError(
            "source_unreadable",
            f"The location does not answer within {SOURCE_SECONDS:.0f} s",
        )
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _ask(query: str, *parameters: str) -> str:
    with database_errors():
        row = raw_cursor().execute(query, parameters).fetchone()
    return str(row[0]) if row and row[0] is not None else ""


def _lacks(privilege: str) -> bool:
    """Say whether the role lacks a privilege on the database."""
    query = "SELECT has_database_privilege(current_database(), %s)::text"
    return _ask(query, privilege) != "true"


def _free_space() -> int | None:
    """Return the free bytes of PostgreSQL's disk if that is one of this machine."""
    home = next((home for home in settings.DATABASE_HOMES if home.exists()), None)
    try:
        return shutil.disk_usage(home or _data_directory()).free
    except OSError:
        return None


def _data_directory() -> Path:
    """Return where a server of this machine has its files, if it may be asked."""
    may = "SELECT pg_has_role(current_user, 'pg_read_all_settings', 'member')::text"
    local = raw_cursor().connection.info.host.startswith("/")
    if not local or _ask(may) != "true":
        raise FileNotFoundError
    return Path(_ask("SHOW data_directory"))

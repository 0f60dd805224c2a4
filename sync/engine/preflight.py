"""Checks before a sync is created: each on its own, timed, and without a trace.

The dry load is a real one, of the smallest first files of one table, rolled back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sync.engine import places
from sync.engine import preflight_database as database
from sync.engine.dry_load import dry_load, smallest_first_file
from sync.engine.preflight_results import Remark, Report, State, timed
from sync.engine.service import service_status
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


@dataclass(frozen=True)
class _Sizes:
    """The bytes of the chosen tables' files in closed folders; perhaps not all."""

    bytes: int
    partial: bool


def check(config: SyncConfig, model: Model, *, uploaded: bool) -> Report:
    """Make every check for a sync that is not saved; nothing of it stays.

    ``model`` is what its tables were chosen by. Each check has its time at the most.
    """
    checks = _Checks(config, model, uploaded=uploaded)
    results = tuple(timed(title, work) for title, work in checks.all())
    sizes = checks.sizes
    return Report(
        results, sizes.bytes if sizes else None, bool(sizes and sizes.partial)
    )


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
        schema = self._config.schema_name
        yield "Connect to PostgreSQL", database.connect
        yield "Encoding of the database", database.encoding
        yield "Privileges in the database", partial(database.privileges, schema)
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
            raise Remark(State.FAILED, seen.problem, PROBLEMS["marker_unusable"].remedy)
        if not seen.begun:
            detail = "There is no Changelog/changelog.info yet"
            state = State.WARNING if self._uploaded else State.FAILED
            raise Remark(state, detail, PROBLEMS["not_an_export"].remedy)
        if not seen.closed:
            raise Remark(
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
            raise Remark(State.UNKNOWN, "There is no file of a chosen table yet")
        with source.open(found) as stream:
            read = len(stream.read(1 << 16))
        return f"Read {size(read)} of {found.path}"

    def _parse(self) -> str:
        model = SynapseLink(self._directory).root_model()
        if model is None:
            raise Remark(State.UNKNOWN, "The export has no model.json yet")
        there = {entity.name for entity in model.entities}
        chosen = {
            entity.name
            for entity in self._model.entities
            if self._config.selects(entity.name)
        }
        if missing := sorted(chosen - there):
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise Remark(
                State.WARNING,
                f"Not in the export: {', '.join(missing[:5])}{more}",
                "These tables wait until they appear. Is it the right export?",
            )
        return f"It describes {plural(len(there), 'table')}"

    def _space(self) -> str:
        self.sizes = _bounded(self._added_up)
        said = f"{'more than ' * self.sizes.partial}{size(self.sizes.bytes)} of files"
        free = database.free_space()
        if free is None:
            raise Remark(
                State.UNKNOWN,
                f"{said}; the disk of this PostgreSQL cannot be seen from here",
                "See that about three times as much is free there.",
            )
        if free < 3 * self.sizes.bytes:
            raise Remark(
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
            raise Remark(State.WARNING, str(error), error.remedy) from error
        if said is None:
            raise Remark(State.UNKNOWN, "There is no file that is small enough yet")
        return said

    def _service(self) -> str:
        status = service_status()
        if not status.polling or not status.workers:
            missing = "poll" if not status.polling else "worker for loads"
            raise Remark(
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

"""Checks before a sync is created: each on its own, timed, and without a trace.

The dry load is a real one, of the smallest first files of one table, rolled back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sync.engine import places
from sync.engine import preflight_database as database
from sync.engine.dry_load import dry_load
from sync.engine.preflight_export import ExportChecks
from sync.engine.preflight_feed import FeedChecks
from sync.engine.preflight_results import Remark, Report, Sizes, State, timed
from sync.engine.service import service_status
from sync.engine.words import plural, size
from sync.errors import SourceError, SyncError
from sync.model_json import Model
from sync.models import SourceKind, SyncConfig
from sync.sources.storage import Directory

# How long the source, which may be a mount that hangs, has for each answer.
SOURCE_SECONDS = 10.0


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
        feed = config.kind == SourceKind.CHANGE_FEED
        kind = FeedChecks if feed else ExportChecks
        self._config = config
        self._source = kind(config, model, uploaded=uploaded)
        self.sizes: Sizes | None = None

    def all(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield title and work of each check, in order."""
        for title, work in [("Reach the location", self._reach), *self._source.all()]:
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
        Directory(path).entries()
        return f"{path} can be read"

    def _space(self) -> str:
        self.sizes = _bounded(self._source.sizes)
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

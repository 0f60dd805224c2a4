"""A load for the sake of trying: everything as it would be, then rolled back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings
from django.db import transaction

from sync.engine.batch import PartitionError, initiate_load
from sync.engine.control import Control
from sync.engine.discovery import record
from sync.engine.schema import ensure_table
from sync.engine.session import database_errors, raw_connection, raw_cursor
from sync.engine.source import source_of
from sync.engine.transfer import move
from sync.engine.words import plural, size
from sync.errors import Cancelled, SyncError
from sync.models import DataSyncProgress, SourceKind, SyncConfig, SyncTable
from sync.sources.base import Discovery, PartitionState, Source, TableFile

# What is tried has so many bytes at the most, and so long.
LARGEST = 64 * 1024 * 1024
SECONDS = 20.0
DISCOVERY_SECONDS = 5.0


def smallest_first_file(source: Source, config: SyncConfig) -> TableFile | None:
    """Return the smallest file with rows of a chosen table in the first folder."""
    discovery = _first_folders(source)
    files = [
        file
        for partition in discovery.partitions
        if partition.state is PartitionState.READY
        for table, found in partition.files.items()
        if config.selects(table)
        for file in found
        if file.size
    ]
    return min(files, key=lambda file: file.size, default=None)


def dry_load(config: SyncConfig) -> str | None:
    """Load the first files of the smallest table of a sync that is not saved.

    Return what was done in words, None without files that are small enough. Nothing
    of it stays: neither the schema nor a record. Raises ``SyncError``.
    """
    if config.kind != SourceKind.CHANGE_FEED:
        source = source_of(config)
        return _tried(config, source, _first_folders(source))
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="dry-load-", dir=settings.DATA_DIR) as spool:
        source = source_of(config, Path(spool))
        return _tried(config, source, _first_folders(source))


def _tried(config: SyncConfig, source: Source, discovery: Discovery) -> str | None:
    with database_errors(), transaction.atomic():
        # A name of its own: two who try the same do not wait for each other for long.
        trial = SyncConfig(
            name=f"dry load {uuid.uuid4()}",
            kind=config.kind,
            model_json=config.model_json,
            location=config.location,
            schema_name=config.schema_name,
            include=config.include,
            exclude=config.exclude,
            bad_rows=config.bad_rows,
            max_bad_rows=config.max_bad_rows,
            empty_text=config.empty_text,
            missing_keys=config.missing_keys,
        )
        try:
            return _load(trial, source, discovery)
        except PartitionError as failure:
            raise failure.error from failure
        finally:
            transaction.set_rollback(True)


def _load(trial: SyncConfig, source: Source, discovery: Discovery) -> str | None:
    raw_cursor().execute(
        "SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS:.0f}s"]
    )
    trial.save()
    record(trial, discovery)
    table = _smallest(trial, discovery)
    if table is None:
        return None
    [step, *_] = initiate_load(table, source, 1)
    ensure_table(table, step.entity)
    with _time_limit() as control:
        [moved] = move(table, [step], source, control)
    counts = moved.counts
    rows = plural(counts.inserted, "row")
    said = f"{rows} of {table.entity} ({size(step.size)}), all undone"
    if counts.rejected:
        said += f"; {plural(counts.rejected, 'bad row')} would be set aside"
    return said


def _smallest(trial: SyncConfig, discovery: Discovery) -> SyncTable | None:
    models = [partition.model for partition in discovery.partitions if partition.model]
    described = {entity.name for model in models for entity in model.entities}
    rows = DataSyncProgress.objects.filter(
        config=trial, bytes__gt=0, bytes__lte=LARGEST
    ).order_by("partition", "bytes", "table_name")
    first = rows.filter(table_name__in=described).first() or rows.first()
    if first is None:
        return None
    tables = SyncTable.objects.select_related("config")
    return tables.get(config=trial, entity=first.table_name)


def _first_folders(source: Source) -> Discovery:
    """Look into folders up to the first one with tables that have files."""
    return source.discover({}, None, DISCOVERY_SECONDS, 1)


@contextmanager
def _time_limit() -> Iterator[Control]:
    """Stop what reports to the control when time is up."""
    control = Control()
    timer = threading.Timer(SECONDS, control.cancel)
    timer.daemon = True
    timer.start()
    try:
        with control.interruptible(raw_connection()):
            yield control
    except (Cancelled, SyncError) as error:
        if control.cancelled:
            message = f"The load of one table was not done within {SECONDS:.0f} s"
            raise SyncError("load_stalled", message) from error
        raise
    finally:
        timer.cancel()

"""Refreshing a table: rebuilt from its base partition on, applied as a difference.

Views, grants, indexes and the table itself stay; readers see the old rows or the new.
"""

from __future__ import annotations

from datetime import datetime

from sync import faultpoints
from sync.engine.announce import announce
from sync.engine.bad_rows import BadRows
from sync.engine.batch import PartitionError, Step
from sync.engine.control import Control
from sync.engine.discovery import poll_once
from sync.engine.entities import is_wanted
from sync.engine.history import LATE
from sync.engine.intake import TOMBSTONES
from sync.engine.rebuild import (
    Plan,
    partitions_since,
    plan,
    replay,
    set_aside,
    step_of,
)
from sync.engine.schema import check_widening, ensure_columns, record_columns
from sync.engine.session import database_errors, prepare_session, raw_cursor
from sync.engine.source import source_of
from sync.engine.transaction import load_transaction
from sync.engine.transfer import record_moved
from sync.errors import SourceError, SyncError
from sync.models import (
    ATTEMPTS_BEFORE_PARKING,
    DataSyncProgress,
    Event,
    QuarantinedRow,
    SyncPartition,
    SyncTable,
)
from sync.sources.base import Form, Source
from sync.target import relations, tables
from sync.target.rebuilt import Difference


class _OutrunError(Exception):
    """A load applied a newer partition before the table was locked."""


def refresh_table(
    table: SyncTable, source: Source | None = None, control: Control | None = None
) -> Difference:
    """Rebuild the table from its base partition on; return what that changed.

    Raises ``SyncError``: ``refresh_refused`` when a partition since then is gone, or
    the error of a partition that cannot be replayed. Raises ``BusyError`` while a load
    runs. Nothing is changed then, but for new columns that the partitions need.
    """
    source = source or source_of(table.config)
    control = control or Control()
    if not is_wanted(table):
        raise SourceError(
            "refresh_refused",
            f"{table.entity} is not replicated",
            remedy="Replicate it first: manage.py editsync.",
        )
    while True:
        poll_once(table.config, source)
        try:
            return _try(table, source, control)
        except _OutrunError:
            continue
        except PartitionError as failure:
            raise failure.error from failure


def _try(table: SyncTable, source: Source, control: Control) -> Difference:
    with database_errors(table.label):
        table.refresh_from_db()
        partitions = _needed(table, source)
        steps = [step_of(table, partition, source) for partition in partitions]
    # Not in the long transaction: readers would wait for its end.
    ensure_columns(table, [step.entity for step in steps])
    with load_transaction(table, control):
        return _refresh(table, steps, source, control)


def _needed(table: SyncTable, source: Source) -> list[SyncPartition]:
    """Return the partitions to replay; refuse when one of them is not there."""
    since = partitions_since(table.config, table.base_partition)
    present = source.present()
    needed = []
    for partition in since:
        unknown = partition.state == partition.State.LOST and not partition.sizes
        if not unknown and not _has_rows(table, partition):
            continue
        if unknown or partition.name not in present:
            raise SourceError(
                "refresh_refused",
                f"{table.entity} needs {partition.name}, which is gone; its full copy "
                f"begins in {table.base_partition or since[0].name}",
                where=partition.name,
            )
        needed.append(partition)
    if not needed:
        raise SourceError(
            "refresh_refused", f"No complete folder has rows of {table.entity}"
        )
    return needed


def _has_rows(table: SyncTable, partition: SyncPartition) -> bool:
    late = partition.state == partition.State.SKIPPED and partition.reason == LATE
    counts = partition.state in {partition.State.READY, partition.State.LOST} or late
    return counts and table.entity in partition.sizes


def _refresh(
    table: SyncTable, steps: list[Step], source: Source, control: Control
) -> Difference:
    faultpoints.reach("load_started")
    cursor = raw_cursor()
    prepare_session(cursor)
    _check_not_outrun(table, steps)
    target = table.target()
    found = relations.inspect(cursor, target)
    if found is not None:
        relations.check_unaltered(target, found)
    wanted = plan(table, steps, target.columns)
    if found is not None:
        check_widening(table, wanted.columns, any_size=True)
    for step in steps:
        if step.progress._state.adding:
            step.progress.save()
    if source.form is Form.CHANGES:
        # Each line is read in its place again: those set aside have another chance.
        table.quarantined.filter(state=QuarantinedRow.State.OPEN).delete()
    copy = replay(
        table,
        wanted,
        source,
        control,
        BadRows(QuarantinedRow.room_in(table), set_aside(table)),
        lambda batch, moved: record_moved(table, batch, moved),
    )
    control.beat(table.pk)
    _make_fit(table, wanted, exists=found is not None)
    difference = copy.apply(TOMBSTONES, table.pk)
    control.check()
    _record_end(table, steps, difference)
    faultpoints.reach("progress_written")
    return difference


def _check_not_outrun(table: SyncTable, steps: list[Step]) -> None:
    """Begin anew when the table has more by now than would be replayed."""
    chosen = {step.progress.partition for step in steps}
    base = table.base_partition
    table.refresh_from_db()
    since = {p.name for p in partitions_since(table.config, table.base_partition)}
    done = table.progress.filter(copy_status=DataSyncProgress.Status.SUCCESS)
    applied = set(done.values_list("partition", flat=True)) & since
    if base != table.base_partition or not applied <= chosen:
        raise _OutrunError


def _make_fit(table: SyncTable, wanted: Plan, *, exists: bool) -> None:
    """Give the live table its wider types, or make it anew."""
    cursor = raw_cursor()
    target = table.target()
    if not exists:
        target = tables.Table(target.schema, target.name, ())
    there = relations.schema_exists(cursor, target.schema)
    for statement in tables.plan(
        target, wanted.columns, wanted.key, schema_exists=there
    ):
        cursor.execute(statement)
    if not exists or wanted.columns != target.columns:
        record_columns(table, wanted.columns)


def _record_end(table: SyncTable, steps: list[Step], difference: Difference) -> None:
    first = steps[0].progress.partition
    # What was not applied before the new copy never will be, and is not missed.
    since = {p.name for p in partitions_since(table.config, first)}
    table.progress.unapplied().exclude(partition__in=since).delete()
    table.record_refresh(first, steps[-1].progress.partition)
    announce(table, steps[-1].progress.partition)
    Event.record(
        table.config,
        "table_refreshed",
        f"from {first} on: {difference.inserted} rows inserted, "
        f"{difference.updated} updated, {difference.deleted} deleted",
        table_name=table.entity,
    )


# A refresh that the service does: what became of it is told by events.


def record_refresh_asked(table: SyncTable, by: str) -> None:
    """Remember who wanted the table refreshed."""
    _tell(table, "refresh_asked", f"by {by}")


def record_refresh_begun(table: SyncTable) -> None:
    """Remember that a worker begins."""
    _tell(table, "refresh_begun", "")


def record_refresh_failed(table: SyncTable, error: SyncError) -> None:
    """Remember why the table is as it was."""
    message = f"{error} {error.remedy}".strip()
    _tell(table, "refresh_failed", message, level=Event.Level.ERROR)


def asked_in_vain(table: SyncTable, since: datetime) -> int:
    """Return how often the refresh was begun since; 0 while that is not too often."""
    begun = table.config.events.filter(
        kind="refresh_begun", table_name=table.entity, happened_at__gte=since
    )
    times = begun.count()
    return times if times >= ATTEMPTS_BEFORE_PARKING else 0


def _tell(table: SyncTable, kind: str, message: str, **level: str) -> None:
    Event.record(table.config, kind, message, table_name=table.entity, **level)

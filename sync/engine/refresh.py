"""Refreshing a table: rebuilt from its base partition on, applied as a difference.

Views, grants, indexes and the table itself stay; readers see the old rows or the new.
"""

from __future__ import annotations

from collections.abc import Iterable

from sync import faultpoints
from sync.engine.batch import PartitionError, Step
from sync.engine.control import Control
from sync.engine.discovery import poll_once, source_of
from sync.engine.history import LATE
from sync.engine.load import record_moved
from sync.engine.rebuild import Plan, partitions_since, plan, replay, step_of
from sync.engine.schema import check_widening, record_columns
from sync.engine.session import database_errors, prepare_session, raw_cursor
from sync.engine.transaction import load_transaction
from sync.engine.transfer import TOMBSTONES, Moved
from sync.errors import SourceError
from sync.models import (
    DataSyncProgress,
    Event,
    QuarantinedRow,
    SyncPartition,
    SyncTable,
)
from sync.sources.synapse_link import SynapseLink
from sync.target import tables
from sync.target.rebuilt import Difference


def refresh_table(
    table: SyncTable, source: SynapseLink | None = None, control: Control | None = None
) -> Difference:
    """Rebuild the table from its base partition on; return what that changed.

    Raises ``SyncError``: ``refresh_refused`` when a partition since then is gone, or
    the error of a partition that cannot be replayed. Raises ``BusyError`` while a load
    runs. Nothing is changed then.
    """
    source = source or source_of(table.config)
    control = control or Control()
    poll_once(table.config, source)
    table.refresh_from_db()
    with database_errors(table.label):
        partitions = _needed(table, source)
        steps = [step_of(table, partition, source) for partition in partitions]
    try:
        with load_transaction(table, control):
            return _refresh(table, steps, source, control)
    except PartitionError as failure:
        raise failure.error from failure


def _needed(table: SyncTable, source: SynapseLink) -> list[SyncPartition]:
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
    table: SyncTable, steps: list[Step], source: SynapseLink, control: Control
) -> Difference:
    faultpoints.reach("load_started")
    cursor = raw_cursor()
    prepare_session(cursor)
    target = table.target()
    found = tables.inspect(cursor, target)
    if found is not None:
        tables.check_unaltered(target, found)
    wanted = plan(table, steps, target.columns)
    if found is not None:
        check_widening(table, wanted.columns, any_size=True)
    for step in steps:
        if step.progress._state.adding:
            step.progress.save()
    dismissed = _forget_rejected(table, steps)
    copy = replay(
        table,
        wanted,
        source,
        control,
        None,
        lambda batch, moved: _record(table, batch, moved, dismissed),
    )
    control.beat(table.pk)
    _make_fit(table, wanted, exists=found is not None)
    difference = copy.apply(TOMBSTONES, table.pk)
    control.check()
    _record_end(table, steps, difference)
    faultpoints.reach("progress_written")
    return difference


def _make_fit(table: SyncTable, wanted: Plan, *, exists: bool) -> None:
    """Give the live table its new columns and types, or make it anew."""
    cursor = raw_cursor()
    target = table.target()
    if not exists:
        target = tables.Table(target.schema, target.name, ())
    there = tables.schema_exists(cursor, target.schema)
    for statement in tables.plan(
        target, wanted.columns, wanted.key, schema_exists=there
    ):
        cursor.execute(statement)
    if not exists or wanted.columns != target.columns:
        record_columns(table, wanted.columns)


Place = tuple[str, str, int]


def _forget_rejected(table: SyncTable, steps: Iterable[Step]) -> set[Place]:
    """Forget the rows that were set aside; return the places of dismissed ones."""
    rows = table.quarantined.filter(
        partition__in=[step.progress.partition for step in steps]
    )
    gone = rows.filter(state=QuarantinedRow.State.DISMISSED)
    dismissed = set(gone.values_list("partition", "file", "line"))
    rows.delete()
    return dismissed


def _record(
    table: SyncTable, batch: list[Step], moved: list[Moved], dismissed: set[Place]
) -> None:
    for item in moved:
        for row in item.rejected:
            if (row.partition, row.file, row.line) in dismissed:
                row.state = QuarantinedRow.State.DISMISSED
    record_moved(table, batch, moved)


def _record_end(table: SyncTable, steps: list[Step], difference: Difference) -> None:
    first = steps[0].progress.partition
    older = {step.progress.pk for step in steps}
    superseded = table.progress.unapplied().exclude(pk__in=older)
    DataSyncProgress.objects.filter(
        pk__in=[row.pk for row in superseded if row.partition < first]
    ).delete()
    table.record_refresh(first, steps[-1].progress.partition)
    Event.record(
        table.config,
        "table_refreshed",
        f"from {first} on: {difference.inserted} rows inserted, "
        f"{difference.updated} updated, {difference.deleted} deleted",
        table_name=table.entity,
    )

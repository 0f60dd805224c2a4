"""Comparing a table with what its partitions say, by replaying them; read-only."""

from __future__ import annotations

from dataclasses import replace

from django.db import transaction
from django.db.models import Q

from sync.engine.bad_rows import BadRows
from sync.engine.batch import PartitionError
from sync.engine.control import Control
from sync.engine.intake import TOMBSTONES, system_columns
from sync.engine.rebuild import (
    Plan,
    partitions_since,
    plan,
    replay,
    set_aside,
    step_of,
)
from sync.engine.session import database_errors, prepare_session, raw_cursor
from sync.engine.source import source_of
from sync.errors import SourceError, SyncError
from sync.model_json import KEY
from sync.models import DataSyncProgress, SyncPartition, SyncTable
from sync.sources.base import Form, Source
from sync.target import relations
from sync.target.rebuilt import Comparison, Rebuilt
from sync.target.types import TEXT, sql_type

KEYS_SHOWN = 100
# Types whose values PostgreSQL may write otherwise than the file did.
NUMBERS = frozenset({"numeric", "double precision"})
# A replay sets every bad row aside, as its load did.
NO_LIMIT = 10**9


def reconcile_table(
    table: SyncTable, source: Source | None = None, control: Control | None = None
) -> Comparison:
    """Compare the table with its applied partitions, from its base partition on.

    Loads may go on meanwhile. Raises ``SyncError`` when a partition cannot be read or
    the target is not there; nothing is written in any case.
    """
    source = source or source_of(table.config)
    control = control or Control()
    while True:
        with database_errors(table.label):
            before = relations.storage_of(raw_cursor(), table.target())
        try:
            found = _in_snapshot(table, source, control)
        except (PartitionError, SyncError) as failure:
            if _is_rewritten(table, before):
                continue
            if isinstance(failure, PartitionError):
                raise failure.error from failure
            raise
        # Rewritten for a wider type, it looks empty to an older snapshot.
        if not _is_rewritten(table, before):
            return found


def _is_rewritten(table: SyncTable, before: object) -> bool:
    with database_errors(table.label):
        return relations.storage_of(raw_cursor(), table.target()) != before


def _in_snapshot(table: SyncTable, source: Source, control: Control) -> Comparison:
    with database_errors(table.label), transaction.atomic(durable=True):
        cursor = raw_cursor()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        prepare_session(cursor)
        table.refresh_from_db()
        found = _compare(table, source, control)
        transaction.set_rollback(True)
    return found


def _compare(table: SyncTable, source: Source, control: Control) -> Comparison:
    if table.interleaved:
        raise SourceError(
            "out_of_order",
            f"A log file of {table.entity} grew after a later one was applied",
            where=table.label,
        )
    target = table.target()
    cursor = raw_cursor()
    relations.check_unaltered(target, relations.inspect(cursor, target))
    present = source.present()
    applied = _applied(table)
    steps = [
        step_of(table, partition, source, applied=True)
        for partition in applied
        if partition.name in present
    ]
    if not steps:
        return _nothing_replayed(table)
    whole = len(steps) == len(applied)
    copy = replay(
        table,
        _comparable(plan(table, steps, target.columns), whole=whole),
        source,
        control,
        BadRows(NO_LIMIT, set_aside(table)),
        lambda batch, moved: None,
    )
    if whole:
        return copy.compare(KEYS_SHOWN)
    version = sink = None
    if source.form is Form.ROWS:
        columns = system_columns(steps[-1].entity, target)
        version, sink = columns.live_version, columns.live_sink
    return copy.compare_partly(version, sink, TOMBSTONES, table.pk, KEYS_SHOWN)


def _comparable(wanted: Plan, *, whole: bool) -> Plan:
    """Leave out the columns in which a table that is right may differ.

    A number that was stored before its column became text is written otherwise than
    in the file. And what a row keeps in a column that left, it may have from a
    partition that is gone.
    """
    texts = {column.attribute for column in wanted.columns if column.type == TEXT}
    left_out = set()
    for step in wanted.steps:
        numbers = {
            a.name for a in step.entity.attributes if sql_type(a.data_type) in NUMBERS
        }
        left_out |= numbers & texts
        if not whole:
            left_out |= wanted.compared - {a.name for a in step.entity.attributes}
    return replace(wanted, compared=wanted.compared - left_out)


def _applied(table: SyncTable) -> list[SyncPartition]:
    names = _names_of_applied(table)
    since = partitions_since(table.config, table.base_partition)
    return [partition for partition in since if partition.name in names]


def _names_of_applied(table: SyncTable) -> set[str]:
    """Return all partitions of which the table ever took anything."""
    done = table.progress.filter(
        Q(copy_status=DataSyncProgress.Status.SUCCESS) | Q(applied_offset__gt=0)
    )
    pruned = table.config.partitions.filter(pruned_tables__contains=[table.entity])
    names = set(done.values_list("partition", flat=True))
    return names.union(pruned.values_list("name", flat=True))


def _nothing_replayed(table: SyncTable) -> Comparison:
    """Compare when no applied partition is there to be replayed."""
    if not table.columns:
        return Comparison(0, 0, 0, 0, ())
    target = table.target()
    named = table.key or [KEY]
    key = [
        next(c.name for c in target.columns if c.attribute.lower() == name.lower())
        for name in named
    ]
    names = [column.attribute for column in target.columns]
    empty = Rebuilt(raw_cursor(), target, target.columns, key, names)
    empty.create()
    if _names_of_applied(table):
        return empty.compare_partly(None, None, TOMBSTONES, table.pk, KEYS_SHOWN)
    return empty.compare(KEYS_SHOWN)

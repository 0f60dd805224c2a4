"""Replaying a table's partitions into a second copy of it, beside the live one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sync.engine.bad_rows import BadRows, Place
from sync.engine.batch import (
    BATCH_BYTES,
    BATCH_PARTITIONS,
    Step,
    changed_files,
    entity_of,
    extends,
)
from sync.engine.control import Control
from sync.engine.intake import Destination
from sync.engine.session import raw_cursor
from sync.engine.transfer import Moved, move
from sync.errors import SourceError
from sync.model_json import Entity
from sync.models import (
    DataSyncProgress,
    QuarantinedRow,
    SyncConfig,
    SyncPartition,
    SyncTable,
    path_of,
)
from sync.sources.base import Source, Stretch
from sync.sources.folder_names import folder_time_or_first
from sync.target import rebuilt, tables
from sync.target.rebuilt import Rebuilt
from sync.target.tables import MAX_COLUMNS, Column


@dataclass(frozen=True)
class Plan:
    """The partitions to replay, and the columns that their rows need in the end.

    ``compared`` are the attributes that the replayed rows tell about.
    """

    steps: list[Step]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    compared: frozenset[str]


def partitions_since(config: SyncConfig, base: str) -> list[SyncPartition]:
    """Return the partitions from ``base`` on, in time order; without one, all."""
    since = folder_time_or_first(base)
    return [p for p in config.partitions.order_by("opened_at") if p.opened_at >= since]


def step_of(
    table: SyncTable,
    partition: SyncPartition,
    source: Source,
    *,
    applied: bool = False,
) -> Step:
    """Return what is to be read of a partition; its progress row may be unsaved.

    Of a file that grows it is all that was found, or only what is ``applied``. Raises
    ``SourceError``, also when a file is not as it was found.
    """
    entity, borrowed_from = entity_of(table, partition.name, source)
    if partition.extent:
        progress = _progress_of(table, partition)
        end = progress.applied_offset if applied else partition.extent
        stretch = Stretch(0, end, partition.mark)
        files = source.files(partition.name, table.entity, stretch)
        return Step(progress, entity, files, end=end)
    files = source.files(partition.name, table.entity)
    changed = changed_files(files, partition.sizes.get(table.entity, {}))
    if changed:
        raise SourceError(
            "file_changed",
            f"Files of {table.entity} changed since they were found: "
            f"{', '.join(changed)}",
            where=f"{partition.name}/{table.entity}/{changed[0]}",
            remedy="Bring the files back as they were.",
        )
    return Step(_progress_of(table, partition), entity, files, borrowed_from)


def _progress_of(table: SyncTable, partition: SyncPartition) -> DataSyncProgress:
    progress = table.progress.filter(partition=partition.name).first()
    return progress or DataSyncProgress(
        config_id=table.config_id,
        partition=partition.name,
        table_name=table.entity,
        end_offset=partition.extent,
    )


def plan(table: SyncTable, steps: list[Step], existing: tuple[Column, ...]) -> Plan:
    """Say what the rows of all these steps need of a table with these columns.

    Raises ``TargetError`` when a type changed into another one.
    """
    columns = existing
    relation = table.target().relation
    entities = list(_distinct(step.entity for step in steps))
    for entity in entities:
        columns = tables.columns_for(entity, columns, relation)
    known = frozenset(a.name for entity in entities for a in entity.attributes)
    return Plan(steps, columns, tables.key_columns(steps[-1].entity, columns), known)


def replay(
    table: SyncTable,
    plan: Plan,
    source: Source,
    control: Control,
    bad_rows: BadRows,
    done: Callable[[list[Step], list[Moved]], None],
) -> Rebuilt:
    """Replay the steps into a new copy and return it; inside a transaction.

    ``done`` hears of every batch. Raises ``PartitionError`` for a row at fault.
    """
    copy = Rebuilt(raw_cursor(), table.target(), plan.columns, plan.key, plan.compared)
    copy.create()
    destination = Destination(copy.table, rebuilt.TOMBSTONES, rebuilt=True)
    for batch in _batches(plan.steps):
        done(batch, move(table, batch, source, control, destination, bad_rows))
        control.check()
    return copy


def set_aside(table: SyncTable) -> frozenset[Place]:
    """Return the places of the rows that are set aside and were never applied."""
    rows = table.quarantined.exclude(state=QuarantinedRow.State.APPLIED)
    return frozenset(
        (path_of(partition, table.entity, file), line)
        for partition, file, line in rows.values_list("partition", "file", "line")
    )


def _batches(steps: Iterable[Step]) -> Iterator[list[Step]]:
    batch: list[Step] = []
    size = 0
    seen: set[str] = set()
    before_alone = False
    for step in steps:
        names = {attribute.name for attribute in step.entity.attributes}
        # A column that left: what a row keeps in it needs each partition's turn. And
        # the staging table of several has a column more than theirs.
        alone = not seen <= names or len(names) >= MAX_COLUMNS
        seen |= names
        full = size + step.size > BATCH_BYTES or len(batch) >= BATCH_PARTITIONS
        apart = alone or before_alone or full
        if batch and (apart or not extends(step.entity, batch[-1].entity)):
            yield batch
            batch, size = [], 0
        before_alone = alone
        batch.append(step)
        size += step.size
    if batch:
        yield batch


def _distinct(entities: Iterable[Entity]) -> Iterator[Entity]:
    last = None
    for entity in entities:
        if last is None or entity.attributes != last.attributes:
            yield entity
        last = entity

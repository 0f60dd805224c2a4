"""Inside the load's transaction: files into staging, staging into the target."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sync import faultpoints
from sync.engine.batch import PartitionError, Step
from sync.engine.control import Control
from sync.engine.reading import copy_file
from sync.engine.session import prepare_session, raw_cursor, show_phase
from sync.errors import RowError, SourceError
from sync.model_json import Entity
from sync.models import SyncPartition, SyncTable, Tombstone
from sync.sources.base import Source
from sync.sources.row_widths import Widths
from sync.target.failures import from_postgres
from sync.target.merge import Merge, RowCounts, SystemColumns
from sync.target.staging import Staging
from sync.target.tables import IS_DELETE, KEY, SINK, VERSION, Table

TOMBSTONES = sql.Identifier(Tombstone._meta.db_table)


def move(
    table: SyncTable,
    steps: list[Step],
    source: Source,
    control: Control,
    *,
    watch_widths: bool,
) -> list[RowCounts]:
    """Copy the files of a batch and merge them; return the counts of its partitions.

    Raises ``PartitionError`` for a file or row at fault, ``WidthsDifferError`` when
    rows are narrower or wider than their model and ``watch_widths`` was not set.
    """
    cursor = raw_cursor()
    prepare_session(cursor)
    entity = steps[-1].entity
    target = table.target()
    columns = [target.column(attribute.name) for attribute in entity.attributes]
    staging = Staging(
        cursor,
        [column for column in columns if column],
        entity.position(KEY) or 0,
        partitioned=len(steps) > 1,
    )
    staging.create()
    faultpoints.reach("staging_created")
    rows: dict[int, int] = {}
    done = 0
    for number, step in enumerate(steps):
        staging.begin_partition(number)
        rows[number] = 0
        widths = _widths(table, step, source) if watch_widths else None
        for file in step.files:
            show_phase(cursor, table.pk, "copy", done)
            control.beat(table.pk)
            try:
                rows[number] += copy_file(
                    staging, source, file, step.entity, control, table.pk, widths
                )
            except (RowError, SourceError) as error:
                raise PartitionError(step.progress, error) from error
            except psycopg.Error as error:
                failure = from_postgres(error, file.path)
                if failure.permanent:
                    raise PartitionError(step.progress, failure) from error
                raise
            done += file.size
        faultpoints.reach("partition_copied")
    show_phase(cursor, table.pk, "merge", done)
    control.beat(table.pk)
    system = _system(entity, target)
    merge = Merge(cursor, staging, system, target, TOMBSTONES, table.pk)
    counts = merge.run(rows)
    return [counts[number] for number in rows]


def _widths(table: SyncTable, step: Step, source: Source) -> Widths:
    """Return the widths that a partition's rows may have.

    A narrow row is the beginning of a row only if the columns of the partition
    before were kept and others appended, and if it reaches at least to IsDelete,
    which ended the rows before the first column was.
    """
    entity = step.entity
    full = len(entity.attributes)
    is_delete = entity.position(IS_DELETE)
    before = _names_before(table, step, source)
    names = [attribute.name for attribute in entity.attributes]
    if is_delete is None or names[: len(before)] != before:
        return Widths(full, full)
    return Widths(full, is_delete + 1)


def _names_before(table: SyncTable, step: Step, source: Source) -> list[str]:
    """Return the table's columns in the partition before; none in its first one.

    When that folder is gone, all columns that dvsync ever saw must have been kept.
    """
    this = SyncPartition.objects.get(
        config_id=table.config_id, name=step.progress.partition
    )
    previous = (
        SyncPartition.objects.filter(
            config_id=table.config_id,
            state=SyncPartition.State.READY,
            opened_at__lt=this.opened_at,
        )
        .order_by("opened_at")
        .last()
    )
    if previous is None:
        return []
    try:
        entity = source.entity(previous.name, table.entity)
    except SourceError as error:
        if error.code == "entity_missing":
            return []
        known = [attribute for attribute, *_ in table.columns]
        return known[: len(step.entity.attributes)]
    return [attribute.name for attribute in entity.attributes]


def _system(entity: Entity, target: Table) -> SystemColumns:
    live = {c.attribute.lower(): c.name for c in reversed(target.columns)}
    return SystemColumns(
        version=entity.position(VERSION),
        sink=entity.position(SINK),
        is_delete=entity.position(IS_DELETE),
        live_version=live.get(VERSION.lower()),
        live_sink=live.get(SINK.lower()),
    )

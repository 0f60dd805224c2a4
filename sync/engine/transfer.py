"""Inside the load's transaction: files into staging, staging into the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from django.utils import timezone
from psycopg import Cursor, sql

from sync import faultpoints
from sync.engine.bad_rows import BadRows, Rejected
from sync.engine.batch import PartitionError, Step, entity_before
from sync.engine.control import Control
from sync.engine.guards import check
from sync.engine.reading import Reader
from sync.engine.session import prepare_session, raw_cursor, show_phase
from sync.engine.words import plural
from sync.errors import RowError, SourceError
from sync.model_json import Entity
from sync.models import (
    EmptyText,
    Event,
    QuarantinedRow,
    SyncConfig,
    SyncTable,
    Tombstone,
    clean,
)
from sync.sources.base import Source
from sync.sources.careful_rows import Widths
from sync.target.changes import SystemColumns
from sync.target.failures import from_postgres
from sync.target.merge import Merge, RowCounts
from sync.target.staging import Staging
from sync.target.tables import IS_DELETE, KEY, SINK, VERSION, Table

TOMBSTONES = sql.Identifier(Tombstone._meta.db_table)


@dataclass(frozen=True)
class Destination:
    """What a load is merged into: a target and its tombstones, live or rebuilt."""

    target: Table
    tombstones: sql.Identifier
    # A rebuilt target is filled batch by batch in one transaction, unguarded.
    rebuilt: bool = False


@dataclass
class Moved:
    """What became of one partition's rows; ``rejected`` are those set aside now.

    ``left`` were set aside before; ``trimmed`` had an empty cell too many at their end.
    """

    counts: RowCounts
    rejected: list[QuarantinedRow]
    left: int
    trimmed: int


def move(
    table: SyncTable,
    steps: list[Step],
    source: Source,
    control: Control,
    destination: Destination | None = None,
    bad_rows: BadRows | None = None,
) -> list[Moved]:
    """Copy the files of a batch and merge them; return what became of each partition.

    Without a ``destination`` it is the table's own target, without ``bad_rows`` the
    table's policy decides. Raises ``PartitionError`` for a file, row or partition at
    fault.
    """
    cursor = raw_cursor()
    prepare_session(cursor)
    destination = destination or Destination(table.target(), TOMBSTONES)
    entity = steps[-1].entity
    staging = staging_for(
        cursor, table.config, entity, destination.target, partitioned=len(steps) > 1
    )
    staging.create()
    faultpoints.reach("staging_created")
    if bad_rows is None:
        bad_rows = BadRows(QuarantinedRow.room_in(table))
    mover = _Mover(table, steps, source, control, staging, bad_rows)
    moved = mover.copy()
    show_phase(cursor, table.pk, "merge", mover.done)
    control.beat(table.pk)
    system = system_columns(entity, destination.target)
    merge = Merge(
        cursor,
        staging,
        system,
        destination.target,
        destination.tombstones,
        table.pk,
    )
    counts = merge.choose(mover.rows)
    if not destination.rebuilt:
        check(table, steps, merge, counts, mover.rows)
    merge.apply(counts, mover.rows)
    if destination.rebuilt:
        merge.drop()
        staging.drop()
    for number, item in enumerate(moved):
        item.counts = counts[number]
        item.counts.rejected = len(item.rejected) + item.left
    return moved


def staging_for(
    cursor: Cursor[tuple[object, ...]],
    config: SyncConfig,
    entity: Entity,
    target: Table,
    *,
    partitioned: bool,
) -> Staging:
    """Return the staging table, not created yet, for rows of an entity."""
    columns = [target.column(attribute.name) for attribute in entity.attributes]
    return Staging(
        cursor,
        [column for column in columns if column],
        entity.position(KEY) or 0,
        partitioned=partitioned,
        empty_text=config.empty_text == EmptyText.EMPTY,
    )


class _Mover:
    """Copies the files of a batch into the staging table, partition by partition."""

    def __init__(
        self,
        table: SyncTable,
        steps: list[Step],
        source: Source,
        control: Control,
        staging: Staging,
        bad_rows: BadRows,
    ) -> None:
        self.rows: dict[int, int] = {}
        self.done = 0
        self._table = table
        self._steps = steps
        self._source = source
        self._control = control
        self._staging = staging
        self._bad_rows = bad_rows

    def copy(self) -> list[Moved]:
        """Copy everything; ``rows`` then holds the rows copied per partition."""
        moved = []
        for number, step in enumerate(self._steps):
            self._staging.begin_partition(number)
            bad = self._bad_rows
            before, left, trimmed = len(bad.rows), bad.left, bad.trimmed
            read = self._copy_partition(step)
            rejected = bad.rows[before:]
            left, trimmed = bad.left - left, bad.trimmed - trimmed
            self.rows[number] = read - len(rejected) - left
            quarantined = self._quarantined(step, rejected)
            moved.append(Moved(RowCounts(), quarantined, left, trimmed))
            faultpoints.reach("partition_copied")
        return moved

    def _copy_partition(self, step: Step) -> int:
        cursor = raw_cursor()
        reader = Reader(
            self._staging,
            self._source,
            step.entity,
            self._control,
            self._table.pk,
            lambda: widths_of(self._table, step, self._source),
            self._bad_rows,
        )
        read = 0
        for file in step.files:
            show_phase(cursor, self._table.pk, "copy", self.done)
            self._control.beat(self._table.pk)
            try:
                read += reader.copy(file)
            except (RowError, SourceError) as error:
                raise PartitionError(step.progress, error) from error
            except psycopg.Error as error:
                failure = from_postgres(error, file.path)
                if failure.permanent:
                    raise PartitionError(step.progress, failure) from error
                raise
            self.done += file.size
        return read

    def _quarantined(
        self, step: Step, rejected: list[Rejected]
    ) -> list[QuarantinedRow]:
        if not rejected:
            return []
        least = widths_of(self._table, step, self._source).least
        attributes = [[a.name, a.data_type] for a in step.entity.attributes]
        return [
            QuarantinedRow(
                table=self._table,
                partition=step.progress.partition,
                file=row.path.rpartition("/")[2],
                line=row.line,
                column=clean(row.column),
                raw=row.raw,
                code=row.code,
                reason=clean(row.message),
                attributes=attributes,
                least_width=least,
            )
            for row in rejected
        ]


def record_moved(table: SyncTable, steps: list[Step], moved: list[Moved]) -> None:
    """Write down what became of the partitions; part of the load's transaction."""
    now = timezone.now()
    for step, item in zip(steps, moved, strict=True):
        step.progress.record_success(item.counts, step.size, now)
        QuarantinedRow.objects.bulk_create(item.rejected)
        for kind, message in _news(step, item):
            Event.record(
                table.config,
                kind,
                message,
                level=Event.Level.WARNING,
                table_name=table.entity,
                partition=step.progress.partition,
            )


def _news(step: Step, item: Moved) -> Iterator[tuple[str, str]]:
    if step.borrowed_from:
        yield "schema_borrowed", f"read with the columns of {step.borrowed_from}"
    if item.trimmed:
        said = f"{item.trimmed} rows had an empty cell too many at their end"
        yield "rows_trimmed", said
    if item.rejected:
        rows = plural(len(item.rejected), "bad row")
        yield "rows_quarantined", f"{rows} set aside"


def widths_of(table: SyncTable, step: Step, source: Source) -> Widths:
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
    if step.borrowed_from or is_delete is None or names[: len(before)] != before:
        return Widths(full, full)
    return Widths(full, is_delete + 1)


def _names_before(table: SyncTable, step: Step, source: Source) -> list[str]:
    """Return the table's columns in the partition before; none in its first one.

    When that folder is gone, all columns that dvsync ever saw must have been kept.
    """
    try:
        previous = entity_before(table, step.progress.partition, source)
    except SourceError as error:
        if error.code == "entity_missing":
            return []
        known = [attribute for attribute, *_ in table.columns]
        return known[: len(step.entity.attributes)]
    return [a.name for a in previous[1].attributes] if previous else []


def system_columns(entity: Entity, target: Table) -> SystemColumns:
    """Return where the columns are that order the changes."""
    live = {c.attribute.lower(): c.name for c in reversed(target.columns)}
    return SystemColumns(
        version=entity.position(VERSION),
        sink=entity.position(SINK),
        is_delete=entity.position(IS_DELETE),
        live_version=live.get(VERSION.lower()),
        live_sink=live.get(SINK.lower()),
    )

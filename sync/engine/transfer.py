"""Inside the load's transaction: files into staging, staging into the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from django.utils import timezone

from sync import faultpoints
from sync.engine.bad_rows import BadRows, Rejected
from sync.engine.batch import PartitionError, Step
from sync.engine.control import Control
from sync.engine.guards import check
from sync.engine.intake import INTAKES, TOMBSTONES, Destination, Intake
from sync.engine.session import prepare_session, raw_cursor, show_phase
from sync.engine.words import plural
from sync.errors import RowError, SourceError
from sync.models import Event, QuarantinedRow, SyncTable, clean
from sync.sources.base import Source
from sync.target.failures import from_postgres
from sync.target.winners import RowCounts


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
    intake = INTAKES[source.form](table, steps, source, destination)
    intake.staging.create()
    faultpoints.reach("staging_created")
    if bad_rows is None:
        bad_rows = BadRows(QuarantinedRow.room_in(table))
    mover = _Mover(table, steps, control, intake, bad_rows)
    moved = mover.copy()
    show_phase(cursor, table.pk, "merge", mover.done)
    control.beat(table.pk)
    merge = intake.merge()
    counts = merge.choose(mover.rows)
    if not destination.rebuilt:
        check(table, steps, merge, counts, mover.rows)
    merge.apply(counts, mover.rows)
    if destination.rebuilt:
        merge.drop()
        intake.staging.drop()
    for number, item in enumerate(moved):
        item.counts = counts[number]
        item.counts.rejected = len(item.rejected) + item.left
    return moved


class _Mover:
    """Copies the files of a batch into the staging table, partition by partition."""

    def __init__(
        self,
        table: SyncTable,
        steps: list[Step],
        control: Control,
        intake: Intake,
        bad_rows: BadRows,
    ) -> None:
        self.rows: dict[int, int] = {}
        self.done = 0
        self._table = table
        self._steps = steps
        self._control = control
        self._intake = intake
        self._bad_rows = bad_rows

    def copy(self) -> list[Moved]:
        """Copy everything; ``rows`` then holds the rows copied per partition."""
        moved = []
        for number, step in enumerate(self._steps):
            self._intake.staging.begin_partition(number)
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
        reader = self._intake.reader(step, self._control, self._bad_rows)
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
        least = self._intake.least_width(step)
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
        step.progress.record_success(
            item.counts, step.size, now, start=step.start, end=step.end
        )
        for row in item.rejected:
            row.name_partition(step.progress.partition)
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

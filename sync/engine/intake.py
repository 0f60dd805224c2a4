"""The two forms of input: how their files are staged, read, and put into a target.

CSV rows are whole and ordered by their versions; lines of a change feed tell changes in
their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from psycopg import Cursor, sql

from sync.engine.bad_rows import BadRows
from sync.engine.batch import Step, entity_before
from sync.engine.control import Control
from sync.engine.line_reading import LineReader
from sync.engine.reading import Reader
from sync.engine.session import raw_cursor
from sync.errors import SourceError
from sync.model_json import Entity
from sync.models import EmptyText, MissingKeys, SyncConfig, SyncTable, Tombstone
from sync.sources.base import Form, Source, TableFile
from sync.sources.careful_rows import Widths
from sync.target.changes import SystemColumns
from sync.target.fold import Fold
from sync.target.line_staging import LineStaging
from sync.target.merge import Merge
from sync.target.staging import Staging
from sync.target.tables import IS_DELETE, SINK, VERSION, Column, Table
from sync.target.winners import RowCounts

TOMBSTONES = sql.Identifier(Tombstone._meta.db_table)


@dataclass(frozen=True)
class Destination:
    """What a load is merged into: a target and its tombstones, live or rebuilt."""

    target: Table
    tombstones: sql.Identifier
    # A rebuilt target is filled batch by batch in one transaction, unguarded.
    rebuilt: bool = False


class FileReader(Protocol):
    """Copies the files of one partition into the staging table."""

    def copy(self, file: TableFile) -> int:
        """Copy a file and return the rows in it, those set aside included."""
        ...


class Applier(Protocol):
    """Puts a filled staging table into its target, inside the load's transaction."""

    def choose(self, rows: dict[int, int]) -> dict[int, RowCounts]:
        """Say what will be done with the rows of each partition."""
        ...

    def gone_back(self, rows: dict[int, int], fewest: dict[int, int]) -> int | None:
        """Return a partition that would only bring back older rows."""
        ...

    def apply(self, counts: dict[int, RowCounts], rows: dict[int, int]) -> None:
        """Do it, and complete the counts."""
        ...

    def drop(self) -> None:
        """Give its space back now."""
        ...


class Intake(Protocol):
    """How one load takes in what a source holds."""

    @property
    def staging(self) -> Staging:
        """The staging table, not created yet."""
        ...

    def reader(self, step: Step, control: Control, bad_rows: BadRows) -> FileReader:
        """Return what reads the files of a step."""
        ...

    def merge(self) -> Applier:
        """Return what applies the staged rows."""
        ...

    def least_width(self, step: Step) -> int:
        """Return how many cells a row of a step must have at the least."""
        ...


class RowIntake:
    """CSV rows, merged by their versions."""

    def __init__(
        self,
        table: SyncTable,
        steps: list[Step],
        source: Source,
        destination: Destination,
    ) -> None:
        self._table = table
        self._source = source
        self._destination = destination
        self._entity = steps[-1].entity
        self.staging = staging_for(
            raw_cursor(),
            table.config,
            self._entity,
            destination.target,
            partitioned=len(steps) > 1,
        )

    def reader(self, step: Step, control: Control, bad_rows: BadRows) -> FileReader:
        """Return a reader of CSV files."""
        return Reader(
            self.staging,
            self._source,
            step.entity,
            control,
            self._table.pk,
            lambda: widths_of(self._table, step, self._source),
            bad_rows,
        )

    def merge(self) -> Applier:
        """Return the merge by versions."""
        return Merge(
            raw_cursor(),
            self.staging,
            system_columns(self._entity, self._destination.target),
            self._destination.target,
            self._destination.tombstones,
            self._table.pk,
        )

    def least_width(self, step: Step) -> int:
        """Return the width of the narrowest row that can be read."""
        return widths_of(self._table, step, self._source).least


class LineIntake:
    """Lines of a change feed, folded in their order."""

    def __init__(
        self,
        table: SyncTable,
        steps: list[Step],
        source: Source,
        destination: Destination,
    ) -> None:
        self._table = table
        self._source = source
        self._target = destination.target
        # One for all steps: lines name their columns, whatever the model was before.
        self._entity = entity = steps[-1].entity
        self.staging = LineStaging(
            raw_cursor(),
            columns_in(self._target, entity),
            entity.key_positions,
            partitioned=len(steps) > 1,
        )

    def reader(self, step: Step, control: Control, bad_rows: BadRows) -> FileReader:
        """Return a reader of spool files."""
        return LineReader(
            self.staging,
            self._source,
            self._entity,
            control,
            self._table.pk,
            bad_rows,
            step.progress.partition,
        )

    def merge(self) -> Applier:
        """Return the folding of changes."""
        return Fold(
            raw_cursor(),
            self.staging,
            self._target,
            insert_unknown=self._table.config.missing_keys == MissingKeys.INSERT,
        )

    def least_width(self, step: Step) -> int:
        """Return 0: a line names its columns."""
        return 0


INTAKES: dict[Form, Callable[[SyncTable, list[Step], Source, Destination], Intake]] = {
    Form.ROWS: RowIntake,
    Form.CHANGES: LineIntake,
}


def staging_for(
    cursor: Cursor[tuple[object, ...]],
    config: SyncConfig,
    entity: Entity,
    target: Table,
    *,
    partitioned: bool,
) -> Staging:
    """Return the staging table, not created yet, for CSV rows of an entity."""
    return Staging(
        cursor,
        columns_in(target, entity),
        next(iter(entity.key_positions), 0),
        partitioned=partitioned,
        empty_text=config.empty_text == EmptyText.EMPTY,
    )


def columns_in(target: Table, entity: Entity) -> list[Column]:
    """Return the target's columns of an entity's attributes, in their order."""
    columns = [target.column(attribute.name) for attribute in entity.attributes]
    return [column for column in columns if column]


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

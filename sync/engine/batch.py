"""Choosing what one load takes from a table's backlog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Subquery

from sync.engine.entities import sizes_of
from sync.engine.history import loss
from sync.errors import SourceError, SyncError
from sync.model_json import Entity
from sync.models import DataSyncProgress, SyncPartition, SyncTable
from sync.sources.base import Source, Stretch, TableFile
from sync.sources.folder_models import UNDESCRIBED
from sync.target.tables import MAX_COLUMNS, VERSION
from sync.target.winners import RowCounts

# One transaction takes partitions up to so many bytes, and one at least.
BATCH_BYTES = 256 * 1024 * 1024
BATCH_PARTITIONS = 500


@dataclass(frozen=True)
class Step:
    """One partition of a load, with the schema and the files to read."""

    progress: DataSyncProgress
    entity: Entity
    files: tuple[TableFile, ...]
    # The partition whose schema it is read with, when its own has none.
    borrowed_from: str = ""
    # In a file that grows: from where to where this load goes.
    start: int = 0
    end: int = 0
    # What the partition's rows had done before.
    before: RowCounts = field(default_factory=RowCounts)

    @property
    def cut(self) -> bool:
        """Whether the partition has more than this load takes of it."""
        return self.end < self.progress.end_offset

    @property
    def size(self) -> int:
        """Return the bytes of its files."""
        return sum(file.size for file in self.files)


class PartitionError(Exception):
    """An error and the partition at whose door it is laid."""

    def __init__(self, progress: DataSyncProgress, error: SyncError) -> None:
        super().__init__(str(error))
        self.progress = progress
        self.error = error


def initiate_load(
    table: SyncTable, source: Source, limit: int = BATCH_BYTES
) -> list[Step]:
    """Choose the partitions of the next load, in time order; none when all is done.

    Partitions up to ``limit`` bytes, one at least. One that failed, or whose
    loader was killed, goes alone. All have the first one's columns, later ones
    perhaps with others appended. Raises ``PartitionError`` when the first one
    cannot be read.
    """
    steps: list[Step] = []
    for step in _steps(table, source, limit):
        size = step.size + sum(chosen.size for chosen in steps)
        if steps and (size > limit or not extends(step.entity, steps[-1].entity)):
            break
        steps.append(step)
        if step.cut or _goes_alone(step, table):
            break
    return steps


def _steps(table: SyncTable, source: Source, limit: int) -> Iterator[Step]:
    """Read the backlog up to the first partition that must not join a batch."""
    rows = list(table.progress.unapplied()[:BATCH_PARTITIONS])
    found = _found(table, rows)
    turn = _turn(table)
    for index, progress in enumerate(rows):
        failed = progress.copy_status == DataSyncProgress.Status.FAILURE
        if index and (failed or progress.was_killed):
            return
        try:
            yield _step(table, progress, source, limit, found, turn)
        except SyncError as error:
            if index:
                return
            raise PartitionError(progress, error) from error


def _goes_alone(step: Step, table: SyncTable) -> bool:
    # With a column that the model lacks, whether a row was re-created meanwhile
    # decides if the column keeps its value: that needs every partition's turn.
    names = {attribute.name for attribute in step.entity.attributes}
    return (
        step.progress.copy_status == DataSyncProgress.Status.FAILURE
        or step.progress.was_killed
        or len(names) >= MAX_COLUMNS
        or any(attribute not in names for attribute, *_ in table.columns)
    )


def extends(entity: Entity, previous: Entity) -> bool:
    """Say whether an entity is the previous one, or it with columns appended."""
    width = len(previous.attributes)
    return entity.attributes[:width] == previous.attributes


def _step(
    table: SyncTable,
    progress: DataSyncProgress,
    source: Source,
    limit: int,
    found: dict[str, _Found],
    turn: _Turn,
) -> Step:
    this = found[progress.partition]
    if this.state == SyncPartition.State.LOST:
        raise loss(progress.partition)
    entity, borrowed_from = entity_of(table, progress.partition, source)
    if this.extent:
        return _growing(table, progress, source, limit, this, entity)
    _check_late(table, progress.partition, this, entity, turn)
    files = source.files(progress.partition, table.entity)
    if this.sizes is not None:
        _check_sizes(table, progress, files, this.sizes)
    return Step(progress, entity, files, borrowed_from)


def _growing(
    table: SyncTable,
    progress: DataSyncProgress,
    source: Source,
    limit: int,
    this: _Found,
    entity: Entity,
) -> Step:
    """Return what is to be read of a file that grows, up to ``limit`` bytes."""
    start, end = progress.applied_offset, progress.end_offset
    # After a failure the file may have been mended: nothing prepared is trusted.
    anew = progress.copy_status == DataSyncProgress.Status.FAILURE
    stretch = Stretch(start, end, this.mark, anew)
    files: list[TableFile] = []
    size = 0
    for file in source.files(progress.partition, table.entity, stretch):
        size += file.size
        if files and size > limit:
            end = file.start
            break
        files.append(file)
    before = progress.counts() if start else RowCounts()
    return Step(progress, entity, tuple(files), "", start, end, before)


def _check_late(
    table: SyncTable, partition: str, this: _Found, entity: Entity, turn: _Turn
) -> None:
    """Refuse a partition that came late when its rows cannot be put in order."""
    late = turn.newest is not None and this.opened_at < turn.newest
    if late and entity.position(VERSION) is None:
        raise SourceError(
            "late_partition",
            f"{partition} came after {table.last_partition} was applied",
            where=partition,
        )
    if turn.forgotten_until is not None and this.opened_at < turn.forgotten_until:
        raise SourceError(
            "late_partition",
            f"{partition} came when deletes of its time were forgotten",
            where=partition,
            remedy="Run manage.py refreshtable; when folders are gone, add the table "
            "again in Synapse Link first.",
        )


def entity_of(table: SyncTable, partition: str, source: Source) -> tuple[Entity, str]:
    """Return the schema of a partition's rows, and from where it is borrowed.

    A partition that does not describe the table is read with the schema of the one
    before it; only rows of the full width are then right.
    """
    try:
        return source.entity(partition, table.entity), ""
    except SourceError as error:
        if error.code not in UNDESCRIBED:
            raise
        try:
            previous = entity_before(table, partition, source)
        except SourceError:
            previous = None
        if previous is None:
            raise
        name, entity = previous
        return entity, name


def entity_before(
    table: SyncTable, partition: str, source: Source
) -> tuple[str, Entity] | None:
    """Return the partition before this one, and the table's schema in it.

    None before the first one. Raises what ``source.entity`` raises.
    """
    ready = SyncPartition.objects.filter(
        config_id=table.config_id, state=SyncPartition.State.READY
    )
    this = SyncPartition.objects.get(config_id=table.config_id, name=partition)
    before = ready.filter(opened_at__lt=this.opened_at).order_by("opened_at").last()
    if before is None:
        return None
    return before.name, source.entity(before.name, table.entity)


def _check_sizes(
    table: SyncTable,
    progress: DataSyncProgress,
    files: tuple[TableFile, ...],
    sizes: dict[str, int],
) -> None:
    """Refuse files that are not as they were found; the next load takes the new."""
    names = changed_files(files, sizes)
    if not names:
        return
    with transaction.atomic():
        partition = SyncPartition.objects.select_for_update().get(
            config_id=table.config_id, name=progress.partition
        )
        partition.sizes[table.entity] = {file.name: file.size for file in files}
        partition.save(update_fields=["sizes"])
    raise SourceError(
        "file_changed",
        f"Files of {table.entity} changed since they were found: {', '.join(names)}",
        where=f"{progress.partition}/{table.entity}/{names[0]}",
    )


def changed_files(files: tuple[TableFile, ...], sizes: dict[str, int]) -> list[str]:
    """Return the names of files that are not of the sizes that were found."""
    now = {file.name: file.size for file in files}
    return sorted(
        name for name in now.keys() | sizes.keys() if now.get(name) != sizes.get(name)
    )


@dataclass(frozen=True)
class _Found:
    """A partition as it was found; ``sizes`` are those of the table's files."""

    opened_at: datetime
    state: str
    extent: int
    mark: str
    sizes: dict[str, int] | None


def _found(table: SyncTable, rows: list[DataSyncProgress]) -> dict[str, _Found]:
    partitions = SyncPartition.objects.filter(
        config_id=table.config_id, name__in=[row.partition for row in rows]
    ).values_list(
        "name", "opened_at", "state", "extent", "mark", sizes_of(table.entity)
    )
    return {name: _Found(*found) for name, *found in partitions}


@dataclass(frozen=True)
class _Turn:
    """When the newest applied partition was opened, and how far back deletes go."""

    newest: datetime | None
    forgotten_until: datetime | None


def _turn(table: SyncTable) -> _Turn:
    """Say which partitions are late; to be asked when the backlog was read.

    Deletes that were forgotten before are known here then, and those that are
    forgotten later mind the backlog.
    """
    opened = SyncPartition.objects.filter(
        config_id=table.config_id, name=table.last_partition
    ).values("opened_at")
    row = (
        SyncTable.objects.filter(pk=table.pk)
        .annotate(newest=Subquery(opened))
        .values_list("newest", "forgotten_until")
        .first()
    )
    return _Turn(*row) if row else _Turn(None, None)

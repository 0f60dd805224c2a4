"""Log files that grew or have another name now, and what was prepared of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from django.db.models import Min

from sync.engine.entities import selected_tables
from sync.models import (
    DataSyncProgress,
    Event,
    QuarantinedRow,
    SyncConfig,
    SyncPartition,
    clean,
)
from sync.sources.base import Partition, Renamed, Source

# What of a table names a partition.
_NAMING = ("last_partition", "base_partition", "filled_from", "approved_partition")


def rename(config: SyncConfig, renamed: Iterable[Renamed]) -> None:
    """Give known partitions their new names, wherever they are named."""
    for item in renamed:
        changed = item.new == item.old
        if not changed and config.partitions.filter(name=item.new).exists():
            continue  # another look was first
        known = config.partitions.filter(name=item.old, mark=item.before)
        moved = known.update(name=item.new, mark=item.mark)
        if not moved:
            continue
        config.progress.filter(partition=item.old).update(partition=item.new)
        rows = QuarantinedRow.objects.filter(table__config=config)
        rows.filter(partition=item.old).update(partition=item.new, file=item.new)
        for field in _NAMING:
            config.tables.filter(**{field: item.old}).update(**{field: item.new})
        level = Event.Level.WARNING
        message = clean(item.reason)
        kind = "partition_changed" if changed else "partition_renamed"
        Event.record(config, kind, message, level=level, partition=item.new)


def record_returned(config: SyncConfig, present: Collection[str]) -> None:
    """Let the tables go on that waited for log files which are there again."""
    lost = config.partitions.filter(state=SyncPartition.State.LOST).exclude(mark="")
    for partition in lost.filter(name__in=present):
        partition.state, partition.reason = SyncPartition.State.READY, ""
        partition.save(update_fields=["state", "reason"])
        rows = config.progress.filter(
            partition=partition.name, error_code="history_lost"
        )
        waiting = set(rows.values_list("table_name", flat=True))
        rows.reset()
        for table in config.tables.filter(entity__in=waiting):
            table.unpark()
        message = "is there again"
        Event.record(config, "partition_returned", message, partition=partition.name)


def record_growth(config: SyncConfig, partitions: Sequence[Partition]) -> None:
    """Let tables wait for what known partitions have more than before.

    Of a partition that another look saw grow meanwhile nothing is taken: the next look
    does.
    """
    grown = {p.name: p for p in partitions if p.mark}
    known = config.partitions.filter(
        name__in=grown, state=SyncPartition.State.READY
    ).exclude(extent=0)
    followed: set[str] | None = None
    for row in known.order_by("name"):
        found = grown[row.name]
        if row.extent != found.since:
            continue
        if followed is None:
            followed = {table.entity for table in selected_tables(config)}
        _grow(config, row, found, followed)


def _grow(
    config: SyncConfig, row: SyncPartition, found: Partition, followed: set[str]
) -> None:
    progress = config.progress.filter(partition=row.name)
    if not progress.exclude(copy_status=DataSyncProgress.Status.SUCCESS).exists():
        row.closed_at = found.closed_at  # what waits now came just now
    sizes = found.sizes()
    for table, new in sizes.items():
        known = row.sizes.setdefault(table, {})
        size = sum(new.values())
        for name in new:
            known[name] = known.get(name, 0) + size
        if table in followed and not progress.filter(table_name=table).grow(
            found.extent, size
        ):
            DataSyncProgress.objects.create(
                config=config,
                partition=row.name,
                table_name=table,
                bytes=size,
                # There was no line of it before.
                applied_offset=found.since,
                end_offset=found.extent,
            )
    row.extent, row.mark = found.extent, found.mark
    row.save(update_fields=["closed_at", "sizes", "extent", "mark"])


def release(config: SyncConfig, source: Source) -> None:
    """Let the source forget what it prepared of partitions that are applied."""
    marks = dict(config.partitions.exclude(mark="").values_list("name", "mark"))
    if not marks:
        return
    extents = dict(config.partitions.exclude(mark="").values_list("name", "extent"))
    waiting = config.progress.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
    oldest = waiting.order_by().values_list("partition")
    extents.update(oldest.annotate(Min("applied_offset")))
    source.release({marks[name]: extents[name] for name in marks})

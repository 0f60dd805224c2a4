"""Partitions that are gone, come back, or are finished after they were given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from sync.engine.entities import follow, selected_tables
from sync.errors import SourceError
from sync.models import (
    DataSyncProgress,
    Event,
    SyncConfig,
    SyncPartition,
    SyncTable,
)
from sync.sources.base import Discovery, Partition, PartitionState
from sync.sources.folder_names import folder_time_or_first

LATE = "its model.json came after the folder was given up"
# An empty folder is looked at again so long: a mirror may still fill it.
EMPTY_FOR_GOOD_AFTER = timedelta(days=1)
GIVEN_UP_LATELY = timedelta(days=1)


def settled(config: SyncConfig) -> dict[str, str]:
    """Return the marks of the partitions that need no further look as they are."""
    long_ago = timezone.now() - EMPTY_FOR_GOOD_AFTER
    given_up = Q(state=SyncPartition.State.SKIPPED) & (
        Q(reason=LATE) | Q(sizes={}, closed_at__lt=long_ago)
    )
    # The source follows a log file by its mark, also one that is gone.
    ready = Q(state=SyncPartition.State.READY) | ~Q(mark="")
    return dict(config.partitions.filter(ready | given_up).values_list("name", "mark"))


def needs_looks(config: SyncConfig) -> bool:
    """Say whether a folder may still be finished, so that every poll must look.

    One that was given up is looked at by every poll for a day, then now and then.
    """
    lately = timezone.now() - GIVEN_UP_LATELY
    open_ = Q(state=SyncPartition.State.WAITING) | Q(
        ~Q(reason=LATE), state=SyncPartition.State.SKIPPED, found_at__gt=lately
    )
    return config.partitions.filter(open_).exists()


def record_late(config: SyncConfig, partitions: Sequence[Partition]) -> None:
    """Mark the tables of folders that were finished too late: only a refresh helps."""
    tables: dict[str, SyncTable] = {}
    if partitions:
        tables = {table.entity: table for table in selected_tables(config)}
    for partition in partitions:
        config.partitions.filter(name=partition.name).update(
            reason=LATE, sizes=partition.sizes()
        )
        Event.record(
            config,
            "partition_late",
            LATE,
            level=Event.Level.WARNING,
            partition=partition.name,
        )
        for name in partition.files.keys() & tables.keys():
            tables[name].need_refresh(f"{partition.name}: {LATE}")


def record_purged(
    config: SyncConfig, discovery: Discovery, known: dict[str, str]
) -> list[str]:
    """Remember partitions that the source wrote and that nobody ever saw."""
    new = [name for name in discovery.purged if name not in known]
    if new:  # a name has several spellings
        times = {folder_time_or_first(name) for name in known}
        new = [name for name in new if folder_time_or_first(name) not in times]
    SyncPartition.objects.bulk_create(
        (
            SyncPartition(
                config=config,
                name=name,
                opened_at=folder_time_or_first(name),
                closed_at=folder_time_or_first(name),
                state=SyncPartition.State.LOST,
                reason="gone before it was seen",
            )
            for name in new
        ),
        batch_size=500,
    )
    if new:
        _tell(config, new, "are in Changelog/Synapse.log, but gone")
    return new


def record_losses(
    config: SyncConfig, discovery: Discovery, purged: Sequence[str]
) -> None:
    """Park the tables that lack a partition which is gone and was not applied."""
    backlog = config.progress.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
    unapplied = set(backlog.order_by().values_list("partition", flat=True).distinct())
    absent = unapplied - discovery.present
    ready = config.partitions.filter(state=SyncPartition.State.READY, name__in=absent)
    lost = list(ready.values_list("name", flat=True))
    waiting = config.partitions.filter(state=SyncPartition.State.WAITING)
    never_read = [
        name
        for name in waiting.values_list("name", flat=True)
        if name not in discovery.present
    ]
    if gone := sorted([*lost, *never_read]):
        _tell(config, gone, "are gone")
        config.partitions.filter(name__in=gone).update(
            state=SyncPartition.State.LOST, reason="gone before it was applied"
        )
    tables = selected_tables(config) if gone or purged else []
    for name in lost:
        rows = backlog.filter(partition=name)
        entities = set(rows.values_list("table_name", flat=True))
        for table in tables:
            if table.entity in entities:
                _park(table, name)
    lose(tables, [*purged, *never_read])


def lose(tables: Iterable[SyncTable], names: Iterable[str]) -> None:
    """Park the tables whose history holds one of these partitions of unknown content.

    The oldest that concerns a table stands for all: nothing later overtakes it.
    """
    ordered = sorted(names, key=folder_time_or_first)
    for table in tables:
        base = folder_time_or_first(table.base_partition)
        concerned = [n for n in ordered if folder_time_or_first(n) >= base]
        if concerned:
            _park(table, concerned[0])


def catch_up(config: SyncConfig) -> None:
    """Follow the tables that are selected from now on.

    Those that lack a partition which is gone already are parked.
    """
    for table in follow(config):
        _lose_known(table)


def _lose_known(table: SyncTable) -> None:
    """Park a table that lacks a lost partition; one it went past is no loss."""
    lost = table.config.partitions.filter(
        Q(sizes={}) | Q(sizes__has_key=table.entity), state=SyncPartition.State.LOST
    ).exclude(pruned_tables__contains=[table.entity])
    last = table.config.partitions.filter(name=table.last_partition).first()
    if last is not None:
        lost = lost.filter(opened_at__gt=last.opened_at)
    lose([table], lost.values_list("name", flat=True))


def record_returns(config: SyncConfig, partitions: Sequence[Partition]) -> None:
    """Let the tables go on that waited for partitions which are there again."""
    if not partitions:
        return
    rows = config.progress.filter(
        partition__in=[partition.name for partition in partitions],
        error_code="history_lost",
    )
    waiting = set(rows.values_list("table_name", flat=True))
    for partition in partitions:
        mine = rows.filter(partition=partition.name)
        if partition.state is PartitionState.READY:
            mine.exclude(table_name__in=list(partition.files)).delete()
        elif partition.state is PartitionState.SKIPPED:
            mine.delete()
    rows.reset()
    tables = [t for t in selected_tables(config) if t.entity in waiting]
    for table in tables:
        table.unpark()
        _lose_known(table)


def loss(name: str) -> SourceError:
    """Return the error of a partition that is gone."""
    return SourceError(
        "history_lost",
        f"{name} is gone from the export and was not applied",
        where=name,
    )


def _park(table: SyncTable, name: str) -> None:
    row, _ = DataSyncProgress.objects.get_or_create(
        config_id=table.config_id, partition=name, table_name=table.entity
    )
    if row.copy_status == row.Status.SUCCESS:
        return
    error = loss(name)
    table.progress.filter(pk=row.pk).record_failure(error)
    table.park()
    Event.record(
        table.config,
        "history_lost",
        error.message,
        level=Event.Level.ERROR,
        table_name=table.entity,
        partition=name,
    )


def _tell(config: SyncConfig, names: Sequence[str], what: str) -> None:
    span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    message = f"{len(names)} change folders {what}: {span}"
    Event.record(config, "partitions_lost", message, level=Event.Level.WARNING)

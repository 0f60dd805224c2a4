"""Looking at an export: which folders are complete, and what is to be applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction

from sync import faultpoints
from sync.engine.locks import BusyError, Namespace, lock
from sync.engine.schema import ensure_table, newest_entity
from sync.engine.session import database_errors
from sync.errors import SourceError, TargetError
from sync.model_json import Entity
from sync.models import (
    DataSyncProgress,
    Event,
    SyncConfig,
    SyncPartition,
    SyncTable,
    clean,
)
from sync.sources.base import Discovery, Partition, PartitionState
from sync.sources.storage import Directory
from sync.sources.synapse_link import SynapseLink, folder_time
from sync.target.tables import choose_name


@dataclass
class Poll:
    """What one look at an export found.

    ``due`` are the tables with a backlog, ``waiting`` the folders that are closed
    but not complete, with the reason. ``failures`` are tables without a backlog
    whose target could not be made.
    """

    due: list[SyncTable]
    waiting: list[tuple[str, str]]
    problem: SourceError | None = None
    failures: list[tuple[SyncTable, TargetError]] = field(default_factory=list)


def source_of(config: SyncConfig) -> SynapseLink:
    """Return the source that reads a config's location."""
    return SynapseLink(Directory(config.location))


def poll_once(config: SyncConfig, source: SynapseLink | None = None) -> Poll:
    """Look at the export once: record what is new and create its tables.

    Raises ``SourceError`` when the export as a whole cannot be read, and
    ``TargetError`` when the database cannot be reached.
    """
    source = source or source_of(config)
    with database_errors():
        discovery = look(config, source)
        faultpoints.reach("discovered")
        with transaction.atomic():
            record(config, discovery)
            faultpoints.reach("discovery_recorded")
        tables = selected_tables(config)
        behind = _behind(config)
        return Poll(
            due=[table for table in tables if table.entity in behind],
            waiting=_waiting(config),
            problem=discovery.problem,
            failures=_create_tables(tables, behind, discovery),
        )


def look(config: SyncConfig, source: SynapseLink) -> Discovery:
    """Read what is new in the export; writes nothing."""
    known = config.partitions.exclude(state=SyncPartition.State.WAITING)
    discovery = source.discover(set(known.values_list("name", flat=True)))
    before, now = folder_time(config.marker), folder_time(discovery.marker)
    if before and now and now < before:
        raise SourceError(
            "marker_unusable",
            f"The open folder went back from {config.marker} to {discovery.marker}",
            where="Changelog/changelog.info",
            remedy="Copy the export again, the marker last. If it was set up anew, "
            "create a new sync for it.",
        )
    return discovery


def record(config: SyncConfig, discovery: Discovery) -> None:
    """Write what was found; to be called in a transaction."""
    lock(Namespace.CONFIG, config.pk)
    known = dict(config.partitions.values_list("name", "state"))
    new = [
        partition
        for partition in discovery.partitions
        if known.get(partition.name, PartitionState.WAITING) == PartitionState.WAITING
    ]
    _record_partitions(config, new, known)
    ready = [partition for partition in new if partition.state is PartitionState.READY]
    _record_tables(config, ready)
    DataSyncProgress.objects.bulk_create(
        (
            DataSyncProgress(
                config=config,
                partition=partition.name,
                table_name=table,
                bytes=sum(file.size for file in files),
            )
            for partition in ready
            for table, files in partition.files.items()
            if config.selects(table)
        ),
        ignore_conflicts=True,
        batch_size=1000,
    )
    config.record_check(discovery.marker)


def selected_tables(config: SyncConfig) -> list[SyncTable]:
    """Return the config's tables that its globs select."""
    tables = SyncTable.objects.filter(config=config).select_related("config")
    return [table for table in tables if config.selects(table.entity)]


def _behind(config: SyncConfig) -> set[str]:
    """Return the entities that have partitions to apply."""
    backlog = config.progress.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
    return set(backlog.values_list("table_name", flat=True).distinct())


def _record_partitions(
    config: SyncConfig, partitions: list[Partition], known: dict[str, str]
) -> None:
    newest = config.partitions.filter(state=SyncPartition.State.READY).last()
    SyncPartition.objects.bulk_create(
        (
            SyncPartition(
                config=config,
                name=partition.name,
                opened_at=partition.opened_at,
                closed_at=partition.closed_at,
                state=partition.state.value,
                reason=clean(partition.reason),
                sizes={
                    table: {file.name: file.size for file in files}
                    for table, files in partition.files.items()
                },
            )
            for partition in partitions
        ),
        batch_size=500,
        update_conflicts=True,
        unique_fields=["config", "name"],
        update_fields=["opened_at", "closed_at", "state", "reason", "sizes"],
    )
    Event.objects.bulk_create(
        Event(
            config=config,
            partition=partition.name,
            kind=kind,
            level=level,
            message=clean(message),
        )
        for partition in partitions
        for kind, level, message in _news(partition, known, newest)
    )


def _news(
    partition: Partition, known: dict[str, str], newest: SyncPartition | None
) -> Iterable[tuple[str, str, str]]:
    warning = Event.Level.WARNING
    if partition.state is PartitionState.WAITING:
        if partition.name not in known:
            yield "partition_waits", Event.Level.INFO, partition.reason
        return
    if partition.state is PartitionState.SKIPPED:
        yield "partition_skipped", warning, partition.reason
        return
    if partition.reason:
        yield "model_unreadable", Event.Level.ERROR, partition.reason
    if newest and partition.opened_at < newest.opened_at:
        yield "partition_late", warning, f"came after {newest.name} was found"
    for note in partition.notes:
        yield "source_note", warning, note


def _record_tables(config: SyncConfig, partitions: list[Partition]) -> None:
    tables = {table.entity: table for table in SyncTable.objects.filter(config=config)}
    taken = {table.target_name for table in tables.values()}
    for name in dict.fromkeys(_table_names(partitions)):
        if name not in tables and config.selects(name):
            target = choose_name(name, taken)
            taken.add(target)
            tables[name] = SyncTable.objects.create(
                config=config, entity=name, target_name=target
            )
    for name, entity in _entities(reversed(partitions)).items():
        if (table := tables.get(name)) is not None:
            attributes = [[a.name, a.data_type] for a in entity.attributes]
            if attributes != table.attributes:
                table.attributes = attributes
                table.save(update_fields=["attributes"])


def _table_names(partitions: list[Partition]) -> Iterable[str]:
    for partition in partitions:
        yield from sorted(
            {entity.name for entity in partition.model.entities}
            if partition.model
            else ()
        )
        yield from sorted(partition.files)


def _entities(partitions: Iterable[Partition]) -> dict[str, Entity]:
    """Return each entity as the first of the partitions that has it says."""
    found: dict[str, Entity] = {}
    for partition in partitions:
        for entity in partition.model.entities if partition.model else ():
            found.setdefault(entity.name, entity)
    return found


def _create_tables(
    tables: list[SyncTable], behind: set[str], discovery: Discovery
) -> list[tuple[SyncTable, TargetError]]:
    """Give each selected table its target, also when it has no rows.

    A table with a backlog begins as its oldest new folder describes it; its loads
    add the later columns.
    """
    oldest = _entities(
        p for p in discovery.partitions if p.state is PartitionState.READY
    )
    failures = []
    for table in tables:
        has_backlog = table.entity in behind
        entity = oldest.get(table.entity) if has_backlog else newest_entity(table)
        if entity is None or (has_backlog and table.columns):
            continue
        known = {attribute for attribute, *_ in table.columns}
        if all(attribute.name in known for attribute in entity.attributes):
            continue
        try:
            ensure_table(table, entity)
        except BusyError:
            continue  # the load that holds the table leaves it as it must be
        except TargetError as error:
            if not has_backlog:  # else its load meets the error and records it
                failures.append((table, error))
    return failures


def _waiting(config: SyncConfig) -> list[tuple[str, str]]:
    waiting = config.partitions.filter(state=SyncPartition.State.WAITING)
    return list(waiting.values_list("name", "reason"))

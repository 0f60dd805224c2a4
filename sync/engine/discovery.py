"""Looking at an export: which folders are complete, and what is to be applied."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db import transaction

from sync import faultpoints
from sync.engine.entities import record_tables, selected_tables
from sync.engine.growth import (
    record_growth,
    record_returned,
    release,
    rename,
)
from sync.engine.history import (
    catch_up,
    needs_looks,
    record_late,
    record_losses,
    record_purged,
    record_returns,
    settled,
)
from sync.engine.locks import BusyError, Namespace, lock
from sync.engine.schema import ensure_table, newest_entity
from sync.engine.session import database_errors
from sync.engine.source import source_of
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
from sync.sources.base import Discovery, Listing, Partition, PartitionState, Source
from sync.sources.folder_names import folder_time


@dataclass
class Poll:
    """What one look at an export found.

    ``due`` are the tables with a backlog, ``waiting`` the folders that are closed
    but not complete, with the reason. ``failures`` are tables without a backlog
    whose target could not be made. ``quiet`` says that nothing came or went.
    """

    due: list[SyncTable] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    problem: SourceError | None = None
    quiet: bool = False
    failures: list[tuple[SyncTable, TargetError]] = field(default_factory=list)


def poll_once(config: SyncConfig, source: Source | None = None) -> Poll:
    """Look at the export once, and say which tables are due then.

    Raises what ``look_once`` raises.
    """
    poll = look_once(config, source)
    with database_errors():
        behind = _behind(config)
        tables = selected_tables(config)
        poll.due = [table for table in tables if table.entity in behind]
        poll.waiting = _waiting(config)
    return poll


def look_once(
    config: SyncConfig,
    source: Source | None = None,
    seconds: float = math.inf,
    files: float = math.inf,
) -> Poll:
    """Look at the export once: record what is new and create its tables.

    Cheap when nothing came or went. After so many ``seconds`` or tables with ``files``
    no further partition is looked into, and no further table is altered; the next
    look goes on. The result tells no due tables. Raises
    ``SourceError`` when the export as a whole cannot be read, and ``TargetError``
    when the database cannot be reached.
    """
    try:
        poll = _look_once(config, source or source_of(config), seconds, files)
    except SourceError as error:
        _record_problem(config, error)
        raise
    _record_problem(config, poll.problem)
    return poll


def _record_problem(config: SyncConfig, problem: SourceError | None) -> None:
    """Remember what is wrong with the export; say when it begins and ends."""
    if problem is None and not config.error_code:
        return
    with database_errors():
        if problem is None:
            Event.record(config, "source_recovered")
        elif problem.code != config.error_code:
            level = Event.Level.ERROR
            Event.record(config, "source_failed", str(problem), level=level)
        config.record_problem(problem)


def _look_once(
    config: SyncConfig, source: Source, seconds: float, files: float
) -> Poll:
    with database_errors():
        listing = source.listing()
        if config.is_settled(listing.state) and not config.error_code:
            config.record_check(listing.marker)
            return Poll(quiet=True)
        discovery = look(config, source, listing, seconds, files)
        faultpoints.reach("discovered")
        with transaction.atomic():
            record(config, discovery)
            faultpoints.reach("discovery_recorded")
        release(config, source)
        poll = Poll(problem=discovery.problem)
        made = _create_tables(config, discovery, poll, seconds)
        config.record_settled(listing.state if made and not needs_looks(config) else "")
    return poll


def look(
    config: SyncConfig,
    source: Source,
    listing: Listing | None = None,
    seconds: float = math.inf,
    files: float = math.inf,
) -> Discovery:
    """Read what is new in the export; writes nothing."""
    discovery = source.discover(settled(config), listing, seconds, files)
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
    rename(config, discovery.renamed)
    record_returned(config, discovery.present)
    known = dict(config.partitions.values_list("name", "state"))
    record_growth(config, discovery.partitions)
    found = [p for p in discovery.partitions if _is_news(p, known)]
    late = [p for p in found if known.get(p.name) == PartitionState.SKIPPED]
    new = [p for p in found if p not in late]
    purged = record_purged(config, discovery, known)
    _record_partitions(config, new, known)
    record_late(config, late)
    ready = [partition for partition in new if partition.state is PartitionState.READY]
    # A table may begin in a file that was known before.
    record_tables(config, [p for p in discovery.partitions if p in ready or p.mark])
    _record_progress(config, ready)
    catch_up(config)
    record_losses(config, discovery, purged)
    record_returns(config, [p for p in new if known.get(p.name) == PartitionState.LOST])
    config.record_check(discovery.marker)


def _is_news(partition: Partition, known: dict[str, str]) -> bool:
    before = known.get(partition.name, PartitionState.WAITING)
    if before == PartitionState.SKIPPED:
        return partition.state is PartitionState.READY
    return before in {PartitionState.WAITING, PartitionState.LOST}


def _record_progress(config: SyncConfig, ready: Sequence[Partition]) -> None:
    if not ready:
        return
    followed = {table.entity for table in selected_tables(config)}
    names = [partition.name for partition in ready]
    known = config.partitions.filter(name__in=names).exclude(pruned_tables=[])
    applied = dict(known.values_list("name", "pruned_tables"))
    DataSyncProgress.objects.bulk_create(
        (
            DataSyncProgress(
                config=config,
                partition=partition.name,
                table_name=table,
                bytes=sum(file.size for file in files),
                end_offset=partition.extent,
            )
            for partition in ready
            for table, files in partition.files.items()
            if table in followed and table not in applied.get(partition.name, ())
        ),
        ignore_conflicts=True,
        batch_size=1000,
    )


def _behind(config: SyncConfig) -> set[str]:
    """Return the entities that have partitions to apply."""
    backlog = config.progress.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
    return set(backlog.order_by().values_list("table_name", flat=True).distinct())


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
                sizes=partition.sizes(),
                extent=partition.extent,
                mark=partition.mark,
            )
            for partition in partitions
        ),
        batch_size=500,
        update_conflicts=True,
        unique_fields=["config", "name"],
        update_fields=[
            "opened_at",
            "closed_at",
            "state",
            "reason",
            "sizes",
            "extent",
            "mark",
        ],
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
    if known.get(partition.name) == PartitionState.LOST:
        yield "partition_returned", Event.Level.INFO, "is there again"
    if partition.reason:
        yield "model_unreadable", Event.Level.ERROR, partition.reason
    if newest and partition.opened_at < newest.opened_at:
        yield "partition_late", warning, f"came after {newest.name} was found"
    for note in partition.notes:
        yield "source_note", warning, note


def _entities(partitions: Iterable[Partition]) -> dict[str, Entity]:
    """Return each entity as the first of the partitions that has it says."""
    found: dict[str, Entity] = {}
    for partition in partitions:
        for entity in partition.model.entities if partition.model else ():
            found.setdefault(entity.name, entity)
    return found


def _create_tables(
    config: SyncConfig, discovery: Discovery, poll: Poll, seconds: float
) -> bool:
    """Give each selected table its target, also when it has no rows.

    A table with a backlog begins as its oldest new folder describes it; its loads
    add the later columns. Says whether all are there. Tables that somebody locked
    before have their turn last, and what ``seconds`` did not suffice for the next time.
    """
    end = time.monotonic() + seconds
    behind = _behind(config)
    made = discovery.problem is None and not discovery.cut_short
    oldest = _entities(
        p for p in discovery.partitions if p.state is PartitionState.READY
    )
    for table in sorted(selected_tables(config), key=lambda t: t.error_code != ""):
        if time.monotonic() > end:
            return False
        entity = _to_make(table, oldest, has_backlog=table.entity in behind)
        if entity is None:
            continue
        try:
            ensure_table(table, entity)
        except BusyError:
            made = False  # the load that holds the table leaves it as it must be
        except TargetError as error:
            made = False
            if table.entity not in behind:  # else its load meets and records it
                poll.failures.append((table, error))
                table.record_problem(error)
        else:
            table.record_problem(None)
    return made


def _to_make(
    table: SyncTable, oldest: dict[str, Entity], *, has_backlog: bool
) -> Entity | None:
    """Return the entity as which a target must be made or extended, if it must."""
    entity = oldest.get(table.entity) if has_backlog else newest_entity(table)
    if entity is None or (has_backlog and table.columns):
        return None
    known = {attribute for attribute, *_ in table.columns}
    if all(attribute.name in known for attribute in entity.attributes):
        return None
    return entity


def _waiting(config: SyncConfig) -> list[tuple[str, str]]:
    waiting = config.partitions.filter(state=SyncPartition.State.WAITING)
    return list(waiting.values_list("name", "reason"))

"""What of the ledger and of the deletes may be forgotten, and what stays known of it.

A progress row goes when its folder cannot be needed again. That it was applied stays
written in ``SyncPartition.pruned_tables``, its rows in ``SyncTable.pruned_growth``.

A tombstone goes when it is so old that no folder to come holds its row as it was
before. Synapse Link sends rows again soon after it sent them first; a folder that comes
late is another matter: one from before ``SyncTable.forgotten_until`` is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, Min, OuterRef, QuerySet

from sync.engine.entities import is_wanted
from sync.engine.locks import BusyError, Namespace, lock, lock_or_busy
from sync.engine.source import source_of
from sync.errors import SourceError
from sync.models import (
    DataSyncProgress,
    QuarantinedRow,
    SyncConfig,
    SyncPartition,
    SyncTable,
    Tombstone,
)
from sync.sources.folder_names import folder_time, folder_time_or_first


def prune_ledger(config: SyncConfig, before: datetime, most: int) -> dict[str, int]:
    """Prune successes of folders that are neither there nor in Synapse.log.

    And rows of such folders that were dismissed: while a folder is there, a refresh
    must know which of its rows were let go. Nothing goes when the export cannot be
    read now.
    """
    applied, dismissed = _applied(config, before), _dismissed(config, before)
    names = {*_partitions(applied), *_partitions(dismissed)}
    if most <= 0 or not names:
        return {}
    try:
        gone = names - source_of(config).remembered(names)
    except SourceError:
        return {}
    with transaction.atomic():
        lock(Namespace.CONFIG, config.pk)
        let_go = dismissed.filter(partition__in=gone)[:most]
        return {
            "progress": _prune_progress(
                config, applied.filter(partition__in=gone), most
            ),
            "quarantined": _delete(QuarantinedRow.objects.all(), let_go),
        }


def _partitions(rows: QuerySet[Any]) -> set[str]:
    return set(rows.order_by().values_list("partition", flat=True).distinct())


def _applied(config: SyncConfig, before: datetime) -> QuerySet[DataSyncProgress]:
    """Return old successes; one whose bad rows are open still gets their counts."""
    bad_rows = QuarantinedRow.objects.filter(
        table__config=OuterRef("config"),
        table__entity=OuterRef("table_name"),
        partition=OuterRef("partition"),
        state=QuarantinedRow.State.OPEN,
    )
    done = config.progress.filter(copy_status=DataSyncProgress.Status.SUCCESS)
    return done.filter(~Exists(bad_rows), finished_at__lt=before)


def _dismissed(config: SyncConfig, before: datetime) -> QuerySet[QuarantinedRow]:
    state = QuarantinedRow.State.DISMISSED
    rows = QuarantinedRow.objects.filter(table__config=config, state=state)
    return rows.filter(decided_at__lt=before)


def _prune_progress(
    config: SyncConfig, rows: QuerySet[DataSyncProgress], most: int
) -> int:
    """Delete some rows, and write down what stays known of them."""
    some = list(rows[:most])
    if not some:
        return 0
    entities = {row.table_name for row in some}
    # Locked, because a refresh may be ending that says anew where the rows begin.
    tables = config.tables.select_for_update(no_key=True).filter(entity__in=entities)
    by_entity = {table.entity: table for table in tables.order_by("pk")}
    applied: defaultdict[str, set[str]] = defaultdict(set)
    for row in some:
        applied[row.partition].add(row.table_name)
        table = by_entity.get(row.table_name)
        if table and _counts(row.partition, table):
            table.pruned_growth += row.rows_inserted - row.rows_deleted
    SyncTable.objects.bulk_update(by_entity.values(), ["pruned_growth"])
    partitions = config.partitions.filter(name__in=applied)
    for partition in partitions.select_for_update(no_key=True).order_by("pk"):
        known = applied[partition.name].union(partition.pruned_tables)
        partition.pruned_tables = sorted(known)
        partition.save(update_fields=["pruned_tables"])
    return _delete(DataSyncProgress.objects.all(), some)


def _counts(partition: str, table: SyncTable) -> bool:
    """Say whether the table's rows are those of this partition too."""
    begin = folder_time_or_first(table.filled_from)
    return folder_time_or_first(partition) >= begin


def _delete(everything: QuerySet[Any], rows: Collection[Any] | QuerySet[Any]) -> int:
    keys = [row.pk for row in rows]
    if keys:
        everything.filter(pk__in=keys).delete()
    return len(keys)


def forget_deletes(
    config: SyncConfig, now: datetime, keep: timedelta, most: int
) -> int:
    """Forget deletes that were applied ``keep`` before all that is still to come.

    A table that is being loaded, that needs a refresh, or that has open bad rows,
    keeps all; so does one whose folders are not recorded now.
    """
    until = _seen_until(config, now)
    if until is None or most <= 0:
        return 0
    old = Tombstone.objects.filter(table__config=config, deleted_at__lt=until - keep)
    forgotten = 0
    for number in old.values_list("table", flat=True).distinct():
        try:
            forgotten += _forget(number, until, keep, most - forgotten)
        except BusyError:
            continue
        if forgotten >= most:
            break
    return forgotten


def _seen_until(config: SyncConfig, now: datetime) -> datetime | None:
    """Return the time before which every folder that came in turn is recorded."""
    waiting = config.partitions.filter(state=SyncPartition.State.WAITING)
    oldest = waiting.aggregate(time=Min("opened_at"))["time"]
    marker = folder_time(config.marker)
    return min(now, marker, oldest or now) if marker else None


def _forget(number: int, until: datetime, keep: timedelta, most: int) -> int:
    with transaction.atomic():
        lock_or_busy(Namespace.TABLE, number)
        table = SyncTable.objects.select_related("config").get(pk=number)
        if not _may_forget(table):
            return 0
        first = table.progress.unapplied().first()
        if first is not None:
            until = min(until, folder_time_or_first(first.partition))
        old = Tombstone.objects.filter(table=table, deleted_at__lt=until - keep)
        keys = list(old.values_list("key", flat=True)[:most])
        if keys:
            old.filter(key__in=keys).delete()
            refused = until - keep / 2
            table.forgotten_until = max(refused, table.forgotten_until or refused)
            table.save(update_fields=["forgotten_until"])
        return len(keys)


def _may_forget(table: SyncTable) -> bool:
    bad_rows = table.quarantined.filter(state=QuarantinedRow.State.OPEN)
    is_recorded = table.followed and is_wanted(table)
    return is_recorded and not table.refresh_reason and not bad_rows.exists()

"""What a person decides about a table that cannot go on by itself."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from sync.engine.locks import Namespace, lock
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable


def lost_partitions(table: SyncTable) -> list[str]:
    """Return the partitions that the table waits for and that are gone."""
    lost = table.progress.filter(error_code="history_lost")
    return sorted(lost.values_list("partition", flat=True))


def accept_loss(
    config: SyncConfig,
    entity: str | None = None,
    *,
    by: str = "",
    only: Sequence[str] | None = None,
) -> list[str]:
    """Let tables go on without what is lost; return the names of those that waited.

    With ``only`` it is done for a table that lacks just these partitions, the ones
    that the person saw.
    """
    with transaction.atomic():
        lock(Namespace.CONFIG, config.pk)
        tables = SyncTable.objects.filter(config=config).select_related("config")
        if entity is not None:
            tables = tables.filter(entity=entity)
        return [table.entity for table in tables if _accept_loss(table, by, only)]


def _accept_loss(table: SyncTable, by: str, only: Sequence[str] | None) -> bool:
    lost = lost_partitions(table)
    if not lost or (only is not None and lost != sorted(only)):
        return False
    table.progress.filter(error_code="history_lost", partition__in=lost).delete()
    table.unpark()
    Event.record(
        table.config,
        "loss_accepted",
        _by(f"goes on without {', '.join(lost)}", by),
        level=Event.Level.WARNING,
        table_name=table.entity,
    )
    return True


def held_partitions(tables: Sequence[SyncTable]) -> dict[int, tuple[str, str]]:
    """Return which partition's deletes hold tables, and what these would do."""
    held = {
        (table.config_id, table.entity): table.pk
        for table in tables
        if table.state == SyncTable.State.HELD
    }
    rows = DataSyncProgress.objects.filter(
        error_code="mass_delete",
        copy_status=DataSyncProgress.Status.FAILURE,
        config__in={config for config, _ in held},
    )
    found = rows.values_list("config", "table_name", "partition", "error_message")
    return {
        held[config, entity]: (partition, message)
        for config, entity, partition, message in found
        if (config, entity) in held
    }


def held_partition(table: SyncTable) -> tuple[str, str] | None:
    """Return the partition whose deletes hold the table, and what it would do."""
    return held_partitions([table]).get(table.pk)


def approve_deletes(
    table: SyncTable, *, by: str = "", only: str | None = None
) -> str | None:
    """Release a held table; return the partition that may delete, None if not held.

    With ``only`` it must be held for this partition, the one that the person saw.
    """
    with transaction.atomic():
        held = held_partition(table)
        if held is None or only not in {None, held[0]}:
            return None
        partition, message = held
        table.approve(partition)
        # It was given up: without a next attempt no poll would take it.
        failed = table.progress.filter(copy_status=DataSyncProgress.Status.FAILURE)
        failed.filter(partition=partition).update(next_attempt_at=timezone.now())
        Event.record(
            table.config,
            "deletes_approved",
            _by(message, by),
            table_name=table.entity,
            partition=partition,
        )
    return partition


def _by(message: str, person: str) -> str:
    return f"{message} (by {person})" if person else message

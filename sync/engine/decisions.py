"""What a person decides about a table that cannot go on by itself."""

from __future__ import annotations

from django.db import transaction

from sync.engine.locks import Namespace, lock
from sync.models import Event, SyncConfig, SyncTable


def accept_loss(config: SyncConfig, entity: str | None = None) -> list[str]:
    """Let tables go on without what is lost; return the names of those that waited."""
    with transaction.atomic():
        lock(Namespace.CONFIG, config.pk)
        rows = config.progress.filter(error_code="history_lost")
        tables = SyncTable.objects.filter(config=config).select_related("config")
        if entity is not None:
            tables = tables.filter(entity=entity)
        accepted = []
        for table in tables:
            mine = rows.filter(table_name=table.entity)
            lost = sorted(mine.values_list("partition", flat=True))
            if not lost:
                continue
            mine.delete()
            table.unpark()
            accepted.append(table.entity)
            Event.record(
                config,
                "loss_accepted",
                f"goes on without {', '.join(lost)}",
                level=Event.Level.WARNING,
                table_name=table.entity,
            )
    return accepted


def approve_deletes(table: SyncTable) -> str | None:
    """Release a held table; return the partition that may delete, None if not held."""
    with transaction.atomic():
        held = table.progress.filter(error_code="mass_delete").first()
        if table.state != SyncTable.State.HELD or held is None:
            return None
        table.approve(held.partition)
        Event.record(
            table.config,
            "deletes_approved",
            held.error_message,
            table_name=table.entity,
            partition=held.partition,
        )
    return held.partition

"""Forgetting what is old and needed no more, a little at a time.

What a load, a refresh or a returning folder still asks for is never forgotten: see
``sync.engine.forgetting`` for the ledger and the deletes.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from sync.engine.forgetting import forget_deletes, prune_ledger
from sync.engine.session import database_errors
from sync.models import (
    Cluster,
    Event,
    Incident,
    QuarantinedRow,
    SyncConfig,
    SyncTable,
)

# So many rows of a kind go in one call.
MOST_ROWS = 10_000
CLUSTER_GONE_AFTER = timedelta(days=1)

logger = logging.getLogger(__name__)


def prune(now: datetime | None = None) -> dict[str, int]:
    """Delete a part of what is older than ``settings.KEEP_DAYS``; say how much.

    Bounded work in short transactions that wait for no load: to be called every hour,
    outside of any transaction.
    An export that cannot be read keeps what depends on its folders. Raises
    ``TargetError`` when PostgreSQL refuses.
    """
    now = now or timezone.now()
    keep = timedelta(days=settings.KEEP_DAYS)
    with database_errors():
        counts = Counter(_prune_records(now, now - keep))
        for config in SyncConfig.objects.order_by("pk"):
            room = MOST_ROWS - counts["progress"]
            counts.update(prune_ledger(config, now - keep, room))
            room = MOST_ROWS - counts["tombstones"]
            counts["tombstones"] += forget_deletes(config, now, keep, room)
    found = {kind: number for kind, number in counts.items() if number}
    if found:
        said = ", ".join(f"{number} {kind}" for kind, number in found.items())
        logger.info("Pruned: %s", said)
    return found


def _prune_records(now: datetime, before: datetime) -> dict[str, int]:
    """Prune what nothing but people read."""
    applied = QuarantinedRow.State.APPLIED
    tasks = apps.get_model("django_q", "Task")._default_manager
    old = {
        "events": Event.objects.filter(happened_at__lt=before).exclude(_of_a_pause()),
        "incidents": Incident.objects.filter(closed_at__lt=before),
        "quarantined": QuarantinedRow.objects.filter(
            state=applied, decided_at__lt=before
        ),
        "tasks": tasks.filter(stopped__lt=before),
        "clusters": Cluster.objects.filter(beat_at__lt=now - CLUSTER_GONE_AFTER),
    }
    return {kind: _delete(rows) for kind, rows in old.items()}


def _of_a_pause() -> Q:
    """Select the events that tell who paused, when and why, what is paused still."""
    tables = SyncTable.objects.filter(
        config=OuterRef("config"),
        entity=OuterRef("table_name"),
        state=SyncTable.State.PAUSED,
    )
    of_sync = Q(table_name="", config__paused=True)
    return Q(kind="paused") & (of_sync | Q(Exists(tables)))


def _delete(rows: QuerySet[Any]) -> int:
    """Delete some of these rows."""
    some = list(rows.order_by().values_list("pk", flat=True)[:MOST_ROWS])
    if some:
        rows.model._default_manager.filter(pk__in=some).delete()
    return len(some)

"""Telling those who wait for rows that a table has new ones."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection

from sync.engine.letters import document
from sync.engine.webhook import WebhookError, post
from sync.models import SyncTable

if TYPE_CHECKING:
    from sync.engine.load import LoadResult

CHANNEL = "dvsync"
# PostgreSQL takes less than 8,000 bytes; a letter may need 12 of them in JSON.
LONGEST_NAME = 200
# A receiver that failed is left alone for so long.
SILENT_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass
class _Silence:
    """Until when, of time.monotonic(), nothing is posted from this process."""

    until: float = 0.0


_silent = _Silence()


def announce(table: SyncTable, partition: str) -> None:
    """NOTIFY that the table has what a partition brought.

    Part of the transaction that applies it: listeners hear of it when it commits, and
    of a rolled back one nothing. When a listener sleeps and PostgreSQL's queue is half
    full, nothing is told either, for a full one would stop the load.
    """
    names = {
        "sync": table.config.name,
        "schema": table.config.schema_name,
        "table": table.entity,
        "relation": table.target_name,
        "partition": partition,
    }
    payload = json.dumps({key: name[:LONGEST_NAME] for key, name in names.items()})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_notify(%s, %s) WHERE pg_notification_queue_usage() < 0.5",
            [CHANNEL, payload],
        )


def tell(table: SyncTable, result: LoadResult) -> None:
    """Post that a table was loaded, if a webhook wants to know; takes 5 s at most.

    To be called after the commit. A receiver that fails is logged, and that is all.
    """
    if not settings.LOAD_WEBHOOK_URL or not result.partitions:
        return
    if time.monotonic() < _silent.until:
        return
    content = document(
        "load",
        sync=table.config.name,
        schema=table.config.schema_name,
        table=table.entity,
        relation=table.target_name,
        partition=table.last_partition,
        partitions=result.partitions,
        rows=asdict(result.rows),
        bytes=result.bytes,
        seconds=round(result.seconds, 3),
    )
    try:
        post(settings.LOAD_WEBHOOK_URL, content, settings.WEBHOOK_SECRET)
    except WebhookError as error:
        # Not with every load: each would wait for it.
        _silent.until = time.monotonic() + SILENT_SECONDS
        logger.warning("The load of %s was not told: %s", table.label, error)

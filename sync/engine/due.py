"""Which tables are due for a load now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from sync.engine.batch import BATCH_BYTES
from sync.models import SyncTable

# A table is due when it is active and the first partition of its backlog is: later
# ones must wait for it. In the order in which the backlogs began.
_DUE = """
SELECT t.id, c.schema_name || '.' || t.target_name, backlog.bytes, first.opened_at,
       t.config_id = %(insist_on)s
FROM sync_synctable AS t
JOIN sync_syncconfig AS c ON c.id = t.config_id AND NOT c.paused
CROSS JOIN LATERAL (
    SELECT s.opened_at, p.copy_status, p.next_attempt_at
    FROM data_sync_progress AS p
    LEFT JOIN sync_syncpartition AS s
        ON s.config_id = p.config_id AND s.name = p.partition
    WHERE p.config_id = t.config_id AND p.table_name = t.entity AND p.copy_status <> 1
    ORDER BY s.opened_at, p.partition
    LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT sum(p.bytes) AS bytes FROM data_sync_progress AS p
    WHERE p.config_id = t.config_id AND p.table_name = t.entity AND p.copy_status <> 1
) AS backlog
WHERE t.followed AND CASE WHEN t.config_id = %(insist_on)s
    THEN t.state IN (%(active)s, %(parked)s)
    ELSE t.state = %(active)s AND (
        first.copy_status = 0 OR first.next_attempt_at <= statement_timestamp())
    END
ORDER BY first.opened_at, t.id
"""


@dataclass(frozen=True)
class DueTable:
    """A table with a backlog that may be applied now; ``bytes`` is all of it.

    ``insist`` says that a person wants it now, failed or parked as it may be.
    """

    pk: int
    label: str
    bytes: int
    since: datetime | None
    insist: bool = False

    @property
    def large(self) -> bool:
        """Whether it takes more than one batch: long enough to starve others."""
        return self.bytes > BATCH_BYTES


def due_tables(insist_on: int = 0) -> list[DueTable]:
    """Return all tables that are due, the longest waiting first, in one query.

    Of the sync ``insist_on``, by its id, also those are that failed or are parked.
    """
    State = SyncTable.State
    states = {"active": State.ACTIVE.value, "parked": State.PARKED.value}
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"insist_on": insist_on, **states})
        return [DueTable(pk, label, int(b), *row) for pk, label, b, *row in cursor]

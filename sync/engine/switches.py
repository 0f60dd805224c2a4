"""Pausing, resuming and retrying: what a person may do to a sync or a table.

No lock is taken that a load holds: all of it works at once, also while a table is
being loaded. A load that runs when its table is paused is rolled back in seconds.
"""

from __future__ import annotations

from django.db import transaction

from sync.engine.entities import selected_tables
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable


def pause(what: SyncConfig | SyncTable, *, by: str) -> bool:
    """Stop loading a table, or looking at an export at all; False if it was paused."""
    return _switch(what, on=False, by=by)


def resume(what: SyncConfig | SyncTable, *, by: str) -> bool:
    """Let a paused table or sync go on; False if it was not paused.

    A table that was parked or held before is so again. A sync's paused tables stay
    paused.
    """
    return _switch(what, on=True, by=by)


def _switch(what: SyncConfig | SyncTable, *, on: bool, by: str) -> bool:
    with transaction.atomic():
        if not (what.resume() if on else what.pause()):
            return False
        _record(what, "resumed" if on else "paused", f"by {by}")
    return True


def retry(what: SyncConfig | SyncTable, *, by: str) -> list[SyncTable]:
    """Let tables that failed be tried again by the next poll; return these.

    Neither a paused table nor one that is held for its deletes is tried.
    """
    tables = selected_tables(what) if isinstance(what, SyncConfig) else [what]
    with transaction.atomic():
        return [table for table in tables if _retry(table, by)]


def _retry(table: SyncTable, by: str) -> bool:
    failed = table.progress.filter(copy_status=DataSyncProgress.Status.FAILURE)
    if table.state not in {SyncTable.State.ACTIVE, SyncTable.State.PARKED}:
        return False
    if not failed.exists() and not table.error_code:
        return False
    failed.reset()
    table.unpark()
    table.record_problem(None)
    _record(table, "retried", f"by {by}")
    return True


def _record(what: SyncConfig | SyncTable, kind: str, message: str) -> None:
    if isinstance(what, SyncTable):
        Event.record(what.config, kind, message, table_name=what.entity)
    else:
        Event.record(what, kind, message)

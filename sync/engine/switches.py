"""Pausing, resuming and retrying: what a person may do to a sync or a table.

No lock is taken that a load holds: all of it works at once, also while a table is
being loaded. A load that runs when its table is paused is rolled back in seconds.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Case, OuterRef, Subquery, When
from django.db.models.functions import JSONObject
from django.utils import timezone

from sync.engine.entities import selected_tables
from sync.engine.words import span
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


def record_wish(config: SyncConfig, by: str) -> None:
    """Remember who wanted an export to be looked at now."""
    _record(config, "sync_asked", f"by {by}")


def paused_since(what: SyncConfig | SyncTable) -> str:
    """Return how long ago something was paused, and by whom: "3 min ago by bob".

    It is empty when no event tells.
    """
    config, entity = _place(what)
    event = config.events.filter(kind="paused", table_name=entity).first()
    if event is None:
        return ""
    return since_words(event.happened_at, event.message, timezone.now())


def newest_pause() -> Case:
    """Return when and by whom a sync was paused, to annotate syncs with.

    Only of one that is: of another all its events would be read in vain.
    """
    pauses = Event.objects.filter(config=OuterRef("pk"), kind="paused", table_name="")
    told = pauses.values(json=JSONObject(at="happened_at", message="message"))
    return Case(When(paused=True, then=Subquery(told[:1])), default=None)


def since_words(moment: datetime, message: str, now: datetime) -> str:
    """Return in words how long ago something was done, and what was said of it."""
    return f"{span(now - moment)} ago {message}".strip()


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
    config, entity = _place(what)
    Event.record(config, kind, message, table_name=entity)


def _place(what: SyncConfig | SyncTable) -> tuple[SyncConfig, str]:
    return (what.config, what.entity) if isinstance(what, SyncTable) else (what, "")

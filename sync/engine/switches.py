"""Pausing, resuming and retrying: what a person may do to a sync or a table.

No lock is taken that a load holds: all of it works at once, also while a table is
being loaded. A load that runs when its table is paused is rolled back in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Case, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import JSONObject
from django.utils import timezone

from sync.engine.entities import selected_tables
from sync.engine.words import span
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable
from sync.models.text import clean
from sync.printable import printable

REASON_LENGTH = 200
# What an event says of a pause: "by bob: why", or "by bob; eve says: why". A reason may
# hold either of the two, a name is recorded without.
_BEFORE_TELLER, _BEFORE_REASON = "; ", ": "


@dataclass(frozen=True)
class Pause:
    """A pause that lasts: "3 min ago by bob", and why, which may be empty.

    As a text it is both: "3 min ago by bob: upgrade of Dataverse".
    """

    since: str
    reason: str = ""

    def __str__(self) -> str:
        return _BEFORE_REASON.join(filter(None, (self.since, self.reason)))


def pause(what: SyncConfig | SyncTable, *, by: str, reason: str = "") -> bool:
    """Stop loading a table, or looking at an export at all; False if it was paused.

    The event tells the reason as one line of ``REASON_LENGTH`` characters at the most.
    One that was paused keeps its own: see ``explain_pause``.
    """
    with transaction.atomic():
        if not what.pause():
            return False
        who = f"by {_name(by)}"
        _record(what, "paused", _with_reason(who, _line(reason)))
    return True


def explain_pause(what: SyncConfig | SyncTable, reason: str, *, by: str) -> bool:
    """Give what is paused another reason, or none; False if it is not paused.

    It stays paused by whom it was, and since then; who else tells the reason is named
    with it. False also when no event tells of the pause any more.
    """
    reason, by = _line(reason), _name(by)
    with transaction.atomic():
        try:
            table = isinstance(what, SyncTable)
            what.refresh_from_db(fields=["state" if table else "paused"])
        except (SyncConfig.DoesNotExist, SyncTable.DoesNotExist):
            return False  # it was deleted meanwhile
        event = _newest(what, Event.objects.select_for_update())
        if event is None:
            return False
        who, _, told = event.message.partition(_BEFORE_REASON)
        if reason != told:
            who = who.partition(_BEFORE_TELLER)[0]
            if reason and who != f"by {by}":
                who += f"{_BEFORE_TELLER}{by} says"
            event.message = clean(_with_reason(who, reason))
            event.save(update_fields=["message"])
    return True


def resume(what: SyncConfig | SyncTable, *, by: str) -> bool:
    """Let a paused table or sync go on; False if it was not paused.

    A table that was parked or held before is so again. A sync's paused tables stay
    paused.
    """
    with transaction.atomic():
        if not what.resume():
            return False
        _record(what, "resumed", f"by {by}")
    return True


def record_wish(config: SyncConfig, by: str) -> None:
    """Remember who wanted an export to be looked at now."""
    _record(config, "sync_asked", f"by {by}")


def is_paused(what: SyncConfig | SyncTable) -> bool:
    """Say whether something itself is paused; of a table, whatever its sync is."""
    if isinstance(what, SyncTable):
        return what.state == SyncTable.State.PAUSED
    return what.paused


def pause_of(what: SyncConfig | SyncTable) -> Pause | None:
    """Return the pause that something is in; of a table its own, not its sync's.

    None when it is not paused, and when no event tells.
    """
    event = _newest(what, Event.objects.all())
    if event is None:
        return None
    who, _, reason = event.message.partition(_BEFORE_REASON)
    return Pause(since_words(event.happened_at, who, timezone.now()), reason)


def without_reason(said: str) -> str:
    """Return what is said of a pause without why: a person's own words."""
    return said.partition(_BEFORE_REASON)[0].partition(_BEFORE_TELLER)[0]


def newest_pause() -> Case:
    """Return when, by whom and why a sync was paused, to annotate syncs with.

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


def _newest(what: SyncConfig | SyncTable, events: QuerySet[Event]) -> Event | None:
    """Return the event of the pause that something is in, as far as one tells."""
    if not is_paused(what):
        return None
    config, entity = _place(what)
    return events.filter(config=config, kind="paused", table_name=entity).first()


def _line(reason: str) -> str:
    """Return a reason as one line that is safe to look at, and not too long."""
    return printable(" ".join(clean(reason).split()))[:REASON_LENGTH].rstrip()


def _name(by: str) -> str:
    for separator in (_BEFORE_TELLER, _BEFORE_REASON):
        by = by.replace(separator, " ")
    return by


def _with_reason(who: str, reason: str) -> str:
    return f"{who}{_BEFORE_REASON}{reason}" if reason else who


def _record(what: SyncConfig | SyncTable, kind: str, message: str) -> None:
    config, entity = _place(what)
    Event.record(config, kind, message, table_name=entity)


def _place(what: SyncConfig | SyncTable) -> tuple[SyncConfig, str]:
    return (what.config, what.entity) if isinstance(what, SyncTable) else (what, "")

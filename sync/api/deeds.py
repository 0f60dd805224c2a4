"""What one may do to a sync or a table: each is a POST, and says what it did."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from sync.api.access import CHANGE, OPERATE, Handler, by
from sync.api.answers import Answer, conflict
from sync.api.asking import (
    NUMBERS,
    TEXT,
    TEXTS,
    Field,
    choice,
    optional_fields,
    parameters,
    required_fields,
)
from sync.api.status import find_sync, find_table
from sync.engine import set_aside
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.tasks import deeds
from sync.tasks.deeds import SYNC_DEEDS, TABLE_DEEDS, Said

# What a deed needs that to operate is not enough for.
NEEDED = {"add": CHANGE}
# Twice is once: the second time there was nothing to do, which is no error.
REPEATABLE = frozenset({"pause", "resume", "retry", "sync-now"})
# Not while it is paused.
ACTIVE_ONLY = frozenset({"retry", "sync-now"})
# What may be said of it: it is done only if that is so.
FACTS: dict[str, dict[str, Field]] = {
    "approve-deletes": {"partition": TEXT},
    "accept-loss": {"partitions": TEXTS},
}
REASON: dict[str, Field] = {"reason": TEXT}
DECISION: dict[str, Field] = {
    "rows": NUMBERS,
    "deed": choice([deed.value for deed in set_aside.Deed]),
}


def needed(deed: str) -> str:
    """Return the permission that a deed needs."""
    return NEEDED.get(deed, OPERATE)


def for_sync(deed: str) -> Handler:
    """Return the handler that does a deed to the sync of an address."""

    def handler(request: HttpRequest, pk: int) -> Answer:
        parameters(request)
        given = _given(request, deed)
        config = find_sync(pk)
        _check_paused(deed, config, paused=config.paused)
        if reason := given.get("reason"):
            return _told(deed, deeds.pause_sync(config, by(request), reason))
        return _told(deed, SYNC_DEEDS[deed](config, by(request)))

    return handler


def for_table(deed: str) -> Handler:
    """Return the handler that does a deed to the table of an address."""

    def handler(request: HttpRequest, pk: int) -> Answer:
        parameters(request)
        given = _given(request, deed)
        table = find_table(pk)
        _check_paused(deed, table, paused=table.paused)
        if reason := given.get("reason"):
            return _told(deed, deeds.pause(table, by(request), reason=reason))
        return _told(deed, TABLE_DEEDS[deed].do(table, by(request), _only(given)))

    return handler


def _given(request: HttpRequest, deed: str) -> dict[str, Any]:
    """Return what is said of a deed, if something can be said of it."""
    return optional_fields(request, REASON if deed == "pause" else FACTS.get(deed, {}))


def _only(given: dict[str, Any]) -> str | None:
    """Return the facts with which the deed is to be done, None: whatever they are."""
    if "partitions" in given:
        return "\n".join(sorted(given["partitions"]))
    return given.get("partition")


def _check_paused(deed: str, what: SyncConfig | SyncTable, *, paused: bool) -> None:
    if paused and deed in ACTIVE_ONLY:
        raise conflict(f"{printable(str(what))} is paused", "Resume it first.")


def _told(deed: str, said: Said) -> Answer:
    if not said.done and deed not in REPEATABLE:
        raise conflict(str(said))
    return Answer({"done": said.done, "message": str(said)})


# Rows that were set aside


def decide_rows(request: HttpRequest) -> Answer:
    """Re-process or dismiss rows that were set aside; tell what became of each."""
    parameters(request)
    given = required_fields(request, DECISION)
    deed = set_aside.Deed(given["deed"])
    decided = set_aside.decide(given["rows"], deed, by=by(request))
    return Answer(
        {
            "summary": set_aside.summary(decided),
            "rows": [
                {
                    "id": one.pk,
                    "place": one.place,
                    "became": one.became.value,
                    "said": one.said or None,
                    "code": one.code or None,
                    "remedy": one.remedy or None,
                }
                for one in decided
            ],
        }
    )

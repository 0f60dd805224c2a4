"""What one may do to a sync or a table: each is a POST, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from django.http import HttpRequest

from sync.api.access import CHANGE, Handler, by
from sync.api.answers import Answer, conflict
from sync.api.asking import NUMBERS, Field, choice, fields, nothing, parameters
from sync.api.status import find_sync, find_table
from sync.engine import set_aside, switches
from sync.engine.configs import edit_config
from sync.engine.decisions import accept_loss, approve_deletes
from sync.models import SyncConfig, SyncTable

# Whether anything was done, and words about it.
Done: TypeAlias = tuple[bool, str]


def for_sync(deed: Callable[[SyncConfig, str], Done]) -> Handler:
    """Return the handler that does a deed to the sync of an address."""

    def handler(request: HttpRequest, pk: int) -> Answer:
        parameters(request)
        nothing(request)
        return _told(deed(find_sync(pk), by(request)))

    return handler


def for_table(deed: Callable[[SyncTable, str], Done]) -> Handler:
    """Return the handler that does a deed to the table of an address."""

    def handler(request: HttpRequest, pk: int) -> Answer:
        parameters(request)
        nothing(request)
        return _told(deed(find_table(pk), by(request)))

    return handler


def _told(done: Done) -> Answer:
    return Answer({"done": done[0], "message": done[1]})


def pause(what: SyncConfig | SyncTable, person: str) -> Done:
    """Load nothing until it is resumed."""
    done = switches.pause(what, by=person)
    return done, "paused" if done else "there is nothing to pause"


def resume(what: SyncConfig | SyncTable, person: str) -> Done:
    """End a pause."""
    done = switches.resume(what, by=person)
    return done, "resumed" if done else "it was not paused"


def retry(what: SyncConfig | SyncTable, person: str) -> Done:
    """Let what failed be tried again by the next poll."""
    names = [table.entity for table in switches.retry(what, by=person)]
    if not names:
        return False, "there is nothing to retry"
    return True, f"the next poll tries again: {', '.join(names)}"


def approve(table: SyncTable, person: str) -> Done:
    """Release a table that is held for its deletes."""
    partition = approve_deletes(table)
    if partition is None:
        raise conflict(f"{table.entity} is not held for its deletes")
    return True, f"the deletes of {partition} are approved"


def accept(table: SyncTable, person: str) -> Done:
    """Let a table go on without what is lost."""
    if not accept_loss(table.config, table.entity):
        raise conflict(f"{table.entity} does not wait for lost folders")
    return True, "it goes on without the lost folders"


def add(table: SyncTable, person: str) -> Done:
    """Replicate a new table that waits for a yes."""
    changed = edit_config(table.config, {}, accept=[table])
    if not changed:
        raise conflict(f"{table.entity} does not wait for a yes")
    return True, "it is replicated from now on"


SYNC_DEEDS = {"pause": pause, "resume": resume, "retry": retry}
TABLE_DEEDS = {
    "pause": pause,
    "resume": resume,
    "retry": retry,
    "approve-deletes": approve,
    "accept-loss": accept,
    "add": add,
}
# What a deed needs that to operate is not enough for.
NEEDED = {"add": CHANGE}


# Rows that were set aside

DECISION: dict[str, Field] = {
    "rows": NUMBERS,
    "deed": choice([deed.value for deed in set_aside.Deed]),
}


def decide_rows(request: HttpRequest) -> Answer:
    """Re-process or dismiss rows that were set aside; tell what became of each."""
    parameters(request)
    given = fields(request, DECISION, required=DECISION)
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
                    "said": one.said,
                    "code": one.code or None,
                    "remedy": one.remedy or None,
                }
                for one in decided
            ],
        }
    )

"""The rows of a list of tables as plain texts: there are many, and often asked for.

The template only puts them in their places, and escapes them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.urls import reverse

from sync.engine.overview import TableStatus
from sync.engine.time_zones import in_zone
from sync.engine.words import plural, size, span
from sync.models import SyncTable
from sync.printable import printable
from sync.views.table_list import slug_of

MESSAGE_SHOWN = 160
# The length of a name as Synapse Link gives it, and a little more.
FOLDER_NAME = 24
_SOME = 123_454_321
_BEFORE_DECISION = {SyncTable.State.NEW, SyncTable.State.HELD}


def row_maker(now: datetime) -> Callable[[TableStatus], dict[str, Any]]:
    """Return what makes a row of a table; addresses are worked out once for all."""
    urls = {
        name: reverse("table-deed", args=[_SOME, name])
        for name in ("retry", "refresh", "pause", "resume")
    }
    urls |= {"details": reverse("table", args=[_SOME])}
    urls |= {"bad_rows": f"{reverse('quarantine')}?table={_SOME}"}

    def make(status: TableStatus) -> dict[str, Any]:
        pk = str(status.table.pk)
        own = {name: url.replace(str(_SOME), pk) for name, url in urls.items()}
        return {
            "pk": pk,
            "name": printable(status.table.entity),
            **_condition(status),
            **_applied(status.table, now),
            **_missing(status),
            "size": "" if status.size is None else size(status.size),
            "details": own["details"],
            "bad_rows": own["bad_rows"] if status.quarantined else "",
            **{deed: own[deed] for deed in _deeds(status)},
            "decide": status.table.state in _BEFORE_DECISION,
        }

    return make


def rows_text(inserted: int, updated: int, deleted: int) -> str:
    """Return how many rows were inserted, updated and deleted, as far as any were."""
    kinds = ((inserted, "new"), (updated, "changed"), (deleted, "deleted"))
    # A number and its word stay on one line.
    said = [f"{number:,}\N{NO-BREAK SPACE}{word}" for number, word in kinds if number]
    return ", ".join(said) or "no\N{NO-BREAK SPACE}rows"


def _condition(status: TableStatus) -> dict[str, str]:
    verdict = status.verdict
    message = printable(verdict.error.message) if verdict.error else ""
    if len(message) > MESSAGE_SHOWN:
        message = message[: MESSAGE_SHOWN - 1] + "…"
    return {
        "word": verdict.state.value,
        "slug": slug_of(verdict.state),
        "reason": printable(verdict.reason),
        "error": message,
        "set_aside": plural(status.quarantined, "row"),
    }


def _applied(table: SyncTable, now: datetime) -> dict[str, str]:
    found = {
        "through": (through := printable(table.last_partition)),
        "wraps": "nowrap" if len(through) <= FOLDER_NAME else "wrap",
        "total": rows_text(
            table.inserted_total, table.updated_total, table.deleted_total
        ),
    }
    if at := table.last_loaded_at:
        found |= {
            "loaded": _minute(at),
            "ago": span(now - at),
            "last": rows_text(
                table.last_inserted, table.last_updated, table.last_deleted
            ),
        }
    return found


def _minute(at: datetime) -> str:
    """Return a time as ISO 8601 has it; a tooltip shows it as it is."""
    return in_zone(at).isoformat(timespec="minutes").replace("+00:00", "Z")


def _missing(status: TableStatus) -> dict[str, str]:
    backlog = status.backlog
    if not backlog.partitions:
        return {}
    return {
        "lag": span(status.lag),
        "folders": plural(backlog.partitions, status.table.config.unit),
        "bytes": size(backlog.bytes),
    }


def _deeds(status: TableStatus) -> list[str]:
    """Return what an operator may do to the table now."""
    table = status.table
    if table.config.paused or table.state in _BEFORE_DECISION:
        return []
    if table.state == SyncTable.State.PAUSED:
        return ["resume"]
    # What failed is to be tried again first; to refresh it there is its own page.
    return ["retry" if status.retriable else "refresh", "pause"]

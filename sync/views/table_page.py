"""One table: its partitions, columns and errors."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from sync.engine.error_cards import card_of_progress
from sync.engine.folders import counts, folders, missing_of
from sync.engine.shapes import columns_of, query_to_copy
from sync.engine.switches import pause_of
from sync.engine.timeline import Wanted, timeline
from sync.models import DataSyncProgress, SyncTable
from sync.printable import printable
from sync.views.access import VIEW, needs
from sync.views.pages import page
from sync.views.sync_page import table_region
from sync.views.sync_tabs import asked

EVENTS = 50
PARTS = ("folders", "columns", "events")
STATUS = DataSyncProgress.Status


@require_safe
@needs(VIEW)
def table_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the state of a table, and the part of it that is asked for."""
    tables = SyncTable.objects.select_related("config")
    table = get_object_or_404(tables.defer("config__model_json"), pk=pk)
    part = asked(request, "part")
    if part not in PARTS:
        part = PARTS[0]
    context: dict[str, Any] = {
        "table": table,
        "sync": table.config,
        "part": part,
        "query": query_to_copy(table),
        "pause": pause_of(table),
    }
    if table.config.is_feed:
        context["missing"] = missing_of(table)
    # A table that is left out has no state, and nothing of it moves.
    context |= table_region(table.pk) or {}
    context |= _PART[part](request, table)
    title = printable(table.entity)
    return page(request, f"dvsync/table_{part}.html", context, title=title)


def _folders(request: HttpRequest, table: SyncTable) -> dict[str, Any]:
    chosen = asked(request, "status")
    status = {str(value): value for value in STATUS.values}.get(chosen)
    found = folders(table, status, asked(request, "before"))
    query = request.GET.copy()
    query["before"] = found.older
    counted = counts(table)
    return {
        "rows": [(row, card_of_progress(row, table)) for row in found.rows],
        "older": query.urlencode() if found.older else "",
        "later": bool(request.GET.get("before")),
        "chosen": status,
        "statuses": [(s, counted.get(s.value, 0)) for s in STATUS],
        "total": sum(counted.values()),
    }


def _columns(request: HttpRequest, table: SyncTable) -> dict[str, Any]:
    text = asked(request, "q")
    columns = columns_of(table)
    shown = [
        column
        for column in columns
        if text.lower() in column.attribute.lower() or text.lower() in column.name
    ]
    return {"columns": shown, "total": len(columns), "q": text}


def _events(request: HttpRequest, table: SyncTable) -> dict[str, Any]:
    found = timeline(table.config, Wanted(table=table.entity), size=EVENTS)
    return {"found": found, "in_table": True}


_PART = {"folders": _folders, "columns": _columns, "events": _events}

"""One sync and its tables, and one table, live."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from sync.engine.overview import Overview, Scope, TableStatus, look
from sync.engine.switches import pause_of
from sync.views import live
from sync.views.access import OPERATE, VIEW, needs
from sync.views.pages import page
from sync.views.table_list import table_list
from sync.views.table_rows import row_maker, rows_text


@require_safe
@needs(VIEW)
def sync_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    seen = look(Scope(sync=pk, rates=True, sizes=True))
    if not seen.syncs:
        raise Http404
    context = _context(request, seen, page=True) | {"tab": "tables"}
    context["pause"] = pause_of(context["sync"])
    return page(request, "dvsync/sync.html", context, title=context["sync"].name)


@require_safe
@needs(VIEW)
def sync_live(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the part of the page that asks for itself."""
    seen = look(Scope(sync=pk, rates=True, sizes=True))
    if not seen.syncs:
        return live.gone(request, "sync")
    context = _context(request, seen, page=False)
    return render(request, "dvsync/sync_live.html", context)


@require_safe
@needs(VIEW)
def table_live(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the part of a table's page that asks for itself."""
    context = table_region(pk, page=False)
    if context is None:
        return live.gone(request, "table")
    was = request.GET.get("was", context["was"])
    context |= {"was": was, "older": was != context["was"]}
    return render(request, "dvsync/table_live.html", context)


def table_region(pk: int, *, page: bool = True) -> dict[str, Any] | None:
    """Return what ``dvsync/table_live.html`` shows, for a page that includes it.

    None when there is no such table among those that are replicated.
    """
    seen = look(Scope(table=pk, sizes=True))
    found = next(iter(live.tables_of(seen)), None)
    if found is None:
        return None
    return {
        "seen": seen,
        "status": found,
        "last": rows_text(
            found.table.last_inserted,
            found.table.last_updated,
            found.table.last_deleted,
        ),
        "loads": live.loads(seen),
        "every": live.seconds(seen, page=page),
        "was": _mark(found),
    }


def _mark(status: TableStatus) -> str:
    """Return what is another one once the rest of a table's page is out of date.

    The card of its error, its folders and totals are in no part that asks for itself.
    """
    table, aside = status.table, status.quarantined
    marks = (status.state, table.last_partition, table.failures_total, aside)
    return "~".join(map(str, marks))


def _context(request: HttpRequest, seen: Overview, *, page: bool) -> dict[str, Any]:
    [status] = seen.syncs
    troubles = live.troubles(status)
    tables = table_list(status.tables, request.GET)
    return {
        "seen": seen,
        "sync": status.config,
        "status": status,
        "tables": tables,
        "rows": map(row_maker(seen.at), tables.page),
        "operate": request.user.has_perm(OPERATE),
        "loads": live.loads(seen),
        "troubles": troubles,
        "failing": troubles.number,
        "start": live.start_command(seen.service),
        "every": live.seconds(seen, page=page),
    }

"""Step 2: the tables of the model, and which of them come along."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sync.engine import drafts
from sync.engine.drafts import left_out, tables_of
from sync.engine.outline import TableOutline
from sync.engine.selection import globs_for
from sync.errors import ConfigError
from sync.models import SetupDraft
from sync.views.setup.frame import Mistake, to_step, user_of
from sync.views.setup.frame import show as show_step

# Django takes 1,000 fields of a form at the most, and each table has one.
PER_PAGE = 500


def show(
    request: HttpRequest, draft: SetupDraft, mistakes: tuple[Mistake, ...] = ()
) -> HttpResponse:
    """Show the tables, as far as they match the filter."""
    out = left_out(draft)
    tables = tables_of(draft)
    wanted = request.GET.get("q", "").strip()
    found = _matching(tables, wanted)
    shown = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "shown": shown,
        "rows": [(table, table.entity not in out) for table in shown],
        "query": wanted,
        "total": len(tables),
        "found": len(found),
        "chosen": sum(table.entity not in out for table in tables),
        "columns": sum(table.columns for table in tables),
        "warned": sum(bool(table.warnings or table.problem) for table in tables),
        "model": draft.answers["model"],
    }
    return show_step(request, "tables", draft, context, mistakes)


def save(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Remember what was ticked, then filter, turn the page, or go on."""
    digest = draft.answers["model"]["digest"]
    if request.POST.get("model") != digest:
        messages.warning(
            request, "Another model.json was uploaded meanwhile: look at it again."
        )
        return to_step("tables")
    draft = drafts.change(user_of(request), "tables", lambda d: _chosen(request, d))
    action = request.POST.get("do", "next")
    if action != "next":
        return _shown_again(request, action)
    try:
        globs_for([table.entity for table in tables_of(draft)], left_out(draft))
    except ConfigError as error:
        said = Mistake(error.message, "id_filter", remedy=error.remedy)
        return show(request, draft, (said,))
    return to_step(drafts.next_step(draft, "tables"))


def _chosen(request: HttpRequest, draft: SetupDraft) -> dict[str, Any]:
    """Return the answer: only the tables that the form showed are decided anew."""
    ticked = set(request.POST.getlist("table"))
    found = _matching(tables_of(draft), request.POST.get("shown_q", ""))
    paginator = Paginator(found, PER_PAGE)
    shown = {
        table.entity for table in paginator.get_page(request.POST.get("shown_page"))
    }
    action = request.POST.get("do")
    if action in {"all", "none"}:
        ticked = {table.entity for table in found} if action == "all" else set()
        shown = {table.entity for table in found}
    out = (left_out(draft) - shown) | (shown - ticked)
    return {"left_out": sorted(out)}


def _shown_again(request: HttpRequest, action: str) -> HttpResponse:
    query = {"q": request.POST.get("q", "").strip()}
    if action.startswith("page-"):
        query = {
            "q": request.POST.get("shown_q", ""),
            "page": action.removeprefix("page-"),
        }
    elif action == "clear":
        query = {}
    address = reverse("setup-step", args=["tables"])
    told = urlencode({key: value for key, value in query.items() if value})
    return HttpResponseRedirect(f"{address}?{told}" if told else address)


def _matching(tables: list[TableOutline], wanted: str) -> list[TableOutline]:
    wanted = wanted.lower()
    return [t for t in tables if wanted in t.entity.lower() or wanted in t.name]

"""What a person may do to a sync or a table: each is a POST that redirects."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_POST

from sync.engine.questions import Question
from sync.models import SyncConfig, SyncTable
from sync.tasks.deeds import (
    SYNC_DEEDS,
    TABLE_DEEDS,
    Said,
    TableDeed,
    explain_pause,
)
from sync.views.access import CHANGE, OPERATE, needs
from sync.views.pages import back, page

# What changes the configuration takes more than operating it.
CHANGES = frozenset({"add"})


@require_POST
@needs(OPERATE)
def sync_deed(request: HttpRequest, pk: int, deed: str) -> HttpResponse:
    """Sync now, pause, resume or retry a sync; say what came of it."""
    if deed not in SYNC_DEEDS:
        raise Http404
    config = get_object_or_404(SyncConfig.objects.defer("model_json"), pk=pk)
    _say(request, SYNC_DEEDS[deed](config, request.user.get_username()))
    return back(request, reverse("sync", args=[pk]))


@require_POST
@needs(OPERATE)
def table_deed(request: HttpRequest, pk: int, deed: str) -> HttpResponse:
    """Do something to a table, after a question where it cannot be undone."""
    if deed not in TABLE_DEEDS:
        raise Http404
    if deed in CHANGES and not request.user.has_perm(CHANGE):
        raise PermissionDenied
    table = get_object_or_404(SyncTable.objects.select_related("config"), pk=pk)
    answer = _done(request, table, TABLE_DEEDS[deed])
    if isinstance(answer, Question):
        return _ask(request, table, answer)
    _say(request, answer)
    return back(request, reverse("table", args=[pk]))


@require_POST
@needs(OPERATE)
def sync_pause_reason(request: HttpRequest, pk: int) -> HttpResponse:
    """Say why a sync is paused."""
    config = get_object_or_404(SyncConfig.objects.defer("model_json"), pk=pk)
    return _explained(request, config, reverse("sync", args=[pk]))


@require_POST
@needs(OPERATE)
def table_pause_reason(request: HttpRequest, pk: int) -> HttpResponse:
    """Say why a table is paused."""
    table = get_object_or_404(SyncTable.objects.select_related("config"), pk=pk)
    return _explained(request, table, reverse("table", args=[pk]))


def _explained(
    request: HttpRequest, what: SyncConfig | SyncTable, its_page: str
) -> HttpResponse:
    reason = request.POST.get("reason", "")
    _say(request, explain_pause(what, request.user.get_username(), reason))
    return back(request, its_page)


def _done(request: HttpRequest, table: SyncTable, deed: TableDeed) -> Said | Question:
    by = request.user.get_username()
    if deed.ask is None:
        return deed.do(table, by)
    asked = deed.ask(table)
    confirmed = _confirmed(request)
    if isinstance(asked, Said) or confirmed != asked.frozen:
        return asked
    return deed.do(table, by, asked.frozen)


def _confirmed(request: HttpRequest) -> str | None:
    """Return the facts that were confirmed; forms write line ends in their own way."""
    found = request.POST.get("confirmed")
    return None if found is None else found.replace("\r\n", "\n")


def _ask(request: HttpRequest, table: SyncTable, question: Question) -> HttpResponse:
    way_back = back(request, reverse("table", args=[table.pk])).headers["Location"]
    context = {
        "question": question,
        "table": table,
        "next": way_back,
        "changed": _confirmed(request) is not None,
    }
    return page(request, "dvsync/question.html", context, title=question.title)


def _say(request: HttpRequest, said: Said) -> None:
    level = messages.SUCCESS if said.done else messages.WARNING
    messages.add_message(request, level, str(said))

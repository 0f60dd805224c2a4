"""The addresses of the set-up: each step shows its page, and takes its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from sync.engine import drafts
from sync.engine.first_rows import first_rows_of
from sync.engine.outline import column_outlines
from sync.models import SetupDraft, SyncConfig
from sync.views.access import ADD, VIEW, needs
from sync.views.pages import page
from sync.views.setup import answers, location, tables
from sync.views.setup.frame import to_step, user_of

# A wider table PostgreSQL cannot have, and no page should.
COLUMNS_SHOWN = 1_600


class Step(NamedTuple):
    """How a step is shown, and how its answer is taken."""

    show: Callable[[HttpRequest, SetupDraft], HttpResponse]
    save: Callable[[HttpRequest, SetupDraft], HttpResponse]


PAGES = {
    "tables": Step(tables.show, tables.save),
    "location": Step(location.show, location.save),
    "target": Step(answers.show_target, answers.save_target),
    "checks": Step(answers.show_checks, answers.save_checks),
    "start": Step(answers.show_start, answers.save_start),
}


@require_safe
@needs(ADD)
def setup(request: HttpRequest) -> HttpResponse:
    """Show how one may begin, and what is begun already."""
    return answers.show_model(request)


@require_http_methods(["GET", "HEAD", "POST"])
@needs(ADD)
def setup_step(request: HttpRequest, step: str) -> HttpResponse:
    """Show a step, or take its answer; what is not one's turn leads to what is."""
    posted = request.method == "POST"
    if step == "model":
        return answers.save_model(request) if posted else answers.show_model(request)
    if step not in PAGES:
        raise Http404
    draft = drafts.find_draft(user_of(request))
    if draft is None and step == "location":  # the model is read from there
        draft = SetupDraft(user=user_of(request))
    if draft is None:
        if posted:
            return _gone(request, step)
        return HttpResponseRedirect(reverse("setup"))
    if not _may(request, draft, step):
        return to_step(drafts.first_open(draft))
    try:
        return (PAGES[step].save if posted else PAGES[step].show)(request, draft)
    except drafts.GoneError:
        return _gone(request, step)


@require_POST
@needs(ADD)
def restart(request: HttpRequest) -> HttpResponse:
    """Forget what was begun."""
    drafts.give_up(user_of(request))
    messages.success(request, "The set-up you had begun is forgotten.")
    return HttpResponseRedirect(reverse("setup"))


@require_safe
@needs(ADD)
def columns(request: HttpRequest) -> HttpResponse:
    """Show the columns of a table of the model, as a page or as a part of one."""
    draft = get_object_or_404(SetupDraft, user=user_of(request))
    entity = drafts.model_of(draft).entity(request.GET.get("table", ""))
    if entity is None:
        raise Http404
    found = column_outlines(entity, feed=drafts.is_feed(draft))
    context = {
        "entity": entity.name,
        "columns": found[:COLUMNS_SHOWN],
        "more": len(found) - COLUMNS_SHOWN,
    }
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "dvsync/setup/columns_table.html", context)
    title = "Columns of a table"
    return page(request, "dvsync/setup/columns.html", context, title=title)


@require_safe
@needs(VIEW)
def first_rows(request: HttpRequest, pk: int) -> HttpResponse:
    """Say whether the first rows are there, and what one can do with them."""
    config = get_object_or_404(SyncConfig, pk=pk)
    context = {"sync": config, "first": first_rows_of(config)}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "dvsync/setup/first_rows_part.html", context)
    title = "The first rows"
    return page(request, "dvsync/setup/first_rows.html", context, title=title)


def _may(request: HttpRequest, draft: SetupDraft, step: str) -> bool:
    """Say whether it is a step's turn: all before it are answered."""
    if step == "location" and location.reads_model(request, draft):
        return True
    before = drafts.STEPS[: drafts.STEPS.index(step)]
    return all(drafts.is_answered(draft, name) for name in before)


def _gone(request: HttpRequest, step: str) -> HttpResponse:
    """Answer a form of a set-up that was finished or given up in another tab."""
    name = request.POST.get("name", "")
    made = SyncConfig.objects.filter(name=name).first() if step == "start" else None
    if made:
        messages.info(request, "This sync was created already.")
        return HttpResponseRedirect(reverse("sync", args=[made.pk]))
    messages.warning(
        request, "There is no set-up any more: it was finished, or begun anew."
    )
    return HttpResponseRedirect(reverse("setup"))

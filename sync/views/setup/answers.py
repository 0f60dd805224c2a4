"""The other steps: the model, the target, the checks, and the start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from sync.engine import drafts, places
from sync.engine.configs import check_schema
from sync.engine.preflight import check
from sync.engine.preflight_results import Report, State
from sync.engine.service import service_status
from sync.errors import ConfigError, ModelError, SyncError
from sync.models import SetupDraft
from sync.tasks.queue import enqueue_look
from sync.views.setup.forms import MAX_MEGABYTES, TOO_LARGE, TargetForm, UploadForm
from sync.views.setup.frame import (
    TITLES,
    Mistake,
    mistake_of,
    mistakes_of,
    show,
    to_step,
    user_of,
)


def show_model(
    request: HttpRequest, mistakes: tuple[Mistake, ...] = ()
) -> HttpResponse:
    """Show the ways to begin, and what is begun already."""
    draft = drafts.find_draft(user_of(request))
    begun = bool(draft and draft.answers)
    going_on = drafts.first_open(draft) if begun else ""
    context = {
        "megabytes": MAX_MEGABYTES,
        "begun": begun,
        "going_on": going_on,
        "going_on_title": TITLES.get(going_on, ""),
        "sample": _sample(),
        "roots": places.roots(),
    }
    return show(request, "model", draft, context, mistakes)


def save_model(request: HttpRequest) -> HttpResponse:
    """Take an upload."""
    files = request.FILES  # reading them tells whether one was given up
    too_large = bool(request.META.get(TOO_LARGE))
    form = UploadForm(request.POST, files, too_large=too_large)
    if not form.is_valid():
        return show_model(request, tuple(mistakes_of(form)))
    data, name = form.content()
    try:
        drafts.begin(user_of(request), data, name)
    except ModelError as error:
        return show_model(request, (mistake_of(error, "id_model"),))
    return to_step("tables")


def show_target(
    request: HttpRequest, draft: SetupDraft, form: TargetForm | None = None
) -> HttpResponse:
    """Show the form of the target, filled with what was answered or suggested."""
    if form is None:
        form = _target_form(draft, initial=_answered(draft))
    mistakes = mistakes_of(form) if form.is_bound else []
    return show(request, "target", draft, {"form": form}, mistakes)


def save_target(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Remember the target."""
    form = _target_form(draft, request.POST)
    if not form.is_valid():
        return show_target(request, draft, form)
    answer = {
        "name": form.cleaned_data["name"],
        "schema": form.cleaned_data["schema"],
        "policies": form.policies(),
    }
    draft = drafts.answer(user_of(request), "target", answer)
    return to_step(drafts.next_step(draft, "target"))


def show_checks(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Show what the last checks found, if they were of these answers."""
    said = draft.answers.get("checks", {})
    current = said.get("of") == drafts.fingerprint(draft)
    results = said.get("results", []) if current else []
    states = [result["state"] for result in results]
    context = {
        "results": results,
        "failed": states.count(State.FAILED),
        "warned": states.count(State.WARNING),
        "passed": bool(results) and State.FAILED not in states,
        "checked_at": parse_datetime(said["at"]) if current else None,
        "stale": bool(said) and not current,
    }
    return show(request, "checks", draft, context)


def save_checks(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Make the checks and remember what they found, or go on after them."""
    if request.POST.get("do") == "next":
        return to_step(drafts.next_step(draft, "target"))
    whole = SetupDraft.objects.filter(pk=draft.pk).first()
    if whole is None:
        raise drafts.GoneError
    config = drafts.planned(whole)
    report = check(config, drafts.model_of(whole), uploaded=drafts.is_uploaded(whole))
    drafts.answer(user_of(request), "checks", _report(whole, report))
    return to_step("checks")


def show_start(
    request: HttpRequest, draft: SetupDraft, mistakes: tuple[Mistake, ...] = ()
) -> HttpResponse:
    """Show what will be done."""
    tables = drafts.tables_of(draft)
    out = drafts.left_out(draft)
    config = drafts.planned(draft)
    status = service_status()
    context: dict[str, Any] = {
        "config": config,
        "schema": check_schema_or_given(config.schema_name),
        "chosen": sum(table.entity not in out for table in tables),
        "total": len(tables),
        "bytes": draft.answers["checks"].get("bytes"),
        "partial": draft.answers["checks"].get("partial"),
        "seen": drafts.seen_of(draft),
        "feed": drafts.is_feed(draft),
        "serves": status.polling and status.workers,
        "target": draft.answers["target"],
        "of": drafts.fingerprint(draft),
    }
    return show(request, "start", draft, context, mistakes)


def save_start(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Create the sync that the page showed, and lead to its page."""
    seen, now = request.POST.get("of"), drafts.fingerprint(draft)
    if seen is not None and seen != now:
        said = "Something was answered anew in another tab: look at it, then start."
        return show_start(request, draft, (Mistake(said, "start"),))
    try:
        created = drafts.start(user_of(request))
    except SyncError as error:
        return show_start(request, draft, (mistake_of(error, "start"),))
    enqueue_look(created.config)
    for warning in created.warnings[:5]:
        messages.warning(request, warning)
    messages.success(
        request, f"The sync {created.config.name} is created; it begins to load."
    )
    address = reverse("sync", args=[created.config.pk])
    return HttpResponseRedirect(f"{address}?started=1")


def check_schema_or_given(schema: str) -> str:
    """Return the schema's name as it will be."""
    try:
        return check_schema(schema)
    except ConfigError:
        return schema


def _target_form(draft: SetupDraft, *args: Any, **kwargs: Any) -> TargetForm:
    feed = drafts.is_feed(draft)
    return TargetForm(*args, feed=feed, use_required_attribute=False, **kwargs)


def _answered(draft: SetupDraft) -> dict[str, Any]:
    if said := draft.answers.get("target"):
        return {"name": said["name"], "schema": said["schema"], **said["policies"]}
    name = drafts.suggested_name(draft)
    return {"name": name, "schema": name}


def _report(draft: SetupDraft, report: Report) -> dict[str, Any]:
    return {
        "of": drafts.fingerprint(draft),
        "at": timezone.now().isoformat(),
        "passed": report.passed,
        "bytes": report.bytes,
        "partial": report.partial,
        "results": [asdict(result) for result in report.results],
    }


def _sample() -> str:
    """Return the address that makes sample data, "" on a site without it."""
    try:
        return reverse("setup-sample")
    except NoReverseMatch:
        return ""

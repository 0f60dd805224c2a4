"""The settings of a sync, and its end."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.models import CHANGE as EDITED
from django.contrib.admin.models import DELETION, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from sync.engine.configs import edit_config, selection_changes
from sync.engine.removal import Removed, remove_sync
from sync.engine.words import plural
from sync.errors import SyncError
from sync.forms import DeletionForm, SettingsForm
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.views.access import CHANGE, DELETE, VIEW, needs
from sync.views.sync_tabs import sync_of, tab

NAMED = 20
# A person waits for the answer; the command waits longer.
WAIT_FOR_LOADS = 8.0


@require_http_methods(["GET", "HEAD", "POST"])
@needs(VIEW)
def sync_settings(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the settings of a sync; who may, changes them."""
    config = sync_of(pk)
    may_change = request.user.has_perm(CHANGE)
    if request.method != "POST":
        return _settings(
            request, config, _settings_form(config) if may_change else None
        )
    if not may_change:
        raise PermissionDenied
    entered = request.POST.copy()
    stale = entered.get("seen") != _digest(config)
    entered["seen"] = _digest(config)
    form = SettingsForm.of(config, entered)
    valid = form.is_valid()
    if stale:
        form.add_error(
            None,
            "Somebody changed the settings since you opened this page. Compare your "
            "entries with the present settings below, then save again.",
        )
        return _settings(request, config, form, status=409, now=_said(config))
    if not valid:
        return _settings(request, config, form, status=422)
    if "preview" in request.POST:
        return _settings(request, config, form, preview=_effect(config, form))
    return _save(request, config, form)


def _settings_form(config: SyncConfig) -> SettingsForm:
    values = SettingsForm.values_of(config)
    return SettingsForm.of(config, initial={**values, "seen": _digest(config)})


def _settings(
    request: HttpRequest,
    config: SyncConfig,
    form: SettingsForm | None,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    context |= {"form": form, "said": _said(config)}
    return tab(request, config, "settings", status, **context)


def _digest(config: SyncConfig) -> str:
    values = json.dumps(SettingsForm.values_of(config), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def _said(config: SyncConfig) -> list[tuple[str, list[str]]]:
    """Return the settings in words, for who may only look and for who compares."""
    said = []
    for name, value in SettingsForm.values_of(config).items():
        field = SettingsForm.base_fields[name]
        words = dict(getattr(field, "choices", ()))
        lines = value if isinstance(value, list) else [str(words.get(value, value))]
        said.append((str(field.label), lines))
    return said


def _effect(config: SyncConfig, form: SettingsForm) -> dict[str, Any]:
    changes = form.changes
    more, fewer = selection_changes(config, changes["include"], changes["exclude"])
    others = [
        str(SettingsForm.base_fields[name].label)
        for name, value in SettingsForm.values_of(config).items()
        if name not in {"include", "exclude"} and str(value) != str(changes[name])
    ]
    return {"more": more, "fewer": fewer, "others": others}


def _save(request: HttpRequest, config: SyncConfig, form: SettingsForm) -> HttpResponse:
    changes = form.changes
    more, fewer = selection_changes(config, changes["include"], changes["exclude"])
    try:
        said = edit_config(config, changes, by=request.user.get_username())
    except SyncError as error:
        form.add_error(None, f"{error} {error.remedy}")
        return _settings(request, config, form, status=422)
    if said:
        _log(request, config, EDITED, "; ".join(said))
        text = ["Saved."]
        if more:
            text.append(f"From now on replicated as well: {_names(more)}.")
        if fewer:
            text.append(f"Not updated any more: {_names(fewer)}.")
        messages.success(request, " ".join(text))
    else:
        messages.info(request, "Nothing was changed.")
    return HttpResponseRedirect(reverse("sync-settings", args=[config.pk]))


def _names(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:NAMED])
    more = len(names) - NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown


def _log(request: HttpRequest, config: SyncConfig, flag: int, message: str) -> None:
    """Write into the admin's history what a person did."""
    LogEntry.objects.log_actions(
        cast("int", request.user.pk),
        [config],
        flag,
        change_message=message,
        single_object=True,
    )


# Its end


@require_http_methods(["GET", "HEAD", "POST"])
@needs(DELETE)
def sync_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Explain what the deletion of a sync takes away, and do it."""
    config = sync_of(pk)
    if request.method != "POST":
        return _deletion(request, config, DeletionForm(expected=config.name))
    form = DeletionForm(request.POST, expected=config.name)
    if not form.is_valid():
        return _deletion(request, config, form, status=422)
    drop = form.cleaned_data["tables"] == "drop"
    person = request.user.get_username()
    try:
        removed = remove_sync(config, drop_tables=drop, by=person, wait=WAIT_FOR_LOADS)
    except SyncError as error:
        left = SyncConfig.objects.filter(pk=config.pk).values_list("paused", flat=True)
        if not left:  # somebody else was quicker
            messages.info(request, f"{printable(config.name)} is deleted already.")
            return HttpResponseRedirect(reverse("overview"))
        [config.paused] = left
        return _deletion(request, config, form, status=409, error=error)
    text = _gone(config, removed, drop=drop)
    _log(request, config, DELETION, text)
    messages.success(request, text)
    return HttpResponseRedirect(reverse("overview"))


def _deletion(
    request: HttpRequest,
    config: SyncConfig,
    form: DeletionForm,
    status: int = 200,
    error: SyncError | None = None,
) -> HttpResponse:
    tables = SyncTable.objects.filter(config=config)
    made = tables.exclude(columns=[]).order_by("target_name")
    names = list(made.values_list("target_name", flat=True))
    context = {
        "form": form,
        "error": error,
        "number": len(names),
        "names": names[:NAMED],
    }
    return tab(request, config, "delete", status, **context)


def _gone(config: SyncConfig, removed: Removed, *, drop: bool) -> str:
    text = f"{printable(removed.name)} is deleted."
    if not drop:
        return f"{text} Its tables stay in the schema {config.schema_name}."
    text += f" {plural(len(removed.dropped), 'table')} dropped"
    text += f", and the schema {config.schema_name}." if removed.schema else "."
    if removed.left:
        left = _names(list(removed.left))
        text += f" Left, because dvsync did not make them so: {left}."
    return text

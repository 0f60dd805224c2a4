"""What every step shares: its place among the others, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.contrib.auth.models import User
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from sync.engine.drafts import STEPS, first_open, is_answered
from sync.errors import PROBLEMS, SyncError
from sync.models import SetupDraft
from sync.views.pages import page

TITLES = {
    "model": "The model.json",
    "tables": "Choose tables",
    "location": "Location of the data",
    "target": "Target in PostgreSQL",
    "checks": "Checks",
    "start": "Start",
}


@dataclass(frozen=True)
class Mistake:
    """What is wrong with an answer; ``field`` is the id of the control to mend."""

    message: str
    field: str = ""
    where: str = ""
    remedy: str = ""


def mistake_of(error: SyncError, field: str) -> Mistake:
    """Return an error of the engine as one of a control."""
    # The general ones of these are for who types a command, or copies a folder.
    general = error.remedy == PROBLEMS[error.code].remedy
    told = not (general and error.code in {"bad_config", "model_malformed"})
    remedy = error.remedy if told else ""
    return Mistake(error.message, field, error.where, remedy)


def mistakes_of(form: BaseForm) -> list[Mistake]:
    """Return what is wrong in a form, in the order of its fields."""
    return [
        Mistake(str(message), form[name].id_for_label or f"id_{name}")
        for name, messages in form.errors.items()
        for message in messages
    ]


def show(
    request: HttpRequest,
    step: str,
    draft: SetupDraft | None,
    context: Mapping[str, Any],
    mistakes: Iterable[Mistake] = (),
) -> HttpResponse:
    """Render a step among the others."""
    number = STEPS.index(step)
    title = TITLES[step]
    frame = {
        # A step is about something that does not run yet.
        "open_errors": None,
        "draft": draft,
        "step": step,
        "step_title": title,
        "number": number + 1,
        "count": len(STEPS),
        "steps": [_entry(name, step, draft) for name in STEPS],
        "mistakes": list(mistakes),
        "before": STEPS[number - 1] if number else "",
    }
    return page(
        request,
        f"dvsync/setup/{step}.html",
        {**frame, **context},
        title=f"{title}, step {number + 1} of {len(STEPS)}",
    )


def user_of(request: HttpRequest) -> User:
    """Return who is signed in; behind ``needs`` somebody is."""
    return cast("User", request.user)


def to_step(step: str) -> HttpResponseRedirect:
    """Lead to a step."""
    return HttpResponseRedirect(reverse("setup-step", args=[step]))


def _entry(name: str, current: str, draft: SetupDraft | None) -> dict[str, Any]:
    done = draft is not None and is_answered(draft, name)
    reachable = done or name == first_open(draft)
    return {
        "name": name,
        "title": TITLES[name],
        "current": name == current,
        "done": done,
        "link": reachable and name != current,
    }

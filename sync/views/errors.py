"""The errors of now by their cause, and what each error means."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from sync.engine import inbox
from sync.engine.error_help import sections
from sync.engine.overview import overview
from sync.engine.words import plural
from sync.errors import PROBLEMS
from sync.models import Incident, SyncTable
from sync.tasks.deeds import Said, retry_all
from sync.views import live
from sync.views.access import OPERATE, VIEW, needs
from sync.views.pages import back, id_of, page

# Of a group so many lines are shown at once; the others unfold.
FIRST = 20


@require_safe
@needs(VIEW)
def errors(request: HttpRequest) -> HttpResponse:
    """Show what is wrong, one panel for each cause, and what ended lately."""
    seen = overview()
    context = {
        "groups": inbox.groups(seen),
        "ended": inbox.ended(),
        "first": FIRST,
        "rest_from": f"{FIRST}:",
        "seen": seen,
        "start": live.start_command(seen.service),
    }
    return page(request, "dvsync/errors.html", context, title="Errors")


@require_POST
@needs(OPERATE)
def errors_do(request: HttpRequest) -> HttpResponse:
    """Retry exactly the tables, or acknowledge exactly the errors, that were shown."""
    deed, by = request.POST.get("deed", ""), request.user.get_username()
    if deed == "retry" and (tables := _numbers(request, "tables")):
        found = SyncTable.objects.filter(pk__in=tables).select_related("config")
        found = found.defer("config__model_json").order_by("config__name", "entity")
        said = retry_all(found, by)
    elif deed == "acknowledge" and (incidents := _numbers(request, "incidents")):
        said = _acknowledge(request, incidents)
    else:
        said = Said(False, "Nothing was asked for: press one of the buttons.")
    level = messages.SUCCESS if said.done else messages.WARNING
    messages.add_message(request, level, str(said))
    return back(request, reverse("errors"))


def _acknowledge(request: HttpRequest, numbers: list[int]) -> Said:
    kind, code = request.POST.get("kind", ""), request.POST.get("code", "")
    if kind not in Incident.Kind.values:
        return Said(False, "Nothing was asked for: press one of the buttons.")
    by = request.user.get_username()
    seen = inbox.acknowledge(numbers, kind, code, by=by)
    if not seen:
        return Said(
            False, "They have ended, are others by now, or were acknowledged before."
        )
    return Said(
        True,
        f"{plural(seen, 'error')} acknowledged: no reminder is sent while "
        f"{'it lasts' if seen == 1 else 'they last'}.",
    )


def _numbers(request: HttpRequest, name: str) -> list[int]:
    """Return the ids that a form posts; [] when any of it is none, or of too many."""
    words = request.POST.get(name, "").split(",", inbox.MOST_AT_ONCE)
    found = [id_of(word) for word in words]
    ids = [number for number in found if number is not None]
    return ids if len(ids) == len(words) <= inbox.MOST_AT_ONCE else []


@require_safe
@needs(VIEW)
def error_help(request: HttpRequest, code: str) -> HttpResponse:
    """Explain an error code as docs/errors.md does."""
    problem = PROBLEMS.get(code)
    if problem is None:
        raise Http404
    paragraphs = sections().get(code, ())
    context = {"code": code, "problem": problem, "paragraphs": paragraphs}
    return page(request, "dvsync/error_help.html", context, title=problem.title)

"""The errors of now by their cause, and what each error means."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from sync.engine import inbox
from sync.engine.error_help import sections
from sync.engine.service import service_status
from sync.engine.words import plural
from sync.errors import PROBLEMS
from sync.tasks.deeds import Said, retry_all
from sync.views import live
from sync.views.access import OPERATE, VIEW, needs
from sync.views.pages import back, page

# Of a group so many lines are shown at once; the others unfold.
FIRST = 20
# A page offers no more than this at once, and a form is refused that asks for more.
MOST = 5000


@require_safe
@needs(VIEW)
def errors(request: HttpRequest) -> HttpResponse:
    """Show what is wrong, one panel for each cause, and what ended lately."""
    service = service_status()
    context = {
        "groups": inbox.groups(),
        "ended": inbox.ended(),
        "first": FIRST,
        "rest_from": f"{FIRST}:",
        "seen": {"service": service},
        "start": live.start_command(service),
    }
    return page(request, "dvsync/errors.html", context, title="Errors")


@require_POST
@needs(OPERATE)
def errors_do(request: HttpRequest) -> HttpResponse:
    """Acknowledge or retry exactly the errors that were posted, while they last."""
    numbers = _numbers(request.POST.get("incidents", ""))
    deed = request.POST.get("deed", "")
    by = request.user.get_username()
    if not numbers or deed not in {"acknowledge", "retry"}:
        said = Said(False, "Nothing was asked for: press one of the buttons.")
    elif deed == "retry":
        said = retry_all(inbox.tables_of(numbers), by)
    else:
        said = _acknowledge(numbers, by)
    level = messages.SUCCESS if said.done else messages.WARNING
    messages.add_message(request, level, str(said))
    return back(request, reverse("errors"))


def _acknowledge(numbers: list[int], by: str) -> Said:
    seen = inbox.acknowledge(numbers, by=by)
    if not seen:
        return Said(False, "They have ended, or somebody has acknowledged them.")
    return Said(
        True,
        f"{plural(len(seen), 'error')} acknowledged: no reminder is sent while "
        f"{'it lasts' if len(seen) == 1 else 'they last'}.",
    )


def _numbers(text: str) -> list[int]:
    """Return the ids that a form posts; [] when any of it is none."""
    words = text.split(",", MOST)
    good = len(words) <= MOST and all(_is_number(word) for word in words)
    return [int(word) for word in words] if good else []


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 18


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

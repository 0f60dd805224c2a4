"""What each error means."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from sync.engine.error_help import sections
from sync.errors import PROBLEMS
from sync.views.access import VIEW, needs
from sync.views.pages import page


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

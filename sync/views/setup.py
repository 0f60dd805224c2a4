"""Setting up a sync, step by step."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods, require_safe

from sync.views.access import ADD, needs
from sync.views.pages import page


@require_safe
@needs(ADD)
def setup(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_http_methods(["GET", "HEAD", "POST"])
@needs(ADD)
def setup_step(request: HttpRequest, step: str) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

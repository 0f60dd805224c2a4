"""The overview of all syncs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from sync.views.access import VIEW, needs
from sync.views.pages import page


@require_safe
@needs(VIEW)
def overview(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_safe
@needs(VIEW)
def overview_live(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

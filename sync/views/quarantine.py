"""Rows that were set aside."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from sync.views.access import OPERATE, VIEW, needs
from sync.views.pages import page


@require_safe
@needs(VIEW)
def quarantine(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_POST
@needs(OPERATE)
def quarantine_decide(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

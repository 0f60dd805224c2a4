"""The other tabs of a sync: timeline, schema, settings; and its end."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods, require_safe

from sync.views.access import DELETE, VIEW, needs
from sync.views.pages import page


@require_safe
@needs(VIEW)
def sync_timeline(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_safe
@needs(VIEW)
def sync_schema(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_safe
@needs(VIEW)
def sync_settings(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_http_methods(["GET", "HEAD", "POST"])
@needs(DELETE)
def sync_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

"""What a person may do to a sync or a table: each is a POST that redirects."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from sync.views.access import OPERATE, needs
from sync.views.pages import page


@require_POST
@needs(OPERATE)
def sync_deed(request: HttpRequest, pk: int, deed: str) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")


@require_POST
@needs(OPERATE)
def table_deed(request: HttpRequest, pk: int, deed: str) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

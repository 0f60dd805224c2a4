"""One table: its partitions, columns and errors."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from sync.views.access import VIEW, needs
from sync.views.pages import page


@require_safe
@needs(VIEW)
def table_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page."""
    return page(request, "dvsync/base.html", title="dvsync")

"""What support needs to know, in one download."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from sync.engine.bundle import bundle, file_name
from sync.tasks.depth import depths
from sync.views.access import OPERATE, needs
from sync.views.pages import page


@require_safe
@needs(OPERATE)
def support_bundle(request: HttpRequest) -> HttpResponse:
    """Say what is in the bundle, and offer it."""
    return page(request, "dvsync/support_bundle.html", title="Support bundle")


@require_safe
@needs(OPERATE)
def support_bundle_download(request: HttpRequest) -> HttpResponse:
    """Return the bundle as a file."""
    name = file_name()
    return HttpResponse(
        bundle({"queue": depths}),
        content_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )

"""What happens to a request before Django's own middleware sees it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from sync.views.probes import PROBES


def probes_first(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Answer probes before everything else; to be the first middleware.

    A probe calls by the address of a container, which is in no ``ALLOWED_HOSTS``. Its
    answer does not depend on the name, so none is checked. No session is opened and
    nothing is redirected.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        probe = PROBES.get(request.path_info.removeprefix("/"))
        if probe is None:
            return get_response(request)
        response = probe(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return middleware

"""What happens to a request before a view, or Django's own middleware, sees it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from sync.engine.time_zones import COOKIE, zone_named
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


def time_zone(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Let a page show its times in the zone that the cookie names, if there is such.

    The admin stays in UTC. It asks PostgreSQL for the days of a zone by the zone's
    name, and PostgreSQL may know other names than Python does.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        in_admin = request.path.startswith(reverse("admin:index"))
        name = "UTC" if in_admin else request.COOKIES.get(COOKIE, "UTC")
        with timezone.override(zone_named(name)):
            return get_response(request)

    return middleware

"""The pages for machines: is it alive, is it ready, and its metrics.

None needs a login, a session or a certain name of the host: ``sync.middleware`` lets
them pass by all of that. None tells a secret or a text of the database.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sync.engine.service import readiness
from sync.errors import TargetError
from sync.metrics import CONTENT_TYPE, exposition

PLAIN = "text/plain; charset=utf-8"


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process answers; the database is not touched."""
    return HttpResponse("ok\n", content_type=PLAIN)


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether database, migrations and heartbeat are there: 200, or 503."""
    found = readiness()
    age = round(found.age.total_seconds(), 1) if found.age is not None else None
    document = {
        "database": found.database,
        "migrations": found.migrations,
        "heartbeat": found.heartbeat,
        "heartbeat_age_seconds": age,
    }
    return JsonResponse(document, status=200 if found.ready else 503)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics to who knows the token; without a token there is no page."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("Not found\n", status=404, content_type=PLAIN)
    if not _knows_token(request):
        headers = {"WWW-Authenticate": 'Bearer realm="dvsync"'}
        return HttpResponse(
            "A token is needed\n", status=401, content_type=PLAIN, headers=headers
        )
    try:
        return HttpResponse(exposition(), content_type=CONTENT_TYPE)
    except TargetError:
        text = "The database cannot be used\n"
        return HttpResponse(text, status=503, content_type=PLAIN)


def _knows_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # Of bytes: the comparison of texts refuses what is not ASCII.
    same = compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    return same and scheme.lower() == "bearer"


# By their paths.
PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "healthz": healthz,
    "readyz": readyz,
    "metrics": metrics,
}

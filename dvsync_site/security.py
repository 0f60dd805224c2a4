"""What browsers are told to refuse: the settings, and the headers Django has none for.

Over plain HTTP, as on one's own machine, all of it holds that needs no TLS. With
``https`` nothing is served without TLS any more, except to probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse

HOURS_SIGNED_IN = 12
SHORTEST_PASSWORD = 12
A_YEAR = 365 * 24 * 3600

# No request to another host, nothing inline: what a stranger's name holds stays text.
POLICY = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}
# The pages use none of what a browser can lend them.
HEADERS = {
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def settings(*, https: bool, hosts: Iterable[str]) -> dict[str, Any]:
    """Return Django's settings for a site that is served by these names."""
    prefix = "__Host-" if https else ""  # then no neighbour's page can set them
    policy: dict[str, Any] = {**POLICY}
    if https:
        policy["upgrade-insecure-requests"] = True
    return {
        "CONTENT_SECURITY_POLICY": {"DIRECTIVES": policy},
        "SECURE_SSL_REDIRECT": https,
        "SECURE_HSTS_SECONDS": A_YEAR if https else 0,
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
        "SECURE_CONTENT_TYPE_NOSNIFF": True,
        "X_FRAME_OPTIONS": "DENY",
        "SESSION_COOKIE_NAME": f"{prefix}dvsync-session",
        "SESSION_COOKIE_AGE": HOURS_SIGNED_IN * 3600,
        "SESSION_COOKIE_HTTPONLY": True,
        # Not Strict: a link in an alert's mail would lead to the login.
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": https,
        "CSRF_COOKIE_NAME": f"{prefix}dvsync-csrf",
        "CSRF_COOKIE_HTTPONLY": True,  # each form has the token in it
        "CSRF_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SECURE": https,
        "CSRF_TRUSTED_ORIGINS": _origins(hosts) if https else [],
        # The one is about names beneath ours, the other about the name above them:
        # both may be others', who must not lose HTTP because dvsync was installed.
        "SILENCED_SYSTEM_CHECKS": ["security.W005", "security.W021"],
        "WHITENOISE_ALLOW_ALL_ORIGINS": False,
        "AUTH_PASSWORD_VALIDATORS": _password_validators(),
    }


def _origins(hosts: Iterable[str]) -> list[str]:
    """Return the addresses whose forms are ours; a name that begins with . has all."""
    names = [name for name in hosts if name.strip("*.")]
    below = [f"https://*{name}" for name in names if name.startswith(".")]
    return [f"https://{name.removeprefix('.')}" for name in names] + below


def _password_validators() -> list[dict[str, Any]]:
    name = "django.contrib.auth.password_validation.{}Validator".format
    return [
        {"NAME": name("UserAttributeSimilarity")},
        {
            "NAME": name("MinimumLength"),
            "OPTIONS": {"min_length": SHORTEST_PASSWORD},
        },
        {"NAME": name("CommonPassword")},
        {"NAME": name("NumericPassword")},
    ]


def more_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Add ``HEADERS`` to every answer, those of errors and of static files too."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in HEADERS.items():
            response.setdefault(name, value)
        return response

    return middleware

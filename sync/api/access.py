"""Who may call: a token of a user, with the permissions that this user has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from sync.api.answers import REALM, Answer, Refusal, answer_of
from sync.models import ApiToken
from sync.views.access import ADD, CHANGE, OPERATE, VIEW

__all__ = ["ADD", "CHANGE", "OPERATE", "VIEW", "by", "endpoint"]

Handler = Callable[..., Answer]
# By method: what one needs, and what is done.
Calls = Mapping[str, tuple[str, Handler]]


class Endpoint(Protocol):
    """A view of the API; ``calls`` says what it takes."""

    calls: Calls

    def __call__(self, request: HttpRequest, **place: Any) -> HttpResponse:
        """Answer a request."""
        ...


def endpoint(**calls: tuple[str, Handler]) -> Endpoint:
    """Return the view of one address: its methods with permission and handler.

    Nothing but JSON is answered. Only a token lets one in, no session: a page of
    another site cannot make a browser send one. That is why no CSRF token is asked.
    """

    @csrf_exempt
    @never_cache
    def view(request: HttpRequest, **place: Any) -> HttpResponse:
        try:
            return _answer(calls, request, place).response()
        except Exception as error:  # noqa: BLE001  said in JSON, and logged
            return answer_of(error).response()

    view.calls = calls  # type: ignore[attr-defined]
    return view  # type: ignore[return-value]


def _answer(calls: Calls, request: HttpRequest, place: dict[str, Any]) -> Answer:
    user = _user(request)
    method = "GET" if request.method == "HEAD" else str(request.method)
    if method not in calls:
        allowed = ", ".join([*calls, *(["HEAD"] if "GET" in calls else [])])
        raise Refusal(
            405,
            "method_not_allowed",
            f"{request.method} is not possible here, only {allowed}",
            headers={"Allow": allowed},
        )
    permission, handler = calls[method]
    if not user.has_perm(permission):
        raise Refusal(
            403,
            "forbidden",
            f"{user.get_username()} may not do that: it needs {permission}",
            remedy="Ask an administrator for the role.",
        )
    request.user = user
    return handler(request, **place)


def _user(request: HttpRequest) -> User:
    """Return the user of the request's token; take note that it was used."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise _unauthenticated("A token is needed")
    token = ApiToken.of_text(text.strip())
    if token is None:
        raise _unauthenticated("The token is not known, or its user may not sign in")
    if token.expired:
        raise _unauthenticated("The token has expired")
    token.record_use()
    return token.user


def _unauthenticated(message: str) -> Refusal:
    return Refusal(
        401,
        "unauthenticated",
        message,
        remedy="Send Authorization: Bearer TOKEN; manage.py createtoken makes one.",
        headers={"WWW-Authenticate": REALM},
    )


def by(request: HttpRequest) -> str:
    """Return who calls, for the events."""
    return f"{request.user.get_username()} (API)"

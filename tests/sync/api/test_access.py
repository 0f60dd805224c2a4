"""Who may call the API, and how refusals look."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from sync.api import status, urls
from sync.api.access import ADD, CHANGE, OPERATE, VIEW
from sync.errors import SyncError, TargetError
from sync.models import ApiToken
from tests.people import ROLES, person, signed_in
from tests.sync.api.conftest import ROOT, Caller, bearer, caller, error_of

pytestmark = pytest.mark.django_db

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LOWEST = {VIEW: 1, OPERATE: 2, ADD: 3, CHANGE: 3}
RANKS = {"nobody": 0, "viewer": 1, "operator": 2, "administrator": 3, "root": 4}


def addresses() -> dict[str, Any]:
    """Return the calls of every address of the API, by its path for one thing."""
    found = {}
    for pattern in urls.urlpatterns:
        if pattern.name != "api-nowhere":
            path = str(pattern.pattern).replace("<int:pk>", "987654")
            found[path.removeprefix("^")] = pattern.callback.calls  # type: ignore[attr-defined]
    return found


def test_every_call_has_a_permission_that_is_known() -> None:
    for calls in addresses().values():
        assert calls
        for method, (permission, _) in calls.items():
            assert method in {"GET", "POST", "PATCH"}
            assert permission in LOWEST
            assert method == "GET" or permission != VIEW or permission == ADD


@pytest.mark.parametrize("path", sorted(addresses()))
def test_without_a_token_every_address_is_closed(path: str) -> None:
    for client in (Client(), signed_in("administrator")):
        for method in METHODS:
            answer = client.generic(method, ROOT + path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="dvsync"'
            if method != "HEAD":
                assert error_of(answer, 401)["code"] == "unauthenticated"


@pytest.mark.parametrize("role", RANKS)
def test_every_role_may_do_what_it_may_on_the_pages(role: str) -> None:
    call = caller("" if role == "nobody" else role)
    for path, calls in addresses().items():
        for method, (permission, _) in calls.items():
            answer = call(method, path)
            if RANKS[role] < LOWEST[permission]:
                assert error_of(answer, 403)["code"] == "forbidden"
            else:
                assert answer.status_code not in {401, 403, 405, 500}, (method, path)


@pytest.mark.parametrize("path", sorted(addresses()))
def test_other_methods_are_refused_and_the_right_ones_named(path: str) -> None:
    call = caller("administrator")
    calls = addresses()[path]
    allowed = {*calls, *(["HEAD"] if "GET" in calls else [])}
    for method in set(METHODS) - allowed:
        answer = call(method, path)
        assert answer.status_code == 405
        if method != "HEAD":
            assert error_of(answer, 405)["code"] == "method_not_allowed"
        assert set(answer.headers["Allow"].split(", ")) == allowed


def test_head_is_answered_as_get_is(viewer: Caller) -> None:
    answer = viewer("HEAD", "status")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer  ",
        "Bearer dvsync_unknown",
        "Basic dvsync_unknown",
        "Token {}",
        "{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer \N{SNOWMAN}\xff",
    ],
)
def test_a_token_that_is_not_right_opens_nothing(sent: str) -> None:
    _, text = ApiToken.make(person("root"), "right")
    headers = {"Authorization": sent.format(text)}
    answer = Client().get(ROOT, headers=headers)
    assert error_of(answer, 401)["code"] == "unauthenticated"
    assert text not in answer.content.decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(scheme: str) -> None:
    _, text = ApiToken.make(person("viewer"), "right")
    headers = {"Authorization": f"{scheme} {text}"}
    assert Client().get(ROOT, headers=headers).status_code == 200


def test_a_token_is_good_until_it_expires() -> None:
    user = person("viewer")
    now = timezone.now()
    for expires_at, status_code in (
        (now + timedelta(minutes=1), 200),
        (now - timedelta(seconds=1), 401),
    ):
        _, text = ApiToken.make(user, "x", expires_at)
        headers = {"Authorization": f"Bearer {text}"}
        answer = Client().get(ROOT, headers=headers)
        assert answer.status_code == status_code
    assert "expired" in json.loads(answer.content)["error"]["message"]


def test_the_token_of_a_user_who_is_not_active_opens_nothing() -> None:
    user = person("administrator")
    headers = bearer(user)
    assert Client().get(ROOT, headers=headers).status_code == 200
    user.is_active = False
    user.save()
    assert Client().get(ROOT, headers=headers).status_code == 401


def test_a_role_that_is_taken_away_closes_at_once() -> None:
    user = person("operator")
    headers = bearer(user)
    user.groups.clear()
    error = error_of(Client().get(ROOT, headers=headers), 403)
    assert VIEW in error["message"]


def test_the_use_of_a_token_is_noted_once_a_minute(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    token, text = ApiToken.make(person("root"), "x")
    headers = {"Authorization": f"Bearer {text}"}
    path = f"{ROOT}syncs"
    with django_assert_num_queries(3):  # the token, its use, the syncs
        Client().get(path, headers=headers)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    with django_assert_num_queries(2):
        Client().get(path, headers=headers)
    token.refresh_from_db()
    assert token.last_used_at == first
    earlier = first - timedelta(seconds=61)
    ApiToken.objects.update(last_used_at=earlier)
    Client().get(ROOT, headers=headers)
    token.refresh_from_db()
    assert token.last_used_at is not None
    assert token.last_used_at > earlier


def test_whose_a_token_is_can_be_asked() -> None:
    for role in ROLES:
        document = json.loads(caller(role)("GET", "").content)
        assert document["user"] == role
        assert VIEW in document["permissions"]
        assert (OPERATE in document["permissions"]) is (role != "viewer")


@pytest.mark.parametrize(
    "path",
    ["nothing", "syncs/", "status/", "syncs/x", "syncs/1/explode", "tables", "'"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_address_is_answered_in_json(path: str, method: str) -> None:
    answer = Client(enforce_csrf_checks=True).generic(method, ROOT + path)
    assert error_of(answer, 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("error", "code", "number"),
    [
        (TargetError("database_unavailable", "away"), "database_unavailable", 503),
        (SyncError("row_decided", "gone"), "row_decided", 409),
        (SyncError("history_lost", "gone"), "history_lost", 422),
        (OperationalError("secret"), "database_unavailable", 503),
        (InterfaceError("secret"), "database_unavailable", 503),
        (psycopg.OperationalError("secret"), "database_unavailable", 503),
        (KeyError("secret"), "internal_error", 500),
        (RecursionError("secret"), "internal_error", 500),
    ],
)
def test_what_goes_wrong_is_told_in_json_and_without_details(
    viewer: Caller,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: str,
    number: int,
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        mock.patch.object(status, "overview", side_effect=error),
    ):
        answer = viewer("GET", "status")
    found = error_of(answer, number)
    assert found["code"] == code
    assert "secret" not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()
    assert ("A request of the API failed" in caplog.text) is (number == 500)


def test_answers_are_not_kept_by_anybody(viewer: Caller) -> None:
    answer = viewer("GET", "status")
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not answer.cookies

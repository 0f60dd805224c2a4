"""A caller of the API: each request as a program would send it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sync.models import ApiToken
from tests.people import person

# Django's test client gives its answers further attributes.
Answer = Any
Caller = Callable[..., Answer]
ROOT = "/api/v1/"


def bearer(user: User) -> dict[str, str]:
    """Return the header with a new token of a user."""
    return {"Authorization": f"Bearer {ApiToken.make(user, 'test')[1]}"}


def caller(role: str) -> Caller:
    """Return a function that calls as a user of a role, without any session."""
    headers = bearer(person(role))
    client = Client(enforce_csrf_checks=True)

    def call(method: str, path: str, body: Any = None, **options: Any) -> Answer:
        if body is not None:
            options["data"] = body if isinstance(body, bytes) else json.dumps(body)
        given = {"content_type": "application/json", **options}
        given["headers"] = {**headers, **given.get("headers", {})}
        if not path.startswith("/"):
            path = ROOT + path
        return client.generic(method, path, **given)

    return call


@pytest.fixture
def viewer(db: None) -> Caller:
    return caller("viewer")


@pytest.fixture
def operator(db: None) -> Caller:
    return caller("operator")


@pytest.fixture
def administrator(db: None) -> Caller:
    return caller("administrator")


def error_of(answer: Answer, status: int) -> dict[str, str]:
    """Return the error of an answer, which must be JSON and have the status."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/json"
    document = json.loads(answer.content)
    assert list(document) == ["error"]
    error: dict[str, str] = document["error"]
    assert list(error) == ["code", "message", "where", "remedy"]
    assert error["code"]
    assert error["message"]
    return error


def document_of(answer: Answer, status: int = 200) -> Any:
    """Return the document of an answer that went well."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.content)

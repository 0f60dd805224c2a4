"""Who is let in; the matrix of all addresses is in test_permissions."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from tests.people import ROLES, person, signed_in

pytestmark = pytest.mark.django_db


def test_who_is_not_signed_in_is_led_to_the_login_and_back() -> None:
    answer = Client().get("/?state=late")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin/login/?next=/%3Fstate%3Dlate"


def test_a_region_of_a_page_says_that_one_is_signed_out() -> None:
    answer = Client().get("/", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert "You are signed out" in answer.content.decode()
    assert "<html" not in answer.content.decode()


def test_without_a_role_there_is_nothing_to_see() -> None:
    assert signed_in().get("/").status_code == 403


@pytest.mark.parametrize("role", [*ROLES, "root"])
def test_every_role_sees_the_overview(role: str) -> None:
    answer = signed_in(role).get("/")
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_role_may_all_that_those_before_it_may() -> None:
    rights = [set(person(role).get_all_permissions()) for role in ROLES]
    viewer, operator, administrator = rights
    assert operator - viewer == {"sync.operate_syncconfig"}
    assert viewer < operator < administrator
    assert not any("add" in right or "change" in right for right in operator)
    assert Group.objects.count() == len(ROLES)

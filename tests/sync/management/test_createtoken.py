from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from sync.models import ApiToken
from tests.people import person

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("createtoken", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_token_alone_is_on_stdout_and_opens_the_api() -> None:
    person("viewer")
    out, err = run("viewer")
    text = out.removesuffix("\n")
    assert text.startswith("dvsync_")
    assert text.split() == [text]
    assert text not in err
    assert "good for ever" in err
    token = ApiToken.objects.get()
    assert token.name.startswith("made by ")
    assert text not in (token.digest, token.name)
    answer = Client().get("/api/v1/", headers={"Authorization": f"Bearer {text}"})
    assert answer.json()["user"] == "viewer"


def test_a_token_has_a_name_and_an_end() -> None:
    person("viewer")
    run("viewer", "--name", "nightly job", "--days", "90")
    token = ApiToken.objects.get()
    assert token.name == "nightly job"
    assert token.expires_at is not None
    left = token.expires_at - timezone.now()
    assert timedelta(days=89) < left <= timedelta(days=90)


def test_a_user_without_a_role_is_warned_of() -> None:
    person()
    assert "Warning: the user has no role" in run("nobody")[1]
    assert "Warning" not in run(person("root").username)[1]


def test_who_may_not_sign_in_gets_none() -> None:
    user = person("viewer")
    user.is_active = False
    user.save()
    for name, said in (("viewer", "not active"), ("un\x1bknown", "un\\x1bknown")):
        with pytest.raises(CommandError, match="user") as caught:
            run(name)
        assert caught.value.returncode == 2
        assert said.replace("\\", "\\\\") in str(caught.value) or said in str(
            caught.value
        )
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--days", "0"),
        ("--days", "-1"),
        ("--days", "99999999"),
        ("--days", "x"),
        ("--name", ""),
        ("--name", "x" * 101),
        ("--name", "a\nb"),
    ],
)
def test_odd_options_are_refused(arguments: tuple[str, str]) -> None:
    person("viewer")
    with pytest.raises(CommandError):
        run("viewer", *arguments)
    assert not ApiToken.objects.exists()

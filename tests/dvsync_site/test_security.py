"""What browsers are told to refuse, on every page; and what HTTPS adds to it."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client, override_settings

from dvsync_site import security
from sync.views.probes import PROBES
from tests.addresses import addresses
from tests.people import signed_in

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PLACES = sorted({address.filled() for address in addresses()})
PAGES = [place for place in PLACES if place[1:] not in PROBES]
NO_PAGES = ["/there/is/no/such/page", "/admin/no/such/page/"]


def assert_guarded(answer: Any, what: str = "") -> None:
    for name, value in HEADERS.items():
        assert answer.headers.get(name) == value, what
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    policy = directives(answer.headers["Content-Security-Policy"])
    assert policy.pop("default-src") == ["'none'"]
    assert policy.pop("base-uri") == ["'none'"]
    assert policy.pop("frame-ancestors") == ["'none'"]
    assert {"script-src", "style-src", "form-action", "connect-src"} <= set(policy)
    assert {source for sources in policy.values() for source in sources} == {"'self'"}


def directives(policy: str) -> dict[str, list[str]]:
    found = [part.split() for part in policy.split(";")]
    return {name: sources for name, *sources in found}


# Every page


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["", "viewer", "root"])
def test_every_answer_is_guarded(role: str) -> None:
    for path in [*PAGES, *NO_PAGES]:
        client = signed_in(role) if role else Client()
        for ask in (client.get, client.post):
            assert_guarded(ask(path), f"{ask.__name__} {path}")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["dvsync.css", "dvsync.js", "icons.svg", "nothing"])
def test_every_static_file_is_guarded(name: str) -> None:
    answer = Client().get(f"/static/sync/{name}")
    assert_guarded(answer)
    if answer.streaming:  # a file, to be closed
        answer.close()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/admin/login/", "/nowhere", "/static/x.css"])
def test_the_answer_to_a_wrong_name_is_guarded_too(path: str) -> None:
    answer = Client(headers={"host": "stranger.example"}).get(path)
    assert answer.status_code in {400, 404}
    assert_guarded(answer)


@pytest.mark.django_db
@override_settings(ROOT_URLCONF="tests.dvsync_site.test_security")
def test_the_answer_to_a_fault_of_ours_is_guarded_too() -> None:
    answer = Client(raise_request_exception=False).get("/broken")
    assert answer.status_code == 500
    assert "Something went wrong in dvsync" in answer.content.decode()
    assert_guarded(answer)


def broken(request: Any) -> Any:
    raise LookupError("of the test")


def _patterns() -> list[Any]:
    from django.urls import path

    from dvsync_site.urls import urlpatterns as all_others

    return [*all_others, path("broken", broken)]


urlpatterns = _patterns()


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_what_machines_read_is_not_taken_for_a_page(path: str) -> None:
    answer = Client().get(f"/{path}")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Sign-in and forms


@pytest.mark.django_db
@pytest.mark.parametrize("https", [False, True])
def test_the_cookies_are_for_the_server_alone(https: bool) -> None:
    User.objects.create_superuser("alice", password="correct horse")
    with override_settings(**security.settings(https=https, hosts=["testserver"])):
        client = Client()
        form = {"username": "alice", "password": "correct horse"}
        answer = client.post("/admin/login/", form, secure=https)
        assert answer.status_code == 302
        cookies = {
            "session": client.cookies[settings.SESSION_COOKIE_NAME],
            "csrf": client.cookies[settings.CSRF_COOKIE_NAME],
        }
    for cookie in cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert not cookie["domain"]
        assert bool(cookie["secure"]) is https
        assert cookie.key.startswith("__Host-") is https
    assert cookies["session"]["max-age"] == 12 * 3600


@pytest.mark.django_db
def test_a_form_from_elsewhere_is_refused_in_plain_words() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("alice"))
    answer = client.post("/admin/logout/")
    assert answer.status_code == 403
    text = answer.content.decode()
    assert "This form was not accepted" in text
    assert "<style" not in text


@pytest.mark.django_db
def test_who_may_not_is_told_so_and_may_sign_out() -> None:
    answer = signed_in().get("/")
    text = answer.content.decode()
    assert answer.status_code == 403
    assert "has no right to see or do this" in text
    assert 'action="/admin/logout/"' in text


@pytest.mark.django_db
def test_the_page_that_is_not_there_leads_to_the_overview() -> None:
    answer = signed_in("viewer").get("/nowhere")
    assert answer.status_code == 404
    assert '<a href="/">Go to the overview</a>' in answer.content.decode()


@pytest.mark.parametrize("password", ["short", "123456789012", "alice-alice1"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, User(username="alice-alice"))


def test_a_long_password_is_taken() -> None:
    validate_password("four words of my own", User(username="alice"))


# HTTPS


@pytest.fixture
def over_https() -> Any:
    made = security.settings(https=True, hosts=["testserver", ".example.org", "*"])
    with override_settings(**made):
        yield made


@pytest.mark.django_db
def test_without_tls_one_is_led_to_it_and_probes_are_answered(over_https: Any) -> None:
    answer = Client().get("/?state=late")
    assert answer.status_code == 301
    assert answer.headers["Location"] == "https://testserver/?state=late"
    assert Client().get("/healthz").status_code == 200


@pytest.mark.django_db
def test_with_tls_the_browser_shall_not_forget_it(over_https: Any) -> None:
    answer = Client().get("/admin/login/", secure=True)
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    policy = directives(answer.headers["Content-Security-Policy"])
    assert policy["upgrade-insecure-requests"] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://testserver", 200),
        ("https://sub.example.org", 200),
        ("https://example.org", 200),
        ("http://testserver", 403),
        ("https://stranger.example", 403),
        ("null", 403),
    ],
)
def test_a_form_is_taken_from_our_own_pages_only(
    over_https: Any, origin: str, status: int
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("alice"))
    page = client.get("/admin/password_change/", secure=True).content.decode()
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
    answer = client.post(
        "/admin/logout/",
        {"csrfmiddlewaretoken": token},
        secure=True,
        headers={"origin": origin},
    )
    assert answer.status_code == status


def test_without_https_nothing_is_asked_of_it() -> None:
    made = security.settings(https=False, hosts=["localhost"])
    assert not made["SECURE_SSL_REDIRECT"]
    assert made["SECURE_HSTS_SECONDS"] == 0
    assert made["CSRF_TRUSTED_ORIGINS"] == []
    policy = made["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    assert "upgrade-insecure-requests" not in policy


def test_a_production_site_passes_djangos_own_checks(tmp_path: Path) -> None:
    done = check_for_deployment(tmp_path, DVSYNC_HTTPS="true")
    assert done.returncode == 0, done.stderr
    assert "security.W" not in done.stderr


def test_djangos_checks_tell_of_a_site_without_https(tmp_path: Path) -> None:
    done = check_for_deployment(tmp_path)
    assert done.returncode == 1
    assert set(re.findall(r"security\.W\d+", done.stderr)) == {
        "security.W004",
        "security.W008",
        "security.W012",
        "security.W016",
    }


def check_for_deployment(
    tmp_path: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DVSYNC_DATA": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "dvsync_site.settings",
        "DJANGO_SECRET_KEY": secrets.token_hex(32),
        "DJANGO_ALLOWED_HOSTS": "dvsync.example",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client, RequestFactory
from django.urls import get_resolver, reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from sync.models import Heartbeat
from sync.views.probes import PROBES
from tests.catalogue.steps import ago
from tests.processes import ROOT, database_url
from tests.proxy import Proxy

TOKEN = "of the test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
READY = {"database": True, "migrations": True, "heartbeat": True}


@pytest.fixture
def token(settings: Settings) -> str:
    settings.METRICS_TOKEN = TOKEN
    return TOKEN


# Who may


def test_these_are_all_addresses_of_the_application() -> None:
    """A new one needs its line below: who may see it."""
    found = get_resolver("sync.urls").reverse_dict
    assert set(PROBES) <= {name for name in found if isinstance(name, str)}
    assert set(PROBES) == {"healthz", "readyz", "metrics"}
    assert [reverse(name) for name in PROBES] == [f"/{name}" for name in PROBES]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "status"), [("healthz", 200), ("readyz", 503), ("metrics", 404)]
)
def test_a_stranger_gets_what_everybody_gets(name: str, status: int) -> None:
    answer = Client().get(f"/{name}")
    assert answer.status_code == status
    assert not answer.cookies
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_a_login_does_not_replace_the_token(token: str) -> None:
    User.objects.create_superuser("alice", password="secret")
    client = Client()
    client.login(username="alice", password="secret")
    assert client.get("/metrics").status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \N{SNOWMAN}\xff",
    ],
)
def test_without_the_token_the_metrics_are_refused(
    token: str, sent: str | None
) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert b"dvsync_" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token_the_metrics_are_told(token: str, scheme: str) -> None:
    answer = Client().get("/metrics", headers={"Authorization": f"{scheme} {token}"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"dvsync_heartbeat_age_seconds +Inf" in answer.content


@pytest.mark.django_db
def test_an_empty_token_opens_nothing(settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    for headers in ({}, {"Authorization": "Bearer "}):
        assert Client().get("/metrics", headers=headers).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_nothing_can_be_written(token: str, name: str, method: str) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = getattr(client, method)(f"/{name}", headers=BEARER)
    assert answer.status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize("name", PROBES)
def test_head_is_answered_as_get_is(token: str, name: str) -> None:
    Heartbeat.begin(timezone.now())
    answer = Client().head(f"/{name}", headers=BEARER)
    assert (answer.status_code, answer.content) == (200, b"")


# By which name they are called


@pytest.mark.django_db
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_by_an_unknown_address_is_answered(token: str, name: str) -> None:
    Heartbeat.begin(timezone.now())
    client = Client(headers={"host": "10.1.2.3:8080", **BEARER})
    assert client.get(f"/{name}").status_code == 200
    assert client.get("/admin/login/").status_code == 400


@pytest.mark.parametrize("name", PROBES)
def test_the_addresses_lead_to_the_same_pages_without_the_middleware(name: str) -> None:
    request = RequestFactory().get(f"/{name}")
    assert get_resolver().resolve(request.path_info).func is PROBES[name]


# What they need


@pytest.mark.django_db
def test_the_health_of_the_process_needs_no_database(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/healthz")
    assert answer.content == b"ok\n"


@pytest.mark.django_db
def test_a_site_with_polls_is_ready() -> None:
    Heartbeat.begin(timezone.now())
    answer = Client().get("/readyz")
    document = answer.json()
    assert answer.status_code == 200
    assert 0 <= document.pop("heartbeat_age_seconds") < 60
    assert document == READY


@pytest.mark.django_db
def test_without_a_poll_it_is_not_ready() -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        **READY,
        "heartbeat": False,
        "heartbeat_age_seconds": None,
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "status"), [(80, 200), (100, 503)])
def test_a_poll_of_long_ago_does_not_count(seconds: int, status: int) -> None:
    Heartbeat.begin(timezone.now())
    Heartbeat.objects.update(beat_at=ago(seconds=seconds))
    answer = Client().get("/readyz")
    assert answer.status_code == status
    assert answer.json()["heartbeat"] is (status == 200)


@pytest.mark.django_db
def test_a_database_that_lacks_a_migration_is_not_ready() -> None:
    Heartbeat.begin(timezone.now())
    recorder = MigrationRecorder(connection)
    newest = max(name for app, name in recorder.applied_migrations() if app == "sync")
    recorder.record_unapplied("sync", newest)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "database": True,
        "migrations": False,
        "heartbeat": False,
        "heartbeat_age_seconds": None,
    }


# Without a database, in a process of its own

ASK = """
import django
django.setup()
from django.test import Client
client = Client()
for path in ("/healthz", "/readyz", "/metrics"):
    answer = client.get(path, headers={"Authorization": "Bearer of the test"})
    print(answer.status_code, answer.content.decode())
"""
NOTHING = (
    '503 {"database": false, "migrations": false, "heartbeat": false, '
    '"heartbeat_age_seconds": null}'
)


def ask(url: str) -> str:
    """Return what a process with this database answers, log included."""
    variables = {
        **os.environ,
        "DATABASE_URL": url,
        "DVSYNC_METRICS_TOKEN": f"{TOKEN}\n",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=variables,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgres://nobody:hidden@127.0.0.1:1/nothing",
        "postgres://nobody:hidden@/nothing?host=/nowhere",
    ],
    ids=["refused", "no socket"],
)
def test_without_a_database_the_process_lives_and_says_no_secret(url: str) -> None:
    told = ask(url)
    assert "200 ok\n" in told
    assert NOTHING in told
    assert "503 The database cannot be used\n" in told
    for secret in ("hidden", "nobody", TOKEN):
        assert secret not in told


@pytest.mark.django_db(transaction=True)
def test_a_database_that_was_never_migrated_is_not_ready() -> None:
    empty = f"{connection.settings_dict['NAME']}_empty"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{empty}"')
    try:
        told = ask(database_url().rpartition("/")[0] + f"/{empty}")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{empty}" WITH (FORCE)')
    assert "200 ok\n" in told
    assert '503 {"database": true, "migrations": false' in told
    assert "503 The database cannot be used\n" in told


@pytest.fixture
def proxied(transactional_db: None) -> Iterator[Proxy]:
    """Let this thread's connection lead through a network that breaks."""
    direct = connection.settings_dict
    with Proxy() as proxy:
        connection.close()
        connection.settings_dict = proxy.settings(direct)
        try:
            yield proxy
        finally:
            connections["default"].close()
            connection.settings_dict = direct


def test_a_connection_that_breaks_is_replaced_by_the_next_look(
    proxied: Proxy,
) -> None:
    Heartbeat.begin(timezone.now())
    proxied.cut_before(1)
    answers = [Client().get("/readyz").status_code for _ in range(2)]
    assert proxied.struck.is_set()
    assert answers == [503, 200]

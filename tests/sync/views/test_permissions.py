"""Who may see and do what: every address of the site, every role, GET and POST.

A new address fails here until it has its line in ``PAGES`` or, in the admin, in one of
the lists of models. A line says who may at the least; each role may what those before
it may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLResolver
from django.utils import timezone
from django_q.models import OrmQ, Task

from sync.models import (
    ApiToken,
    Cluster,
    Event,
    Heartbeat,
    Incident,
    Notice,
    Receiver,
    SetupDraft,
    SyncConfig,
    SyncTable,
    Worker,
)
from tests.people import person

pytestmark = pytest.mark.django_db

PUBLIC = "anonymous"  # everybody
STAFF = "nobody"  # who is signed in, also without a role
VIEWER, OPERATOR, ADMINISTRATOR = "viewer", "operator", "administrator"
ROOT = "root"  # superusers alone: no role may
REFUSED = "refused"  # nobody at all
NEVER = "never"  # the method is not there
ROLES = (PUBLIC, STAFF, VIEWER, OPERATOR, ADMINISTRATOR, ROOT)


class Line(NamedTuple):
    """Who may GET and POST; what counts as an answer beside success and redirects."""

    get: str
    post: str
    answers: tuple[int, ...] = ()


PAGES = {
    "healthz": Line(PUBLIC, NEVER),
    "readyz": Line(PUBLIC, NEVER, (503,)),
    "metrics": Line(PUBLIC, NEVER, (404,)),
    "": Line(VIEWER, NEVER),
    "live/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/live/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/timeline/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/timeline/download/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/schema/": Line(VIEWER, NEVER),
    "syncs/<int:pk>/settings/": Line(VIEWER, ADMINISTRATOR, (409, 422)),
    "syncs/<int:pk>/delete/": Line(ADMINISTRATOR, ADMINISTRATOR, (422,)),
    "syncs/<int:pk>/do/<slug:deed>/": Line(NEVER, OPERATOR),
    "syncs/<int:pk>/pause-reason/": Line(NEVER, OPERATOR),
    "tables/<int:pk>/": Line(VIEWER, NEVER),
    "tables/<int:pk>/live/": Line(VIEWER, NEVER),
    "tables/<int:pk>/do/<slug:deed>/": Line(NEVER, OPERATOR),
    "tables/<int:pk>/pause-reason/": Line(NEVER, OPERATOR),
    "errors/": Line(VIEWER, NEVER),
    "errors/do/": Line(NEVER, OPERATOR),
    "errors/<slug:code>/": Line(VIEWER, NEVER),
    "quarantine/": Line(VIEWER, NEVER),
    "quarantine/decide/": Line(NEVER, OPERATOR),
    "preferences/": Line(VIEWER, VIEWER, (422,)),
    "setup/": Line(ADMINISTRATOR, NEVER),
    "setup/<slug:step>/": Line(ADMINISTRATOR, ADMINISTRATOR, (400, 422)),
    "setup/columns/": Line(ADMINISTRATOR, NEVER, (404,)),
    "setup/first-rows/<int:pk>/": Line(VIEWER, NEVER),
    "setup/restart/": Line(NEVER, ADMINISTRATOR),
    "setup/sample/": Line(NEVER, ADMINISTRATOR),
    "support-bundle/": Line(OPERATOR, NEVER),
    "support-bundle/download/": Line(OPERATOR, NEVER),
    # The admin's own.
    "admin/": Line(STAFF, STAFF),
    "admin/login/": Line(PUBLIC, PUBLIC),
    "admin/logout/": Line(NEVER, STAFF),
    "admin/password_change/": Line(STAFF, STAFF),
    "admin/password_change/done/": Line(STAFF, NEVER),
    "admin/autocomplete/": Line(REFUSED, NEVER),
    "admin/jsi18n/": Line(STAFF, NEVER),
    # Nothing of ours has an address for it.
    "admin/r/<path:content_type_id>/<path:object_id>/": Line(STAFF, STAFF, (404,)),
    "admin/^(?P<app_label>sync|django_q|auth)/$": Line(VIEWER, VIEWER),
    "admin/(?P<url>.*)$": Line(STAFF, STAFF, (404,)),
    "admin/auth/user/<id>/password/": Line(ROOT, ROOT),
}


class Model(NamedTuple):
    """Who may do what to a model in the admin."""

    view: str
    add: str = REFUSED
    change: str = REFUSED
    delete: str = REFUSED


SHOWN = Model(VIEWER)
MODELS = {
    "sync/syncconfig": Model(VIEWER, ADMINISTRATOR, ADMINISTRATOR, ADMINISTRATOR),
    "sync/syncpartition": SHOWN,
    "sync/synctable": SHOWN,
    "sync/datasyncprogress": SHOWN,
    "sync/quarantinedrow": SHOWN,
    "sync/event": SHOWN,
    "sync/incident": SHOWN,
    "sync/notice": SHOWN,
    "sync/receiver": SHOWN,
    "sync/heartbeat": SHOWN,
    "sync/cluster": SHOWN,
    "sync/worker": SHOWN,
    "sync/apitoken": Model(ADMINISTRATOR, delete=ADMINISTRATOR),
    "sync/setupdraft": Model(ROOT),
    "django_q/ormq": Model(ROOT),
    "django_q/failure": Model(ROOT),
    "auth/user": Model(ROOT, ROOT, ROOT, ROOT),
    "auth/group": Model(ROOT, ROOT, ROOT, ROOT),
}


def of_models() -> Iterator[tuple[str, Line]]:
    """Return the lines of the admin's addresses for the models."""
    for name, may in MODELS.items():
        one = f"admin/{name}/<path:object_id>"
        yield f"admin/{name}/", Line(may.view, may.view)
        yield f"admin/{name}/add/", Line(may.add, may.add)
        yield f"{one}/change/", Line(may.view, may.change)
        yield f"{one}/delete/", Line(may.delete, may.delete)
        yield f"{one}/history/", Line(may.view, may.view)
        yield f"{one}/", Line(STAFF, STAFF)  # leads to .../change/


LINES = {**PAGES, **dict(of_models())}


def addresses(patterns: Any = None, before: str = "") -> Iterator[str]:
    """Return the patterns of all addresses but the API's."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        here = f"{before}{pattern.pattern}"
        if here.startswith("api/"):
            continue  # no session counts there: tests/sync/api
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, here)
        else:
            yield here


def test_every_address_has_its_line() -> None:
    found = list(addresses())
    assert sorted(set(found) - LINES.keys()) == [], "they need a line"
    assert sorted(LINES.keys() - set(found)) == [], "they are gone"


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Any]:
    """Make a row of every model; return their keys by the admin's names."""
    now = timezone.now()
    config = SyncConfig.objects.create(
        name="s", location=str(tmp_path), schema_name="s"
    )
    table = SyncTable.objects.create(config=config, entity="t", target_name="t")
    partition = config.partitions.create(
        name="2026-03-01T08.00.00Z", opened_at=now, closed_at=now, state="ready"
    )
    row = table.quarantined.create(
        partition=partition.name,
        file="f",
        line=1,
        raw=b"",
        code="bad_row",
        reason="",
        least_width=1,
    )
    Event.record(config, "paused")
    incident = Incident.objects.create(config=config, kind="late")
    receiver = Receiver.objects.create(name="webhook")
    cluster = Cluster.objects.create(queue="poll", host="h", pid=1)
    made: dict[str, Any] = {
        "sync/syncconfig": config,
        "sync/syncpartition": partition,
        "sync/synctable": table,
        "sync/datasyncprogress": config.progress.create(
            partition=partition.name, table_name="t", copy_status=2
        ),
        "sync/quarantinedrow": row,
        "sync/event": Event.objects.get(),
        "sync/incident": incident,
        "sync/notice": Notice.objects.create(
            incident=incident, receiver=receiver, kind="late", sent_at=now
        ),
        "sync/receiver": receiver,
        "sync/heartbeat": Heartbeat.objects.create(name="poll", beat_at=now, slot=now),
        "sync/cluster": cluster,
        "sync/worker": Worker.objects.create(cluster=cluster, pid=1),
        "sync/apitoken": ApiToken.make(person(OPERATOR), "t")[0],
        "sync/setupdraft": SetupDraft.objects.create(user=person(OPERATOR)),
        "django_q/ormq": OrmQ.objects.create(key="sync", payload="x", lock=now),
        "django_q/failure": Task.objects.create(
            id="f", name="n", func="f", started=now, stopped=now, success=False
        ),
        "auth/user": User.objects.create(username="somebody"),
        "auth/group": Group.objects.create(name="some"),
    }
    return {name: thing.pk for name, thing in made.items()}


def address(pattern: str, rows: dict[str, Any]) -> str:
    """Return an address that the pattern matches, of a row that is there."""
    model = re.match(r"admin/(\w+/\w+)/", pattern)
    pk = rows.get(model[1], 1) if model else 1
    if pattern.startswith(("syncs/", "tables/", "setup/")):
        pk = rows["sync/syncconfig" if pattern[0] == "s" else "sync/synctable"]
    named = {
        r"<int:pk>": pk,
        r"<id>": pk,
        r"<path:object_id>": pk,
        r"<path:content_type_id>": 1,
        r"<slug:deed>": "retry",
        r"<slug:code>": "bad_row",
        r"<slug:step>": "model",
        r"^(?P<app_label>sync|django_q|auth)/$": "sync/",
        r"(?P<url>.*)$": "nowhere/",
    }
    for name, value in named.items():
        pattern = pattern.replace(name, str(value))
    return f"/{pattern}"


def expected(role: str, least: str, pattern: str) -> str:
    """Return in a word how the site must answer."""
    if role == PUBLIC and pattern == "admin/logout/":
        return "done"  # who is signed out is led to the front page
    if least == NEVER:
        in_admin = role == PUBLIC and pattern.startswith("admin/")
        return "to the login" if in_admin else "no such method"
    if role == PUBLIC != least:
        return "to the login"
    if least == REFUSED or ROLES.index(role) < ROLES.index(least):
        return "refused"
    return "done"


def verdict(answer: HttpResponse, line: Line) -> str:
    """Return in a word how the site answered."""
    location = answer.headers.get("Location", "")
    if location.startswith("/admin/login/"):
        return "to the login"
    words = {403: "refused", 405: "no such method"}
    fine = answer.status_code < 400 or answer.status_code in line.answers
    return words.get(answer.status_code, "done" if fine else str(answer.status_code))


def ask(client: Client, method: str, url: str) -> HttpResponse:
    answer: Any = client.get(url) if method == "GET" else client.post(url)
    return answer  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("role", ROLES)
def test_every_address_answers_every_role_as_its_line_says(
    rows: dict[str, Any], role: str, method: str
) -> None:
    wrong = []
    user = None if role == PUBLIC else person("" if role == STAFF else role)
    client = Client()
    if user:
        client.force_login(user)
    for pattern in sorted(LINES.keys() & addresses()):
        line = LINES[pattern]
        url = address(pattern, rows)
        least = line.get if method == "GET" else line.post
        wanted = expected(role, least, pattern)
        answer = ask(client, method, url)
        found = verdict(answer, line)
        if "app_label" in pattern and answer.status_code == 404:
            found = "refused"  # the admin hides an app of which one may see nothing
        if found != wanted:
            wrong.append(f"{method} {url}: {found}, not {wanted}")
        if user and url == "/admin/logout/":
            client.force_login(user)
    assert wrong == []


def test_every_post_needs_its_token(rows: dict[str, Any]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person(ROOT))
    wrong = {}
    for pattern in sorted(addresses()):
        answer = ask(client, "POST", address(pattern, rows))
        if answer.status_code not in {403, 405}:
            wrong[pattern] = answer.status_code
    assert wrong == {}


@pytest.mark.parametrize("deed", ["sync-now", "pause", "resume", "retry"])
def test_deeds_to_a_sync_are_for_operators(rows: dict[str, Any], deed: str) -> None:
    url = f"/syncs/{rows['sync/syncconfig']}/do/{deed}/"
    assert _who_may(url) == [OPERATOR, ADMINISTRATOR, ROOT]


@pytest.mark.parametrize(
    ("deed", "least"),
    [
        *((name, OPERATOR) for name in ("retry", "pause", "resume", "refresh")),
        *((name, OPERATOR) for name in ("approve-deletes", "accept-loss")),
        ("add", ADMINISTRATOR),
    ],
)
def test_deeds_to_a_table_are_for_operators_and_new_tables_for_administrators(
    rows: dict[str, Any], deed: str, least: str
) -> None:
    url = f"/tables/{rows['sync/synctable']}/do/{deed}/"
    assert _who_may(url) == list(ROLES[ROLES.index(least) :])


def _who_may(url: str) -> list[str]:
    may = []
    for role in ROLES[1:]:
        client = Client()
        client.force_login(person("" if role == STAFF else role))
        if client.post(url).status_code in {200, 302}:
            may.append(role)
    return may

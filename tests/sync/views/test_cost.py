"""What the regions cost that every open page asks for every two seconds."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from psycopg import sql

from bench.crowd import make_crowd
from sync.models import DataSyncProgress, SyncConfig, SyncTable
from tests.people import signed_in
from tests.sync.conftest import run_sql

pytestmark = pytest.mark.django_db(transaction=True)
TABLES = 300
LIMIT = 10 * 1024


@pytest.fixture
def crowd() -> Iterator[SyncConfig]:
    config = make_crowd(TABLES)
    yield config
    run_sql(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(config.name)))


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement, also those of raw cursors of psycopg."""
    found: list[str] = []
    really = psycopg.Cursor.execute

    def execute(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        found.append(str(query))
        return really(self, query, *args, **options)

    with ExitStack() as stack:
        for kind in {psycopg.Cursor, *psycopg.Cursor.__subclasses__()}:
            if "execute" in vars(kind):
                stack.enter_context(mock.patch.object(kind, "execute", execute))
        yield found


def of_the_page(found: list[str]) -> list[str]:
    """Leave out what Django asks about session, user and permissions."""
    login = ('FROM "django_session"', 'FROM "auth_user"', 'FROM "auth_permission"')
    return [query for query in found if not any(part in query for part in login)]


def regions(config: SyncConfig) -> list[str]:
    table = SyncTable.objects.filter(config=config).first()
    assert table
    return [
        reverse("overview-live"),
        reverse("sync-live", args=[config.pk]),
        reverse("table-live", args=[table.pk]),
    ]


def ask(client: Client, path: str) -> tuple[bytes, list[str]]:
    """Return what a region answers, and the statements that it needed."""
    client.get(path)  # the connection is open then
    with statements() as found:
        answer = client.get(path, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return answer.content, found


def test_every_region_needs_three_statements(crowd: SyncConfig) -> None:
    for role in ("viewer", "operator", "root"):
        client = signed_in(role)
        for path in regions(crowd):
            _, found = ask(client, path)
            assert len(of_the_page(found)) <= 3, (path, of_the_page(found))
            assert len(found) <= 7, found


def test_also_when_there_is_no_sync() -> None:
    _, found = ask(signed_in("viewer"), reverse("overview-live"))
    assert len(of_the_page(found)) <= 3


def test_raw_cursors_are_counted() -> None:
    connection.ensure_connection()
    with statements() as found:
        connection.connection.cursor().execute("SELECT 1")
        User.objects.exists()
    assert len(found) == 2


@pytest.mark.parametrize("role", ["viewer", "administrator"])
@pytest.mark.parametrize("failing", [0, 3, TABLES])
def test_every_region_has_ten_kilobytes_at_the_most(role: str, failing: int) -> None:
    config = make_crowd(TABLES, failing=0)
    try:
        fail(config, failing)
        for path in regions(config):
            content, _ = ask(signed_in(role), path)
            assert len(gzip.compress(content, 6)) <= LIMIT, path
    finally:
        run_sql(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(config.name)))


def fail(config: SyncConfig, number: int) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    for table in SyncTable.objects.filter(config=config)[:number]:
        rows = DataSyncProgress.objects.filter(config=config, table_name=table.entity)
        newest = rows.order_by("-partition")[:1].values("pk")
        value = "".join(chance.choices("abcdefghijklmnop", k=30))
        rows.filter(pk__in=newest).update(
            copy_status=2,
            attempts=3,
            error_code="bad_value",
            error_message=f"'{value}' is no int64: invalid input syntax for bigint",
        )


def test_answers_are_compressed(crowd: SyncConfig) -> None:
    headers = {"HX-Request": "true", "Accept-Encoding": "gzip"}
    answer = signed_in("operator").get(regions(crowd)[1], headers=headers)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.content) <= LIMIT
    assert b"table" in gzip.decompress(answer.content)

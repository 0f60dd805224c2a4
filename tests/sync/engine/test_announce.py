"""Listeners hear of every committed load, once, and of nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_django import Settings

from sync import faultpoints
from sync.engine import announce as announce_module
from sync.engine import webhook
from sync.engine.announce import announce, tell
from sync.engine.load import LoadResult, sync_table
from sync.engine.quarantine import reprocess
from sync.engine.refresh import refresh_table
from sync.models import QuarantinedRow, SyncConfig, SyncTable
from sync.target.winners import RowCounts
from tests import receivers, snapshot
from tests.catalogue.steps import configure
from tests.sync.conftest import Export


class CrashError(Exception):
    pass


def crash() -> None:
    raise CrashError


class Listener:
    """A session that listens as dbt or a cache would."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute("LISTEN dvsync")

    def heard(self) -> list[dict[str, str]]:
        """Return what came since the last time; all that was committed is there."""
        self._connection.execute("NOTIFY dvsync, 'end'")
        found: list[dict[str, str]] = []
        for notification in self._connection.notifies(timeout=30):
            if notification.payload == "end":
                return found
            found.append(json.loads(notification.payload))
        raise AssertionError("the end did not come")


@pytest.fixture
def listener(transactional_db: None) -> Iterator[Listener]:
    with snapshot.connect() as connection:
        yield Listener(connection)


def test_each_committed_load_is_heard_once(export: Export, listener: Listener) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="c")
    export.close_folder()
    export.upsert("account", 2, name="b")
    last = export.close_folder()
    export.sync()
    heard = sorted(listener.heard(), key=lambda said: said["table"])
    name = export.config.name
    place = {"sync": name, "schema": name}
    assert heard[0] == {
        **place,
        "table": "account",
        "relation": "account",
        "partition": last,
    }
    assert [said["table"] for said in heard] == ["account", "contact"]
    export.sync()
    assert listener.heard() == []


def test_a_load_that_is_rolled_back_is_not_heard_of(
    export: Export, listener: Listener
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    with faultpoints.armed("progress_written", action=crash), pytest.raises(CrashError):
        sync_table(export.entity("account"))
    assert listener.heard() == []
    export.load("account")
    assert len(listener.heard()) == 1


def test_rows_are_there_when_they_are_heard_of(
    export: Export, listener: Listener
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    [said] = listener.heard()
    with snapshot.connect() as other:
        rows = snapshot.select(
            other,
            psycopg.sql.Identifier(said["schema"], said["relation"]),
            {"name": "name"},
        )
    assert rows == [{"name": "a"}]


def test_a_refresh_is_heard_of(export: Export, listener: Listener) -> None:
    export.upsert("account", 1, name="a")
    first = export.close_folder()
    export.load("account")
    listener.heard()
    refresh_table(export.entity("account"))
    [said] = listener.heard()
    assert (said["table"], said["partition"]) == ("account", first)


def test_a_row_that_is_applied_after_all_is_heard_of(
    export: Export, listener: Listener
) -> None:
    configure(export, bad_rows="quarantine")
    export.upsert("account", 1, name="a")
    bad = b'00000000-0000-0000-0000-000000000009,,,"x",1,9,,maybe\n'
    export.raw("account", "2026.csv", bad)
    export.close_folder()
    export.load("account")
    row = QuarantinedRow.objects.get()
    QuarantinedRow.objects.update(raw=bad.strip().replace(b"maybe", b"False"))
    row.refresh_from_db()
    listener.heard()
    assert reprocess(row).done == "inserted"
    assert len(listener.heard()) == 1


@pytest.mark.parametrize("letter", ["\U0001f642", "\x01", '"', "x"])
def test_names_of_any_length_fit(listener: Listener, letter: str) -> None:
    config = SyncConfig(name=letter * 100, schema_name="s" * 63)
    table = SyncTable(config=config, entity=letter * 4000, target_name="t" * 63)
    announce(table, letter * 4000)
    [said] = listener.heard()
    assert said["relation"] == "t" * 63
    assert said["table"] == letter * 200


@pytest.fixture
def hook(settings: Settings) -> Iterator[receivers.Webhook]:
    settings.WEBHOOK_SECRET = "canary-of-the-secret"
    with receivers.webhook() as server:
        settings.LOAD_WEBHOOK_URL = server.url
        yield server


TABLE = SyncTable(
    config=SyncConfig(name="sales", schema_name="s"),
    entity="account",
    target_name="account",
    last_partition="2026-03-01T08.00.00Z",
)


def loaded() -> LoadResult:
    return LoadResult("success", 2, RowCounts(inserted=3, updated=1), 100, 0.5)


def test_a_webhook_hears_of_a_load_with_its_counts(hook: receivers.Webhook) -> None:
    tell(TABLE, loaded())
    [document] = hook.documents
    del document["id"], document["sent_at"]
    assert document == {
        "schema_version": 1,
        "event": "load",
        "sync": "sales",
        "schema": "s",
        "table": "account",
        "relation": "account",
        "partition": "2026-03-01T08.00.00Z",
        "partitions": 2,
        "rows": {
            "inserted": 3,
            "updated": 1,
            "deleted": 0,
            "unchanged": 0,
            "rejected": 0,
            "missing": 0,
        },
        "bytes": 100,
        "seconds": 0.5,
    }
    assert "X-Dvsync-Signature" in hook.posts[0][1]


def test_a_webhook_hears_nothing_when_nothing_was_applied(
    hook: receivers.Webhook,
) -> None:
    tell(TABLE, LoadResult())
    assert hook.posts == []


@pytest.fixture(autouse=True)
def no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failure of one test be forgotten in the next."""
    monkeypatch.setattr(announce_module._silent, "until", 0.0)


@pytest.mark.parametrize("manner", ["answer", "silent"])
def test_a_webhook_that_fails_is_logged_and_stops_nothing(
    hook: receivers.Webhook,
    manner: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.2)
    hook.manner, hook.status = manner, 500
    with caplog.at_level(logging.DEBUG):
        tell(TABLE, loaded())
        tell(TABLE, loaded())  # left alone for a while: no wait, no second line
    [record] = caplog.records
    assert "The load of s.account was not told" in record.getMessage()
    assert "canary" not in caplog.text

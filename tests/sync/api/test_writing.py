"""Uploading a model.json, creating and editing a sync, and what one may do to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django_q.models import OrmQ
from pytest_django import Settings

from sync.engine.locks import Namespace
from sync.models import Event, SyncConfig, SyncTable
from tests.catalogue.steps import configure, quarantined
from tests.exports import ExportWriter
from tests.people import person
from tests.sync.api.conftest import ROOT, Caller, bearer, document_of, error_of
from tests.sync.api.test_reading import park, set_aside
from tests.sync.conftest import Export, Feed
from tests.sync.engine.test_refresh import in_thread

MODEL = {
    "name": "cdm",
    "entities": [
        {
            "name": "Account",
            "attributes": [
                {"name": "Id", "dataType": "guid"},
                {"name": "name", "dataType": "string"},
                {"name": "Name", "dataType": "odd"},
            ],
        },
        {"name": "nokey", "attributes": [{"name": "x", "dataType": "int64"}]},
    ],
}


@pytest.fixture
def place(tmp_path: Path, settings: Settings) -> ExportWriter:
    """Return an export that may be offered."""
    settings.ROOTS = [tmp_path]
    writer = ExportWriter(tmp_path / "sales")
    writer.upsert("account", 1, name="a")
    writer.upsert("contact", 1, name="a")
    writer.close_folder()
    return writer


# model.json


def test_a_model_json_is_told_as_postgresql_would_have_it(
    administrator: Caller,
) -> None:
    found = document_of(administrator("POST", "models", MODEL))
    account, nokey = found["tables"]
    assert (account["table"], account["target"]) == ("Account", "account")
    assert (account["key"], account["problem"]) == ("id", None)
    assert account["columns"][:2] == [
        {"name": "Id", "type": "guid", "column": "id", "sql": "uuid"},
        {"name": "name", "type": "string", "column": "name", "sql": "text"},
    ]
    assert account["columns"][2]["column"].startswith("name_")
    assert "has no column Id" in nokey["problem"]
    assert "odd" in found["warnings"][0]
    assert not SyncConfig.objects.exists()


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"x", "model.json, line 1, column 1"),
        (b"{}", "entities"),
        (b'{"entities": [{}]}', "entities[0].name"),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (b'{"a": 1, "a": 2}', ""),
    ],
)
def test_what_is_no_model_json_is_refused_with_its_place(
    administrator: Caller, data: bytes, where: str
) -> None:
    error = error_of(administrator("POST", "models", data), 422)
    assert (error["code"], error["where"]) == ("model_malformed", where)


def test_a_model_json_that_is_too_large_is_not_read(
    administrator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.api.models.MAX_BYTES", 100)
    error = error_of(administrator("POST", "models", b" " * 101), 413)
    assert error["code"] == "too_large"


# Bodies


@pytest.mark.parametrize(
    ("body", "status", "code", "where"),
    [
        (b"{", 400, "bad_request", ""),
        (b"[]", 400, "bad_request", ""),
        (b"\xff\xfe", 400, "bad_request", ""),
        (b'{"name": NaN}', 400, "bad_request", ""),
        (b'{"name": 1' + b"0" * 5000 + b"}", 400, "bad_request", ""),
        (b'{"name": "a", "name": "b"}', 400, "bad_request", ""),
        (b"[" * 60_000, 400, "bad_request", ""),
        ({"name": "x"}, 422, "bad_field", "location"),
        ({"name": 1, "location": "/"}, 422, "bad_field", "name"),
        ({"nonsense": 1}, 422, "bad_field", "nonsense"),
        ({"include": "a"}, 422, "bad_field", "include"),
        ({"include": [1]}, 422, "bad_field", "include"),
        ({"bad_rows": "skip"}, 422, "bad_field", "bad_rows"),
        ({"bad_rows": ["stop"]}, 422, "bad_field", "bad_rows"),
        ({"max_bad_rows": -1}, 422, "bad_field", "max_bad_rows"),
        ({"max_bad_rows": True}, 422, "bad_field", "max_bad_rows"),
        ({"max_bad_rows": 1.5}, 422, "bad_field", "max_bad_rows"),
        ({"max_bad_rows": 2**31}, 422, "bad_field", "max_bad_rows"),
        ({"max_delete_share": 101}, 422, "bad_field", "max_delete_share"),
        ({"model_json": "x"}, 422, "bad_field", "model_json"),
    ],
)
def test_a_body_that_is_not_right_is_refused(
    administrator: Caller, body: Any, status: int, code: str, where: str
) -> None:
    error = error_of(administrator("POST", "syncs", body), status)
    assert (error["code"], error["where"]) == (code, where)
    assert not SyncConfig.objects.exists()


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data; boundary=x"])
def test_a_body_must_be_json(administrator: Caller, kind: str) -> None:
    answer = administrator("POST", "syncs", b"{}", content_type=kind)
    assert error_of(answer, 415)["code"] == "unsupported_media_type"


def test_a_body_that_is_too_large_is_refused(export: Export, operator: Caller) -> None:
    answer = operator("POST", "quarantine/decide", b" " * (64 * 1024 + 1))
    assert error_of(answer, 413)["code"] == "too_large"


def test_a_body_without_a_length_is_refused(administrator: Caller) -> None:
    answer = administrator("POST", "syncs", CONTENT_LENGTH="")
    assert error_of(answer, 411)["code"] == "length_required"


def test_a_form_is_no_way_in(db: None) -> None:
    headers = bearer(person("administrator"))
    client = Client(enforce_csrf_checks=True)
    answer = client.post(f"{ROOT}syncs", {"name": "x"}, headers=headers)
    assert error_of(answer, 415)["code"] == "unsupported_media_type"


# Creating


def test_a_sync_is_created_as_by_the_command(
    place: ExportWriter, administrator: Caller
) -> None:
    body = {
        "name": "sales",
        "location": str(place.root),
        "schema": "crm",
        "exclude": ["cont*"],
        "bad_rows": "quarantine",
        "max_bad_rows": 7,
    }
    answer = administrator("POST", "syncs", body)
    created = document_of(answer, 201)
    config = SyncConfig.objects.get()
    assert created["tables"] == ["account"]
    assert created["sync"]["schema"] == "crm"
    assert created["sync"]["settings"]["max_bad_rows"] == 7
    assert answer.headers["Location"] == f"{ROOT}syncs/{config.pk}"
    assert (config.bad_rows, config.exclude) == ("quarantine", ["cont*"])
    assert document_of(administrator("GET", answer.headers["Location"]))


def test_a_model_json_can_come_with_a_new_sync(
    place: ExportWriter, administrator: Caller, tmp_path: Path
) -> None:
    empty = ExportWriter(tmp_path / "empty")
    body = {"name": "sales", "location": str(empty.root), "model_json": MODEL}
    created = document_of(administrator("POST", "syncs", body), 201)
    assert created["tables"] == ["Account", "nokey"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "no name for a sync"),
        ({"name": "a\nb"}, "no name for a sync"),
        ({"name": "\ud800"}, "no name for a sync"),
        ({"schema": "public"}, "reserved"),
        ({"schema": "pg_x"}, "reserved"),
        ({"include": ["a\0"]}, "no glob"),
        ({"model_json": {}}, "has no entities"),
        ({"location": "/nowhere"}, ""),
        ({"location": "relative"}, ""),
        ({"location": "\0"}, ""),
        ({"location": "\ud800"}, ""),
        ({"location": ""}, ""),
    ],
)
def test_what_the_command_refuses_is_refused(
    place: ExportWriter, administrator: Caller, changes: dict[str, Any], said: str
) -> None:
    body = {"name": "sales", "location": str(place.root), **changes}
    error = error_of(administrator("POST", "syncs", body), 422)
    assert error["code"] == "bad_config"
    assert said in error["message"]
    assert not SyncConfig.objects.exists()


def test_a_directory_outside_of_the_roots_is_refused(
    place: ExportWriter, administrator: Caller, tmp_path: Path, settings: Settings
) -> None:
    settings.ROOTS = [tmp_path / "roots"]
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "link").symlink_to(place.root)
    for location in (
        str(place.root),
        str(tmp_path / "roots" / ".." / "sales"),
        str(tmp_path / "roots" / "link"),
    ):
        body = {"name": "sales", "location": location}
        error = error_of(administrator("POST", "syncs", body), 422)
        assert "DVSYNC_ROOTS" in error["message"]
    assert not SyncConfig.objects.exists()


def test_a_second_sync_of_the_same_name_is_a_conflict(
    place: ExportWriter, administrator: Caller
) -> None:
    body = {"name": "sales", "location": str(place.root)}
    document_of(administrator("POST", "syncs", body), 201)
    assert "already" in error_of(administrator("POST", "syncs", body), 409)["message"]
    other = {**body, "name": "other", "schema": "sales"}
    assert "schema" in error_of(administrator("POST", "syncs", other), 409)["message"]
    assert SyncConfig.objects.count() == 1


# Editing


def test_settings_are_edited_and_the_event_says_by_whom(
    export: Export, administrator: Caller
) -> None:
    path = f"syncs/{export.config.pk}"
    told = document_of(administrator("PATCH", path, {"max_bad_rows": 5}))
    assert told["sync"]["settings"]["max_bad_rows"] == 5
    assert told["changed"] == ["max_bad_rows 5"]
    event = Event.objects.get(kind="sync_edited")
    assert "administrator (API)" in event.message
    assert (
        document_of(administrator("PATCH", path, {"max_bad_rows": 5}))["changed"] == []
    )


@pytest.mark.parametrize("name", ["name", "location", "schema", "paused", "model_json"])
def test_what_makes_a_sync_what_it_is_cannot_be_edited(
    export: Export, administrator: Caller, name: str
) -> None:
    answer = administrator("PATCH", f"syncs/{export.config.pk}", {name: "x"})
    assert error_of(answer, 422)["where"] == name


# Deeds


def deed(call: Caller, what: Any, name: str, body: Any = None) -> Any:
    kind = "tables" if isinstance(what, SyncTable) else "syncs"
    return call("POST", f"{kind}/{what.pk}/{name}", body)


def test_a_sync_is_paused_and_resumed(export: Export, operator: Caller) -> None:
    for name, paused in (("pause", True), ("resume", False)):
        assert document_of(deed(operator, export.config, name))["done"] is True
        export.config.refresh_from_db()
        assert export.config.paused is paused
        again = document_of(deed(operator, export.config, name))
        assert again["done"] is False
        assert again["message"]
    kinds = Event.objects.filter(kind__in=["paused", "resumed"])
    assert {event.message for event in kinds} == {"by operator (API)"}


def test_a_table_is_paused_retried_and_resumed(
    export: Export, operator: Caller
) -> None:
    park(export)
    table = export.entity("account")
    assert document_of(deed(operator, table, "retry"))["done"] is True
    assert export.entity("account").state == "active"
    assert document_of(deed(operator, table, "retry"))["done"] is False
    assert document_of(deed(operator, table, "pause"))["done"] is True
    assert error_of(deed(operator, table, "retry"), 409)["code"] == "conflict"
    assert document_of(deed(operator, table, "resume"))["done"] is True


def test_a_sync_is_looked_at_when_asked_for(export: Export, operator: Caller) -> None:
    assert document_of(deed(operator, export.config, "sync-now"))["done"] is True
    assert document_of(deed(operator, export.config, "sync-now"))["done"] is False
    assert OrmQ.objects.count() == 1
    configure(export, paused=True)
    error = error_of(deed(operator, export.config, "sync-now"), 409)
    assert "paused" in error["message"]


def test_what_failed_of_a_sync_is_retried(export: Export, operator: Caller) -> None:
    park(export)
    told = document_of(deed(operator, export.config, "retry"))
    assert (told["done"], "account" in told["message"]) == (True, True)
    assert document_of(deed(operator, export.config, "retry"))["done"] is False


def test_a_table_is_refreshed_by_the_service(export: Export, operator: Caller) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    table = export.entity("account")
    assert document_of(deed(operator, table, "refresh"))["done"] is True
    assert error_of(deed(operator, table, "refresh"), 409)["code"] == "conflict"


def test_what_does_not_wait_for_a_decision_is_a_conflict(
    export: Export, operator: Caller, administrator: Caller
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    table = export.entity("account")
    for name in ("approve-deletes", "accept-loss"):
        error_of(deed(operator, table, name), 409)
    error_of(deed(administrator, table, "add"), 409)


def held(export: Export) -> str:
    """Let a table be held for its deletes; return the partition."""
    configure(export, max_delete_share=1)
    for number in range(1200):
        export.upsert("account", number, name="a")
    export.close_folder()
    export.load("account")
    for number in range(1100):
        export.delete("account", number)
    folder = export.close_folder()
    export.sync()
    assert export.entity("account").state == "held"
    return folder


def test_held_deletes_are_approved_for_the_partition_that_was_seen(
    export: Export, operator: Caller
) -> None:
    folder = held(export)
    table = export.entity("account")
    other = {"partition": "2020-01-01T00.00.00Z"}
    error_of(deed(operator, table, "approve-deletes", other), 409)
    assert export.entity("account").state == "held"
    told = deed(operator, table, "approve-deletes", {"partition": folder})
    assert document_of(told)["done"] is True
    assert export.entity("account").approved_partition == folder


def test_a_new_table_is_added_by_an_administrator_alone(
    export: Export, operator: Caller, administrator: Caller
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    SyncTable.objects.update(state="new", followed=False)
    table = export.entity("account")
    assert error_of(deed(operator, table, "add"), 403)
    assert document_of(deed(administrator, table, "add"))["done"] is True


def test_a_deed_takes_no_body_that_says_something(
    export: Export, operator: Caller
) -> None:
    error = error_of(deed(operator, export.config, "pause", {"now": True}), 422)
    assert error["where"] == "now"
    assert document_of(deed(operator, export.config, "pause", {}))["done"] is True


def test_a_pause_may_say_why(export: Export, operator: Caller) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    for what in (export.config, export.entity("account")):
        body = {"reason": "upgrade of\nDataverse"}
        told = document_of(deed(operator, what, "pause", body))
        assert (told["done"], "is paused." in told["message"]) == (True, True)
        again = document_of(deed(operator, what, "pause", {"reason": "a move"}))
        assert again["done"] is True
        assert again["message"].endswith("by operator (API): a move.")
        twice = document_of(deed(operator, what, "pause"))
        assert twice["done"] is False
        assert twice["message"].endswith("by operator (API): a move.")
    events = Event.objects.filter(kind="paused").order_by("table_name")
    assert {event.message for event in events} == {"by operator (API): a move"}
    assert [event.table_name for event in events] == ["", "account"]
    found = document_of(operator("GET", f"syncs/{export.config.pk}"))
    assert found["sync"]["reason"].endswith("by operator (API): a move")


@pytest.mark.parametrize("reason", [1, None, ["why"], {"why": "x"}, True])
def test_a_reason_is_a_text(export: Export, operator: Caller, reason: Any) -> None:
    error = error_of(deed(operator, export.config, "pause", {"reason": reason}), 422)
    assert (error["code"], error["where"]) == ("bad_field", "reason")
    assert error["message"] == "reason must be a text"
    export.config.refresh_from_db()
    assert not export.config.paused


@pytest.mark.parametrize("reason", ["", " \n"])
def test_an_empty_reason_is_none(export: Export, operator: Caller, reason: str) -> None:
    body = {"reason": reason}
    assert document_of(deed(operator, export.config, "pause", body))["done"] is True
    assert document_of(deed(operator, export.config, "pause", body))["done"] is False
    assert Event.objects.get(kind="paused").message == "by operator (API)"


@pytest.mark.parametrize("name", ["resume", "retry", "sync-now"])
def test_only_a_pause_has_a_reason(export: Export, operator: Caller, name: str) -> None:
    answer = deed(operator, export.config, name, {"reason": "why"})
    assert error_of(answer, 422)["where"] == "reason"


# Rows set aside


def test_rows_are_decided_and_each_is_told(export: Export, operator: Caller) -> None:
    set_aside(export, rows=3)
    first, second, third = (row.pk for row in quarantined(export, "account"))
    body = {"rows": [first, 987_654], "deed": "dismiss"}
    told = document_of(operator("POST", "quarantine/decide", body))
    assert told["summary"] == "1 dismissed, 1 is not there any more"
    body = {"rows": [third, second, first], "deed": "reprocess"}
    told = document_of(operator("POST", "quarantine/decide", body))
    became = {row["id"]: row["became"] for row in told["rows"]}
    assert became == {
        first: "was decided by somebody else meanwhile",
        second: "cannot be applied yet",
        third: "cannot be applied yet",
    }
    assert told["rows"][1]["code"] == "bad_value"


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [], "deed": "dismiss"},
        {"rows": [0], "deed": "dismiss"},
        {"rows": ["1"], "deed": "dismiss"},
        {"rows": [True], "deed": "dismiss"},
        {"rows": [2**63], "deed": "dismiss"},
        {"rows": list(range(1, 102)), "deed": "dismiss"},
        {"rows": [1], "deed": "delete"},
        {"rows": [1]},
    ],
)
def test_an_odd_decision_is_refused(operator: Caller, body: Any) -> None:
    error_of(operator("POST", "quarantine/decide", body), 422)


def test_a_busy_table_is_told_so(export: Export, operator: Caller) -> None:
    set_aside(export)
    [row] = quarantined(export, "account")
    told: list[Any] = []
    with connection.cursor() as cursor:
        lock = [Namespace.TABLE, row.table_id]
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", lock)
        body = {"rows": [row.pk], "deed": "reprocess"}
        in_thread(lambda: told.append(operator("POST", "quarantine/decide", body)))
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    [one] = json.loads(told[0].content)["rows"]
    assert one["became"] == "not tried: its table is busy"


# Change feeds


def test_a_change_feed_is_created_and_its_progress_told(
    administrator: Caller, feed: Feed, settings: Settings
) -> None:
    settings.ROOTS = [feed.root]
    feed.insert("account", Id="a", name="Anna")
    feed.update("account", Id="b", name="Bert")
    given = {"name": "one", "location": str(feed.path), "missing_keys": "insert"}
    made = document_of(administrator("POST", "syncs", given), 201)["sync"]
    assert (made["kind"], made["settings"]["missing_keys"]) == ("change-feed", "insert")
    odd = {"name": "odd", "location": str(feed.path), "kind": "synapse-link"}
    assert "is a file" in error_of(administrator("POST", "syncs", odd), 422)["message"]
    feed.sync()
    [row] = document_of(administrator("GET", "progress"))["progress"]
    size = feed.path.stat().st_size
    assert (row["applied_offset"], row["end_offset"]) == (size, size)
    assert row["rows"]["missing"] == 1


def test_a_line_that_was_set_aside_is_not_reprocessed(
    operator: Caller, make_feed: Callable[..., Feed]
) -> None:
    feed = make_feed(bad_rows="quarantine")
    feed.raw('2024-09-10T12:00:00Z | UPDATE | account | {"name": "x"}\n')
    feed.sync()
    [row] = document_of(operator("GET", "quarantine"))["rows"]
    asked = {"deed": "reprocess", "rows": [row["id"]]}
    [told] = document_of(operator("POST", "quarantine/decide", asked))["rows"]
    assert told["code"] == "line_out_of_turn"
    assert told["became"] == "cannot be applied yet"

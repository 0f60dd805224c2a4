"""The settings of a sync, and its end, as pages."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from sync.engine.locks import Namespace
from sync.engine.removal import Removed, remove_sync
from sync.models import Event, SyncConfig
from sync.views import sync_settings
from tests.people import signed_in
from tests.sync.conftest import Export, run_sql


@pytest.fixture
def filled(export: Export) -> Export:
    for name in ("account", "contact"):
        export.upsert(name, 1, name="x")
    export.close_folder()
    export.sync()
    return export


@pytest.fixture
def client(transactional_db: None) -> Client:
    return signed_in("administrator")


def address(export: Export, page: str = "settings") -> str:
    return f"/syncs/{export.config.pk}/{page}/"


def form_of(client: Client, export: Export) -> dict[str, str]:
    """Return what the settings' form would send as it is."""
    form = client.get(address(export)).context["form"]
    return {
        field.html_name: str(field.value() if field.value() is not None else "")
        for field in form
    }


def text_of(answer: object) -> str:
    assert isinstance(answer, HttpResponse)
    return unescape(answer.content.decode())


def said(answer: object) -> list[str]:
    assert isinstance(answer, HttpResponse)
    return [str(m) for m in get_messages(answer.wsgi_request)]  # type: ignore[attr-defined]


def test_a_change_is_saved_and_told_by_whom(filled: Export, client: Client) -> None:
    data = form_of(client, filled)
    data |= {
        "include": "acc*\r\n\r\n con* ",
        "exclude": "contact",
        "bad_rows": "quarantine",
        "max_bad_rows": "7",
        "max_delete_share": "100",
    }
    answer = client.post(address(filled), data)
    assert answer.status_code == 302
    assert answer.headers["Location"] == address(filled)
    assert said(answer) == ["Saved. Not updated any more: contact."]
    config = SyncConfig.objects.get()
    assert (config.include, config.exclude) == (["acc*", "con*"], ["contact"])
    assert (config.bad_rows, config.max_bad_rows) == ("quarantine", 7)
    assert config.max_delete_share == 100
    event = Event.objects.filter(kind="sync_edited").get()
    assert event.message.endswith("(by administrator)")
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_id) == (CHANGE, str(config.pk))
    # The table is not followed any more, and what was there stays.
    assert not filled.entity("contact").followed
    assert len(filled.rows("contact", "id")) == 1
    data = form_of(client, filled) | {"exclude": ""}
    answer = client.post(address(filled), data)
    assert said(answer) == ["Saved. From now on replicated as well: contact."]


def test_saving_the_same_again_changes_nothing(filled: Export, client: Client) -> None:
    answer = client.post(address(filled), form_of(client, filled))
    assert said(answer) == ["Nothing was changed."]
    assert not Event.objects.filter(kind="sync_edited").exists()
    assert not LogEntry.objects.exists()


def test_what_would_change_is_shown_and_not_saved(
    filled: Export, client: Client
) -> None:
    before = SyncConfig.objects.values().get()
    data = form_of(client, filled)
    data |= {"exclude": "con*", "empty_text": "empty", "preview": "1"}
    text = text_of(client.post(address(filled), data))
    assert "1 table would not be updated any more" in text
    assert "An empty cell of a text column" in text
    assert "Nothing is saved yet" in text
    assert SyncConfig.objects.values().get() == before
    assert 'value="empty" id="id_empty_text_1" checked' in text or re.search(
        r'value="empty"[^>]*checked', text
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_bad_rows", "-1"),
        ("max_bad_rows", str(2**31)),
        ("max_bad_rows", ""),
        ("max_delete_share", "101"),
        ("max_delete_share", "half"),
        ("bad_rows", "ignore"),
        ("new_tables", ""),
        ("include", "a\x00b"),
        ("exclude", "x\N{RIGHT-TO-LEFT OVERRIDE}y"),
    ],
)
def test_what_is_impossible_is_refused_at_its_field(
    filled: Export, client: Client, field: str, value: str
) -> None:
    before = SyncConfig.objects.values().get()
    data = form_of(client, filled) | {field: value, "max_delete_share": "9"}
    if field == "max_delete_share":
        data[field] = value
    answer = client.post(address(filled), data)
    assert answer.status_code == 422
    text = text_of(answer)
    assert "Not saved" in text
    assert re.search(rf'<li class="wrap"><a href="#id_{field}', text)
    assert SyncConfig.objects.values().get() == before


def test_the_change_of_another_person_is_not_overwritten_unseen(
    filled: Export, client: Client
) -> None:
    data = form_of(client, filled) | {"max_bad_rows": "7"}
    SyncConfig.objects.update(exclude=["contact"])
    answer = client.post(address(filled), data)
    assert answer.status_code == 409
    text = text_of(answer)
    assert "Somebody changed the settings" in text
    assert SyncConfig.objects.get().exclude == ["contact"]
    assert 'name="max_bad_rows" value="7"' in text
    # Who has seen it may save all the same.
    seen = re.search(r'name="seen" value="(\w+)"', text)
    assert seen is not None
    answer = client.post(address(filled), data | {"seen": seen[1]})
    assert answer.status_code == 302
    assert SyncConfig.objects.get().exclude == []


def test_who_may_only_look_sees_the_settings_without_a_form(filled: Export) -> None:
    operator = signed_in("operator")
    SyncConfig.objects.update(exclude=["msdyn_*"])
    text = text_of(operator.get(address(filled)))
    assert "msdyn_*" in text
    assert "stops its table until a person has looked" in text
    assert '<form method="post" class' not in text
    assert address(filled, "delete") not in text
    assert operator.post(address(filled), {}).status_code == 403
    assert operator.get(address(filled, "delete")).status_code == 403


# Its end


def delete(client: Client, export: Export, name: str, tables: str = "keep") -> object:
    data = {"name": name, "tables": tables}
    return client.post(address(export, "delete"), data)


def test_the_page_says_what_goes_and_asks_for_the_name(
    filled: Export, client: Client
) -> None:
    text = text_of(client.get(address(filled, "delete")))
    assert "2 tables in" in text
    assert "account, contact" in re.sub(r"<[^>]+>", "", text)
    for wrong in ("", "x", f"{filled.config.name} "):
        answer = delete(client, filled, wrong)
        assert answer.status_code == 422  # type: ignore[attr-defined]
    assert delete(client, filled, filled.config.name, "all").status_code == 422  # type: ignore[attr-defined]
    assert not SyncConfig.objects.get().paused


@pytest.mark.parametrize("tables", ["keep", "drop"])
def test_the_typed_name_deletes_the_sync(
    filled: Export, client: Client, tables: str
) -> None:
    name = filled.config.name
    answer = delete(client, filled, name, tables)
    assert answer.headers["Location"] == "/"  # type: ignore[attr-defined]
    what = f"2 tables dropped, and the schema {name}."
    kept = f"Its tables stay in the schema {name}."
    what = what if tables == "drop" else kept
    assert said(answer) == [f"{name} is deleted. {what}"]
    assert not SyncConfig.objects.exists()
    there = run_sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{name}'")
    assert bool(there) is (tables == "keep")
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_repr) == (DELETION, name)
    # Pressed twice: the second page says that there is no such sync.
    assert delete(client, filled, name, tables).status_code == 404  # type: ignore[attr-defined]


def test_two_who_delete_it_at_once_are_both_told_that_it_is_gone(
    filled: Export, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = filled.config.name

    def after_another(config: SyncConfig, **how: Any) -> Removed:
        remove_sync(SyncConfig.objects.get(pk=config.pk), **how)
        return remove_sync(config, **how)

    monkeypatch.setattr(sync_settings, "remove_sync", after_another)
    answer = delete(client, filled, name)
    assert answer.headers["Location"] == "/"  # type: ignore[attr-defined]
    assert said(answer) == [f"{name} is deleted already."]


def test_views_are_named_and_nothing_is_deleted(filled: Export, client: Client) -> None:
    name = filled.config.name
    run_sql(f'CREATE VIEW "{name}".seen AS SELECT id FROM "{name}".account')
    answer = delete(client, filled, name, "drop")
    assert answer.status_code == 409  # type: ignore[attr-defined]
    text = text_of(answer)
    assert f"used by {name}.seen" in text
    assert "delete the sync without its tables" in text
    assert "The sync is paused now" in text
    assert SyncConfig.objects.exists()


def test_a_load_that_goes_on_is_told(
    filled: Export, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_settings, "WAIT_FOR_LOADS", 0)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            pk = filled.entity("account").pk
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, %s)", [Namespace.TABLE, pk]
            )
        answer = delete(client, filled, filled.config.name)
    finally:
        other.close()
    assert answer.status_code == 409  # type: ignore[attr-defined]
    assert "is still loading account" in text_of(answer)
    assert SyncConfig.objects.exists()

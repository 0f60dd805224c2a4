"""A sync is changed in the admin by administrators, and its edits are remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from sync.models import ApiToken, Event, SetupDraft
from tests.people import person, signed_in
from tests.sync.conftest import Export

FORM = {
    "include": "",
    "exclude": "",
    "new_tables": "include",
    "bad_rows": "stop",
    "max_bad_rows": "100",
    "empty_text": "null",
    "max_delete_share": "50",
}


@pytest.fixture
def administrator(transactional_db: None) -> Client:
    return signed_in("administrator")


def change(client: Client, export: Export, **values: str) -> Any:
    url = reverse("admin:sync_syncconfig_change", args=[export.config.pk])
    return client.post(url, {**FORM, **values})


def test_an_edit_is_made_and_remembered_with_its_author(
    administrator: Client, export: Export
) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.sync()
    answer = change(
        administrator, export, exclude="contact\r\n msdyn_* \r\n", max_bad_rows="7"
    )
    assert answer.status_code == 302
    export.config.refresh_from_db()
    assert export.config.exclude == ["contact", "msdyn_*"]
    assert export.config.max_bad_rows == 7
    said = "exclude contact msdyn_*; max_bad_rows 7"
    assert LogEntry.objects.get().change_message == said
    event = Event.objects.get(kind="sync_edited")
    assert event.message == f"{said} (by administrator)"
    assert not export.entity("contact").followed
    history = reverse("admin:sync_syncconfig_history", args=[export.config.pk])
    assert said in administrator.get(history).content.decode()


def test_an_edit_leaves_alone_what_somebody_else_changed_meanwhile(
    administrator: Client, export: Export
) -> None:
    url = reverse("admin:sync_syncconfig_change", args=[export.config.pk])
    assert administrator.get(url).status_code == 200
    export.config.paused = True
    export.config.marker = "2026-03-01T08.00.00Z"
    export.config.save()
    change(administrator, export, empty_text="empty")
    export.config.refresh_from_db()
    assert (export.config.paused, export.config.empty_text) == (True, "empty")
    assert export.config.marker == "2026-03-01T08.00.00Z"


def test_saving_without_a_change_changes_nothing(
    administrator: Client, export: Export
) -> None:
    export.config.include = ["a*", "b"]
    export.config.save()
    change(administrator, export, include="a*\r\nb")
    assert not Event.objects.exists()
    assert LogEntry.objects.get().change_message == "No fields changed."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_delete_share", "101"),
        ("max_bad_rows", "-1"),
        ("max_bad_rows", "99999999999"),
        ("exclude", "a\u202eb"),
        ("bad_rows", "explode"),
    ],
)
def test_what_cannot_be_is_refused_in_the_form(
    administrator: Client, export: Export, field: str, value: str
) -> None:
    answer = change(administrator, export, **{field: value})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not Event.objects.exists()


def test_what_the_set_up_decided_cannot_be_changed(
    administrator: Client, export: Export
) -> None:
    change(administrator, export, name="other", location="/", schema_name="public")
    before = export.config
    after = type(before).objects.get()
    assert (after.name, after.location, after.schema_name) == (
        before.name,
        before.location,
        before.schema_name,
    )


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_see_a_sync_and_change_nothing(export: Export, role: str) -> None:
    client = signed_in(role)
    url = reverse("admin:sync_syncconfig_change", args=[export.config.pk])
    page = client.get(url).content.decode()
    assert export.config.name in page
    assert 'name="_save"' not in page
    assert change(client, export, max_bad_rows="7").status_code == 403


def test_a_sync_is_set_up_and_deleted_on_pages_of_their_own(
    administrator: Client, export: Export
) -> None:
    add = reverse("admin:sync_syncconfig_add")
    delete = reverse("admin:sync_syncconfig_delete", args=[export.config.pk])
    for answer in (administrator.get(add), administrator.post(add)):
        assert answer.headers["Location"] == reverse("setup")
    for answer in (
        administrator.get(delete),
        administrator.post(delete, {"post": "yes"}),
    ):
        assert answer.headers["Location"] == reverse(
            "sync-delete", args=[export.config.pk]
        )
    page = administrator.get(reverse("admin:sync_syncconfig_changelist"))
    assert b"delete_selected" not in page.content
    operator = signed_in("operator")
    assert operator.get(add).status_code == 403
    assert operator.get(delete).status_code == 403


def test_lists_show_the_states_of_their_rows(
    administrator: Client, make_export: Callable[..., Export]
) -> None:
    one, two = make_export(), make_export()
    one.upsert("account", 1)
    one.close_folder()
    one.sync()
    two.config.pause()
    syncs = administrator.get(reverse("admin:sync_syncconfig_changelist"))
    assert "state-healthy" in syncs.content.decode()
    assert "state-paused" in syncs.content.decode()
    tables = administrator.get(reverse("admin:sync_synctable_changelist"))
    assert "state-healthy" in tables.content.decode()
    one.config.exclude = ["*"]
    one.config.save()
    tables = administrator.get(reverse("admin:sync_synctable_changelist"))
    assert "not replicated" in tables.content.decode()


def test_a_token_is_revoked_by_an_administrator_and_made_by_nobody_here(
    administrator: Client,
) -> None:
    token, text = ApiToken.make(person("operator"), "a script")
    page = administrator.get(reverse("admin:sync_apitoken_changelist"))
    assert "a script" in page.content.decode()
    change = reverse("admin:sync_apitoken_change", args=[token.pk])
    shown = administrator.get(change).content.decode()
    assert text not in shown
    assert token.digest not in shown
    assert administrator.get(reverse("admin:sync_apitoken_add")).status_code == 403
    delete = reverse("admin:sync_apitoken_delete", args=[token.pk])
    assert signed_in("operator").post(delete, {"post": "yes"}).status_code == 403
    assert administrator.post(delete, {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.exists()
    assert LogEntry.objects.get().is_deletion()


def test_a_begun_set_up_is_only_looked_at(transactional_db: None) -> None:
    draft = SetupDraft.objects.create(user=person("operator"), model_json=b"{}")
    root = signed_in("root")
    url = reverse("admin:sync_setupdraft_change", args=[draft.pk])
    assert root.get(url).status_code == 200
    assert root.post(url, {"file_name": "x"}).status_code == 403
    assert signed_in("administrator").get(url).status_code == 403

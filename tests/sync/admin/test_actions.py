"""Actions on lists: done for exactly the rows that the page in between named."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from sync.admin import actions
from sync.engine import switches
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable
from tests.people import signed_in
from tests.sync.conftest import Export
from tests.sync.views.test_deeds import broken, filled, held, queued

Answer = HttpResponse


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return signed_in("operator")


def list_of(model: str) -> str:
    return reverse(f"admin:sync_{model}_changelist")


def choose(
    client: Client, model: str, action: str, *pks: int, query: str = "", **more: Any
) -> Answer:
    """Choose rows of a list and an action; the page in between comes."""
    fields = {"action": action, "_selected_action": pks, "index": 0, **more}
    answer: Any = client.post(list_of(model) + query, fields)
    return answer  # type: ignore[no-any-return]


def answer_yes(client: Client, page: Answer, model: str) -> Answer:
    """Press the button of the page in between."""
    text = page.content.decode()
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text)
    fields: dict[str, list[str]] = {}
    for name, value in found:
        fields.setdefault(name, []).append(html.unescape(value))
    del fields["csrfmiddlewaretoken"]
    answer: Any = client.post(list_of(model), fields)
    assert answer.status_code == 302, answer.content
    return answer  # type: ignore[no-any-return]


def said(answer: Answer) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]  # type: ignore[attr-defined]


def two_tables(export: Export) -> list[SyncTable]:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.sync()
    return [export.entity("account"), export.entity("contact")]


def states() -> dict[str, str]:
    return dict(SyncTable.objects.values_list("entity", "state"))


def test_the_page_in_between_names_the_rows_and_does_nothing(
    operator: Client, export: Export
) -> None:
    account, _ = two_tables(export)
    page = choose(operator, "synctable", "pause", account.pk)
    text = page.content.decode()
    assert f"{export.config.name}: account" in text
    assert f"{export.config.name}: contact" not in text
    assert "Loads that run are rolled back" in text
    assert states() == {"account": "active", "contact": "active"}


def test_it_is_done_for_the_named_rows_with_a_history(
    operator: Client, export: Export
) -> None:
    account, _ = two_tables(export)
    page = choose(operator, "synctable", "pause", account.pk, query="?state=active")
    # Meanwhile the filter would match no longer, and others do.
    switches.pause(account, by="bob")
    switches.resume(account, by="bob")
    done = answer_yes(operator, page, "synctable")
    assert done.headers["Location"] == f"{list_of('synctable')}?state=active"
    assert states() == {"account": "paused", "contact": "active"}
    assert said(done) == [f"Pause: {export.config.name}: account."]
    entry = LogEntry.objects.get()
    assert entry.user.get_username() == "operator"
    assert entry.change_message == "account is paused. Nothing is lost."
    assert Event.objects.filter(kind="paused", message="by operator").exists()


def test_what_was_not_done_is_told_with_the_reason(
    operator: Client, export: Export
) -> None:
    account, contact = two_tables(export)
    switches.pause(contact, by="bob")
    page = choose(operator, "synctable", "pause", account.pk, contact.pk)
    done, refused = said(answer_yes(operator, page, "synctable"))
    assert done == f"Pause: {export.config.name}: account."
    assert refused.startswith("Not done: contact was paused 0 s ago by bob.")


def test_a_row_that_went_meanwhile_is_told(operator: Client, export: Export) -> None:
    account, contact = two_tables(export)
    page = choose(operator, "synctable", "pause", account.pk, contact.pk)
    contact.delete()
    assert said(answer_yes(operator, page, "synctable"))[-1] == "1 row went meanwhile."


def test_all_rows_of_a_list_are_resolved_at_that_moment(
    operator: Client, export: Export
) -> None:
    account, _ = two_tables(export)
    page = choose(operator, "synctable", "pause", account.pk, select_across=1)
    export.upsert("lead", 1)
    export.close_folder()
    export.sync()
    answer_yes(operator, page, "synctable")
    assert states() == {"account": "paused", "contact": "paused", "lead": "active"}


def test_more_rows_than_a_person_can_oversee_are_refused(
    operator: Client, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, _ = two_tables(export)
    monkeypatch.setattr(actions, "LIMIT", 1)
    answer = choose(operator, "synctable", "pause", account.pk, select_across=1)
    assert "At most 1 rows at a time: filter the list." in said(answer)
    assert set(states().values()) == {"active"}


@pytest.mark.parametrize("model", ["syncconfig", "synctable", "datasyncprogress"])
def test_a_viewer_has_no_actions(export: Export, model: str) -> None:
    account, _ = two_tables(export)
    viewer = signed_in("viewer")
    assert b'name="action"' not in viewer.get(list_of(model)).content
    answer = choose(viewer, model, "pause", account.pk, confirmed="pause")
    assert set(states().values()) == {"active"}
    assert not export.config.events.filter(kind="paused").exists()
    assert answer.status_code in {200, 302}


def test_syncs_are_paused_resumed_synced_and_retried(
    operator: Client, make_export: Callable[..., Export]
) -> None:
    one, two = make_export(), make_export()
    pks = (one.config.pk, two.config.pk)
    names = ", ".join(sorted((one.config.name, two.config.name)))
    for action, text in (("pause", "Pause"), ("resume", "Resume")):
        page = choose(operator, "syncconfig", action, *pks)
        messages = said(answer_yes(operator, page, "syncconfig"))
        assert messages[-1].startswith(f"{text}: {names}.")
        paused = SyncConfig.objects.filter(paused=True).count()
        assert paused == (2 if action == "pause" else 0)
    page = choose(operator, "syncconfig", "sync_now", *pks)
    done = said(answer_yes(operator, page, "syncconfig"))[-1]
    assert done.startswith(f"Sync now: {names}. But no service runs")
    assert done.count("no service runs") == 1
    assert {args for name, args in queued() if len(args) > 1} == {
        (pk, True) for pk in pks
    }
    broken(one)
    page = choose(operator, "syncconfig", "retry", *pks)
    done, refused = said(answer_yes(operator, page, "syncconfig"))[-2:]
    assert done.startswith(f"Retry failed: {one.config.name}.")
    assert refused == f"Not done: {two.config.name} has nothing to retry."
    assert LogEntry.objects.count() == 7


def test_held_deletes_are_approved_as_they_were_shown(
    operator: Client, export: Export
) -> None:
    table = held(export)
    page = choose(operator, "synctable", "approve_deletes", table.pk)
    assert "would delete 1100 of 1100 rows" in page.content.decode()
    # Another folder holds it by now.
    table.progress.filter(error_code="mass_delete").update(error_code="bad_row")
    folder = export.progress("account")[0]
    DataSyncProgress.objects.filter(pk=folder.pk).update(
        error_code="mass_delete", copy_status=2
    )
    answer = answer_yes(operator, page, "synctable")
    assert "is not held for that any more" in said(answer)[-1]
    assert states() == {"account": "held"}
    page = choose(operator, "synctable", "approve_deletes", table.pk)
    answer_yes(operator, page, "synctable")
    assert states() == {"account": "active"}
    assert SyncTable.objects.get().approved_partition == folder.partition


def test_without_a_row_that_needs_it_nothing_is_asked(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    answer = choose(operator, "synctable", "approve_deletes", table.pk)
    assert said(answer) == ["There is nothing of that to do in the chosen rows."]


def test_failed_progress_is_retried_by_its_tables(
    operator: Client, export: Export
) -> None:
    table = broken(export, times=3)
    export.upsert("contact", 1)
    export.close_folder()
    export.sync()
    pks = DataSyncProgress.objects.values_list("pk", flat=True)
    page = choose(operator, "datasyncprogress", "retry", *pks)
    text = page.content.decode()
    assert "exactly 1 row" in text
    assert "bad_row" in text
    done = said(answer_yes(operator, page, "datasyncprogress"))
    assert [re.sub(r" But.*", "", text) for text in done] == [
        f"Retry failed: {export.config.name}: account."
    ]
    assert states() == {"account": "active", "contact": "active"}
    assert LogEntry.objects.get().object_id == str(table.pk)


def test_names_of_strangers_stay_text_in_the_page_in_between(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    SyncTable.objects.filter(pk=table.pk).update(entity="<i>\u202eevil\x1b[31m")
    page = choose(operator, "synctable", "pause", table.pk).content.decode()
    assert "<i>" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;i&gt;\\u202eevil\\x1b[31m" in page

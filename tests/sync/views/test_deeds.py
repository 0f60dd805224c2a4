"""What one may press: done once, said in a sentence, and refused with a reason."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from sync.engine import switches
from sync.engine.due import due_tables
from sync.engine.locks import Namespace, exclusive
from sync.models import Cluster, Event, SyncConfig, SyncTable
from sync.tasks import jobs
from tests.catalogue.steps import FILE, line
from tests.people import signed_in
from tests.sync.conftest import Export

TABLE_DEEDS = (
    "retry",
    "pause",
    "resume",
    "refresh",
    "approve-deletes",
    "accept-loss",
    "add",
)
SYNC_DEEDS = ("sync-now", "pause", "resume", "retry")


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return signed_in("operator")


@pytest.fixture
def running() -> None:
    """Let both clusters of the service seem to be there."""
    for queue in ("poll", "sync"):
        Cluster.objects.create(queue=queue, host="here", pid=1)


def press(
    client: Client, what: SyncConfig | SyncTable, deed: str, **fields: Any
) -> HttpResponse:
    kind = "table" if isinstance(what, SyncTable) else "sync"
    url = reverse(f"{kind}-deed", args=[what.pk, deed])
    answer: Any = client.post(url, fields)
    return answer  # type: ignore[no-any-return]


def said(answer: HttpResponse) -> str:
    """Return the message with which a deed redirected."""
    assert answer.status_code == 302, answer.content
    *_, message = get_messages(answer.wsgi_request)  # type: ignore[attr-defined]
    return str(message)


def asked(answer: HttpResponse) -> dict[str, str]:
    """Return the hidden fields of a question."""
    assert answer.status_code == 200
    text = answer.content.decode()
    assert "What will happen" in text
    found = re.findall(
        r'<input type="hidden" name="(confirmed|next)" value="([^"]*)"', text
    )
    return {name: html.unescape(value) for name, value in found}


def queued() -> list[tuple[str, tuple[Any, ...]]]:
    """Return what waits in the queues: the function's last name and its arguments."""
    rows = OrmQ.objects.order_by("pk")
    return [(row.task["func"].rpartition(".")[2], row.task["args"]) for row in rows]


def broken(export: Export, times: int = 1) -> SyncTable:
    """Return a table whose folder has a bad row, after so many attempts."""
    export.table("account")
    export.raw("account", "bad.csv", b"no row at all\n")
    export.close_folder()
    for _ in range(times):
        export.sync()
    return export.entity("account")


def filled(export: Export) -> SyncTable:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    return export.entity("account")


def held(export: Export, rows: int = 1100) -> SyncTable:
    """Return a table that is held, for its one folder would delete all of it."""
    export.table("account", ["name"])
    for version, delete in ((1, ""), (2, "True")):
        lines = (line(k, '"x"', version=version, delete=delete) for k in range(rows))
        export.raw("account", FILE, b"\n".join([*lines, b""]))
        export.close_folder()
        export.sync()
    return export.entity("account")


def lacking(export: Export) -> SyncTable:
    """Return a table whose next folder went before it was applied."""
    filled(export)
    export.upsert("account", 2, name="b")
    lost = export.close_folder()
    export.poll()
    (export.root / lost).rename(export.root.parent / "away")
    export.poll()
    return export.entity("account")


def kinds(export: Export) -> list[str]:
    return list(
        Event.objects.filter(config=export.config).values_list("kind", flat=True)
    )


# Every deed


@pytest.mark.parametrize("deed", SYNC_DEEDS)
def test_a_deed_to_a_sync_twice_does_no_harm(
    operator: Client, export: Export, deed: str
) -> None:
    broken(export)
    for _ in range(2):
        assert said(press(operator, export.config, deed))
    assert len(queued()) <= 1


@pytest.mark.parametrize("deed", TABLE_DEEDS)
def test_a_deed_to_a_table_that_does_not_need_it_says_why_not(
    export: Export, deed: str
) -> None:
    client = signed_in("administrator")
    table = filled(export)
    answer = press(client, table, deed)
    if deed == "pause":
        assert said(answer).startswith("account is paused.")
    elif deed == "refresh":
        assert asked(answer)
    else:
        assert re.search(r"not|nothing|already", said(answer))
    assert queued() == []


@pytest.mark.parametrize("kind", ["sync", "table"])
def test_an_unknown_deed_and_an_unknown_row_are_not_found(
    operator: Client, export: Export, kind: str
) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    pk = {"sync": export.config.pk, "table": export.entity("account").pk}[kind]
    assert operator.post(f"/{kind}s/{pk}/do/explode/").status_code == 404
    assert operator.post(f"/{kind}s/999999/do/pause/").status_code == 404


def test_a_deed_is_posted_with_its_token_only(export: Export) -> None:
    client = signed_in("operator")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert press(strict, export.config, "pause").status_code == 403
    url = reverse("sync-deed", args=[export.config.pk, "pause"])
    assert client.get(url).status_code == 405
    export.config.refresh_from_db()
    assert not export.config.paused


def test_a_viewer_may_do_nothing(export: Export) -> None:
    table = filled(export)
    viewer = signed_in("viewer")
    for deed in SYNC_DEEDS:
        assert press(viewer, export.config, deed).status_code == 403
    for deed in TABLE_DEEDS:
        assert press(viewer, table, deed).status_code == 403
    assert queued() == []


def test_one_comes_back_to_where_the_button_was(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    answer = press(operator, table, "pause", next="/syncs/1/?state=late")
    assert answer.headers["Location"] == "/syncs/1/?state=late"
    answer = press(operator, table, "resume", next="https://evil.example/")
    assert answer.headers["Location"] == reverse("table", args=[table.pk])


def test_names_of_strangers_stay_text(operator: Client, export: Export) -> None:
    name = "<b>\u202egpj"
    export.config.name = name
    export.config.save()
    answer = press(operator, export.config, "sync-now")
    assert "<b>\\u202egpj is looked at now" in said(answer)


# Sync now


def test_sync_now_is_asked_for_once(
    operator: Client, export: Export, running: None
) -> None:
    text = said(press(operator, export.config, "sync-now"))
    assert (
        text
        == f"{export.config.name} is looked at now, and what failed is tried again."
    )
    text = said(press(operator, export.config, "sync-now"))
    assert "somebody asked for it just now" in text
    assert queued() == [("look", (export.config.pk, True))]
    assert kinds(export) == ["sync_asked"]
    assert Event.objects.get().message == "by operator"


def test_sync_now_says_that_nobody_will_do_it(operator: Client, export: Export) -> None:
    text = said(press(operator, export.config, "sync-now"))
    assert "no service runs" in text
    assert "manage.py up" in text


def test_a_paused_sync_is_not_synced_and_says_who_paused_it(
    operator: Client, export: Export
) -> None:
    switches.pause(export.config, by="bob")
    text = said(press(operator, export.config, "sync-now"))
    assert re.search(r"was paused \d s ago by bob: resume it first\.", text)
    assert queued() == []


def test_sync_now_names_the_load_that_runs(
    operator: Client, export: Export, running: None
) -> None:
    table = filled(export)
    with exclusive(Namespace.TABLE, table.pk):
        text = said(press(operator, export.config, "sync-now"))
    assert "account is being loaded already since" in text


def test_the_look_tries_what_is_parked_once(
    operator: Client, export: Export, running: None
) -> None:
    table = broken(export, times=1)
    SyncTable.objects.filter(pk=table.pk).update(state="parked")
    table.progress.update(next_attempt_at=None, attempts=3)
    export.upsert("contact", 1)
    export.close_folder()
    press(operator, export.config, "sync-now")
    jobs.look(export.config.pk, True)
    loads = [args for name, args in queued() if name == "load"]
    assert sorted(loads) == sorted(
        [(table.pk, True), (export.entity("contact").pk, True)]
    )
    jobs.load(table.pk, True)
    [row] = [r for r in export.progress("account") if r.copy_status == 2]
    assert row.attempts == 4
    assert export.entity("account").state == "parked"
    assert table.pk not in {due.pk for due in due_tables()}


def test_a_look_at_a_sync_that_is_paused_by_then_does_nothing(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    switches.pause(export.config, by="bob")
    jobs.look(export.config.pk, True)
    jobs.look(0)
    assert queued() == []
    assert not export.config.partitions.exists()


@pytest.mark.parametrize("state", ["held", "paused", "new"])
def test_nobody_insists_on_a_table_that_waits_for_another_word(
    export: Export, state: str
) -> None:
    table = broken(export)
    SyncTable.objects.filter(pk=table.pk).update(state=state)
    jobs.look(export.config.pk, True)
    jobs.load(table.pk, True)
    assert queued() == []
    assert [row.attempts for row in export.progress("account")] == [1]


# Pause, resume, retry


def test_a_table_is_paused_and_resumed_by_somebody(
    operator: Client, export: Export, running: None
) -> None:
    table = filled(export)
    assert (
        said(press(operator, table, "pause")) == "account is paused. Nothing is lost."
    )
    assert "was paused 0 s ago by operator" in said(press(operator, table, "pause"))
    assert said(press(operator, table, "resume")) == "account goes on."
    assert said(press(operator, table, "resume")) == "account is not paused."
    assert kinds(export)[:2] == ["resumed", "paused"]
    assert queued() == [("look", (export.config.pk,))]


def test_what_is_refused_because_of_a_pause_says_why_it_is_paused(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    switches.pause(table, by="bob", reason="upgrade of Dataverse")
    ago = r"account was paused \d+ s ago by bob: upgrade of Dataverse\."
    for deed in ("retry", "refresh"):
        text = said(press(operator, table, deed))
        assert re.fullmatch(rf"{ago} Resume it first\.", text)
    assert re.fullmatch(ago, said(press(operator, table, "pause")))
    switches.pause(export.config, by="bob", reason="Which one? All!")
    text = said(press(operator, export.config, "sync-now"))
    assert text.endswith("by bob: Which one? All! Resume it first.")
    text = said(press(operator, table, "retry"))
    assert text.startswith(f"{export.config.name} was paused"), "it would come next"
    text = said(press(operator, table, "pause"))
    assert text.startswith("account was paused"), "that is what was pressed"


def test_a_resumed_table_of_a_paused_sync_still_waits(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    press(operator, table, "pause")
    press(operator, export.config, "pause")
    text = said(press(operator, table, "resume"))
    assert text.endswith(f"Its sync {export.config.name} is paused.")
    assert queued() == []


def test_a_parked_table_is_parked_again_after_a_pause(
    operator: Client, export: Export
) -> None:
    table = held(export)
    press(operator, table, "pause")
    assert (
        said(press(operator, table, "resume"))
        == "account is held again, as it was before."
    )


def test_a_failed_table_is_retried_at_once(
    operator: Client, export: Export, running: None
) -> None:
    table = broken(export, times=3)
    assert said(press(operator, table, "retry")) == "account is tried again."
    assert queued() == [("look", (export.config.pk,))]
    assert said(press(operator, table, "retry")) == "account has nothing to retry."
    jobs.look(export.config.pk)
    assert ("load", (table.pk,)) in queued()


def test_a_sync_retries_all_its_tables_and_names_them(
    operator: Client, export: Export, running: None
) -> None:
    broken(export)
    assert said(press(operator, export.config, "retry")) == "Tried again: account."
    assert "nothing to retry" in said(press(operator, export.config, "retry"))


def test_what_is_paused_is_not_retried(operator: Client, export: Export) -> None:
    table = broken(export)
    press(operator, export.config, "pause")
    for what in (table, export.config):
        assert "resume it first" in said(press(operator, what, "retry"))
    assert [row.copy_status for row in export.progress("account")] == [2]


def test_a_load_that_runs_is_not_retried(operator: Client, export: Export) -> None:
    table = broken(export)
    with exclusive(Namespace.TABLE, table.pk):
        assert "is being loaded since" in said(press(operator, table, "retry"))


def test_a_held_table_is_not_retried_but_says_what_it_waits_for(
    operator: Client, export: Export
) -> None:
    assert "approve them first" in said(press(operator, held(export), "retry"))


# Deletes


def test_deletes_are_approved_after_a_question_that_names_them(
    operator: Client, export: Export, running: None
) -> None:
    table = held(export)
    answer = press(operator, table, "approve-deletes", next="/")
    assert "would delete 1100 of 1100 rows" in answer.content.decode()
    fields = asked(answer)
    assert fields["next"] == "/"
    assert export.entity("account").state == "held", "a question does nothing"
    text = said(press(operator, table, "approve-deletes", **fields))
    assert "are approved: account goes on." in text
    event = Event.objects.get(kind="deletes_approved")
    assert event.message.endswith("(by operator)")
    assert "is not held" in said(press(operator, table, "approve-deletes", **fields))


def test_the_service_applies_what_was_approved(
    operator: Client, export: Export, running: None
) -> None:
    table = held(export)
    fields = asked(press(operator, table, "approve-deletes"))
    press(operator, table, "approve-deletes", **fields)
    jobs.poll(timezone.now().isoformat())
    assert ("load", (table.pk,)) in queued()
    jobs.load(table.pk)
    assert export.rows("account", "id") == []


def test_an_approval_counts_only_for_the_folder_that_was_shown(
    operator: Client, export: Export
) -> None:
    table = held(export)
    answer = press(operator, table, "approve-deletes", confirmed="another folder")
    assert "It has changed since you were asked" in answer.content.decode()
    assert asked(answer)
    assert export.entity("account").state == "held"


# Losses


def test_a_loss_is_accepted_after_a_question_that_names_it(
    operator: Client, export: Export, running: None
) -> None:
    table = lacking(export)
    fields = asked(press(operator, table, "accept-loss"))
    assert fields["confirmed"] in [p.name for p in export.config.partitions.all()]
    assert export.entity("account").state == "parked"
    text = said(press(operator, table, "accept-loss", **fields))
    assert text == "account goes on without the lost folders."
    assert export.entity("account").state == "active"
    assert Event.objects.get(kind="loss_accepted").message.endswith("(by operator)")
    assert "has lost nothing" in said(press(operator, table, "accept-loss", **fields))


def test_a_loss_that_grew_is_asked_about_again(
    operator: Client, export: Export
) -> None:
    table = lacking(export)
    fields = asked(press(operator, table, "accept-loss"))
    export.upsert("account", 3)
    second = export.close_folder()
    export.poll()
    (export.root / second).rename(export.root.parent / "away2")
    export.poll()
    answer = press(operator, table, "accept-loss", **fields)
    assert "It has changed since you were asked" in answer.content.decode()
    again = asked(answer)
    assert second in again["confirmed"]
    assert said(press(operator, table, "accept-loss", **again))
    assert export.entity("account").state == "active"


# Refresh


def test_a_refresh_is_enqueued_once_after_a_question(
    operator: Client, export: Export, running: None
) -> None:
    table = filled(export)
    answer = press(operator, table, "refresh")
    assert "1 folder with" in answer.content.decode()
    fields = asked(answer)
    assert queued() == []
    text = said(press(operator, table, "refresh", **fields))
    assert text == "account is refreshed as soon as a worker is free."
    again = said(press(operator, table, "refresh", **fields))
    assert again == "account waits for a load or a refresh already."
    assert [name for name, _ in queued()] == ["refresh"]
    assert kinds(export).count("refresh_asked") == 1


def test_a_refresh_is_refused_beside_a_load(operator: Client, export: Export) -> None:
    table = filled(export)
    with exclusive(Namespace.TABLE, table.pk):
        assert "is being loaded since" in said(press(operator, table, "refresh"))
    export.upsert("account", 2)
    export.close_folder()
    jobs.poll(timezone.now().isoformat())
    assert "waits for a load" in said(press(operator, table, "refresh"))


@pytest.mark.parametrize("which", ["table", "sync"])
def test_what_is_paused_is_not_refreshed(
    operator: Client, export: Export, which: str
) -> None:
    table = filled(export)
    press(operator, table if which == "table" else export.config, "pause")
    table.refresh_from_db()
    assert "resume it first" in said(press(operator, table, "refresh"))


def test_a_table_that_is_not_replicated_is_not_refreshed(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    SyncConfig.objects.update(exclude=["account"])
    assert said(press(operator, table, "refresh")) == "account is not replicated."


def test_a_refresh_whose_full_copy_moved_is_asked_about_again(
    operator: Client, export: Export
) -> None:
    table = filled(export)
    fields = asked(press(operator, table, "refresh"))
    SyncTable.objects.filter(pk=table.pk).update(base_partition="2027-01-01T00.00.00Z")
    answer = press(operator, table, "refresh", **fields)
    assert "It has changed since you were asked" in answer.content.decode()
    assert queued() == []


# New tables


def test_a_new_table_is_accepted_by_an_administrator_alone(
    operator: Client, export: Export, running: None
) -> None:
    export.config.new_tables = "ask"
    export.config.save()
    filled(export)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    contact = export.entity("contact")
    assert contact.state == "new"
    assert press(operator, contact, "add").status_code == 403
    administrator = signed_in("administrator")
    text = said(press(administrator, contact, "add"))
    assert text == "contact is replicated from now on, with all of its history."
    assert "already" in said(press(administrator, contact, "add"))
    event = Event.objects.get(kind="sync_edited")
    assert event.message == "table contact (by administrator)"
    jobs.look(export.config.pk)
    jobs.load(contact.pk)
    assert len(export.rows("contact", "id")) == 1


def test_a_new_table_is_not_paused(operator: Client, export: Export) -> None:
    table = filled(export)
    SyncTable.objects.update(state="new")
    assert "not replicated yet" in said(press(operator, table, "pause"))

"""A person pauses, resumes and retries; no load is waited for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connection

from sync.engine import switches
from sync.engine.due import due_tables
from sync.engine.load import sync_table
from sync.engine.locks import Namespace, exclusive
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable
from tests.sync.conftest import Export


def broken(export: Export, times: int = 1) -> SyncTable:
    """Return a table whose only folder holds a bad row and failed so many times."""
    export.table("account")
    export.raw("account", "bad.csv", b"no row at all\n")
    export.close_folder()
    for _ in range(times):
        export.poll()
        sync_table(export.entity("account"))
    return export.entity("account")


def due(export: Export) -> set[str]:
    names = {t.pk: t.entity for t in SyncTable.objects.filter(config=export.config)}
    return {names[table.pk] for table in due_tables() if table.pk in names}


def test_a_paused_table_is_not_due_and_its_backlog_waits(export: Export) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    assert due(export) == {"account", "contact"}
    account = export.entity("account")
    assert switches.pause(account, by="me")
    assert due(export) == {"contact"}
    assert sync_table(export.entity("account")).status == "paused"
    assert switches.resume(export.entity("account"), by="me")
    assert due(export) == {"account", "contact"}
    kinds = Event.objects.filter(table_name="account").values_list("kind", "message")
    assert set(kinds) >= {("paused", "by me"), ("resumed", "by me")}


def test_a_paused_sync_is_not_due_at_all(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    assert switches.pause(export.config, by="me")
    assert not switches.pause(export.config, by="me")
    assert due(export) == set()
    assert switches.resume(export.config, by="me")
    assert not switches.resume(export.config, by="me")
    assert due(export) == {"account"}


def test_pausing_twice_records_one_event(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    assert switches.pause(export.entity("account"), by="me")
    assert not switches.pause(export.entity("account"), by="you")
    assert Event.objects.filter(kind="paused").count() == 1


HOSTILE = "<script>\n\u202ealert\x07(1)\0 \ud800</script>"


def pause_of(what: SyncConfig | SyncTable) -> str:
    """Return what is told of a pause, but for the time."""
    found = switches.pause_of(what)
    return re.sub(r"^\d+ s ago ", "", str(found)) if found else ""


def test_a_pause_may_say_why(export: Export) -> None:
    assert switches.pause(export.config, by="bob", reason=" upgrade of\nDataverse ")
    assert Event.objects.get().message == "by bob: upgrade of Dataverse"
    found = switches.pause_of(export.config)
    assert found
    assert (found.since, found.reason) == ("0 s ago by bob", "upgrade of Dataverse")
    assert str(found) == "0 s ago by bob: upgrade of Dataverse"
    assert switches.resume(export.config, by="bob")
    assert switches.pause_of(export.config) is None


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_a_pause_without_a_reason_is_told_as_ever(export: Export, reason: str) -> None:
    assert switches.pause(export.config, by="bob", reason=reason)
    assert Event.objects.get().message == "by bob"
    assert pause_of(export.config) == "by bob"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (HOSTILE, "<script> \\u202ealert\\x07(1)\N{REPLACEMENT CHARACTER} ?</script>"),
        ("x" * 300, "x" * 200),
        ("\x07" * 100, "\\x07" * 50),
        ("y" * 199 + " z", "y" * 199),
        ("by eve: no; he says: yes", "by eve: no; he says: yes"),
    ],
)
def test_a_reason_is_one_line_of_what_can_be_shown(
    export: Export, reason: str, told: str
) -> None:
    switches.pause(export.config, by="bob", reason=reason)
    assert pause_of(export.config) == f"by bob: {told}"
    assert switches.explain_pause(export.config, told, by="eve")
    assert pause_of(export.config) == f"by bob: {told}", "it is the same one"
    assert switches.explain_pause(export.config, reason + "!", by="eve")
    assert switches.explain_pause(export.config, reason, by="bob")
    assert pause_of(export.config) == f"by bob: {told}"


def test_the_reason_of_a_pause_may_be_told_later_also_by_others(
    export: Export,
) -> None:
    switches.pause(export.config, by="bob")
    then = Event.objects.get().happened_at
    for by, reason, told in (
        ("bob", "upgrade", "by bob: upgrade"),
        ("eve", "longer upgrade", "by bob; eve says: longer upgrade"),
        ("amy", "", "by bob"),
        ("amy", "a move", "by bob; amy says: a move"),
        ("bob", "no move", "by bob: no move"),
    ):
        assert switches.explain_pause(export.config, reason, by=by)
        assert pause_of(export.config) == told
    assert Event.objects.get().happened_at == then, "it is the same pause"


def test_only_the_newest_pause_of_what_is_paused_is_explained(export: Export) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    account = export.entity("account")
    assert not switches.explain_pause(account, "why", by="me")
    for _ in range(2):
        switches.pause(account, by="me")
        account.refresh_from_db()
        switches.resume(account, by="me")
        account.refresh_from_db()
    assert not switches.explain_pause(account, "why", by="me")
    switches.pause(account, by="me")
    switches.pause(export.config, by="me")
    switches.pause(export.entity("contact"), by="me")
    assert switches.explain_pause(account, "why", by="me"), "it reads anew"
    events = Event.objects.filter(kind="paused", message="by me: why")
    assert [event.table_name for event in events] == ["account"]
    assert Event.objects.filter(kind="paused").count() == 5


def test_a_name_is_never_read_as_a_reason(export: Export) -> None:
    switches.pause(export.config, by="bob: no reason; eve says: nor this")
    pause = switches.pause_of(export.config)
    assert pause
    assert pause.reason == ""
    assert switches.explain_pause(export.config, "why", by="eve: x; y")
    pause = switches.pause_of(export.config)
    assert pause
    assert pause.reason == "why"


def test_what_was_deleted_meanwhile_has_no_pause_to_explain(export: Export) -> None:
    config = SyncConfig.objects.get(pk=export.config.pk)
    switches.pause(config, by="bob")
    export.config.delete()
    assert not switches.explain_pause(config, "why", by="bob")


def test_of_a_pause_that_no_event_tells_no_reason_is_kept(export: Export) -> None:
    switches.pause(export.config, by="me")
    Event.objects.all().delete()
    assert not switches.explain_pause(export.config, "why", by="me")
    assert switches.pause_of(export.config) is None
    assert not Event.objects.exists()


def test_a_parked_table_is_parked_again_after_its_pause(export: Export) -> None:
    account = broken(export, times=3)
    DataSyncProgress.objects.update(next_attempt_at=None)
    assert account.state == SyncTable.State.PARKED
    switches.pause(account, by="me")
    assert export.entity("account").state == SyncTable.State.PAUSED
    switches.resume(export.entity("account"), by="me")
    assert export.entity("account").state == SyncTable.State.PARKED
    assert due(export) == set()


def test_a_table_held_for_its_deletes_is_held_again_after_its_pause(
    export: Export,
) -> None:
    account = broken(export)
    DataSyncProgress.objects.update(next_attempt_at=None, error_code="mass_delete")
    account.hold()
    switches.pause(account, by="me")
    switches.resume(export.entity("account"), by="me")
    assert export.entity("account").state == SyncTable.State.HELD
    assert switches.retry(export.entity("account"), by="me") == []


def test_a_failed_table_backs_off_and_retry_makes_it_due_at_once(
    export: Export,
) -> None:
    account = broken(export)
    assert due(export) == set()
    assert switches.retry(account, by="me") == [account]
    assert due(export) == {"account"}
    [row] = export.progress("account")
    assert (row.copy_status, row.attempts, row.error_code) == (0, 0, "")


def test_retry_of_a_sync_takes_failed_and_parked_tables_only(export: Export) -> None:
    export.upsert("contact", 1)
    account = broken(export, times=4)
    sync_table(export.entity("contact"))
    retried = switches.retry(export.config, by="me")
    assert [table.entity for table in retried] == ["account"]
    assert export.entity("account").state == SyncTable.State.ACTIVE
    assert due(export) == {"account"}
    assert account.pk == retried[0].pk


def test_a_paused_table_is_not_retried(export: Export) -> None:
    account = broken(export)
    switches.pause(account, by="me")
    assert switches.retry(export.entity("account"), by="me") == []


@pytest.mark.parametrize("switch", [switches.pause, switches.retry])
def test_switches_do_not_wait_for_a_load(
    export: Export, switch: Callable[..., object]
) -> None:
    account = broken(export)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '2s'")
    with exclusive(Namespace.TABLE, account.pk):  # what a load holds all the time
        assert switch(account, by="me")

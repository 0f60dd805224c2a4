"""pausesync, resumesync and retrysync, as they are typed."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sync.engine.load import sync_table
from sync.management.switching import person
from sync.models import Event, SyncTable
from tests.sync.conftest import Export


def typed(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_a_sync_is_paused_and_goes_on(export: Export) -> None:
    name = export.config.name
    assert typed("pausesync", name) == f"{name}: paused\n"
    assert typed("pausesync", name) == f"{name}: nothing to pause\n"
    assert typed("resumesync", name) == f"{name}: goes on\n"
    assert typed("resumesync", name) == f"{name}: was not paused\n"
    assert "@" in Event.objects.filter(kind="paused").get().message


def test_a_pause_says_why_when_it_is_typed(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    name = export.config.name
    for what, words in ((name, []), ("account", ["account"])):
        line = ["pausesync", name, *words]
        told = typed(*line, "--reason", " upgrade of\nDataverse")
        assert told == f"{what}: paused\n"
        told = typed(*line, "--reason", "a move")
        assert told == f"{what}: was paused, and has this reason now\n"
        assert typed(*line, "--reason", " ") == f"{what}: nothing to pause\n"
        assert typed(*line) == f"{what}: nothing to pause\n"
    events = Event.objects.filter(kind="paused")
    assert {event.message for event in events} == {f"by {person()}: a move"}


def test_the_status_says_why_a_sync_is_paused(export: Export) -> None:
    typed("pausesync", export.config.name, "--reason", "upgrade \x07\u202e")
    told = " ".join(typed("syncstatus").split())
    assert rf"by {person()}: upgrade \x07\u202e" in told


def test_tables_are_paused_by_name_whatever_its_case(export: Export) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    typed("pausesync", export.config.name, "ACCOUNT")
    assert export.entity("account").state == SyncTable.State.PAUSED
    assert export.entity("contact").state == SyncTable.State.ACTIVE


def test_what_failed_is_tried_again(export: Export) -> None:
    export.table("account")
    export.raw("account", "bad.csv", b"no row at all\n")
    export.close_folder()
    export.poll()
    sync_table(export.entity("account"))
    name = export.config.name
    assert typed("retrysync", name) == "account: is tried again\n"
    assert typed("retrysync", name) == f"{name}: nothing to retry\n"
    typed("pausesync", name, "account")
    said = typed("retrysync", name, "account")
    assert said == "account: nothing to retry (it is paused)\n"


@pytest.mark.parametrize("command", ["pausesync", "resumesync", "retrysync"])
def test_an_unknown_name_is_refused(export: Export, command: str) -> None:
    with pytest.raises(CommandError, match="no sync named 'nobody'"):
        typed(command, "nobody")
    with pytest.raises(CommandError, match="no table 'nothing'"):
        typed(command, export.config.name, "nothing")

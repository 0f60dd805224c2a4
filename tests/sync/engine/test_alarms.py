"""What is worth an alert: not a blip, not what was paused, and never the same twice."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sync.engine import switches
from sync.engine.alarms import alarms_of, look_after_alerts
from sync.engine.alerts import Alarm
from sync.engine.discovery import poll_once
from sync.engine.load import sync_table
from sync.engine.overview import overview
from sync.errors import SourceError
from sync.models import Incident, SyncTable
from tests.sync.conftest import Export


def alarms() -> list[Alarm]:
    return list(alarms_of(overview()))


def fail(export: Export, times: int) -> None:
    """Let the table account fail so many times in a row."""
    if not export.complete():
        export.table("account")
        export.raw("account", "bad.csv", b"no row at all\n")
        export.close_folder()
    export.poll()
    for _ in range(times):
        sync_table(export.entity("account"))


def applied(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.sync()


def test_all_is_well(export: Export) -> None:
    applied(export)
    assert alarms() == []


def test_one_failure_is_no_alarm_yet(export: Export) -> None:
    fail(export, 1)
    assert alarms() == []
    fail(export, 1)
    [alarm] = alarms()
    assert (alarm.table_name, alarm.kind) == ("account", Incident.Kind.FAILING)
    assert alarm.code
    assert "bad.csv" in alarm.where


def test_a_parked_table_needs_action_and_names_the_command(export: Export) -> None:
    fail(export, 3)
    assert export.entity("account").state == SyncTable.State.PARKED
    [alarm] = alarms()
    assert alarm.kind == Incident.Kind.ACTION_REQUIRED
    assert f"retrysync {export.config.name} account" in alarm.remedy


def test_a_late_table_says_the_same_with_every_look(export: Export) -> None:
    applied(export)
    export.upsert("account", 1, name="later")
    export.close_folder()
    export.poll()
    [first] = alarms()
    assert first.kind == Incident.Kind.LATE
    with time_machine.travel(timezone.now() + timedelta(seconds=90)):
        [second] = [alarm for alarm in alarms() if alarm.table_name]
    assert first == second


def test_a_late_table_that_fails_once_stays_late(export: Export) -> None:
    applied(export)
    export.raw("account", "bad.csv", b"no row at all\n")
    export.close_folder()
    export.poll()
    assert [alarm.kind for alarm in alarms()] == [Incident.Kind.LATE]


def test_nothing_of_what_is_paused_is_an_alarm(export: Export) -> None:
    fail(export, 3)
    switches.pause(export.entity("account"), by="me")
    assert alarms() == []
    switches.resume(export.entity("account"), by="me")
    switches.pause(export.config, by="me")
    assert alarms() == []


def test_an_export_that_cannot_be_read_is_an_alarm_after_a_minute(
    export: Export,
) -> None:
    export.config.record_problem(SourceError("source_unreadable", "gone"))
    assert alarms() == []
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        [alarm] = [alarm for alarm in alarms() if not alarm.table_name]
    assert (alarm.kind, alarm.code) == (Incident.Kind.FAILING, "source_unreadable")


def test_a_location_that_is_no_export_is_an_alarm_at_once(export: Export) -> None:
    export.config.record_problem(SourceError("not_an_export", "nothing there"))
    [alarm] = alarms()
    assert alarm.kind == Incident.Kind.ACTION_REQUIRED


def test_incidents_follow_the_state(export: Export) -> None:
    fail(export, 3)
    look_after_alerts()
    look_after_alerts()
    assert Incident.objects.get().closed_at is None
    name = export.complete()[0]
    (export.root / name / "account" / "bad.csv").write_bytes(b"")
    switches.retry(export.entity("account"), by="me")
    poll_once(export.config)
    for _ in range(2):  # the first one meets the file's new size
        sync_table(export.entity("account"))
        switches.retry(export.entity("account"), by="me")
    look_after_alerts()
    assert Incident.objects.get().closed_at is not None


def test_where_all_is_well_one_query_finds_that_out(export: Export) -> None:
    applied(export)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        look_after_alerts()
    assert len(queries) == 1

"""The poll and the load, as tasks in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from unittest import mock

import pytest
import time_machine
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from psycopg import sql

from sync.engine import overseer, rounds, switches
from sync.engine.locks import Namespace, exclusive
from sync.engine.rounds import look_in_turn
from sync.models import DataSyncProgress, Event, Heartbeat, SyncTable
from sync.tasks import jobs, queue
from tests.sync.conftest import Export, run_sql


@pytest.fixture(autouse=True)
def database(transactional_db: None) -> None:
    """Every test here commits."""


def poll(seconds_late: float = 0) -> None:
    planned = timezone.now() - timedelta(seconds=seconds_late)
    jobs.poll(planned.isoformat())


def load(export: Export, entity: str) -> None:
    jobs.load(export.entity(entity).pk)


def beats() -> int:
    row = Heartbeat.objects.filter(name="poll").first()
    return row.polls if row else 0


def queued(export: Export) -> set[str]:
    tables = SyncTable.objects.filter(pk__in=queue.queued_tables())
    return {table.entity for table in tables}


def test_a_poll_enqueues_what_is_due_and_leaves_a_heartbeat(export: Export) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    poll()
    assert queued(export) == {"account", "contact"}
    row = Heartbeat.objects.get()
    assert row.finished_at is not None
    assert row.polls == 1
    poll()
    assert OrmQ.objects.count() == 2
    assert beats() == 2


def test_a_slot_that_is_over_is_dropped(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    poll(seconds_late=21)
    assert beats() == 0
    assert queued(export) == set()


def test_a_slot_has_one_poll(export: Export) -> None:
    slot = timezone.now().isoformat()
    jobs.poll(slot)
    jobs.poll(slot)
    assert beats() == 1


def test_one_poll_at_a_time(export: Export) -> None:
    with exclusive(Namespace.POLL, 0):
        poll()
    assert beats() == 0
    poll()
    assert beats() == 1


def test_a_clock_that_was_ahead_does_not_stop_the_polls(export: Export) -> None:
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        poll()
    poll()
    assert beats() == 2


def test_an_export_that_cannot_be_read_keeps_no_other_from_it(
    make_export: Callable[..., Export],
) -> None:
    broken, sound = make_export(), make_export()
    (broken.root / "Changelog" / "changelog.info").unlink()
    sound.upsert("account", 1)
    sound.close_folder()
    poll()
    assert queued(sound) == {"account"}
    broken.config.refresh_from_db()
    assert broken.config.error_code == "not_an_export"
    assert broken.config.failing_since is not None
    since = broken.config.failing_since
    poll()
    broken.config.refresh_from_db()
    assert broken.config.failing_since == since
    assert Event.objects.filter(kind="source_failed").count() == 1


def test_an_export_that_can_be_read_again_has_no_problem(export: Export) -> None:
    marker = export.root / "Changelog" / "changelog.info"
    text = marker.read_text()
    marker.unlink()
    poll()
    marker.write_text(text)
    poll()
    export.config.refresh_from_db()
    assert export.config.error_code == ""
    assert export.config.failing_since is None
    assert Event.objects.filter(kind="source_recovered").count() == 1


def test_a_fault_in_one_export_keeps_no_other_from_being_read(
    make_export: Callable[..., Export], caplog: pytest.LogCaptureFixture
) -> None:
    odd, sound = make_export(), make_export()
    sound.upsert("account", 1)
    sound.close_folder()
    with mock.patch("sync.engine.rounds.look_once", side_effect=stumble_over(odd)):
        poll()
    odd.config.refresh_from_db()
    assert odd.config.error_code == "internal_error"
    assert queued(sound) == {"account"}


def stumble_over(export: Export) -> Callable[..., object]:
    from sync.engine.discovery import look_once

    def look(config: object, **options: float) -> object:
        if config == export.config:
            raise ZeroDivisionError("a fault")
        return look_once(config, **options)  # type: ignore[arg-type]

    return look


def test_a_paused_sync_is_not_looked_at(export: Export) -> None:
    switches.pause(export.config, by="me")
    (export.root / "Changelog" / "changelog.info").unlink()
    poll()
    export.config.refresh_from_db()
    assert export.config.error_code == ""


def test_a_load_applies_the_backlog(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    poll()
    load(export, "account")
    assert export.rows("account", "name") == [("a",)]
    assert queue.enqueue([]) == []
    table = export.entity("account")
    assert (table.loads_total, table.inserted_total) == (1, 1)
    assert table.last_loaded_at is not None


@pytest.mark.parametrize("state", ["paused", "parked", "held", "new"])
def test_a_load_of_a_halted_table_does_nothing(export: Export, state: str) -> None:
    export.upsert("account", 1)
    export.close_folder()
    poll()
    SyncTable.objects.update(state=state)
    load(export, "account")
    assert [row.attempts for row in export.progress("account")] == [0]


def test_a_load_of_a_table_that_is_gone_does_nothing(export: Export) -> None:
    jobs.load(0)


def test_a_failure_is_logged_with_its_place(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    export.table("account")
    export.raw("account", "bad.csv", b"secret value\n")
    export.close_folder()
    poll()
    with caplog.at_level(logging.INFO, "sync"):
        load(export, "account")
    [record] = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert (record.__dict__["sync"], record.__dict__["table"]) == (
        export.config.name,
        "account",
    )
    assert "bad.csv" in record.getMessage()
    assert "secret value" not in caplog.text
    assert export.entity("account").failures_total == 1


def test_a_fault_of_dvsync_in_a_load_is_recorded_and_tried_again(
    export: Export,
) -> None:
    export.upsert("account", 1)
    export.close_folder()
    poll()
    with mock.patch.object(jobs, "sync_table", side_effect=ZeroDivisionError("x")):
        load(export, "account")
    [row] = export.progress("account")
    assert (row.copy_status, row.error_code) == (2, "internal_error")
    assert (row.attempts, row.next_attempt_at is not None) == (1, True)


def test_a_constraint_that_a_user_made_tells_no_row_in_the_log(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    export.upsert("account", 1, name="first")
    export.close_folder()
    export.sync()
    relation = export.entity("account").target().relation
    run_sql(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT few CHECK (name <> 'topsecret')").format(
            relation
        )
    )
    export.upsert("account", 2, name="topsecret")
    export.close_folder()
    poll()
    with caplog.at_level(logging.INFO, "sync"):
        load(export, "account")
    [*_, row] = export.progress("account")
    assert "few" in row.error_message
    assert "topsecret" not in row.error_message
    assert "topsecret" not in caplog.text


def test_a_key_that_is_taken_is_told_to_the_operator_but_not_in_the_log(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    export.upsert("account", 1, name="topsecret")
    export.close_folder()
    export.sync()
    relation = export.entity("account").target().relation
    run_sql(sql.SQL("CREATE UNIQUE INDEX ON {} (name)").format(relation))
    export.upsert("account", 2, name="topsecret")
    export.close_folder()
    poll()
    with caplog.at_level(logging.INFO, "sync"):
        load(export, "account")
    [*_, row] = export.progress("account")
    assert "topsecret" in row.error_message
    assert "account_name_idx" in caplog.text
    assert "topsecret" not in caplog.text


def test_the_export_that_waited_longest_is_looked_at_first(
    make_export: Callable[..., Export],
) -> None:
    first, second, third = make_export(), make_export(), make_export()
    now = timezone.now()
    for export, minutes in ((first, 1), (second, 2)):
        export.config.checked_at = now - timedelta(minutes=minutes)
        export.config.save()
        export.close_folder()
    third.close_folder()
    names = [config.name for config in look_in_turn()]
    assert names == [third.config.name, second.config.name, first.config.name]
    assert list(look_in_turn()) == []


def test_a_round_ends_in_time_and_the_next_one_goes_on(
    make_export: Callable[..., Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    exports = [make_export() for _ in range(3)]
    monkeypatch.setattr(rounds, "ROUND_SECONDS", -1.0)
    assert list(look_in_turn()) == []
    assert [e for e in exports if e.config.partitions.exists()] == []
    monkeypatch.undo()
    assert len(list(look_in_turn())) == 3


def test_pausing_a_table_rolls_its_load_back(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.upsert("account", 1)
    export.close_folder()
    poll()
    monkeypatch.setattr(overseer, "LOOK_SECONDS", 0.05)
    from sync import faultpoints

    def wait_for_the_pause() -> None:
        switch = SyncTable.objects.get(entity="account")
        # As another session would do it: this one is in the load's transaction.
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute(
                    "UPDATE sync_synctable SET state = 'paused' WHERE id = %s",
                    [switch.pk],
                )
        finally:
            other.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    with faultpoints.armed("winners_chosen", action=wait_for_the_pause):
        load(export, "account")
    [row] = export.progress("account")
    assert (row.copy_status, row.attempts) == (DataSyncProgress.Status.PENDING, 0)
    assert export.rows("account", "id") == []


def test_a_poll_is_called_as_the_schedule_calls_it(export: Export) -> None:
    jobs.poll(slot=timezone.now().isoformat())
    assert beats() == 1

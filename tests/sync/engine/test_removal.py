"""The end of a sync: wholly there or wholly gone, with or without its tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from sync.engine import discovery, load, removal, rounds
from sync.engine.locks import Namespace
from sync.engine.removal import remove_sync
from sync.engine.switches import pause
from sync.errors import ConfigError, TargetError
from sync.models import (
    DataSyncProgress,
    Event,
    Incident,
    Notice,
    QuarantinedRow,
    Receiver,
    SyncConfig,
    SyncPartition,
    SyncTable,
    Tombstone,
)
from sync.tasks import jobs
from tests.sync.conftest import Export, run_sql

LEDGER = (
    *(SyncConfig, SyncTable, SyncPartition, DataSyncProgress, Event, Incident, Notice),
    *(QuarantinedRow, Tombstone),
)


@pytest.fixture
def filled(export: Export) -> Export:
    """Return an export of two tables that are loaded, with a row in each model."""
    for key in (1, 2):
        export.upsert("account", key, name="Anna")
    export.upsert("contact", 1, name="Ben")
    export.close_folder()
    export.delete("account", 2)
    export.close_folder()
    export.sync()
    table = export.entity("account")
    QuarantinedRow.objects.create(
        table=table, partition="p", file="f", line=1, raw=b"x", least_width=1
    )
    incident = Incident.objects.create(config=export.config, kind="late")
    receiver = Receiver.objects.create(name="mail")
    Notice.objects.create(
        incident=incident, receiver=receiver, kind="late", sent_at=incident.opened_at
    )
    assert Tombstone.objects.exists()
    return export


def tables_of(export: Export) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = '{}' ORDER BY 1"
    return [name for (name,) in run_sql(query.format(export.config.schema_name))]


def schema_exists(export: Export) -> bool:
    name = export.config.schema_name
    return bool(run_sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{name}'"))


def assert_nothing_is_gone(export: Export) -> None:
    assert all(model.objects.exists() for model in LEDGER)
    assert tables_of(export) == ["account", "contact"]


@contextmanager
def another_session(statement: str) -> Iterator[None]:
    """Run a statement in a transaction of another session, for the block."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(statement)
        yield
    finally:
        other.close()


def test_all_that_is_remembered_goes_and_the_tables_stay(filled: Export) -> None:
    removed = remove_sync(filled.config, drop_tables=False, by="anna")
    assert removed.name == filled.config.name
    assert not removed.dropped
    for model in LEDGER:
        assert not model.objects.exists(), model
    assert tables_of(filled) == ["account", "contact"]


def test_other_syncs_are_left_alone(
    filled: Export, make_export: Callable[..., Export]
) -> None:
    other = make_export()
    other.upsert("account", 1, name="x")
    other.close_folder()
    other.sync()
    remove_sync(filled.config, drop_tables=True, by="anna")
    assert SyncConfig.objects.get() == other.config
    assert [row.copy_status for row in other.progress("account")] == [1]
    assert len(other.rows("account", "id")) == 1


def test_tables_and_schema_go_too_when_that_is_meant(filled: Export) -> None:
    removed = remove_sync(filled.config, drop_tables=True, by="anna")
    assert removed.dropped == ("account", "contact")
    assert removed.schema
    assert not schema_exists(filled)


def test_what_dvsync_did_not_make_stays_with_its_schema(filled: Export) -> None:
    schema = filled.config.schema_name
    run_sql(f'CREATE TABLE "{schema}".mine (id int)')
    removed = remove_sync(filled.config, drop_tables=True, by="anna")
    assert removed.dropped == ("account", "contact")
    assert not removed.schema
    assert tables_of(filled) == ["mine"]


@pytest.mark.parametrize(
    "instead",
    [
        "CREATE TABLE {}.account (id int)",
        "CREATE VIEW {}.account AS SELECT 1 AS id",
        "SELECT 1",
    ],
    ids=["table", "view", "nothing"],
)
def test_a_relation_that_is_not_what_dvsync_made_is_left(
    filled: Export, instead: str
) -> None:
    schema = filled.config.schema_name
    run_sql(f'DROP TABLE "{schema}".account')
    run_sql(instead.format(f'"{schema}"'))
    removed = remove_sync(filled.config, drop_tables=True, by="anna")
    assert removed.dropped == ("contact",)
    assert removed.left == (() if instead == "SELECT 1" else ("account",))
    assert removed.schema is (instead == "SELECT 1")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE VIEW {}.seen AS SELECT id FROM {}.account", "seen"),
        ("CREATE MATERIALIZED VIEW {}.kept AS SELECT id FROM {}.contact", "kept"),
        ("CREATE TABLE {}.child () INHERITS ({}.account)", "child"),
        ("CREATE TABLE {}.ref (id uuid REFERENCES {}.account)", "ref"),
    ],
)
def test_what_uses_a_table_keeps_all_of_it(
    filled: Export, statement: str, named: str
) -> None:
    schema = filled.config.schema_name
    run_sql(statement.format(*[f'"{schema}"'] * 2))
    with pytest.raises(TargetError, match=rf"used by {schema}\.{named}") as caught:
        remove_sync(filled.config, drop_tables=True, by="anna")
    assert caught.value.code == "column_in_use"
    assert set(tables_of(filled)) >= {"account", "contact"}
    assert all(model.objects.exists() for model in LEDGER)
    # Without its tables it goes all the same.
    remove_sync(filled.config, drop_tables=False, by="anna")
    assert not SyncConfig.objects.exists()


def test_a_function_that_uses_a_tables_type_is_told_by_postgresql(
    filled: Export,
) -> None:
    schema = filled.config.schema_name
    run_sql(
        f'CREATE FUNCTION "{schema}".one() RETURNS "{schema}".account '
        f"LANGUAGE sql AS 'SELECT a FROM \"{schema}\".account a LIMIT 1'"
    )
    with pytest.raises(TargetError, match="function") as caught:
        remove_sync(filled.config, drop_tables=True, by="anna")
    assert caught.value.code == "column_in_use"
    assert_nothing_is_gone(filled)


def test_a_load_that_goes_on_is_named_and_nothing_is_gone(filled: Export) -> None:
    pk = filled.entity("account").pk
    taken = f"SELECT pg_advisory_xact_lock({int(Namespace.TABLE)}, {pk})"
    with (
        another_session(taken),
        pytest.raises(TargetError, match="still loading account") as caught,
    ):
        remove_sync(filled.config, drop_tables=True, by="anna", wait=0)
    assert caught.value.code == "table_locked"
    assert_nothing_is_gone(filled)
    assert SyncConfig.objects.get().paused
    remove_sync(filled.config, drop_tables=True, by="anna")


def test_a_load_that_ends_meanwhile_is_waited_for(
    filled: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    pk = filled.entity("account").pk
    taken = f"SELECT pg_advisory_xact_lock({int(Namespace.TABLE)}, {pk})"
    begun, waits = threading.Event(), threading.Event()

    def hold() -> None:
        with another_session(taken):
            begun.set()
            waits.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    monkeypatch.setattr("time.sleep", lambda seconds: waits.set())
    try:
        remove_sync(filled.config, drop_tables=True, by="anna")
    finally:
        waits.set()
        thread.join()
    assert not SyncConfig.objects.exists()


def test_a_reader_who_does_not_end_keeps_all_of_it(filled: Export) -> None:
    reading = f'SELECT * FROM "{filled.config.schema_name}".account'
    with another_session(reading), pytest.raises(TargetError) as caught:
        remove_sync(filled.config, drop_tables=True, by="anna")
    assert caught.value.code == "table_locked"
    assert_nothing_is_gone(filled)


def test_a_sync_that_is_gone_already_is_said_to_be(filled: Export) -> None:
    remove_sync(filled.config, drop_tables=False, by="anna")
    with pytest.raises(ConfigError, match="gone already"):
        remove_sync(filled.config, drop_tables=False, by="ben")


def test_a_large_ledger_goes_in_a_fixed_number_of_statements(
    filled: Export, django_assert_max_num_queries: Any
) -> None:
    run_sql(
        "INSERT INTO data_sync_progress (config_id, partition, table_name, "
        "copy_status, rows_inserted, rows_updated, rows_deleted, rows_unchanged, "
        "rows_rejected, rows_missing, bytes, attempts, error_code, error_message, "
        "error_where, error_remedy) "
        f"SELECT {filled.config.pk}, 'p' || n, 'account', 1, 0, 0, 0, 0, 0, 0, 0, 0, "
        "'', '', '', '' FROM generate_series(1, 100000) n"
    )
    pause(filled.config, by="anna")
    with django_assert_max_num_queries(40):
        remove_sync(filled.config, drop_tables=False, by="anna")
    assert not DataSyncProgress.objects.exists()


def test_a_killed_deletion_leaves_all_of_it(
    filled: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(schema: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(removal, "_drop_schema", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_sync(filled.config, drop_tables=True, by="anna")
    assert_nothing_is_gone(filled)


def test_the_loads_of_a_deleted_sync_end_quietly(
    filled: Export, caplog: pytest.LogCaptureFixture
) -> None:
    pk = filled.entity("account").pk
    remove_sync(filled.config, drop_tables=False, by="anna")
    caplog.clear()
    jobs.load(pk)
    assert not caplog.records


def test_a_load_that_meets_the_deletion_ends_quietly(
    filled: Export, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = load.sync_table

    def deleted_first(table: SyncTable, **options: Any) -> object:
        remove_sync(filled.config, drop_tables=False, by="anna")
        return real(table, **options)

    monkeypatch.setattr(jobs, "sync_table", deleted_first)
    jobs.load(filled.entity("account").pk)
    assert [r.levelname for r in caplog.records if r.name == "sync.tasks.jobs"] in (
        [],
        ["INFO"],
    )
    assert not SyncConfig.objects.exists()


def test_a_poll_that_meets_the_deletion_goes_on_with_the_others(
    filled: Export, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = discovery.look_once

    def deleted_first(config: SyncConfig, **options: Any) -> object:
        remove_sync(filled.config, drop_tables=False, by="anna")
        return real(config, **options)

    filled.upsert("account", 3, name="x")
    filled.close_folder()
    monkeypatch.setattr(rounds, "look_once", deleted_first)
    assert list(rounds.look_in_turn()) == []
    assert not [r for r in caplog.records if r.name == "sync.engine.rounds"]


def test_a_poll_that_only_notes_its_look_meets_the_deletion_quietly(
    filled: Export, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = discovery.look_once
    filled.poll()  # nothing is new from now on

    def deleted_first(config: SyncConfig, **options: Any) -> object:
        remove_sync(filled.config, drop_tables=False, by="anna")
        return real(config, **options)

    monkeypatch.setattr(rounds, "look_once", deleted_first)
    assert list(rounds.look_in_turn()) == []
    assert not [r for r in caplog.records if r.name == "sync.engine.rounds"]

"""Users are in the way, hundreds of tables are due, twenty commands run at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db.models import Sum

from sync.engine.batch import BATCH_BYTES
from sync.models import DataSyncProgress, SyncTable
from tests import processes
from tests.elsewhere import session
from tests.service import Service, eventually, let_go, next_poll, slow_down
from tests.sync.conftest import Export, run_sql
from tests.sync.tasks.test_kills import (
    applied,
    changed,
    exact,
    filled,
    under_way,
)

pytestmark = pytest.mark.timeout(280)

COMMANDS = 20


@pytest.fixture
def user(transactional_db: None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Return the session of somebody who works with the database too."""
    with session() as user:
        yield user
        user.rollback()


def failure(export: Export, table: str) -> str:
    """Return the error of the table's last folder, if there is one."""
    return export.progress(table)[-1].error_code


@pytest.mark.fault(
    "F17",
    injected="LOCK TABLE of a user on one target, while the service loads all",
    outcome="that table fails for now, the others go on; loaded when the lock is gone",
)
def test_a_locked_table_holds_up_nobody_else(
    export: Export, service: Service, user: psycopg.Connection[Any]
) -> None:
    filled(export, "account", "contact")
    service.both()
    user.execute(f"LOCK TABLE {export.config.schema_name}.account")
    changed(export, "account", "contact")
    eventually(lambda: failure(export, "account") == "table_locked", service.logs)
    changed(export, "contact")
    eventually(lambda: len(applied(export, "contact")) == 3, service.logs)
    user.rollback()
    exact(export, service)
    assert export.entity("account").state == SyncTable.State.ACTIVE


@pytest.mark.fault(
    "F16",
    injected="a long transaction that has read a target which needs a new column",
    outcome="the ALTER waits for a second at a time, so that other readers are not "
    "held up; the other tables go on; loaded when the transaction has ended",
)
def test_a_long_transaction_in_the_way_of_a_new_column_holds_up_nobody(
    export: Export, service: Service, user: psycopg.Connection[Any]
) -> None:
    filled(export, "account", "contact")
    service.both()
    count = f"SELECT count(*) FROM {export.config.schema_name}.account"
    user.execute(count)
    export.add_column("account", "color")
    changed(export, "account", "contact")

    def failed_meanwhile() -> bool:
        # PostgreSQL refuses it when it waits for longer.
        reader.execute(count)
        return failure(export, "account") == "table_locked"

    with session() as reader:
        reader.autocommit = True
        reader.execute("SET lock_timeout = '4s'")
        eventually(failed_meanwhile, service.logs)
    eventually(lambda: len(applied(export, "contact")) == 2, service.logs)
    user.rollback()
    exact(export, service)
    assert export.rows("account", "color") == [(None,), (None,)]


@pytest.mark.timeout(480)
def test_300_tables_are_loaded_by_two_workers_beside_one_huge_one(
    export: Export, service: Service
) -> None:
    huge, small = ["huge0", "huge1"], [f"small{n}" for n in range(300)]
    filled(export, *huge)
    for table in map(export.entity, huge):
        slow_down(table, 600)
    changed(export, *huge, *small)
    export.poll()
    # Over the byte budget, as the poll reads it.
    rows = DataSyncProgress.objects.filter(copy_status=0, table_name__in=huge)
    assert rows.update(bytes=BATCH_BYTES + 1) == 2
    service.both(DVSYNC_WORKERS="2")

    def all_small() -> bool:
        done = export.config.progress.filter(table_name__in=small, copy_status=1)
        return done.count() == len(small)

    eventually(all_small, service.logs, within=300)
    slow = [table for table in map(export.entity, huge) if under_way(table)]
    assert len(slow) == 1, "the other worker was to be left to the small ones"
    let_go(*map(export.entity, huge))
    exact(export, service)


def test_a_table_that_fails_delays_no_other(export: Export, service: Service) -> None:
    others = [f"table{n}" for n in range(10)]
    service.both()
    export.table("account")
    export.raw("account", "bad.csv", b"no row at all\n")
    changed(export, *others)
    eventually(lambda: failed(export, "account"), service.logs)
    for _ in range(2):
        changed(export, *others)
        next_poll()
    for name in others:
        eventually(lambda name=name: len(applied(export, name)) == 3, service.logs)  # type: ignore[misc]
    attempts = export.config.progress.filter(table_name__in=others)
    assert {row.attempts for row in attempts} == {1}
    assert failed(export, "account")


def failed(export: Export, table: str) -> bool:
    rows = export.config.progress.filter(table_name=table, copy_status=2)
    return rows.exists()


@pytest.mark.fault(
    "F70",
    injected="twenty syncnow processes at once, beside the service",
    outcome="everything applied once; no deadlock, no command fails",
)
def test_twenty_commands_and_the_service_load_everything_once(
    export: Export, service: Service
) -> None:
    names = [f"table{n}" for n in range(6)]
    filled(export, *names)
    for table in map(export.entity, names):
        slow_down(table, 0.2)  # so that they meet
    service.both()
    for _ in range(3):
        changed(export, *names)
    commands = [
        processes.start("syncnow", "--jobs", "2", *(["--no-wait"] if n % 2 else []))
        for n in range(COMMANDS)
    ]
    changed(export, *names)
    ended = [(c.communicate(timeout=200), c.returncode) for c in commands]
    for number, (said, code) in enumerate(ended):
        assert code in ({0, 6} if number % 2 else {0}), said
        assert "deadlock" not in "".join(said)
    exact(export, service)
    assert "deadlock" not in service.logs()

    rows = export.config.progress.all()
    assert {row.attempts for row in rows} == {1}
    for name in names:
        counted = rows.filter(table_name=name).aggregate(
            inserted=Sum("rows_inserted"), updated=Sum("rows_updated")
        )
        table = export.entity(name)
        assert counted == {
            "inserted": table.inserted_total,
            "updated": table.updated_total,
        }


# What a person does meanwhile


@pytest.mark.parametrize("words", [["account"], []], ids=["table", "sync"])
@pytest.mark.fault(
    "F71",
    injected="pausesync in the middle of a load, then resumesync",
    outcome="rolled back within seconds and not counted; it goes on afterwards",
)
def test_a_pause_rolls_a_load_back_and_resume_makes_it_go_on(
    export: Export, service: Service, words: list[str]
) -> None:
    filled(export, "account")
    account = export.entity("account")
    slow_down(account, 600)
    service.both()
    changed(export, "account")
    eventually(lambda: under_way(account), service.logs)
    told("pausesync", export.config.name, *words)
    eventually(lambda: not under_way(account), service.logs)
    eventually(lambda: attempts_of_last(export) == 0, service.logs)
    next_poll()
    next_poll()
    assert not under_way(account)
    told("resumesync", export.config.name, *words)
    eventually(lambda: under_way(account), service.logs)
    let_go(account)
    exact(export, service)


def told(*words: str) -> None:
    code, out, err = processes.run(*words)
    assert code == 0, out + err


def attempts_of_last(export: Export) -> int:
    [row] = [row for row in export.progress("account") if row.copy_status != 1]
    return row.attempts


def test_a_retry_waits_for_no_back_off(
    export: Export, service: Service, user: psycopg.Connection[Any]
) -> None:
    filled(export, "account")
    service.both()
    user.execute(f"LOCK TABLE {export.config.schema_name}.account")
    changed(export, "account")
    eventually(lambda: failure(export, "account") == "table_locked", service.logs)
    run_sql(
        "UPDATE data_sync_progress SET next_attempt_at = now() + interval '1 hour' "
        "WHERE copy_status = 2"
    )
    user.rollback()
    told("retrysync", export.config.name)
    exact(export, service)

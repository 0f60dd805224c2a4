from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from sync import faultpoints
from sync.engine.locks import Namespace
from sync.engine.session import raw_cursor
from sync.target.activity import Running, running
from tests.elsewhere import elsewhere, session, until
from tests.sync.conftest import Export

OTHERS = pytest.mark.django_db(transaction=True)
Session = psycopg.Connection[tuple[object, ...]]


def seen() -> dict[int, Running]:
    return running(raw_cursor(), Namespace.TABLE)


def hold(other: Session, number: int, namespace: int = Namespace.TABLE) -> None:
    other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [namespace, number])


def call_it(other: Session, name: str) -> None:
    other.execute("SELECT set_config('application_name', %s, true)", [name])


@contextmanager
def waiting(other: Session, statement: sql.Composable) -> Iterator[None]:
    """Let a session wait in a statement for as long as the block."""
    thread = threading.Thread(target=other.execute, args=[statement])
    thread.start()
    try:
        yield
    finally:
        thread.join()


@OTHERS
def test_nothing_runs_without_a_lock() -> None:
    assert seen() == {}


@OTHERS
def test_a_held_lock_tells_table_session_phase_and_bytes() -> None:
    with session() as other:
        hold(other, 17)
        call_it(other, "dvsync table=17 phase=merge bytes=123456789")
        [found] = seen().values()

        assert (found.table_id, found.pid) == (17, other.info.backend_pid)
        assert (found.phase, found.bytes) == ("merge", 123_456_789)
        assert found.since is not None
        assert (found.waiting, found.blockers, found.copied) == (False, (), None)
        other.rollback()
    assert seen() == {}


@OTHERS
@pytest.mark.parametrize(
    "name",
    ["", "psql", "dvsync table=18 phase=copy bytes=5", "dvsync table=17 phase= bytes="],
    ids=["none", "other", "another table", "cut"],
)
def test_a_session_that_does_not_say_what_it_does_has_no_phase(name: str) -> None:
    with session() as other:
        hold(other, 17)
        call_it(other, name)
        found = seen()[17]
        assert (found.phase, found.bytes) == ("", 0)


@OTHERS
def test_other_locks_are_no_loads() -> None:
    with session() as other:
        hold(other, 17, Namespace.CONFIG)
        # One integer of 64 bits with the same two halves.
        whole = (Namespace.TABLE << 32) + 17
        other.execute("SELECT pg_advisory_xact_lock(%s)", [whole])
        assert seen() == {}


@OTHERS
def test_who_waits_for_the_lock_does_not_hold_it() -> None:
    with session() as holder, session() as waiter:
        hold(holder, 17)
        take = sql.SQL("SELECT pg_advisory_xact_lock({}, 17)").format(Namespace.TABLE)
        with waiting(waiter, take):
            until(lambda: blocked(waiter))
            assert [found.pid for found in seen().values()] == [holder.info.backend_pid]
            holder.rollback()


def blocked(other: Session) -> bool:
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    row = raw_cursor().execute(query, [other.info.backend_pid]).fetchone()
    return bool(row and row[0])


def test_a_load_that_waits_names_those_for_whom_it_waits(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    table = export.entity("account")
    relation = table.target().relation
    with session() as first, session() as second, session() as load:
        pids = {first.info.backend_pid, second.info.backend_pid}
        name = first.info.user
        for user in (first, second):
            user.execute(sql.SQL("SELECT 1 FROM {}").format(relation))
        hold(load, table.pk)
        lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(relation)
        with waiting(load, lock):
            found = until(lambda: (r := seen()[table.pk]).waiting and r.blockers and r)
            first.rollback()
            second.rollback()

    assert isinstance(found, Running)
    assert {blocker.pid for blocker in found.blockers} == pids
    for blocker in found.blockers:
        assert blocker.user == name
        assert blocker.query_seconds is not None
        assert blocker.query_seconds >= 0


def test_a_running_copy_tells_its_bytes(export: Export) -> None:
    for key in range(1, 2001):
        export.upsert("account", key, name=f"{key} " * 100)
    export.close_folder()
    looks: list[Running | None] = []

    def look() -> None:
        looks.append(elsewhere(lambda: until(copying)))

    with faultpoints.armed("block_copied", count=5, action=look):
        export.load("account")

    [found] = looks
    assert found is not None
    assert found.table_id == export.entity("account").pk
    assert found.phase == "copy"
    assert found.copied
    assert seen() == {}


def copying() -> Running | None:
    return next((found for found in seen().values() if found.copied), None)

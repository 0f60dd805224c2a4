"""Loads over a network that breaks, and beside backends that are left behind.

The loaders run in processes of their own, or in a thread with a connection that leads
through ``tests.proxy``; the test looks at the database by another way.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections

from sync.engine import load
from sync.engine.locks import Namespace
from sync.errors import SyncError
from sync.models import DataSyncProgress, SyncTable
from tests import processes
from tests.oracle import replay
from tests.proxy import Proxy
from tests.sync.conftest import Export, run_sql

SLEEPERS = (
    "FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
    "AND datname = current_database()"
)
COLUMNS = ("id", "name", "amount", "versionnumber")


@pytest.fixture
def proxy(transactional_db: None) -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


def through(proxy: Proxy, work: Callable[[], Any]) -> Any:
    """Return what the work returns or raises, done by a connection of the proxy."""
    outcome: list[Any] = []

    def run() -> None:
        connection.settings_dict = proxy.settings(connection.settings_dict)
        try:
            outcome.append(work())
        except SyncError as error:
            outcome.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [result] = outcome
    return result


def two_folders(export: Export) -> None:
    """Write a folder, and one that changes, deletes and adds rows of it."""
    for key in (1, 2, 3):
        export.upsert("account", key, name=f"first {key}")
    export.close_folder()
    export.upsert("account", 1, name="second")
    export.delete("account", 2)
    export.upsert("account", 4, name="new")
    export.close_folder()


def much(export: Export, table: str = "account") -> None:
    """Write rows of about a megabyte."""
    for key in range(1, 2001):
        export.upsert(table, key, name=f"{key} " * 100)
    export.close_folder()


def assert_exact(export: Export, table: str = "account") -> None:
    """Compare rows with the oracle, and what was counted with what was written."""
    rows = replay(export)[table].rows.values()
    expected = sorted(tuple(row[name] for name in COLUMNS) for row in rows)
    assert export.rows(table, *COLUMNS) == expected
    for row in export.progress(table):
        written = export.find(row.partition).changes[table]
        assert (row.copy_status, sum(counts(row))) == (1, len(written))


def counts(row: DataSyncProgress) -> tuple[int, int, int, int]:
    return row.rows_inserted, row.rows_updated, row.rows_deleted, row.rows_unchanged


def outcome(output: str, table: str = "account") -> tuple[str, str | None]:
    """Return the status and the error's code that ``syncnow --json`` told."""
    [synced] = json.loads(output)["syncs"]
    [found] = [found for found in synced["tables"] if found["table"] == table]
    return found["status"], found["error"] and found["error"]["code"]


# The answer to a COMMIT is lost.


def test_whichever_commits_answer_is_lost_everything_is_applied_once(
    make_export: Callable[..., Export], proxy: Proxy
) -> None:
    claims = []
    for number in count(1):
        export = make_export()
        two_folders(export)
        proxy.lose_answer_to_commit(number)
        with mock.patch.object(load, "BATCH_BYTES", 0):  # a load for each folder
            claim = through(proxy, export.sync)
            if isinstance(claim, dict):
                applied = [row.copy_status for row in export.progress("account")]
                assert claim["account"].partitions == applied.count(1)
            export.sync()

        assert_exact(export)
        both = [counts(row) for row in export.progress("account")]
        assert both == [(3, 0, 0, 0), (1, 1, 1, 0)]
        if not proxy.struck.is_set():
            break
        claims.append(claim["account"].status if isinstance(claim, dict) else "")
    # Of the two loads' own COMMITs at least: the others leave something to do.
    assert claims.count("success") >= 2
    assert len(claims) > 2


def test_a_command_whose_loads_commit_is_not_answered_claims_no_failure(
    export: Export, proxy: Proxy
) -> None:
    two_folders(export)
    proxy.lose_answer_to_commit(of_load=True)

    code, out, err = processes.run("syncnow", "--json", DATABASE_URL=proxy.url())

    assert proxy.struck.is_set()
    assert (code, outcome(out)) == (0, ("success", None)), err
    assert_exact(export)
    before = run_sql(f'SELECT xmin, * FROM "{export.config.schema_name}".account')
    code, out, _ = processes.run("syncnow", "--json")
    assert (code, outcome(out)) == (0, ("unchanged", None))
    again = run_sql(f'SELECT xmin, * FROM "{export.config.schema_name}".account')
    assert again == before


def test_a_load_whose_commit_is_done_when_the_network_freezes_is_a_success(
    export: Export, proxy: Proxy
) -> None:
    two_folders(export)
    proxy.freeze_answer_to_commit()

    code, out, err = processes.run(
        "syncnow", "--json", DATABASE_URL=proxy.url(), DVSYNC_STALL_SECONDS="1"
    )

    assert proxy.struck.is_set()
    assert (code, outcome(out)) == (0, ("success", None)), err
    assert_exact(export)


# The network breaks or freezes under way.


def test_wherever_the_network_breaks_the_next_run_is_exact(
    make_export: Callable[..., Export], proxy: Proxy
) -> None:
    """Cut before the first message, the second ... until a run passes untouched."""
    for number in count(1):
        export = make_export()
        two_folders(export)
        proxy.cut_before(number)

        claim = through(proxy, export.sync)

        if isinstance(claim, dict):
            applied = [row.copy_status for row in export.progress("account")]
            assert claim["account"].partitions == applied.count(1)
        if not proxy.struck.is_set():
            break
        export.sync()
        assert_exact(export)
    assert claim["account"].status == "success"


def test_a_load_that_is_cut_in_copy_is_rolled_back_and_done_by_the_next(
    export: Export, proxy: Proxy
) -> None:
    much(export)
    proxy.cut_in_copy(500_000)

    code, out, err = processes.run("syncnow", "--json", DATABASE_URL=proxy.url())

    assert proxy.struck.is_set()
    assert (code, outcome(out)) == (5, ("failed", "database_unavailable")), err
    assert export.rows("account", "id") == []
    [row] = export.progress("account")
    assert (row.copy_status, row.error_code) == (2, "database_unavailable")
    assert row.next_attempt_at is not None  # tried again: transient
    assert processes.run("syncnow")[0] == 0
    assert_exact(export)


def test_a_load_that_freezes_in_copy_is_ended_by_its_watchdog(
    export: Export, proxy: Proxy
) -> None:
    much(export)
    proxy.freeze_in_copy(500_000)

    code, out, err = processes.run(
        "syncnow", "--json", DATABASE_URL=proxy.url(), DVSYNC_STALL_SECONDS="1"
    )

    assert proxy.struck.is_set()
    assert (code, outcome(out)) == (3, ("failed", "load_stalled")), err
    assert export.rows("account", "id") == []
    [row] = export.progress("account")
    assert (row.copy_status, row.error_code) == (2, "load_stalled")
    assert row.next_attempt_at is not None
    # The frozen middle still holds its sockets: the watchdog ended the session.
    code, _, err = processes.run("syncnow")
    assert code == 0, err
    assert_exact(export)


# Backends and files that outlive their loaders.


def lock_is_free(export: Export) -> bool:
    """Say whether the account's advisory lock is free; it is not kept."""
    free = "SELECT pg_try_advisory_xact_lock(%s, %s)"
    number = export.entity("account").pk
    with connection.cursor() as cursor:
        cursor.execute(free, [Namespace.TABLE, number])
        row = cursor.fetchone()
    return bool(row and row[0])


def wait_until(condition: Callable[[], bool], process: Any = None) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def backend_sleeps() -> bool:
    return bool(run_sql(f"SELECT pid {SLEEPERS}"))


@pytest.fixture
def slow_merge(export: Export) -> Iterator[str]:
    """Let every INSERT into the account sleep for minutes."""
    much(export)
    export.poll()
    account = f'"{export.config.schema_name}".account'
    run_sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(240); RETURN NULL; END'"
    )
    run_sql(
        f"CREATE TRIGGER dawdle AFTER INSERT ON {account} "
        "FOR EACH STATEMENT EXECUTE FUNCTION dawdle()"
    )
    yield f"DROP TRIGGER dawdle ON {account}"
    run_sql(f"SELECT pg_terminate_backend(pid) {SLEEPERS}")
    run_sql("DROP FUNCTION dawdle CASCADE")


@pytest.mark.parametrize("way", ["straight", "through the proxy"])
def test_a_merge_whose_loader_was_killed_frees_its_table_long_before_it_would_end(
    export: Export, proxy: Proxy, slow_merge: str, way: str
) -> None:
    url = processes.database_url() if way == "straight" else proxy.url()
    process = processes.start("syncnow", DATABASE_URL=url)
    try:
        wait_until(backend_sleeps, process)
        assert not lock_is_free(export)
    finally:
        process.kill()
        process.communicate()

    wait_until(lambda: lock_is_free(export))

    assert not backend_sleeps()
    run_sql(slow_merge)
    code, out, err = processes.run("syncnow", "--json", "--no-wait")
    assert (code, outcome(out)) == (0, ("success", None)), err
    assert_exact(export)


def test_a_file_that_kills_its_loaders_parks_its_table_until_a_person_tries_again(
    export: Export,
) -> None:
    two_folders(export)
    export.upsert("contact", 1, name="c")
    export.close_folder()
    blocks = "block_copied:2"  # that of the second folder
    for attempts in (1, 2, 3):
        code, _, _ = processes.run(
            *("syncnow", "--table", "account"), DVSYNC_FAULTPOINT=blocks
        )
        assert code == -signal.SIGKILL
        killer = export.progress("account")[1]
        assert (killer.copy_status, killer.attempts) == (0, attempts)
        if attempts == 2:  # the folder before it was applied alone
            blocks = "block_copied:1"

    results = export.sync()

    assert export.progress("account")[0].copy_status == 1
    error = results["account"].error
    assert error is not None
    assert error.code == "loader_killed"
    assert error.where == export.folders[1].name
    assert export.entity("account").state == SyncTable.State.PARKED
    assert results["contact"].status == "success"
    code, out, err = processes.run("syncnow", "--json")
    assert (code, outcome(out)) == (0, ("success", None)), err
    assert export.entity("account").state == SyncTable.State.ACTIVE
    assert_exact(export)
    assert_exact(export, "contact")


# Too many connections.


def test_a_table_without_a_connection_is_left_for_the_next_run(export: Export) -> None:
    two_folders(export)
    [(name,)] = run_sql("SELECT current_database()")
    end = time.monotonic() + 60
    while run_sql(
        "SELECT FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ):  # what another test killed makes room a little later
        assert time.monotonic() < end, "a session of another test did not end"
        time.sleep(0.05)
    # One for this test, one for the command itself; its loads want one each.
    run_sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 2')
    try:
        code, out, err = processes.run("syncnow", "--json")
    finally:
        run_sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')

    assert (code, outcome(out)) == (5, ("failed", "database_unavailable")), err
    assert {row.copy_status for row in export.progress("account")} == {0}
    assert {row.attempts for row in export.progress("account")} == {0}
    assert processes.run("syncnow")[0] == 0
    assert_exact(export)

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from sync.engine import load
from sync.engine.locks import Namespace
from sync.errors import TargetError
from sync.models import DataSyncProgress, SyncPartition, SyncTable
from tests import processes
from tests.invariants import check_invariants
from tests.service import slow_down, speed_up
from tests.sync.conftest import Export, run_sql

CUT_ROW = b"00000000-0000-0000-0000-000000000009,,\n"


def sync(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    try:
        call_command("syncnow", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        code = ended.code
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return code, out.getvalue(), err.getvalue()


def document(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = sync("--json", *arguments)
    return code, json.loads(out)


def table(found: dict[str, Any], name: str) -> dict[str, Any]:
    tables = [t for s in found["syncs"] for t in s["tables"] if t["table"] == name]
    assert len(tables) == 1
    result: dict[str, Any] = tables[0]
    return result


def two_tables(export: Export, *, bad: bool = False) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="c")
    if bad:
        export.raw("account", "2026.csv", CUT_ROW)
    export.close_folder()


def test_it_loads_everything_and_says_what(export: Export) -> None:
    two_tables(export)
    code, out, err = sync()
    assert code == 0
    schema = export.config.schema_name
    assert f"{schema}.account: success, 1 folder, 1 inserted" in out
    assert f"{schema}.contact: success, 1 folder, 1 inserted" in out
    assert err == ""


def test_a_second_run_has_nothing_to_do(export: Export) -> None:
    two_tables(export)
    sync()
    code, out, _ = sync()
    assert (code, out) == (0, f"{export.config.name}: 2 tables unchanged\n")


def test_the_json_document_has_the_documented_shape(export: Export) -> None:
    two_tables(export)
    code, found = document()

    assert code == 0
    assert found["schema_version"] == 1
    [synced] = found["syncs"]
    assert (synced["name"], synced["error"]) == (export.config.name, None)
    account = table(found, "account")
    seconds = account.pop("seconds")
    assert seconds > 0
    assert account == {
        "table": "account",
        "target": f"{export.config.schema_name}.account",
        "status": "success",
        "partitions": 1,
        "rows": {
            "inserted": 1,
            "updated": 0,
            "deleted": 0,
            "unchanged": 0,
            "rejected": 0,
            "missing": 0,
        },
        "bytes": export.progress("account")[0].bytes,
        "error": None,
    }


def test_a_failed_table_ends_in_3_with_its_error_and_others_are_loaded(
    export: Export,
) -> None:
    two_tables(export, bad=True)
    code, found = document()

    assert code == 3
    assert table(found, "contact")["status"] == "success"
    account = table(found, "account")
    assert account["status"] == "failed"
    assert set(account["error"]) == {"code", "message", "where", "remedy"}
    assert account["error"]["code"] == "bad_row"
    assert account["error"]["where"].endswith("account/2026.csv, line 2")

    _, _, err = sync()
    assert account["error"]["remedy"] in err


def test_a_parked_table_is_tried_once_by_a_person(export: Export) -> None:
    two_tables(export, bad=True)
    statuses = [table(document()[1], "account")["status"] for _ in range(4)]
    assert statuses == ["failed", "failed", "parked", "parked"]
    assert export.progress("account")[0].attempts == 4


def test_it_does_not_wait_for_the_back_off(export: Export) -> None:
    two_tables(export, bad=True)
    sync()
    [row] = export.progress("account")
    assert row.next_attempt_at is not None
    path = export.root / row.partition / "account" / "2026.csv"
    path.write_bytes(path.read_bytes().replace(CUT_ROW, CUT_ROW.replace(b"9", b"8")))
    assert sync()[0] == 3
    assert export.progress("account")[0].attempts == 2


def test_tables_are_chosen_without_regard_to_case(export: Export) -> None:
    two_tables(export)
    _, found = document("--table", "ACC*", "--table", "lead")
    assert [t["table"] for s in found["syncs"] for t in s["tables"]] == ["account"]
    assert export.progress("contact")[0].copy_status == 0


def test_syncs_are_chosen_by_name(make_export: Callable[..., Export]) -> None:
    first, second = make_export(), make_export()
    two_tables(first)
    two_tables(second)
    _, found = document(second.config.name)
    assert [s["name"] for s in found["syncs"]] == [second.config.name]


def test_an_unknown_name_is_a_wrong_use(export: Export) -> None:
    code, out, err = sync(export.config.name, "nobody")
    assert (code, out) == (2, "")
    assert "'nobody'" in err


@pytest.mark.django_db(transaction=True)
def test_no_sync_at_all_is_a_wrong_use() -> None:
    code, _, err = sync()
    assert code == 2
    assert "createsync" in err


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_jobs_must_be_a_positive_number(export: Export, jobs: str) -> None:
    code, _, err = processes.run("syncnow", "--jobs", jobs)
    assert code == 2
    assert "--jobs" in err


def test_a_missing_marker_ends_in_4(make_export: Callable[..., Export]) -> None:
    broken, sound = make_export(), make_export()
    two_tables(sound)
    (broken.root / "Changelog" / "changelog.info").unlink()
    code, found = document()
    assert code == 4
    [first, second] = found["syncs"]
    assert first["error"]["code"] == "not_an_export"
    assert second["tables"][0]["status"] == "success"


def test_the_highest_of_the_codes_wins(make_export: Callable[..., Export]) -> None:
    broken, failing = make_export(), make_export()
    two_tables(failing, bad=True)
    (broken.root / "Changelog" / "changelog.info").write_text("")
    assert sync()[0] == 4


@pytest.mark.fault(
    "C3",
    injected="a closed folder without model.json before a later one",
    outcome="said; it waits, nothing overtakes it",
)
def test_an_incomplete_folder_is_said_and_no_failure(
    make_export: Callable[..., Export],
) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    export = make_export(start=start)
    two_tables(export)
    export.upsert("account", 3)
    waiting = export.close_folder(model="missing")
    export.upsert("account", 2)
    export.close_folder()
    code, _, err = sync()
    assert code == 0
    assert f"{waiting} is not complete: has no model.json" in err
    assert "1 later folder" in err


def test_a_paused_sync_is_left_alone(export: Export) -> None:
    two_tables(export)
    export.poll()
    export.config.paused = True
    export.config.save(update_fields=["paused"])
    code, found = document()
    assert code == 0
    assert table(found, "account")["status"] == "paused"
    assert export.progress("account")[0].copy_status == 0


@pytest.mark.parametrize(("state", "code"), [("paused", 0), ("held", 3)])
def test_a_paused_or_held_table_is_left_alone(
    export: Export, state: str, code: int
) -> None:
    two_tables(export)
    export.poll()
    SyncTable.objects.filter(entity="account").update(state=state)
    ended, found = document()
    assert ended == code
    assert table(found, "account")["status"] == state
    assert table(found, "contact")["status"] == "success"


# Dry runs.


def test_a_dry_run_shows_facts_and_writes_nothing(export: Export) -> None:
    two_tables(export)
    export.add_column("account", "colour:string")
    export.upsert("account", 2, colour="red")
    export.close_folder()

    code, found = document("--dry-run")

    assert code == 0
    account = table(found, "account")
    assert (account["status"], account["partitions"]) == ("pending", 2)
    size = sum(p.stat().st_size for p in export.root.glob("*/account/*.csv"))
    assert account["bytes"] == size
    schema = export.config.schema_name
    statements = " ".join(account["ddl"] + table(found, "contact")["ddl"])
    assert statements.count("CREATE SCHEMA") == 1
    assert f'CREATE TABLE "{schema}"."account"' in statements
    assert 'ADD COLUMN "colour" text' in statements
    assert not SyncPartition.objects.exists()
    assert not SyncTable.objects.exists()
    assert not DataSyncProgress.objects.exists()
    assert run_sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'") == []


def test_the_ddl_of_a_dry_run_is_what_then_runs(export: Export) -> None:
    two_tables(export)
    _, found = document("--dry-run")
    for name in ("account", "contact"):
        for statement in table(found, name)["ddl"]:
            run_sql(statement)
    schema = export.config.schema_name
    by_hand = columns(schema)
    run_sql(f'DROP SCHEMA "{schema}" CASCADE')
    sync()
    assert columns(schema) == by_hand


def columns(schema: str) -> list[tuple[Any, ...]]:
    return run_sql(
        "SELECT table_name, column_name, data_type, is_nullable, ordinal_position "
        f"FROM information_schema.columns WHERE table_schema = '{schema}' ORDER BY 1, 5"
    )


def test_a_dry_run_without_anything_to_do_says_so(export: Export) -> None:
    two_tables(export)
    sync()
    code, found = document("--dry-run")
    account = table(found, "account")
    assert (code, account["status"], account["ddl"]) == (0, "unchanged", [])


def test_a_dry_run_prints_its_statements(export: Export) -> None:
    two_tables(export)
    _, out, _ = sync("--dry-run")
    assert "account: pending, 1 folder" in out
    assert "CREATE TABLE" in out


# Two at once.


@pytest.fixture
def holding(export: Export) -> Any:
    """Return a function that holds a table's lock in another session."""
    others: list[psycopg.Connection[Any]] = []

    def hold(name: str) -> psycopg.Connection[Any]:
        info = connection.connection.info
        other = psycopg.connect(info.dsn, password=info.password or None)
        others.append(other)
        number = SyncTable.objects.get(entity=name).pk
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [Namespace.TABLE, number])
        return other

    yield hold
    for other in others:
        other.close()


def test_no_wait_ends_in_6_when_a_table_is_busy(export: Export, holding: Any) -> None:
    two_tables(export)
    export.poll()
    holding("account")
    code, found = document("--no-wait")
    assert code == 6
    assert table(found, "account")["status"] == "busy"
    assert table(found, "contact")["status"] == "success"
    assert export.progress("account")[0].attempts == 0


def test_a_failure_wins_over_busy(export: Export, holding: Any) -> None:
    two_tables(export, bad=True)
    export.poll()
    holding("contact")
    assert sync("--no-wait")[0] == 3


@pytest.mark.fault(
    "F70",
    injected="syncnow while another session loads a table",
    outcome="it waits, then loads",
)
def test_it_waits_for_a_table_that_is_busy(export: Export, holding: Any) -> None:
    two_tables(export)
    export.poll()
    other = holding("account")
    process = processes.start("syncnow", "--json")
    while not export.progress("contact")[0].copy_status:
        time.sleep(0.05)
    assert process.poll() is None
    other.rollback()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert table(json.loads(out), "account")["status"] == "success"


@pytest.mark.fault(
    "F70", injected="three syncnow processes at once", outcome="everything applied once"
)
def test_two_at_once_apply_everything_once(export: Export) -> None:
    for number in range(5):
        export.upsert("account", number, name="a")
        export.upsert("contact", number, name="c")
        export.close_folder()
    started = [processes.start("syncnow", "--json") for _ in range(3)]
    outs = [process.communicate(timeout=120) for process in started]

    assert [process.returncode for process in started] == [0, 0, 0], outs
    applied = [
        t["partitions"]
        for out, _ in outs
        for s in json.loads(out)["syncs"]
        for t in s["tables"]
    ]
    assert sum(applied) == 10
    for name in ("account", "contact"):
        assert [row.rows_inserted for row in export.progress(name)] == [1] * 5


# Endings.


@pytest.mark.fault(
    "F02",
    injected="SIGINT in the middle of a load",
    outcome="rolled back, exit code 130; the next run succeeds",
)
def test_ctrl_c_rolls_back_and_ends_in_130(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    slow_down(export.entity("account"), 600)
    process = processes.start("syncnow")
    while not run_sql(
        "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'dvsync table%' "
        "AND datname = current_database() AND wait_event = 'PgSleep'"
    ):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "rolled back" in err
    assert "Traceback" not in err
    assert export.rows("account", "id") == []
    [row] = export.progress("account")
    assert (row.copy_status, row.attempts) == (0, 0)
    speed_up(export.entity("account"))
    assert sync()[0] == 0
    assert len(export.rows("account", "id")) == 1


def test_an_unreachable_database_ends_in_5() -> None:
    url = "postgres://nobody@127.0.0.1:1/nothing"
    code, out, err = processes.run("syncnow", DATABASE_URL=url)
    assert (code, out) == (5, "")
    assert "DATABASE_URL" in err
    assert "Traceback" not in err


def test_a_database_that_goes_away_under_way_ends_in_5(export: Export) -> None:
    two_tables(export)
    with mock.patch(
        "sync.management.running.sync_table",
        side_effect=TargetError("database_unavailable", "gone"),
    ):
        assert sync()[0] == 5


def test_an_unexpected_error_of_one_table_does_not_stop_the_others(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    two_tables(export)
    original = load.sync_table

    def failing(table: SyncTable, *args: Any, **kwargs: Any) -> load.LoadResult:
        if table.entity == "account":
            raise ZeroDivisionError("oh")
        return original(table, *args, **kwargs)

    with mock.patch("sync.management.running.sync_table", failing):
        code, found = document()
    assert code == 3
    assert table(found, "account")["error"]["code"] == "internal_error"
    assert table(found, "contact")["status"] == "success"
    assert "ZeroDivisionError" in caplog.text


def test_an_unmigrated_database_is_migrated_first(export: Export) -> None:
    two_tables(export)
    name = f"fresh_{os.getpid()}"
    run_sql(f"CREATE DATABASE {name}")
    try:
        url = processes.database_url().rpartition("/")[0] + f"/{name}"
        code, _, err = processes.run(
            "createsync", "sales", str(export.root), DATABASE_URL=url
        )
        assert (code, "own tables" in err) == (0, True), err
        code, out, err = processes.run("syncnow", DATABASE_URL=url)
        assert code == 0, err
        assert "sales.account: success" in out
    finally:
        run_sql(f"DROP DATABASE {name} WITH (FORCE)")


# Killed.


def history(export: Export, dice: random.Random, folders: int) -> None:
    """Write folders of upserts, deletes and re-sends over 200 keys."""
    for _ in range(folders):
        for _ in range(400):
            key = dice.randint(1, 200)
            if dice.random() < 0.25:
                export.delete("account", key)
            else:
                export.upsert("account", key, name=f"v{dice.random()}")
            export.upsert("contact", key, name=f"c{dice.random()}")
        export.close_folder()


@pytest.mark.fault(
    "F01", injected="SIGKILL at random moments", outcome="the next run is exact"
)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_it_still_ends_exact(
    export: Export, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311
    kills = 0
    for _ in range(4):
        history(export, dice, 3)
        for _ in range(3):
            process = processes.start("syncnow", "--no-progress")
            try:
                process.communicate(timeout=dice.uniform(0.3, 1.6))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
    code, _, err = processes.run("syncnow")
    assert code == 0, err
    assert kills
    check_invariants(export, export.config.pk)


# The surroundings.


def test_a_reader_that_goes_away_does_not_change_the_outcome(export: Export) -> None:
    two_tables(export, bad=True)
    process = processes.start("syncnow", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 3
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_glob_that_matches_nothing_is_said(export: Export) -> None:
    two_tables(export)
    code, _, err = sync("--table", "nosuch*")
    assert code == 0
    assert "No table matches nosuch*" in err


@pytest.mark.fault(
    "F22",
    injected="default_transaction_read_only",
    outcome="exit code 5, error code read_only",
)
def test_a_database_that_takes_no_writes_ends_in_5(export: Export) -> None:
    two_tables(export)
    run_sql("SET default_transaction_read_only = on")
    try:
        code, found = document()
    finally:
        run_sql("RESET default_transaction_read_only")
    assert code == 5
    assert found["syncs"][0]["error"]["code"] == "read_only"


def test_terminal_escapes_of_an_export_are_shown_as_text(export: Export) -> None:
    two_tables(export)
    export.upsert("evil\x9b31m", 1)
    export.close_folder()
    _, out, err = sync()
    assert "\x9b" not in out + err


def test_first_commands_at_once_create_the_tables_once(export: Export) -> None:
    two_tables(export)
    name = f"race_{os.getpid()}"
    run_sql(f"CREATE DATABASE {name}")
    try:
        url = processes.database_url().rpartition("/")[0] + f"/{name}"
        started = [
            processes.start("createsync", f"s{n}", str(export.root), DATABASE_URL=url)
            for n in range(3)
        ]
        outs = [process.communicate(timeout=120) for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], outs
    finally:
        run_sql(f"DROP DATABASE {name} WITH (FORCE)")

"""The commands for decisions, each as a process of its own."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from sync.models import SyncConfig
from tests import processes
from tests.catalogue.steps import FILE, LF, command, line, quarantined
from tests.sync.conftest import Export, run_sql

COMMANDS = {
    "createsync": ["--bad-rows", "--max-bad-rows", "--empty-text", "--new-tables"],
    "editsync": ["--add-table", "--max-delete-share", "--include", "--exclude"],
    "quarantine": ["--reprocess", "--dismiss", "--json", "--table"],
    "refreshtable": ["NAME", "TABLE"],
    "approvedeletes": ["NAME", "TABLE"],
    "acceptloss": ["--table"],
    "reconcile": ["--table", "--json"],
    "syncnow": ["--json"],
}


def manage(*arguments: str) -> int:
    return processes.run(*arguments)[0]


@pytest.mark.parametrize(("name", "options"), COMMANDS.items())
def test_the_help_begins_with_examples(name: str, options: list[str]) -> None:
    code, out, _ = processes.run(name, "--help")

    assert code == 0
    assert out.startswith("Examples:\n")
    assert out.splitlines()[1].strip().startswith(f"manage.py {name} ")
    assert "Exit codes:" in out
    for option in options:
        assert option in out


@pytest.fixture
def name(export: Export) -> str:
    """Return the name of a sync that was created with every option."""
    export.config.delete()
    export.upsert("account", 1, name="a", amount=1)
    export.upsert("skipped", 1, name="x")
    export.close_folder()
    name = export.config.name
    code = manage(
        "createsync",
        name,
        str(export.root),
        *["--schema", export.config.schema_name, "--include", "*"],
        *["--exclude", "skipped", "--bad-rows", "quarantine", "--max-bad-rows", "5"],
        *["--empty-text", "empty", "--new-tables", "ask", "--max-delete-share", "20"],
    )
    assert code == 0
    export.config = SyncConfig.objects.get(name=name)
    assert manage("syncnow", name) == 0
    return name


def test_every_option_is_kept(export: Export, name: str) -> None:
    config = export.config
    assert (config.bad_rows, config.max_bad_rows) == ("quarantine", 5)
    assert (config.empty_text, config.new_tables) == ("empty", "ask")
    assert config.max_delete_share == 20
    assert (config.include, config.exclude) == (["*"], ["skipped"])
    assert export.entity("skipped").columns == []
    assert manage("editsync", name, "--max-bad-rows", "6", "--exclude", "") == 0
    config.refresh_from_db()
    assert (config.max_bad_rows, config.exclude) == (6, [])
    assert config.bad_rows == "quarantine"


def test_bad_rows_are_listed_dismissed_and_tried_again(
    export: Export, name: str
) -> None:
    for key in (2, 3):
        export.raw("account", FILE, line(key, '"x"', "no number") + LF)
    export.close_folder()
    assert manage("syncnow", name) == 0

    code, out, _ = processes.run("quarantine", name, "--table", "account", "--json")
    found = json.loads(out)
    assert (code, found["schema_version"]) == (0, 1)
    first, second = found["rows"]
    assert (first["table"], first["line"], first["column"]) == ("account", 1, "amount")
    assert (first["state"], first["outcome"], first["error"]) == ("open", None, None)
    assert "no number" in first["raw"]

    assert manage("quarantine", name, "--reprocess", str(first["id"])) == 3
    assert manage("quarantine", name, "--dismiss", str(second["id"])) == 0
    assert manage("quarantine", name, "--dismiss", str(second["id"])) == 2
    assert [r.state for r in quarantined(export, "account")] == ["open", "dismissed"]


def test_a_new_table_is_added_and_a_lost_folder_given_up(
    export: Export, name: str
) -> None:
    export.upsert("lead", 1, name="first")
    export.close_folder()
    assert manage("syncnow", name) == 0
    assert export.entity("lead").columns == []
    assert manage("editsync", name, "--add-table", "lead") == 0
    assert manage("syncnow", name) == 0
    assert export.rows("lead", "name") == [("first",)]

    assert manage("acceptloss", name) == 3
    export.upsert("lead", 2, name="lost")
    lost = export.close_folder()
    shutil.rmtree(export.root / lost)
    export.upsert("lead", 3, name="third")
    export.close_folder()
    assert manage("syncnow", name) == 3
    assert manage("refreshtable", name, "lead") == 3
    assert manage("acceptloss", name, "--table", "lead") == 0
    assert manage("acceptloss", name) == 0
    assert manage("syncnow", name) == 0
    assert export.rows("lead", "name") == [("first",), ("third",)]


def test_a_held_table_is_released(export: Export, name: str) -> None:
    assert manage("approvedeletes", name, "account") == 3
    # The share of this sync is 20 per cent.
    rows = [line(key, '"x"', "1", version=10) + LF for key in range(10, 2010)]
    export.raw("account", FILE, b"".join(rows))
    export.close_folder()
    assert manage("syncnow", name) == 0
    rows = [line(k, "", "", version=11, delete="True") + LF for k in range(10, 1011)]
    export.raw("account", "1.csv", b"".join(rows))
    export.close_folder()

    assert manage("syncnow", name) == 3
    assert len(export.rows("account", "id")) == 2001
    assert manage("approvedeletes", name, "account") == 0
    assert manage("syncnow", name) == 0
    assert len(export.rows("account", "id")) == 1000


def test_a_difference_is_found_and_refreshed(export: Export, name: str) -> None:
    assert manage("reconcile", name) == 0
    schema = export.config.schema_name
    run_sql(f"UPDATE {schema}.account SET name = 'mine'")

    code, out, _ = processes.run("reconcile", name, "--table", "account", "--json")

    key = "00000000-0000-0000-0000-000000000001"
    table = {
        "table": "account",
        "missing": 0,
        "extra": 0,
        "stale": 1,
        "unverifiable": 0,
        "keys": [key],
    }
    assert (code, json.loads(out)) == (3, {"schema_version": 1, "tables": [table]})
    assert manage("refreshtable", name, "account") == 0
    assert manage("reconcile", name) == 0


def test_what_does_not_exist_is_a_wrong_use(export: Export, name: str) -> None:
    for arguments in (
        ["reconcile", "nothing"],
        ["reconcile", name, "--table", "nothing"],
        ["refreshtable", name, "nothing"],
        ["refreshtable", name],
        ["approvedeletes", name, "nothing"],
        ["acceptloss", "nothing"],
        ["quarantine", name, "--dismiss", "999999"],
        ["quarantine", name, "--dismiss", "1", "--reprocess", "2"],
        ["editsync", name, "--max-delete-share", "101"],
        ["editsync", name, "--max-bad-rows", "-1"],
        ["editsync", name, "--bad-rows", "ignore"],
        ["editsync", name, "--add-table", "nothing"],
    ):
        assert manage(*arguments) == 2, arguments


@pytest.mark.parametrize("arguments", [["reconcile"], ["refreshtable", "account"]])
def test_an_export_that_cannot_be_read_is_4(
    export: Export, name: str, arguments: list[str]
) -> None:
    shutil.rmtree(export.root)

    verb, *rest = arguments
    assert manage(verb, name, *rest) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ["reconcile", "x"],
        ["refreshtable", "x", "account"],
        ["approvedeletes", "x", "account"],
        ["acceptloss", "x"],
        ["quarantine", "x"],
        ["editsync", "x", "--max-bad-rows", "7"],
    ],
)
def test_a_database_that_does_not_answer_is_5(arguments: list[str]) -> None:
    code, _, err = processes.run(
        *arguments, DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing"
    )

    assert code == 5
    assert "DATABASE_URL" in err


def test_reconcile_goes_on_with_the_other_tables(export: Export, capsys: Any) -> None:
    for entity in ("account", "contact"):
        export.upsert(entity, 1, name="x")
    export.close_folder()
    export.sync()
    run_sql(f"DROP TABLE {export.config.schema_name}.account")

    assert command("reconcile", export.config.name, "--json") == 3

    said = capsys.readouterr()
    assert [t["table"] for t in json.loads(said.out)["tables"]] == ["contact"]
    assert "is gone" in said.err

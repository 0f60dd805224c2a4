from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone

from sync import faultpoints
from sync.engine.words import plural, size, span
from sync.models import Cluster, Heartbeat, SyncTable, Worker
from tests import processes
from tests.catalogue.steps import FILE, LF, ago, configure, line
from tests.elsewhere import elsewhere
from tests.sync.conftest import Export

MakeExport = Callable[..., Export]


@pytest.fixture
def export(make_export: MakeExport) -> Export:
    """Return an export of which account is loaded, closed just now."""
    export = make_export(start=ago(seconds=100), step=timedelta(seconds=10))
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    return export


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and stdout of the command."""
    out, code = StringIO(), 0
    try:
        call_command("syncstatus", *arguments, stdout=out, stderr=StringIO())
    except SystemExit as end:
        code = int(end.code or 0)
    except CommandError as error:
        code = error.returncode
    return code, out.getvalue()


def read(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json")[1])
    return document


def park(export: Export) -> str:
    export.table("account")
    export.raw("account", FILE, line(1, '"x"', "no number") + LF)
    folder = export.close_folder()
    for _ in range(3):
        export.sync()
    return folder


def serve(*, busy: int = 1) -> None:
    """Let the service look alive, with two workers."""
    Heartbeat.begin(timezone.now())
    cluster = Cluster.objects.create(queue="sync", host="h", pid=1)
    for pid in range(2):
        row = pid if pid < busy else None
        Worker.objects.create(cluster=cluster, pid=pid, queue_row=row)


# For people


def test_a_healthy_sync_is_told_with_both_clocks(export: Export) -> None:
    code, out = run()
    last = export.entity("account").last_partition
    assert code == 0
    assert f"{export.config.name}  healthy\n" in out
    assert f"checked 0 s ago · applied through {last}\n" in out
    assert "1 table: 1 healthy\n" in out
    assert f"account  healthy          through {last}\n" in out


def test_the_service_is_told_on_top(export: Export) -> None:
    serve()
    first = run()[1].splitlines()[0]
    assert first == "poll 0 s ago · 2 workers, 1 busy"


def test_without_polls_the_commands_that_start_them_are_told(export: Export) -> None:
    out = run()[1]
    assert out.startswith("nothing ever polled · 0 workers, 0 busy\n")
    assert "manage.py up, or polls alone: manage.py qcluster\n" in out
    Heartbeat.begin(timezone.now())
    Heartbeat.objects.update(beat_at=ago(minutes=12))
    assert run()[1].startswith("nothing polls: the last poll was 12 min ago")


def test_polls_without_workers_are_told(export: Export) -> None:
    Heartbeat.begin(timezone.now())
    assert "start workers: Q_CLUSTER_NAME=sync manage.py qcluster" in run()[1]


@pytest.mark.django_db
def test_without_any_sync_there_is_nothing_wrong() -> None:
    code, out = run()
    assert (code, out.count("\n")) == (0, 2)  # the service, and how to start it
    assert run("--json")[0] == 0
    assert run("unknown")[0] == 2


def test_an_unknown_sync_is_a_wrong_use(export: Export) -> None:
    assert run("unknown")[0] == 2


def test_a_parked_table_is_told_with_error_and_remedy(export: Export) -> None:
    folder = park(export)
    export.upsert("contact", 1, name="a")
    export.close_folder()
    export.sync()

    code, out = run()

    assert code == 3
    account, contact = out.index("  account  action"), out.index("  contact  healthy")
    assert account < contact
    assert f"waits for a person, at {folder}\n" in out
    assert "bad_value: " in out
    assert f"      Then: manage.py retrysync {export.config.name} account\n" in out
    assert "backlog 1 folder, " in out


def test_every_line_fits_80_columns(export: Export) -> None:
    park(export)
    configure(export, name="x" * 30)
    export.config.record_problem(None)
    for text in run()[1].splitlines():
        assert len(text) <= 80, text


def test_names_and_texts_of_strangers_do_not_reach_the_terminal(
    export: Export,
) -> None:
    park(export)
    wild = "evil\x1b[2J\nname"
    configure(export, name=wild)
    SyncTable.objects.update(entity=f"{wild}\u202e", error_code="name_taken")
    SyncTable.objects.update(error_message=wild, refresh_reason="")

    out = run()[1]

    for sign in ("\x1b", "\u202e", "evil\n"):
        assert sign not in out
    assert "evil\\x1b[2J\\nname" in out
    assert read()["syncs"][0]["name"] == wild


def test_a_paused_sync_needs_no_attention(export: Export) -> None:
    park(export)
    configure(export, paused=True)
    code, out = run()
    assert code == 0
    assert f"manage.py resumesync {export.config.name}" in out


def test_a_late_sync_needs_attention(export: Export) -> None:
    with time_machine.travel(timezone.now() + timedelta(hours=3)):
        code, out = run()
    assert code == 3
    assert "not checked for 3 h: is the poll cluster running?" in out


def test_an_incomplete_folder_is_told(export: Export) -> None:
    export.upsert("account", 2, name="b")
    folder = export.close_folder(model="missing")
    export.poll()
    assert f"  waits: {folder} " in run()[1]


def test_a_running_load_is_told_with_its_phase(export: Export) -> None:
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.poll()
    told: list[tuple[str, dict[str, Any]]] = []
    with faultpoints.armed(
        "rows_inserted",
        action=lambda: told.append(elsewhere(lambda: (run()[1], read()))),
    ):
        export.load("account")
    [(out, document)] = told
    assert "  account  syncing " in out
    assert "      merge, " in out
    running = document["syncs"][0]["tables"][0]["running"]
    assert (running["phase"], running["waiting"]) == ("merge", False)


def test_only_some_syncs_and_tables_are_shown(make_export: MakeExport) -> None:
    one, two = make_export(), make_export()
    for export in (one, two):
        for entity in ("account", "contact"):
            export.upsert(entity, 1, name="a")
        export.close_folder()
        export.sync()
    out = run(two.config.name, "--table", "ACC*")[1]
    assert one.config.name not in out
    assert "  account  " in out
    assert "  contact  " not in out


# For programs


def test_the_document_tells_all(export: Export) -> None:
    serve(busy=2)
    folder = park(export)

    document = read(export.config.name)

    assert document["schema_version"] == 1
    assert document["service"].pop("heartbeat_age_seconds") < 60
    assert document["service"] == {
        "polling": True,
        "polls": 1,
        "poll_clusters": 0,
        "workers": 2,
        "busy": 2,
    }
    [sync] = document["syncs"]
    assert sync["state"] == "action required"
    assert sync["counts"] == {"action required": 1}
    assert sync["lag_seconds"] > 0
    assert sync["backlog"]["partitions"] == 1
    [table] = sync["tables"]
    assert table["error"]["code"] == "bad_value"
    assert folder in table["error"]["where"]
    assert (table["attempts"], table["next_attempt_at"]) == (3, None)
    assert table["running"] is None
    assert table["totals"].keys() >= {"loads", "failures", "inserted", "seconds"}


def test_it_runs_as_a_process_of_its_own(export: Export) -> None:
    code, out, err = processes.run("syncstatus", export.config.name)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert f"{export.config.name}  healthy" in out


def test_without_a_database_the_exit_code_says_so() -> None:
    url = "postgres://nobody:hidden@127.0.0.1:1/nothing"
    code, out, err = processes.run("syncstatus", DATABASE_URL=url)
    assert (code, out) == (5, "")
    assert "DATABASE_URL" in err
    assert "hidden" not in err


# The words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (8.9, "8 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1_200_000, "1.2 MB"), (2_500 * 10**9, "2,500.0 GB")],
)
def test_a_size_is_told_in_its_largest_unit(number: int, words: str) -> None:
    assert size(number) == words


def test_one_is_no_plural() -> None:
    assert [plural(n, "table") for n in (0, 1, 2000)] == [
        "0 tables",
        "1 table",
        "2,000 tables",
    ]

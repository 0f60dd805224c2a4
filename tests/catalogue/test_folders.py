"""Which folders are read, when, and in which order."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sync.models import Event, SyncTable
from tests.catalogue.steps import (
    FILE,
    MakeExport,
    ago,
    assert_refused,
    edit_model,
    event_kinds,
    refresh_reason,
    state,
    statuses,
    sync_until_applied,
    sync_until_parked,
)
from tests.sync.conftest import Export, run_sql


@pytest.fixture
def young(make_export: MakeExport) -> Export:
    """Return an export whose folders are minutes old."""
    return make_export(start=ago(minutes=20))


def test_case_01_of_two_folders_the_open_one_with_an_empty_model_is_not_read(
    export: Export,
) -> None:
    export.upsert("account", 1, name="closed")
    first = export.close_folder()
    export.upsert("account", 2, name="open")
    (export.root / export.folder.name / "model.json").touch()

    export.sync()

    assert export.rows("account", "name") == [("closed",)]
    assert [row.partition for row in export.progress("account")] == [first]


def test_case_02_an_open_folder_without_a_model_is_not_read(export: Export) -> None:
    export.upsert("account", 1, name="closed")
    first = export.close_folder()
    export.upsert("account", 2, name="open")

    export.sync()

    assert export.rows("account", "name") == [("closed",)]
    assert [row.partition for row in export.progress("account")] == [first]


@pytest.mark.parametrize("late", ["missing", "empty"])
def test_case_03_a_folder_whose_model_comes_late_is_waited_for_and_not_overtaken(
    young: Export, late: str
) -> None:
    young.upsert("account", 1, name="first")
    young.close_folder()
    young.upsert("account", 1, name="second")
    waiting = young.close_folder(model=late)  # type: ignore[arg-type]
    young.upsert("account", 1, name="third")
    young.upsert("account", 2, name="only here")
    overtaker = young.close_folder()

    young.sync()
    assert young.rows("account", "name") == [("first",)]
    assert state(young, waiting)[0] == "waiting"
    assert state(young, overtaker)[0] == "waiting"

    young.deliver_model(waiting)
    young.sync()
    assert young.rows("account", "name") == [("third",), ("only here",)]
    assert statuses(young, "account") == [1, 1, 1]


def test_case_04_an_empty_folder_is_skipped_when_its_successor_is_older_than_an_hour(
    make_export: MakeExport,
) -> None:
    export = make_export(start=ago(hours=3))
    empty = export.close_folder(model="missing")
    export.upsert("account", 1, name="after it")
    export.close_folder()

    export.sync()

    assert state(export, empty)[0] == "skipped"
    assert state(export, empty)[1] != ""
    assert export.rows("account", "name") == [("after it",)]


def test_case_04_an_empty_folder_waits_while_its_successor_is_young(
    make_export: MakeExport,
) -> None:
    # The folder itself is old: only the successor's age counts.
    export = make_export(start=ago(hours=30))
    empty = export.close_folder(model="missing", gap=timedelta(hours=29, minutes=45))
    export.upsert("account", 1, name="after it")
    export.close_folder()

    assert export.sync() == {}
    assert state(export, empty)[0] == "waiting"


@pytest.mark.fault(
    "S3",
    injected="an old folder with rows and no model.json",
    outcome="skipped with its reason, said in an event",
)
def test_case_05_a_folder_that_was_never_finalised_is_skipped_with_an_event(
    export: Export,
) -> None:
    export.upsert("account", 1, name="first")
    export.close_folder()
    export.upsert("account", 1, name="abandoned", version=50)
    abandoned = export.close_folder(model="missing")
    export.upsert("account", 2, name="after it")
    export.close_folder()

    export.sync()

    assert state(export, abandoned)[0] == "skipped"
    assert "never finalised" in state(export, abandoned)[1]
    assert Event.objects.filter(config=export.config, partition=abandoned).exists()
    assert export.rows("account", "name") == [("first",), ("after it",)]
    assert refresh_reason(export, "account") == ""


def test_case_05_a_skipped_folder_that_is_finalised_after_all_asks_for_a_refresh(
    export: Export,
) -> None:
    export.upsert("account", 1, name="first")
    export.upsert("contact", 1, name="first")
    export.close_folder()
    export.upsert("account", 1, name="abandoned", version=50)
    abandoned = export.close_folder(model="missing")
    export.upsert("account", 2, name="after it")
    export.close_folder()
    export.sync()

    export.deliver_model(abandoned)
    export.sync()

    assert refresh_reason(export, "account") != ""
    assert refresh_reason(export, "contact") == ""
    assert export.rows("account", "name") == [("first",), ("after it",)]


def test_case_05_a_folder_with_files_waits_while_its_successor_is_young(
    make_export: MakeExport,
) -> None:
    export = make_export(start=ago(hours=30))
    export.upsert("account", 1, name="slow")
    slow = export.close_folder(model="missing", gap=timedelta(hours=29, minutes=45))

    export.sync()
    assert state(export, slow)[0] == "waiting"

    export.deliver_model(slow)
    export.sync()
    assert export.rows("account", "name") == [("slow",)]


@pytest.mark.parametrize(
    "marker",
    ["\ufeff{}", "{}\n", "{}\r\n", "{}/", "  {}  ", "\ufeff{}/\r\n"],
    ids=["bom", "lf", "crlf", "slash", "blanks", "all"],
)
def test_case_26_what_surrounds_the_name_in_changelog_info_is_stripped(
    export: Export, marker: str
) -> None:
    export.upsert("account", 1, name="closed")
    export.close_folder()
    export.upsert("account", 2, name="open")
    path = export.root / "Changelog" / "changelog.info"
    path.write_bytes(marker.format(export.folder.name).encode())

    export.sync()

    assert export.rows("account", "name") == [("closed",)]


def test_case_30_a_backlog_of_a_thousand_folders_with_a_long_gap_is_drained_in_batches(
    export: Export,
) -> None:
    for number in range(1, 1003):
        export.upsert("account", number, name=f"row {number}")
        export.close_folder(gap=timedelta(hours=18) if number == 500 else None)

    export.sync()

    assert statuses(export, "account") == [1] * 1002
    assert len(export.rows("account", "id")) == 1002
    relation = export.entity("account").target().relation.as_string()
    [(transactions,)] = run_sql(f"SELECT count(DISTINCT xmin::text) FROM {relation}")
    assert transactions < 1002
    assert not Event.objects.filter(config=export.config).exclude(level="info")


def test_case_31_a_file_that_its_model_does_not_list_is_read_with_an_event(
    make_export: MakeExport,
) -> None:
    listing, silent = make_export(), make_export(list_files=False)
    for export in (listing, silent):
        export.upsert("account", 1, name="Anna")
        export.close_folder()
        export.sync()

    assert silent.rows("account", "name") == [("Anna",)]
    assert event_kinds(silent) - event_kinds(listing)


@pytest.mark.parametrize("others", [True, False], ids=["one of two", "the only one"])
def test_case_32_a_listed_file_that_is_missing_is_waited_for_at_first(
    export: Export, others: bool
) -> None:
    export.upsert("account", 1, name="first")
    export.close_folder()
    path = export.root / export.folder.name / "account" / FILE
    export.upsert("account", 2, name="missing")
    if others:
        export.upsert("account", 3, name="there", file="2025.csv")
    export.close_folder()
    content = path.read_bytes()
    path.unlink()
    if not others:
        path.parent.rmdir()

    export.sync()
    assert export.rows("account", "name") == [("first",)]
    assert export.entity("account").state == "active"

    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert sync_until_applied(export, "account") == "active"
    wanted = ["first", "missing", "there"] if others else ["first", "missing"]
    assert export.rows("account", "name") == [(name,) for name in wanted]


def test_case_32_a_listed_file_that_stays_missing_parks_its_table(
    export: Export,
) -> None:
    export.upsert("account", 1, name="missing")
    export.upsert("account", 2, name="there", file="2025.csv")
    (export.root / export.folder.name / "account" / FILE).unlink()
    export.close_folder()

    assert sync_until_parked(export, "account") == "parked"

    assert_refused(export, "account", "file_missing")
    assert export.rows("account", "name") == []


def test_case_33_a_folder_without_entities_is_complete_and_has_no_tables(
    export: Export,
) -> None:
    empty = export.close_folder()
    edit_model(export, empty, lambda model: model.update(entities=[]))

    export.sync()
    assert state(export, empty)[0] == "ready"
    assert not SyncTable.objects.filter(config=export.config).exists()

    export.upsert("account", 1, name="after it")
    export.close_folder()
    export.sync()
    assert export.rows("account", "name") == [("after it",)]

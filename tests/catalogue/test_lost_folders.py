"""Folders that were purged before they were applied: case 34."""

from __future__ import annotations

import shutil

import pytest

from tests.catalogue.steps import (
    MakeExport,
    command,
    say_full_copy,
    state,
    statuses,
    sync_until_parked,
)
from tests.exports import ExportWriter
from tests.sync.conftest import Export


def purge(export: ExportWriter, folder: str) -> None:
    shutil.rmtree(export.root / folder)


@pytest.fixture
def lossy(export: Export) -> Export:
    """Return an export that lost a folder with account's rows, seen but not applied."""
    export.upsert("account", 1, name="first")
    export.upsert("contact", 1, name="first")
    export.close_folder()
    export.sync()
    export.upsert("account", 2, name="lost")
    lost = export.close_folder()
    export.poll()
    purge(export, lost)
    export.upsert("account", 3, name="after it")
    export.upsert("contact", 3, name="after it")
    export.close_folder()
    return export


@pytest.mark.fault(
    "F58",
    injected="a folder deleted after it was seen, before it was applied",
    outcome="its tables park with history_lost",
)
@pytest.mark.fault(
    "S7",
    injected="as F58",
    outcome="as F58",
)
def test_case_34_a_folder_that_was_seen_and_purged_parks_the_tables_it_held(
    lossy: Export,
) -> None:
    assert sync_until_parked(lossy, "account") == "parked"

    lost = lossy.folders[1].name
    assert state(lossy, lost)[0] == "lost"
    [row] = [row for row in lossy.progress("account") if row.partition == lost]
    assert (row.copy_status, row.error_code) == (2, "history_lost")
    assert row.error_remedy
    assert lossy.rows("account", "name") == [("first",)]


def test_case_34_tables_that_a_purged_folder_did_not_hold_go_on(lossy: Export) -> None:
    lossy.sync()

    assert lossy.entity("contact").state == "active"
    assert lossy.rows("contact", "name") == [("first",), ("after it",)]


def test_case_34_a_parked_table_stays_parked_however_often_it_is_looked_at(
    lossy: Export,
) -> None:
    sync_until_parked(lossy, "account")

    for _ in range(3):
        lossy.sync()

    assert lossy.entity("account").state == "parked"
    assert lossy.rows("account", "name") == [("first",)]


def test_case_34_a_table_goes_on_after_a_person_accepted_the_loss(
    lossy: Export,
) -> None:
    sync_until_parked(lossy, "account")

    assert command("acceptloss", lossy.config.name, "--table", "account") == 0
    lossy.sync()

    assert lossy.entity("account").state == "active"
    assert lossy.rows("account", "name") == [("first",), ("after it",)]


def test_case_34_a_table_goes_on_after_a_refresh_from_a_full_copy(
    lossy: Export,
) -> None:
    sync_until_parked(lossy, "account")
    lossy.upsert("account", 2, name="lost no more")
    lossy.upsert("account", 3, name="after it")
    folder = lossy.close_folder()
    # The folder was opened at 8:15.
    say_full_copy(lossy, folder, "account", "3/1/2026 8:17:11 AM")
    lossy.sync()

    assert command("refreshtable", lossy.config.name, "account") == 0
    lossy.sync()

    assert lossy.entity("account").state == "active"
    assert lossy.rows("account", "name") == [("lost no more",), ("after it",)]


def test_case_34_a_folder_named_in_the_log_alone_is_lost_for_every_table(
    export: Export,
) -> None:
    for entity in ("account", "contact"):
        export.upsert(entity, 1, name="first")
    export.close_folder()
    export.sync()
    export.upsert("account", 2, name="never seen")
    purge(export, export.close_folder())
    for entity in ("account", "contact"):
        export.upsert(entity, 3, name="after it")
    export.close_folder()

    for entity in ("account", "contact"):
        assert sync_until_parked(export, entity) == "parked"
        codes = {row.error_code for row in export.progress(entity)}
        assert "history_lost" in codes
        assert export.rows(entity, "name") == [("first",)]


def test_case_34_at_a_first_sync_only_tables_without_a_full_copy_are_parked(
    export: Export,
) -> None:
    export.upsert("account", 1, name="lost")
    purged = export.close_folder()
    export.upsert("account", 2, name="a change")
    export.close_folder()
    # Added to the export after the purged folder: all its rows are here.
    export.upsert("contact", 1, name="full copy")
    complete = export.close_folder()
    say_full_copy(export, complete, "contact", "3/1/2026 8:12:00 AM")
    purge(export, purged)

    assert sync_until_parked(export, "account") == "parked"

    codes = {row.error_code for row in export.progress("account")}
    assert "history_lost" in codes
    assert export.entity("contact").state == "active"
    assert export.rows("contact", "name") == [("full copy",)]


def test_case_34_a_folder_that_is_purged_after_it_was_applied_is_no_loss(
    make_export: MakeExport,
) -> None:
    export = make_export()
    export.upsert("account", 1, name="first")
    applied = export.close_folder()
    export.sync()
    purge(export, applied)
    export.upsert("account", 2, name="second")
    export.close_folder()

    export.sync()

    assert export.entity("account").state == "active"
    assert statuses(export, "account") == [1, 1]
    assert export.rows("account", "name") == [("first",), ("second",)]


def test_case_34_an_empty_folder_that_is_purged_is_no_loss_to_a_table(
    export: Export,
) -> None:
    export.upsert("account", 1, name="first")
    export.close_folder()
    empty = export.close_folder()
    export.sync()
    purge(export, empty)
    export.upsert("account", 2, name="second")
    export.close_folder()

    export.sync()

    assert export.rows("account", "name") == [("first",), ("second",)]

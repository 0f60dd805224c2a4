"""Loads that wait for a person: mass deletes, and versions that went back."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from sync.engine import load
from sync.engine.decisions import approve_deletes
from sync.engine.refresh import refresh_table
from sync.models import Event
from tests.catalogue.steps import (
    FILE,
    command,
    configure,
    line,
    only_failure,
    say_full_copy,
    statuses,
)
from tests.sync.conftest import Export

BUDGETS = pytest.mark.parametrize("budget", [1, 10**9], ids=["apart", "together"])


def put(export: Export, keys: range, version: int = 1, *, delete: str = "") -> None:
    """Write many rows quickly."""
    export.table("account", ["name"])
    rows = (line(key, '"x"', version=version, delete=delete) for key in keys)
    export.raw("account", FILE, b"\n".join([*rows, b""]))


def filled(export: Export, rows: int) -> None:
    """Load a folder of so many rows."""
    put(export, range(1, rows + 1))
    export.close_folder()
    export.load("account")


def delete(export: Export, keys: range) -> str:
    """Close a folder that deletes rows."""
    put(export, keys, 2, delete="True")
    return export.close_folder()


def number(export: Export) -> int:
    return len(export.rows("account", "id"))


# Mass deletes


@pytest.mark.parametrize(
    ("rows", "deleted", "share", "held"),
    [
        (1000, 1000, 50, False),  # no more than 1,000
        (1001, 1001, 50, True),
        (2002, 1001, 50, False),  # just the half
        (2001, 1001, 50, True),
        (1500, 1001, 66, True),
        (1500, 1001, 67, False),
        (1200, 1200, 99, True),
        (1200, 1200, 100, False),
        (5000, 1001, 0, True),
    ],
)
def test_a_load_is_held_that_deletes_more_than_its_share(
    export: Export, rows: int, deleted: int, share: int, held: bool
) -> None:
    configure(export, max_delete_share=share)
    filled(export, rows)
    folder = delete(export, range(1, deleted + 1))

    export.sync()

    table = export.entity("account")
    if held:
        row = only_failure(export, "account")
        assert (row.partition, row.error_code) == (folder, "mass_delete")
        assert "approvedeletes" in row.error_remedy
        assert (table.state, number(export)) == ("held", rows)
    else:
        assert (table.state, number(export)) == ("active", rows - deleted)


def test_deletes_of_rows_that_are_not_there_do_not_count(export: Export) -> None:
    filled(export, 10)
    delete(export, range(5, 3000))

    export.load("account")

    assert number(export) == 4


def test_a_held_table_waits_and_says_so(export: Export) -> None:
    filled(export, 1200)
    delete(export, range(1, 1101))
    name = export.config.name

    assert [command("syncnow", name) for _ in range(3)] == [3, 3, 3]

    assert export.entity("account").state == "held"
    assert number(export) == 1200
    assert Event.objects.filter(config=export.config, kind="load_failed").count() == 1
    assert command("approvedeletes", name, "account") == 0
    assert command("syncnow", name) == 0
    assert number(export) == 100


@BUDGETS
def test_an_approval_is_for_that_folder_alone(export: Export, budget: int) -> None:
    filled(export, 4000)
    first = delete(export, range(1, 2201))
    second = delete(export, range(2201, 3601))
    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()
        assert only_failure(export, "account").partition == first

        assert approve_deletes(export.entity("account")) == first
        export.sync()

        assert number(export) == 1800
        assert statuses(export, "account") == [1, 1, 2]
        assert only_failure(export, "account").partition == second
        assert export.entity("account").state == "held"
        assert approve_deletes(export.entity("account")) == second
        export.sync()

    assert number(export) == 400
    assert export.entity("account").approved_partition == ""


@BUDGETS
def test_folders_that_delete_little_each_are_not_held_together(
    export: Export, budget: int
) -> None:
    filled(export, 4000)
    # 30 and then 43 per cent; both together are 60.
    delete(export, range(1, 1201))
    delete(export, range(1201, 2401))

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert export.entity("account").state == "active"
    assert number(export) == 1600


@BUDGETS
def test_the_folders_before_a_held_one_are_applied(export: Export, budget: int) -> None:
    filled(export, 1100)
    put(export, range(5000, 5010))
    export.close_folder()
    delete(export, range(1, 1101))
    put(export, range(6000, 6010))
    export.close_folder()

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert statuses(export, "account") == [1, 1, 2, 0]
    assert number(export) == 1110
    assert export.entity("account").state == "held"


def test_a_table_that_is_not_held_has_nothing_to_approve(export: Export) -> None:
    filled(export, 5)

    assert approve_deletes(export.entity("account")) is None
    assert command("approvedeletes", export.config.name, "account") == 3


def test_a_late_folder_does_not_use_up_an_approval(export: Export) -> None:
    filled(export, 1200)
    put(export, range(2000, 2001))
    late = export.close_folder()
    hidden = export.root / late
    away = export.root.parent / "away"
    hidden.rename(away)
    log = export.root / "Changelog" / "Synapse.log"
    log.unlink()
    export.synapse_log = False
    delete(export, range(1, 1101))
    export.sync()
    assert approve_deletes(export.entity("account"))
    away.rename(hidden)

    export.sync()

    assert statuses(export, "account") == [1, 1, 1]
    assert number(export) == 101


def test_a_refresh_ends_the_holding(export: Export) -> None:
    filled(export, 1200)
    delete(export, range(1, 1101))
    export.sync()

    refresh_table(export.entity("account"))

    assert export.entity("account").state == "active"
    assert number(export) == 100
    assert export.sync() == {}


# Versions that went back. The rows are as many as the bound says: 100.


@BUDGETS
@pytest.mark.parametrize(("keys", "parked"), [(99, False), (100, True)])
def test_a_restore_is_found_in_any_batch(
    export: Export, budget: int, keys: int, parked: bool
) -> None:
    put(export, range(1, 121), 1000)
    export.close_folder()
    put(export, range(1, 6), 1001)
    export.close_folder()
    put(export, range(1, keys + 1), 7)
    restored = export.close_folder()
    put(export, range(300, 303), 8)
    export.close_folder()

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert {v for (v,) in export.rows("account", "versionnumber")} <= {1000, 1001, 8}
    if parked:
        row = only_failure(export, "account")
        assert (row.partition, row.error_code) == (restored, "versions_went_back")
        assert statuses(export, "account") == [1, 1, 2, 0]
        assert export.entity("account").state == "parked"
    else:
        assert statuses(export, "account") == [1, 1, 1, 1]


@BUDGETS
@pytest.mark.parametrize("version", [None, 1001], ids=["versionless", "versioned"])
def test_rows_that_were_deleted_before_are_not_stored(
    export: Export, budget: int, version: int | None
) -> None:
    put(export, range(1, 121), 1000)
    export.close_folder()
    shown: Any = "" if version is None else version
    put(export, range(1, 121), shown, delete="True")
    export.close_folder()
    put(export, range(1, 121), 7)
    export.close_folder()

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert statuses(export, "account") == [1, 1, 1]
    assert number(export) == 0


@BUDGETS
def test_one_newer_row_among_them_shows_that_they_are_stale(
    export: Export, budget: int
) -> None:
    put(export, range(1, 121), 1000)
    export.close_folder()
    put(export, range(1, 111), 7)
    put(export, range(120, 121), 1001)
    export.close_folder()
    put(export, range(120, 121), 1002)
    export.close_folder()

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert statuses(export, "account") == [1, 1, 1]


@BUDGETS
def test_the_first_folder_of_a_new_copy_needs_one_older_row_only(
    export: Export, budget: int
) -> None:
    put(export, range(1, 4), 1000)
    export.close_folder()
    export.load("account")
    put(export, range(1, 2), 7)
    copy = export.close_folder()
    say_full_copy(export, copy, "account", "3/1/2026 9:00:00 AM")
    put(export, range(5, 6), 8)
    later = export.close_folder()
    say_full_copy(export, later, "account", "3/1/2026 9:00:00 AM")

    with mock.patch.object(load, "BATCH_BYTES", budget):
        export.sync()

    assert only_failure(export, "account").partition == copy
    refresh_table(export.entity("account"))
    assert export.rows("account", "versionnumber") == [(7,), (8,)]
    assert export.entity("account").state == "active"


def test_after_a_refresh_older_rows_need_to_be_many_again(export: Export) -> None:
    put(export, range(1, 4), 1000)
    export.close_folder()
    export.load("account")
    put(export, range(1, 4), 2000)
    copy = export.close_folder()
    say_full_copy(export, copy, "account", "3/1/2026 9:00:00 AM")
    export.load("account")
    refresh_table(export.entity("account"))
    put(export, range(1, 4), 7)
    folder = export.close_folder()
    say_full_copy(export, folder, "account", "3/1/2026 9:00:00 AM")

    export.load("account")

    assert {v for (v,) in export.rows("account", "versionnumber")} == {2000}

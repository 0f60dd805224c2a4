"""Tables that begin again, and versions that go backwards: cases 24 and 25."""

from __future__ import annotations

import pytest

from sync.models import Event
from tests.catalogue.steps import (
    command,
    counts,
    only_failure,
    refresh_reason,
    say_full_copy,
    sync_until_parked,
)
from tests.sync.conftest import Export

LATER = "3/1/2026 8:07:11 AM"


def events(export: Export) -> set[int]:
    """Return the events of account, by their numbers."""
    found = Event.objects.filter(config=export.config, table_name="account")
    return set(found.values_list("pk", flat=True))


def names(export: Export) -> list[str]:
    return [name for (name,) in export.rows("account", "name")]


def leave(export: Export) -> None:
    """Close a folder whose model lacks account; contact goes on."""
    account = export.tables.pop("account")
    export.upsert("contact", 1, name="alone")
    export.close_folder()
    export.tables["account"] = account


@pytest.fixture
def three(export: Export) -> Export:
    """Return an export with three loaded rows of account and one of contact."""
    for key, name in enumerate("abc", 1):
        export.upsert("account", key, name=name)
    export.upsert("contact", 1, name="x")
    export.close_folder()
    export.sync()
    return export


def test_case_24_a_new_full_copy_is_recognised_by_its_time(three: Export) -> None:
    before = events(three)
    for key, name in enumerate("AB", 1):
        three.upsert("account", key, name=name)
    folder = three.close_folder()
    say_full_copy(three, folder, "account", LATER)

    three.sync()

    assert refresh_reason(three, "account") != ""
    assert events(three) - before
    assert refresh_reason(three, "contact") == ""
    # The rows of the full copy are ordinary changes; c waits for the refresh.
    assert names(three) == ["A", "B", "c"]


def test_case_24_a_refresh_takes_the_full_copy_alone(three: Export) -> None:
    for key, name in enumerate("AB", 1):
        three.upsert("account", key, name=name)
    folder = three.close_folder()
    say_full_copy(three, folder, "account", LATER)
    three.sync()

    assert command("refreshtable", three.config.name, "account") == 0
    three.sync()

    assert names(three) == ["A", "B"]
    assert refresh_reason(three, "account") == ""
    three.upsert("account", 4, name="d")
    folder = three.close_folder()
    say_full_copy(three, folder, "account", LATER)
    three.sync()
    assert names(three) == ["A", "B", "d"]
    assert refresh_reason(three, "account") == ""


def test_case_24_a_table_that_was_away_and_is_back_is_recognised(three: Export) -> None:
    before = events(three)
    leave(three)
    three.sync()
    for key, name in enumerate("AB", 1):
        three.upsert("account", key, name=name)
    three.close_folder()

    three.sync()

    assert refresh_reason(three, "account") != ""
    assert events(three) - before
    assert refresh_reason(three, "contact") == ""
    assert names(three) == ["A", "B", "c"]


def test_case_24_a_table_that_was_away_is_recognised_in_one_look_as_well(
    three: Export,
) -> None:
    leave(three)
    three.upsert("account", 1, name="A")
    three.close_folder()

    three.sync()

    assert refresh_reason(three, "account") != ""
    assert refresh_reason(three, "contact") == ""


def test_case_24_a_table_that_goes_on_or_is_new_needs_no_refresh(three: Export) -> None:
    three.upsert("account", 1, name="A")
    three.upsert("lead", 1, name="new")
    three.close_folder()
    three.close_folder()

    three.sync()

    for entity in ("account", "contact", "lead"):
        assert refresh_reason(three, entity) == ""


def hundred(export: Export, keys: int = 120) -> None:
    """Load a folder of account with versions of 1000 and more."""
    for key in range(1, keys + 1):
        export.upsert("account", key, name="now", version=1000 + key)
    export.close_folder()
    export.load("account")


def go_back(export: Export, keys: int) -> str:
    """Close a folder that brings stored keys with versions lower than stored."""
    for key in range(1, keys + 1):
        export.upsert("account", key, name="restored", version=key)
    return export.close_folder()


@pytest.mark.fault(
    "S14",
    injected="a folder of a restored source: every version is lower",
    outcome="the table parks with the remedy",
)
def test_case_25_a_hundred_rows_with_lower_versions_park_the_table(
    export: Export,
) -> None:
    hundred(export)
    folder = go_back(export, 100)

    assert sync_until_parked(export, "account") == "parked"

    row = only_failure(export, "account")
    assert (row.partition, row.error_code) == (folder, "versions_went_back")
    assert row.error_remedy
    assert set(names(export)) == {"now"}


def test_case_25_fewer_rows_with_lower_versions_are_stale_and_ignored(
    export: Export,
) -> None:
    hundred(export)
    go_back(export, 99)

    export.load("account")

    assert set(names(export)) == {"now"}
    assert counts(export.progress("account")[1]) == (0, 0, 0, 99)
    assert export.entity("account").state == "active"


@pytest.mark.parametrize("version", [1110, 2000], ids=["as stored", "higher"])
def test_case_25_one_row_that_is_not_lower_shows_that_versions_did_not_go_back(
    export: Export, version: int
) -> None:
    hundred(export)
    export.upsert("account", 110, name="current", version=version)
    go_back(export, 105)

    export.load("account")

    assert export.entity("account").state == "active"
    assert set(names(export)) == {"now", "current"}


def test_case_25_keys_that_are_not_stored_do_not_hide_that_versions_went_back(
    export: Export,
) -> None:
    hundred(export)
    for key in range(500, 510):
        export.upsert("account", key, name="new", version=key)
    go_back(export, 100)

    assert sync_until_parked(export, "account") == "parked"
    assert only_failure(export, "account").error_code == "versions_went_back"


def test_case_25_keys_that_are_not_stored_do_not_count(export: Export) -> None:
    hundred(export)
    for key in range(500, 510):
        export.upsert("account", key, name="new", version=key)
    go_back(export, 95)

    export.load("account")

    assert export.entity("account").state == "active"
    assert set(names(export)) == {"now", "new"}


def test_case_25_a_key_sent_many_times_counts_once(export: Export) -> None:
    hundred(export)
    for _ in range(30):
        go_back_in_folder(export, 5)
    export.close_folder()

    export.load("account")

    assert export.entity("account").state == "active"
    assert counts(export.progress("account")[1]) == (0, 0, 0, 150)


def go_back_in_folder(export: Export, keys: int) -> None:
    for key in range(1, keys + 1):
        export.upsert("account", key, name="restored", version=key)


def test_case_25_after_a_new_full_copy_one_row_with_a_lower_version_is_enough(
    export: Export,
) -> None:
    hundred(export, keys=3)
    folder = go_back(export, 1)
    say_full_copy(export, folder, "account", LATER)

    assert sync_until_parked(export, "account") == "parked"

    assert only_failure(export, "account").error_code == "versions_went_back"
    assert set(names(export)) == {"now"}


def test_case_25_after_an_absence_one_row_with_a_lower_version_is_enough(
    export: Export,
) -> None:
    hundred(export, keys=3)
    leave(export)
    export.sync()
    go_back(export, 2)

    assert sync_until_parked(export, "account") == "parked"

    assert only_failure(export, "account").error_code == "versions_went_back"
    assert set(names(export)) == {"now"}


def test_case_25_a_refresh_from_a_new_full_copy_takes_the_lower_versions(
    export: Export,
) -> None:
    hundred(export, keys=3)
    folder = go_back(export, 2)
    say_full_copy(export, folder, "account", LATER)
    sync_until_parked(export, "account")

    assert command("refreshtable", export.config.name, "account") == 0
    export.sync()

    assert export.entity("account").state == "active"
    assert names(export) == ["restored", "restored"]

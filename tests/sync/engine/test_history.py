"""Folders that are gone, come back, or come too late."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sync.engine.decisions import accept_loss
from sync.engine.refresh import refresh_table
from sync.errors import SyncError
from tests.catalogue.steps import (
    ago,
    command,
    event_kinds,
    refresh_reason,
    say_full_copy,
    state,
    statuses,
)
from tests.exports import STEP
from tests.sync.conftest import Export

LOG = "Changelog/Synapse.log"


def grow(export: Export, *entities: str) -> str:
    """Close a folder with a new row of each entity."""
    key = len(export.folders)
    for entity in entities or ("account",):
        export.upsert(entity, key, name=f"{entity} {key}")
    return export.close_folder()


def take_away(export: Export, folder: str) -> Path:
    """Move a folder out of the export; return where it is now."""
    away = export.root.parent / f"away-{folder}"
    (export.root / folder).rename(away)
    return away


def bring_back(export: Export, away: Path) -> None:
    away.rename(export.root / away.name.removeprefix("away-"))


def names(export: Export, entity: str = "account") -> list[str]:
    return [name for (name,) in export.rows(entity, "name")]


def states(export: Export, *entities: str) -> list[str]:
    return [export.entity(entity).state for entity in entities]


def lost_code(export: Export, entity: str = "account") -> list[str]:
    return [
        row.partition
        for row in export.progress(entity)
        if row.error_code == "history_lost"
    ]


def test_a_folder_that_comes_back_lets_the_tables_go_on(export: Export) -> None:
    grow(export)
    export.sync()
    away = take_away(export, folder := grow(export))
    grow(export)
    export.sync()
    assert states(export, "account") == ["parked"]
    assert lost_code(export) == [folder]

    bring_back(export, away)
    export.sync()

    assert states(export, "account") == ["active"]
    assert names(export) == ["account 1", "account 2", "account 3"]
    assert statuses(export, "account") == [1, 1, 1]
    assert state(export, folder) == ("ready", "")
    assert "partition_returned" in event_kinds(export)


def test_a_folder_that_was_read_and_comes_back_is_applied(export: Export) -> None:
    grow(export)
    export.sync()
    folder = grow(export)
    export.poll()
    away = take_away(export, folder)
    grow(export)
    export.sync()
    assert state(export, folder)[0] == "lost"

    bring_back(export, away)
    export.sync()

    assert names(export) == ["account 1", "account 2", "account 3"]
    assert states(export, "account") == ["active"]


def test_of_two_lost_folders_both_must_come_back(export: Export) -> None:
    grow(export)
    export.sync()
    first, second = (take_away(export, grow(export)) for _ in range(2))
    grow(export)
    export.sync()

    bring_back(export, first)
    export.sync()
    assert states(export, "account") == ["parked"]
    assert names(export) == ["account 1", "account 2"]
    bring_back(export, second)
    export.sync()

    assert states(export, "account") == ["active"]
    assert names(export) == [f"account {number}" for number in range(1, 5)]


def test_a_folder_that_comes_back_does_not_bring_back_an_accepted_loss(
    export: Export,
) -> None:
    grow(export)
    export.sync()
    take_away(export, grow(export))
    grow(export)
    export.sync()
    assert accept_loss(export.config) == ["account"]
    export.sync()
    assert names(export) == ["account 1", "account 3"]
    away = take_away(export, grow(export))
    grow(export)
    export.sync()
    assert states(export, "account") == ["parked"]

    bring_back(export, away)
    export.sync()

    assert states(export, "account") == ["active"]
    assert names(export) == [f"account {number}" for number in (1, 3, 4, 5)]


def test_a_folder_that_comes_back_after_its_loss_was_accepted_is_applied_late(
    export: Export,
) -> None:
    grow(export)
    export.sync()
    away = take_away(export, grow(export))
    export.upsert("account", 2, name="newer", version=10**6)
    grow(export)
    export.sync()
    accept_loss(export.config)
    export.sync()

    bring_back(export, away)
    export.sync()

    assert names(export) == ["account 1", "newer", "account 3"]
    assert states(export, "account") == ["active"]


def test_a_folder_that_was_waiting_when_it_went_is_lost_for_every_table(
    make_export: object,
) -> None:
    assert callable(make_export)
    # Young folders: an older one without a model.json would be given up.
    export: Export = make_export(start=ago(minutes=40), step=STEP)
    grow(export, "account", "contact")
    export.sync()
    export.upsert("account", 2, name="never read")
    waiting = export.close_folder(model="missing")
    export.poll()
    assert state(export, waiting)[0] == "waiting"
    shutil.rmtree(export.root / waiting)
    export.find(waiting).has_model = True
    grow(export, "account", "contact")
    (export.root / LOG).unlink()

    export.sync()

    assert state(export, waiting)[0] == "lost"
    assert states(export, "account", "contact") == ["parked", "parked"]
    assert lost_code(export, "contact") == [waiting]
    assert names(export) == ["account 1"]


def test_acceptance_may_be_for_one_table(export: Export) -> None:
    grow(export, "account", "contact")
    export.sync()
    take_away(export, grow(export, "account", "contact"))
    grow(export, "account", "contact")
    export.sync()

    assert command("acceptloss", export.config.name, "--table", "CONTACT") == 0
    export.sync()

    assert states(export, "account", "contact") == ["parked", "active"]
    assert names(export, "contact") == ["contact 1", "contact 3"]
    assert command("acceptloss", export.config.name, "--table", "contact") == 3
    assert command("acceptloss", export.config.name) == 0
    export.sync()
    assert names(export) == ["account 1", "account 3"]


def test_after_a_loss_was_accepted_a_refresh_still_names_the_folder(
    export: Export,
) -> None:
    grow(export)
    export.sync()
    folder = grow(export)
    take_away(export, folder)
    grow(export)
    export.sync()
    accept_loss(export.config)
    export.sync()

    with pytest.raises(SyncError) as caught:
        refresh_table(export.entity("account"))

    assert caught.value.code == "refresh_refused"
    assert folder in caught.value.message
    assert names(export) == ["account 1", "account 3"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff\xfe garbage",
        b"not-a-folder,,;\n\r\n,2026-13-45T99.99.99Z,2026-03-01",
        b"2099-01-01T00.00.00Z",
        b"x" * 100_000,
    ],
)
def test_a_log_that_says_nothing_parks_no_table(export: Export, garbage: bytes) -> None:
    grow(export)
    export.synapse_log = False
    (export.root / LOG).write_bytes(garbage)

    export.sync()

    assert states(export, "account") == ["active"]
    assert names(export) == ["account 1"]


def test_a_table_first_seen_after_a_gap_may_have_begun_in_it(export: Export) -> None:
    grow(export)
    export.sync()
    gap = take_away(export, grow(export, "account", "lead"))
    # Seen as gone in one look, while the next folder is still open.
    export.poll()
    grow(export, "account", "lead")

    export.sync()

    assert states(export, "account", "lead") == ["parked", "parked"]
    bring_back(export, gap)
    export.sync()
    assert states(export, "account", "lead") == ["active", "active"]
    assert names(export, "lead") == ["lead 2", "lead 3"]


def test_a_table_first_seen_after_a_gap_and_another_folder_did_not_begin_in_it(
    export: Export,
) -> None:
    grow(export)
    export.sync()
    take_away(export, grow(export))
    grow(export)
    grow(export, "account", "lead")

    export.sync()

    assert states(export, "account", "lead") == ["parked", "active"]
    assert names(export, "lead") == ["lead 4"]


def test_a_model_that_comes_after_its_folder_was_given_up_asks_for_a_refresh(
    export: Export,
) -> None:
    grow(export, "account", "contact")
    export.sync()
    export.upsert("account", 2, name="late")
    late = export.close_folder(model="missing")
    export.sync()
    assert state(export, late)[0] == "skipped"
    export.find(late).has_model = True
    grow(export, "account", "contact")
    export.sync()
    assert names(export) == ["account 1", "account 3"]

    export.deliver_model(late)
    export.sync()

    assert refresh_reason(export, "account") != ""
    assert refresh_reason(export, "contact") == ""
    assert names(export) == ["account 1", "account 3"]
    refresh_table(export.entity("account"))
    assert names(export) == ["account 1", "late", "account 3"]
    assert refresh_reason(export, "account") == ""


def test_a_loss_before_the_new_full_copy_is_none(export: Export) -> None:
    grow(export)
    export.sync()
    take_away(export, grow(export))
    grow(export)
    export.sync()
    assert states(export, "account") == ["parked"]
    export.upsert("account", 9, name="copied anew")
    copy = export.close_folder()
    say_full_copy(export, copy, "account", "3/1/2026 9:00:00 AM")
    export.poll()

    refresh_table(export.entity("account"))

    assert states(export, "account") == ["active"]
    assert names(export) == ["copied anew"]
    assert lost_code(export) == []
    assert export.sync() == {}

"""Closed folders without a model.json: they wait an hour, then they are skipped."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from sync.sources.base import PartitionState, TableFile
from sync.sources.synapse_link import SynapseLink, folder_time
from tests.sync.sources.places import (
    ACCOUNT,
    FIRST,
    LATER,
    OPEN,
    ROWS,
    SECOND,
    THIRD,
    Export,
    Failing,
    at,
)

EMPTY = "an empty folder that a retry left behind"
NEVER_FINALISED = (
    "never finalised: its model.json did not come within an hour; Synapse Link is "
    "expected to send its rows again"
)

without_model = pytest.mark.parametrize(
    "model", [pytest.param(None, id="absent"), pytest.param(b"", id="0 bytes")]
)


def after(name: str, **delta: float) -> datetime:
    """Return a moment after a folder was opened."""
    opened = folder_time(name)
    assert opened is not None
    return opened + timedelta(**delta)


@without_model
def test_a_folder_with_rows_is_skipped_when_its_successor_is_over_an_hour_old(
    export: Export, model: bytes | None
) -> None:
    """Row 5 of the catalogue."""
    export.folder(THIRD, "account/2026.csv", model=model)

    with at(after(OPEN, hours=1, seconds=1)):
        partition = export.look(THIRD)

    assert partition.state is PartitionState.SKIPPED
    assert partition.reason == NEVER_FINALISED
    assert partition.model is None


@without_model
@pytest.mark.parametrize("files", [(), ("account/2026.csv",)])
def test_a_folder_waits_while_its_successor_is_an_hour_old_at_most(
    export: Export, model: bytes | None, files: tuple[str, ...]
) -> None:
    export.folder(SECOND, *files, model=model)
    export.folder(THIRD, "account/2026.csv")

    with at(after(THIRD, hours=1)):
        assert export.states() == {SECOND: "waiting", THIRD: "waiting"}


def test_a_skipped_folder_tells_the_files_that_are_there(export: Export) -> None:
    export.folder(FIRST, "account/2025.csv", "account/1.csv", model=None)
    export.folder(FIRST, "contact/2026.csv", "OptionsetMetadata/x.csv", model=None)

    with at(LATER):
        assert export.look().files == {
            "account": (
                TableFile(f"{FIRST}/account/1.csv", len(ROWS)),
                TableFile(f"{FIRST}/account/2025.csv", len(ROWS)),
            ),
            "contact": (TableFile(f"{FIRST}/contact/2026.csv", len(ROWS)),),
        }


def test_an_empty_folder_is_skipped_for_another_reason(export: Export) -> None:
    """Row 4."""
    export.folder(FIRST, model=None)
    export.write(f"{FIRST}/account/2026.csv", b"")

    with at(LATER):
        partition = export.look()

    assert partition.state is PartitionState.SKIPPED
    assert partition.reason == EMPTY


def test_a_waiting_folder_tells_no_files(export: Export) -> None:
    export.folder(FIRST, "account/2026.csv", model=None)

    assert export.look().files == {}


def test_what_follows_a_folder_that_was_never_finalised_is_read(
    export: Export,
) -> None:
    export.folder(FIRST, "account/2026.csv", model=None)
    export.folder(SECOND, "account/2026.csv")

    with at(LATER):
        assert export.states() == {FIRST: "skipped", SECOND: "ready"}


def test_each_folder_is_judged_by_its_own_successor(export: Export) -> None:
    """FIRST was closed over an hour ago, SECOND was not."""
    export.folder(FIRST, "account/2026.csv", model=None)
    export.folder(SECOND, "account/2026.csv", model=None)
    export.folder(THIRD, "account/2026.csv")

    with at(after(SECOND, hours=1, seconds=1)):
        assert export.states() == {
            FIRST: "skipped",
            SECOND: "waiting",
            THIRD: "waiting",
        }


def test_a_folder_that_was_open_for_18_hours_waits_for_its_model(
    export: Export,
) -> None:
    """Its own age says nothing: it was closed when the marker moved on."""
    export.mark("2026-03-02T02.00.00Z")
    export.folder(FIRST, "account/2026.csv", model=None)

    with at(datetime(2026, 3, 2, 3, tzinfo=UTC)):
        assert export.states() == {FIRST: "waiting"}
    with at(datetime(2026, 3, 2, 3, 0, 1, tzinfo=UTC)):
        assert export.states() == {FIRST: "skipped"}


def test_a_successor_that_is_later_than_the_marker_does_not_count(
    export: Export,
) -> None:
    """It is the marker that closes a folder."""
    export.mark(SECOND)
    export.folder(FIRST, "account/2026.csv", model=None)
    export.folder(OPEN, "account/2026.csv")

    with at(after(SECOND, hours=1, seconds=1)):
        assert export.states() == {FIRST: "skipped"}


def test_a_skipped_folder_whose_model_comes_after_all_is_found_complete(
    export: Export,
) -> None:
    source = export.source
    export.folder(FIRST, "account/2026.csv", model=None)
    with at(LATER):
        (skipped,) = source.discover(()).partitions
        export.folder(FIRST, model=ACCOUNT)
        (found,) = source.discover(()).partitions

    assert skipped.state is PartitionState.SKIPPED
    assert found.state is PartitionState.READY


def test_files_of_another_kind_in_a_skipped_folder_are_noted(export: Export) -> None:
    export.folder(FIRST, "account/2026.csv.gz", model=None)

    with at(LATER):
        partition = export.look()

    assert partition.state is PartitionState.SKIPPED
    assert any("account/2026.csv.gz" in note for note in partition.notes)


def test_a_linked_table_folder_is_not_called_empty(export: Export) -> None:
    folder = export.folder(FIRST, model=None)
    (folder / "account").symlink_to(export.base)

    with at(LATER):
        partition = export.look()

    assert partition.reason == NEVER_FINALISED
    assert {*partition.files} == {"account"}


def test_a_folder_that_cannot_be_looked_into_for_now_is_not_skipped(
    export: Export,
) -> None:
    """It might hold rows, and skipping is for good."""
    export.folder(FIRST, "account/2026.csv", "contact/2026.csv", model=None)
    export.folder(SECOND, "account/2026.csv")
    storage = Failing(export.root, f"{FIRST}/account")

    with at(LATER):
        found = SynapseLink(storage).discover(())

    assert [partition.state for partition in found.partitions] == ["waiting"] * 2
    assert found.problem is not None
    assert found.problem.code == "file_unreadable"


def test_a_directory_in_the_place_of_model_json_is_no_model(export: Export) -> None:
    folder = export.folder(FIRST, "account/2026.csv", model=None)
    (folder / "model.json").mkdir()

    assert export.states() == {FIRST: "waiting"}


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_model_json_is_no_model(export: Export) -> None:
    folder = export.folder(FIRST, "account/2026.csv", model=None)
    os.mkfifo(folder / "model.json")

    assert export.states() == {FIRST: "waiting"}


@pytest.mark.parametrize("path", [f"{FIRST}/model.json", FIRST])
def test_a_folder_that_cannot_be_read_for_now_waits_with_its_problem(
    export: Export, path: str
) -> None:
    """Its model says which files are missing: without it they would go unseen."""
    export.folder(FIRST, "account/2026.csv")
    export.folder(SECOND, "account/2026.csv")
    storage = Failing(export.root, path)
    source = SynapseLink(storage)

    found = source.discover(())

    assert [partition.state for partition in found.partitions] == ["waiting"] * 2
    assert found.problem is not None
    assert found.problem.code == "file_unreadable"
    storage.paths.clear()
    again = source.discover(())
    assert again.problem is None
    assert [partition.state for partition in again.partitions] == ["ready"] * 2

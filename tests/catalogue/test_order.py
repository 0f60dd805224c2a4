"""Which change of a key wins: cases 7 to 13, and 23."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.catalogue.steps import counted, counts
from tests.exports import HEAD, TAIL
from tests.sync.conftest import Export


def names(export: Export) -> list[str]:
    return [name for (name,) in export.rows("account", "name")]


@pytest.mark.parametrize("order", [(5, 9, 7), (9, 5, 7), (5, 7, 9)])
def test_case_07_of_three_rows_of_a_key_the_highest_version_wins(
    export: Export, order: tuple[int, ...]
) -> None:
    for version in order:
        export.upsert("account", 1, name=f"v{version}", version=version)
    export.close_folder()

    export.load("account")

    assert names(export) == ["v9"]
    [row] = export.progress("account")
    assert counts(row) == (1, 0, 0, 2)


def test_case_07_the_highest_version_wins_over_files_and_folders(
    export: Export,
) -> None:
    export.upsert("account", 1, name="v9", version=9, file="2024.csv")
    export.upsert("account", 1, name="v5", version=5, file="2026.csv")
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, name="v8", version=8)
    export.close_folder()

    export.load("account")

    assert names(export) == ["v9"]
    assert [counts(row) for row in export.progress("account")] == [
        (1, 0, 0, 1),
        (0, 0, 0, 1),
    ]


@pytest.mark.parametrize("sinks", [(10, 20), (20, 10)])
def test_case_08_of_two_rows_of_a_version_the_later_written_wins(
    export: Export, sinks: tuple[int, int]
) -> None:
    for sink in sinks:
        export.upsert("account", 1, name=f"at {sink}", version=5, sink=sink)
    export.close_folder()

    export.load("account")

    assert names(export) == ["at 20"]
    assert counted(export, "account") == 2


def test_case_08_a_row_sent_again_later_counts_as_updated(export: Export) -> None:
    sent = export.upsert("account", 1, name="same", version=5, sink=10)
    export.close_folder()
    export.load("account")
    [(before,)] = export.rows("account", "sinkmodifiedon")
    export.resend(sent, sink=20)
    export.close_folder()

    export.load("account")

    [(name, after)] = export.rows("account", "name", "sinkmodifiedon")
    assert (name, (after - before).total_seconds()) == ("same", 10)
    assert counts(export.progress("account")[1]) == (0, 1, 0, 0)


def test_case_08_a_row_of_the_version_that_was_written_earlier_is_ignored(
    export: Export,
) -> None:
    export.upsert("account", 1, name="later", version=5, sink=20)
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, name="earlier", version=5, sink=10)
    export.close_folder()

    export.load("account")

    assert names(export) == ["later"]
    assert counts(export.progress("account")[1]) == (0, 0, 0, 1)


def test_case_08_an_exact_duplicate_stays_one_row(export: Export) -> None:
    sent = export.upsert("account", 1, name="same", version=5, sink=10)
    export.resend(sent)
    export.resend(sent, file="2025.csv")
    export.close_folder()

    export.load("account")

    assert names(export) == ["same"]
    [row] = export.progress("account")
    assert counts(row) == (1, 0, 0, 2)


@dataclass(frozen=True)
class Pair:
    """An upsert and a delete of one key in one folder, and whether the row lives."""

    upsert: tuple[int | None, int]
    delete: tuple[int | None, int]
    lives: bool


# (version, second of SinkModifiedOn); None is a row without version.
PAIRS = {
    "a delete of a higher version": Pair((5, 20), (6, 10), lives=False),
    "a delete of the same version": Pair((5, 20), (5, 10), lives=False),
    "a delete of a lower version": Pair((5, 10), (4, 20), lives=True),
    "a later delete without version": Pair((5, 10), (None, 20), lives=False),
    "a delete without version in the same second": Pair(
        (5, 10), (None, 10), lives=False
    ),
    "an earlier delete without version": Pair((5, 20), (None, 10), lives=True),
    "no versions, the delete later": Pair((None, 10), (None, 20), lives=False),
    "no versions, the delete earlier": Pair((None, 20), (None, 10), lives=True),
    "no versions, the same second": Pair((None, 10), (None, 10), lives=False),
}
FILES = [
    ("2026.csv", "1.csv"),
    ("2026.csv", "4.csv"),
    ("1.csv", "2026.csv"),
    ("2025_001.csv", "2.csv"),
]


def write_pairs(export: Export, upserts: str, deletes: str, first: str) -> None:
    for key, pair in enumerate(PAIRS.values(), 1):
        (version, sink), (deleted, deleted_at) = pair.upsert, pair.delete
        if first == "delete":
            export.delete(
                "account", key, version=deleted, sink=deleted_at, file=deletes
            )
        export.upsert(
            "account", key, name=f"key {key}", version=version, sink=sink, file=upserts
        )
        if first == "upsert":
            export.delete(
                "account", key, version=deleted, sink=deleted_at, file=deletes
            )
    export.close_folder()


SURVIVORS = [f"key {key}" for key, pair in enumerate(PAIRS.values(), 1) if pair.lives]


@pytest.mark.parametrize(("upserts", "deletes"), FILES)
def test_case_09_an_upsert_and_a_delete_in_two_files_follow_the_total_order(
    export: Export, upserts: str, deletes: str
) -> None:
    write_pairs(export, upserts, deletes, "upsert")

    export.load("account")

    assert names(export) == SURVIVORS
    assert counted(export, "account") == 2 * len(PAIRS)


@pytest.mark.parametrize("first", ["upsert", "delete"])
def test_case_10_upserts_and_deletes_mixed_in_a_file_follow_the_total_order(
    export: Export, first: str
) -> None:
    write_pairs(export, "2026.csv", "2026.csv", first)

    export.load("account")

    assert names(export) == SURVIVORS
    assert counted(export, "account") == 2 * len(PAIRS)


def test_case_11_a_delete_without_version_applies_at_the_highest_known(
    export: Export,
) -> None:
    export.upsert("account", 1, name="v5", version=5)
    export.close_folder()
    export.load("account")
    export.delete("account", 1)
    export.close_folder()
    export.load("account")
    assert names(export) == []
    assert counts(export.progress("account")[1]) == (0, 0, 1, 0)

    export.upsert("account", 1, name="sent again", version=5)
    export.close_folder()
    export.load("account")
    assert names(export) == []
    assert counts(export.progress("account")[2]) == (0, 0, 0, 1)

    export.upsert("account", 1, name="created again", version=6)
    export.close_folder()
    export.load("account")
    assert names(export) == ["created again"]
    assert counts(export.progress("account")[3]) == (1, 0, 0, 0)


def test_case_11_a_delete_of_a_lower_version_is_stale(export: Export) -> None:
    export.upsert("account", 1, name="v5", version=5)
    export.close_folder()
    export.load("account")
    export.delete("account", 1, version=4)
    export.close_folder()

    export.load("account")

    assert names(export) == ["v5"]
    assert counts(export.progress("account")[1]) == (0, 0, 0, 1)


def test_case_12_an_unknown_key_that_was_deleted_with_a_version_stays_deleted(
    export: Export,
) -> None:
    export.delete("account", 1, version=5)
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, name="v4", version=4)
    export.upsert("account", 1, name="v5", version=5)
    export.close_folder()
    export.load("account")
    assert names(export) == []

    export.upsert("account", 1, name="v6", version=6)
    export.close_folder()
    export.load("account")

    assert names(export) == ["v6"]
    assert [counts(row) for row in export.progress("account")] == [
        (0, 0, 0, 1),
        (0, 0, 0, 2),
        (1, 0, 0, 0),
    ]


def test_case_12_after_a_delete_without_version_an_unknown_key_is_created_again(
    export: Export,
) -> None:
    export.delete("account", 1)
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, name="v1", version=1)
    export.close_folder()

    export.load("account")

    assert names(export) == ["v1"]
    assert [counts(row) for row in export.progress("account")] == [
        (0, 0, 0, 1),
        (1, 0, 0, 0),
    ]
    assert export.progress("account")[0].rows_missing == 1


def test_case_13_overflow_files_are_all_read(export: Export) -> None:
    files = ["2025.csv", "2025_001.csv", "2025_002.csv", "2025-11.csv", "1900.csv"]
    for key, file in enumerate(files, 1):
        export.upsert("account", key, name=file, file=file)
    export.close_folder()

    export.load("account")

    assert names(export) == files
    assert counted(export, "account") == len(files)


def test_case_23_a_delete_without_recid_goes_by_its_id(export: Export) -> None:
    # Public rows: table 4277, recid 5648001569; table 10347, recid 68719478544.
    ids = {
        "000010b5-0000-0000-21aa-a55001000000": 5648001569,
        "0000286b-0000-0000-1007-000010000000": 68719478544,
    }
    export.table("inventtrans", [*HEAD, "recid:int64", "dataareaid", *TAIL])
    for key, recid in ids.items():
        export.upsert("inventtrans", key, recid=recid, dataareaid="usmf")
    export.close_folder()
    export.load("inventtrans")
    export.delete("inventtrans", next(iter(ids)))
    export.close_folder()

    export.load("inventtrans")

    assert export.rows("inventtrans", "recid") == [(68719478544,)]
    assert counts(export.progress("inventtrans")[1]) == (0, 0, 1, 0)

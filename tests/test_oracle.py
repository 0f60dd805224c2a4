"""The oracle and the writer of test exports, by cases worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exports import Change, Column, ExportWriter, guid, us_time
from tests.oracle import Replica, replay, stored

ONE = guid(1)


@pytest.fixture
def w(tmp_path: Path) -> ExportWriter:
    return ExportWriter(tmp_path)


def names(w: ExportWriter, table: str = "account") -> dict[int, object]:
    """The name of every row, by the small number that made its key."""
    return {key.int: row["name"] for key, row in replay(w)[table].rows.items()}


def tombstones(w: ExportWriter, table: str = "account") -> dict[int, int]:
    return {key.int: v for key, v in replay(w)[table].tombstones.items()}


# Which change wins: rows 7 to 12 of the catalogue


def test_highest_version_wins_wherever_it_stands(w: ExportWriter) -> None:
    w.upsert("account", 1, version=2, name="b")
    w.upsert("account", 1, version=3, name="c")
    w.upsert("account", 1, version=1, name="a")
    w.close_folder()
    assert names(w) == {1: "c"}
    assert replay(w)["account"].read.total() == 3


def test_later_sink_wins_among_equal_versions(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, sink=20, name="later")
    w.upsert("account", 1, version=5, sink=10, name="sooner")
    w.close_folder()
    assert names(w) == {1: "later"}


def test_an_older_sink_in_a_later_folder_loses(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, sink=20, name="later")
    w.close_folder()
    w.upsert("account", 1, version=5, sink=10, name="sooner")
    w.close_folder()
    assert names(w) == {1: "later"}


def test_the_last_position_wins_among_equals_of_one_folder(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, sink=10, name="z", file="4.csv")
    w.upsert("account", 1, version=5, sink=10, name="a", file="2025_001.csv")
    w.upsert("account", 1, version=5, sink=10, name="b", file="2025_001.csv")
    w.close_folder()
    assert names(w) == {1: "z"}


def test_the_later_folder_wins_among_equals(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, sink=10, name="z", file="4.csv")
    w.close_folder()
    w.upsert("account", 1, version=5, sink=10, name="a", file="1.csv")
    w.close_folder()
    assert names(w) == {1: "a"}


@pytest.mark.parametrize("file", ["1.csv", "4.csv", "2026.csv"])
def test_upsert_and_delete_in_one_folder(w: ExportWriter, file: str) -> None:
    w.delete("account", 1, version=2, sink=10, file=file)
    w.upsert("account", 1, version=1, sink=20, name="old")
    w.delete("account", 2, version=1, sink=20, file=file)
    w.upsert("account", 2, version=2, sink=10, name="new")
    w.delete("account", 3, sink=10, file=file)
    w.upsert("account", 3, version=1, sink=10, name="before the delete")
    w.delete("account", 4, sink=10, file=file)
    w.upsert("account", 4, version=1, sink=11, name="after the delete")
    w.close_folder()
    assert names(w) == {2: "new", 4: "after the delete"}
    assert tombstones(w) == {1: 2, 3: 1}


def test_delete_beats_an_upsert_of_its_version(w: ExportWriter) -> None:
    w.upsert("account", 1, version=7, sink=30, name="same version, later")
    w.delete("account", 1, version=7, sink=10)
    w.close_folder()
    w.upsert("account", 1, version=7, sink=40, name="sent again")
    w.close_folder()
    assert names(w) == {}
    assert tombstones(w) == {1: 7}


def test_versionless_delete_takes_the_highest_version_before_it(
    w: ExportWriter,
) -> None:
    w.upsert("account", 1, version=5, sink=1, name="known")
    w.close_folder()
    w.upsert("account", 1, version=6, sink=10, name="before")
    w.delete("account", 1, sink=11)
    w.upsert("account", 1, version=5, sink=12, name="sent again")
    w.close_folder()
    assert names(w) == {}
    assert tombstones(w) == {1: 6}
    w.upsert("account", 1, version=6, sink=20, name="sent again")
    w.close_folder()
    assert names(w) == {}
    w.upsert("account", 1, version=8, sink=21, name="made again")
    w.close_folder()
    assert names(w) == {1: "made again"}
    assert tombstones(w) == {}


def test_versionless_delete_knows_the_version_of_another_delete(
    w: ExportWriter,
) -> None:
    w.upsert("account", 1, version=3, sink=1, name="x")
    w.close_folder()
    w.delete("account", 1, version=9, sink=10)
    w.delete("account", 1, sink=11, file="4.csv")
    w.close_folder()
    assert tombstones(w) == {1: 9}


def test_stale_delete_is_ignored(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, name="live")
    w.close_folder()
    w.delete("account", 1, version=4)
    w.close_folder()
    assert names(w) == {1: "live"}
    assert tombstones(w) == {}


def test_delete_of_an_unknown_key_leaves_a_tombstone(w: ExportWriter) -> None:
    w.delete("account", 1, version=5)
    w.delete("account", 2)
    w.close_folder()
    assert tombstones(w) == {1: 5, 2: -1}
    w.upsert("account", 1, version=5, name="not newer")
    w.upsert("account", 2, version=0, name="newer than nothing")
    w.close_folder()
    assert names(w) == {2: "newer than nothing"}
    assert tombstones(w) == {1: 5}
    w.upsert("account", 1, version=6, name="newer")
    w.close_folder()
    assert names(w) == {1: "newer", 2: "newer than nothing"}


def test_a_tombstone_keeps_the_highest_version(w: ExportWriter) -> None:
    for version in (5, 9, 7, None):
        w.delete("account", 1, version=version)
        w.close_folder()
    assert tombstones(w) == {1: 9}


def test_upsert_without_version_loses_to_any_version(w: ExportWriter) -> None:
    w.upsert("account", 1, version=0, name="with")
    w.close_folder()
    w.upsert("account", 1, version=None, name="without")
    w.close_folder()
    assert names(w) == {1: "with"}


def test_exact_duplicates_are_one_row(w: ExportWriter) -> None:
    change = w.upsert("account", 1, name="x")
    w.resend(change)
    w.resend(change, file="2025.csv")
    w.close_folder()
    w.resend(change)
    w.close_folder()
    assert names(w) == {1: "x"}
    assert replay(w)["account"].read.total() == 4


def test_a_missing_sink_is_before_all(w: ExportWriter) -> None:
    w.upsert("account", 1, version=5, sink=10, name="dated")
    w.upsert("account", 1, version=5, sink=None, name="undated", file="4.csv")
    w.close_folder()
    assert names(w) == {1: "dated"}


# A table without versions


def test_without_versions_the_later_folder_wins(w: ExportWriter) -> None:
    w.table("link", versioned=False)
    w.upsert("link", 1, sink=20, name="first")
    w.delete("link", 2, sink=20)
    w.close_folder()
    w.upsert("link", 1, sink=10, name="second")
    w.upsert("link", 2, sink=10, name="second")
    w.close_folder()
    assert names(w, "link") == {1: "second", 2: "second"}
    w.delete("link", 1, sink=None)
    w.close_folder()
    assert names(w, "link") == {2: "second"}
    assert tombstones(w, "link") == {1: -1}


def test_without_versions_time_decides_in_a_folder(w: ExportWriter) -> None:
    w.table("link", versioned=False)
    w.upsert("link", 1, sink=12, name="after", file="1.csv")
    w.delete("link", 1, sink=11, file="4.csv")
    w.upsert("link", 1, sink=10, name="before", file="4.csv")
    w.delete("link", 2, sink=10, file="1.csv")
    w.upsert("link", 2, sink=10, name="in the second of its delete", file="4.csv")
    w.close_folder()
    assert names(w, "link") == {1: "after"}


# Columns


def test_rows_keep_null_in_a_new_column_until_they_change(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.upsert("account", 2, name="b")
    w.close_folder()
    w.upsert("account", 3, name="narrow")
    w.add_column("account", "colour")
    w.upsert("account", 2, name="b", colour="red")
    w.close_folder()
    account = replay(w)["account"]
    colours = {key.int: row["colour"] for key, row in account.rows.items()}
    assert colours == {1: None, 2: "red", 3: None}
    assert account.columns["colour"] == "string"


def test_a_column_that_left_keeps_its_last_value(w: ExportWriter) -> None:
    for key in (1, 2, 3):
        w.upsert("account", key, name="old")
    w.close_folder()
    w.remove_column("account", "name")
    w.upsert("account", 1, amount="1")
    w.delete("account", 2)
    w.close_folder()
    assert names(w) == {1: "old", 3: "old"}
    w.upsert("account", 2, amount="2")
    w.close_folder()
    assert names(w) == {1: "old", 2: None, 3: "old"}


def test_a_narrow_row_has_null_in_the_columns_it_lacks(w: ExportWriter) -> None:
    w.table("account", ["colour"])
    w.upsert("account", 1, colour="red")
    w.close_folder()
    w.remove_column("account", "colour")
    w.upsert("account", 1)
    w.close_folder()
    w.upsert("account", 1)
    w.add_column("account", "colour")
    w.close_folder()
    assert replay(w)["account"].rows[ONE]["colour"] is None


# Values


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        ("string", None, None),
        ("string", "", ""),
        ("string", "NULL", "NULL"),
        ("int64", "", None),
        ("int64", "-1", -1),
        ("decimal", "1E-05", Decimal("0.00001")),
        ("double", "12.5", 12.5),
        ("boolean", "true", True),
        ("boolean", "False", False),
        ("boolean", "1", True),
        ("boolean", "", None),
        ("guid", "0000000A-0000-0000-0000-000000000000", UUID(int=10 << 96)),
        ("unclassified", "x", "x"),
    ],
)
def test_values(data_type: str, value: object, expected: object) -> None:
    assert stored(value, data_type) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-25", "2026-06-25 00:00:00"),
        ("2026-06-25T16:21:12Z", "2026-06-25 16:21:12"),
        ("2026-06-25T16:21:12.0000005Z", "2026-06-25 16:21:12"),
        ("2026-06-25T16:21:12.0000015", "2026-06-25 16:21:12.000002"),
        ("2026-06-25T23:59:59.9999999Z", "2026-06-26 00:00:00"),
        ("2026-06-25T00:30:00+01:00", "2026-06-24 23:30:00"),
        ("2026-06-25T23:30:00-01:00", "2026-06-26 00:30:00"),
        ("0001-01-01T00:00:00.0000000", "0001-01-01 00:00:00"),
        ("9999-12-31T23:59:59.9999999", "9999-12-31 23:59:59.999999"),
        ("9999-12-31T23:59:59-05:00", "9999-12-31 23:59:59.999999"),
        ("6/28/2026 4:34:35 PM", "2026-06-28 16:34:35"),
        ("6/28/2026 12:00:00 AM", "2026-06-28 00:00:00"),
        ("6/28/2026 12:59:59 PM", "2026-06-28 12:59:59"),
        ("1/1/2020 0:00:01 PM", "2020-01-01 12:00:01"),
        ("1/1/2020 13:00:00 PM", "2020-01-01 13:00:00"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert str(stored(text, "dateTime")) == f"{expected}+00:00"


# The definition of the order, taken literally


@dataclass(frozen=True)
class Dated:
    """A change with its place, and what it brings."""

    change: Change
    partition: int
    sink: float
    is_delete: bool
    version: int | None

    @property
    def ahead(self) -> tuple[int, float, bool, str, int]:
        file, number = self.change.file, self.change.number
        return self.partition, self.sink, self.is_delete, file, number


def literal_winner(changes: list[Dated]) -> tuple[Dated, int]:
    """The maximum over the total order, over all partitions at once."""

    def effective(one: Dated) -> int:
        if one.version is None and one.is_delete:
            ahead = [x.version for x in changes if x.ahead < one.ahead]
            return max((v for v in ahead if v is not None), default=-1)
        return -1 if one.version is None else one.version

    def rank(one: Dated) -> tuple[object, ...]:
        version = effective(one)
        if version == -1:
            return (version, *one.ahead)
        file, number = one.change.file, one.change.number
        return version, one.is_delete, one.sink, one.partition, file, number

    winner = max(changes, key=rank)
    return winner, effective(winner)


changes_of_a_key = st.lists(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 4),
            st.booleans(),
            st.none() | st.integers(0, 4),
            st.sampled_from(["1.csv", "2026.csv", "4.csv"]),
        ),
        max_size=5,
    ),
    min_size=1,
    max_size=5,
)
COLUMNS = [
    Column.parse(spec)
    for spec in (
        "Id:guid",
        "SinkModifiedOn:dateTime",
        "nr:int64",
        "versionnumber:int64",
        "IsDelete:boolean",
    )
]
Drawn = list[list[tuple[int | None, bool, int | None, str]]]


def dated(drawn: Drawn) -> Iterator[Dated]:
    number = 0
    for partition, rows in enumerate(drawn):
        for version, is_delete, sink, file in rows:
            number += 1
            moment = None if sink is None else datetime(2026, 1, 1, sink, tzinfo=UTC)
            values: Mapping[str, object] = {
                "Id": ONE,
                "SinkModifiedOn": moment,
                "nr": number,
                "versionnumber": version,
                "IsDelete": is_delete,
            }
            change = Change("t", str(partition), file, number, values)
            order = float("-inf") if sink is None else sink
            yield Dated(change, partition, order, is_delete, version)


@given(changes_of_a_key)
def test_the_walk_ends_at_the_maximum_of_the_order(drawn: Drawn) -> None:
    changes = list(dated(drawn))
    replica = Replica()
    for partition in range(len(drawn)):
        part = [x.change for x in changes if x.partition == partition]
        replica.apply(str(partition), COLUMNS, part)
    found = {key: row["nr"] for key, row in replica.rows.items()}
    if not changes:
        assert (found, replica.tombstones) == ({}, {})
        return
    winner, version = literal_winner(changes)
    if winner.is_delete:
        assert (found, replica.tombstones) == ({}, {ONE: version})
    else:
        nr = winner.change.values["nr"]
        assert (found, replica.tombstones) == ({ONE: nr}, {})


# The writer


def text_of(w: ExportWriter, *path: str) -> str:
    return w.root.joinpath(*path).read_bytes().decode()


def test_the_dialect(w: ExportWriter) -> None:
    w.table("t", ["name", "amount:decimal", "ok:boolean", "due:dateTime"])
    due = datetime(2026, 6, 25, 16, 21, 12, 34, tzinfo=UTC)
    w.upsert("t", 1, version=3, sink=60, name='a,"b"\n', amount=Decimal("1E-5"))
    w.upsert("t", 2, version=4, sink=None, name="", ok=True, due=due, createdon=due)
    w.delete("t", 3, sink=us_time(due))
    folder = w.close_folder()
    sink = '"3/1/2026 8:01:00 AM"'
    assert text_of(w, folder, "t", "2026.csv") == (
        f'{guid(1)},{sink},{sink},"a,""b""\n",0.00001,,,3,,\n'
        f'{guid(2)},,,"",,True,"2026-06-25T16:21:12.0000340Z",4,'
        '"2026-06-25T16:21:12.0000340+00:00",\n'
    )
    sink = '"6/25/2026 4:21:12 PM"'
    assert text_of(w, folder, "t", "1.csv") == f"{guid(3)},{sink},{sink},,,,,,,True\n"


def test_life_of_a_folder(w: ExportWriter) -> None:
    first = w.folder.name
    assert first == "2026-03-01T08.00.00Z"
    w.upsert("account", 1, name="a", file="2025.csv")
    w.upsert("account", 1, name="a", file="2025_001.csv")
    w.upsert("contact", 1, name="c")
    assert text_of(w, "Changelog", "changelog.info") == first
    assert not (w.root / first / "model.json").exists()
    assert w.complete() == []
    assert w.close_folder() == first
    second = w.folder.name
    assert second == "2026-03-01T08.05.00Z"
    assert (w.root / second).is_dir()
    assert text_of(w, "Changelog", "changelog.info") == second
    assert text_of(w, "Changelog", "Synapse.log") == first
    assert text_of(w, "model.json") == text_of(w, first, "model.json")
    model = json.loads(text_of(w, "model.json"))
    assert [entity["name"] for entity in model["entities"]] == ["account", "contact"]
    parts = [part["name"] for part in model["entities"][0]["partitions"]]
    assert parts == ["2025", "2025_001"]
    attributes = [x["name"] for x in model["entities"][0]["attributes"]]
    assert attributes[:3] == ["Id", "SinkCreatedOn", "SinkModifiedOn"]
    assert attributes[-1] == "IsDelete"
    assert w.complete() == [first]
    assert w.close_folder(gap=timedelta(hours=18)) == second
    assert w.folder.name == "2026-03-02T02.05.00Z"
    assert text_of(w, "Changelog", "Synapse.log") == f"{first},{second}"


@pytest.mark.parametrize("model", ["missing", "empty"])
def test_late_model(w: ExportWriter, model: str) -> None:
    w.upsert("account", 1, version=1, name="a")
    late = w.close_folder(model="empty" if model == "empty" else "missing")
    path = w.root / late / "model.json"
    assert path.exists() == (model == "empty")
    w.add_column("account", "colour")
    w.upsert("account", 1, version=2, name="b", colour="red")
    after = w.close_folder()
    assert (w.waiting(), w.complete(), replay(w)) == ([late], [], {})
    newest = text_of(w, "model.json")
    assert w.deliver_model() == late
    assert (w.waiting(), w.complete()) == ([], [late, after])
    assert "colour" not in path.read_text()
    assert text_of(w, "model.json") == newest
    assert names(w) == {1: "b"}
    assert replay(w, [late])["account"].rows[ONE]["name"] == "a"


def test_a_new_column_comes_after_isdelete(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    w.add_column("account", "colour")
    w.upsert("account", 1, name="a", colour="red")
    folder = w.close_folder()
    narrow, wide = text_of(w, folder, "account", "2026.csv").splitlines()
    assert wide.count(",") == narrow.count(",") + 1
    assert wide.endswith(',,"red"')
    model = json.loads(text_of(w, folder, "model.json"))
    assert model["entities"][0]["attributes"][-1]["name"] == "colour"


def test_a_column_does_not_leave_a_folder_with_rows(w: ExportWriter) -> None:
    w.upsert("account", 1, name="a")
    with pytest.raises(ValueError, match="has rows of account"):
        w.remove_column("account", "name")


def test_raw_bytes_and_own_columns(w: ExportWriter) -> None:
    w.table("raw", ["Id:guid", "note", "IsDelete:boolean"])
    w.raw("raw", "2026.csv", b"\xff")
    w.raw("raw", "empty.csv", b"")
    change = w.upsert("raw", 1, note="n")
    assert change.values == {"Id": ONE, "note": "n", "IsDelete": None}
    with pytest.raises(KeyError, match="no column nonsense"):
        w.upsert("raw", 1, nonsense=1)
    folder = w.close_folder()
    path = w.root / folder / "raw" / "2026.csv"
    assert path.read_bytes() == b"\xff" + f'{ONE},"n",\n'.encode()
    assert (w.root / folder / "raw" / "empty.csv").read_bytes() == b""
    assert replay(w)["raw"].rows == {ONE: {"id": ONE, "note": "n", "isdelete": None}}


def test_every_upsert_is_newer_unless_told(w: ExportWriter) -> None:
    versions = [
        w.upsert("account", 1).get("VersionNumber"),
        w.upsert("account", 1, version=40).get("VersionNumber"),
        w.upsert("account", 1).get("VersionNumber"),
        w.upsert("account", 1, version=None).get("VersionNumber"),
        w.delete("account", 1).get("VersionNumber"),
    ]
    assert versions == [1, 40, 41, None, None]

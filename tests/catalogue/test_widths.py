"""Rows that are narrower or wider than the schema, and cases 19 and 20."""

from __future__ import annotations

from typing import Any

import pytest

from sync.models import Event
from tests.catalogue.steps import FILE, LF, assert_refused, counted, line
from tests.exports import HEAD, TAIL, Column
from tests.sync.conftest import Export

# d = 7: Id, SinkCreatedOn, SinkModifiedOn, name, versionnumber, createdon, IsDelete.
BEFORE = [Column.parse(spec) for spec in (*HEAD, "name", *TAIL)]
# n = 9.
NOW = [*BEFORE, Column("x"), Column("y")]


@pytest.fixture
def grown(export: Export) -> Export:
    """Return an export whose account has two columns more since its last folder."""
    table = export.table("account", BEFORE)
    export.upsert("account", 100, name="before")
    export.close_folder()
    table.columns[:] = NOW
    return export


def put(export: Export, *rows: bytes, file: str = FILE) -> None:
    export.raw("account", file, LF.join([*rows, b""]))


def found(export: Export) -> list[tuple[object, ...]]:
    """Return the rows that came with the second folder."""
    return export.rows("account", "name", "x", "y")[:-1]


def test_a_row_as_wide_as_the_model_is_bound(grown: Export) -> None:
    put(grown, line(1, '"a"', after=['"x"', '"y"']))
    grown.close_folder()
    grown.load("account")
    assert found(grown) == [("a", "x", "y")]


@pytest.mark.parametrize(
    ("after", "x"), [([], None), (['"x"'], "x")], ids=["w = d", "w = d + 1"]
)
def test_a_row_up_to_is_delete_or_wider_is_padded_with_null(
    grown: Export, after: list[str], x: str | None
) -> None:
    put(grown, line(1, '"a"', after=after))
    grown.close_folder()
    grown.load("account")
    assert found(grown) == [("a", x, None)]
    assert counted(grown, "account") == 2


@pytest.mark.parametrize("width", range(1, 7))
def test_a_row_that_does_not_reach_is_delete_is_refused(
    grown: Export, width: int
) -> None:
    whole = line(1, '"a"', after=['"x"', '"y"'])
    narrow = b",".join(line(2, '"b"').split(b",")[:width])
    put(grown, whole, narrow)
    grown.close_folder()

    grown.sync()

    assert_refused(grown, "account", "bad_row", at=2)
    assert grown.rows("account", "name") == [("before",)]


def test_a_row_with_a_trailing_comma_is_read_with_a_warning(grown: Export) -> None:
    put(grown, line(1, '"a"', after=['"x"', '"y"', ""]))
    folder = grown.close_folder()

    grown.load("account")

    assert found(grown) == [("a", "x", "y")]
    warnings = Event.objects.filter(config=grown.config, level="warning")
    assert warnings.filter(table_name="account", partition=folder).exists()


@pytest.mark.parametrize(
    "extra",
    [['"z"'], ["0"], ["", ""], ['"z"', ""], ["", '"z"']],
    ids=["text", "number", "two empty", "text and empty", "empty and text"],
)
def test_a_row_wider_than_the_model_is_refused(grown: Export, extra: list[str]) -> None:
    put(grown, line(1, '"a"', after=['"x"', '"y"']))
    put(grown, line(2, '"b"', after=['"x"', '"y"', *extra]))
    grown.close_folder()

    grown.sync()

    assert_refused(grown, "account", "bad_row", at=2)
    assert grown.rows("account", "name") == [("before",)]


@pytest.mark.parametrize("narrow", [[], ['"x"']], ids=["w = d", "w = d + 1"])
def test_a_row_narrower_than_one_before_it_in_the_file_is_refused(
    grown: Export, narrow: list[str]
) -> None:
    put(grown, line(1, '"a"', after=['"x"', '"y"']), line(2, '"b"', after=narrow))
    grown.close_folder()

    grown.sync()

    assert_refused(grown, "account", "bad_row", at=2)
    assert grown.rows("account", "name") == [("before",)]


def test_a_narrow_row_after_a_less_narrow_one_is_refused(grown: Export) -> None:
    put(grown, line(1, '"a"', after=['"x"']), line(2, '"b"'))
    grown.close_folder()

    grown.sync()

    assert_refused(grown, "account", "bad_row", at=2)


def test_rows_of_another_file_may_be_wider(grown: Export) -> None:
    put(grown, line(1, '"a"', after=['"x"', '"y"']), file="2024.csv")
    put(grown, line(2, '"b"'), file="2025.csv")
    put(grown, line(3, '"c"', after=['"x"']), file="2026.csv")
    grown.close_folder()

    grown.load("account")

    assert found(grown) == [("a", "x", "y"), ("b", None, None), ("c", "x", None)]


def test_commas_and_newlines_within_quotes_do_not_widen_a_row(grown: Export) -> None:
    put(grown, line(1, '"a,b\n,c"'), line(2, '"b"', after=['",,,"', '"\n,\n"']))
    grown.close_folder()

    grown.load("account")

    assert found(grown) == [("a,b\n,c", None, None), ("b", ",,,", "\n,\n")]


def test_case_19_rows_from_before_a_column_was_added_are_padded_with_null(
    export: Export,
) -> None:
    export.upsert("account", 1, name="old", amount=1)
    export.close_folder()
    for number in range(2, 20):
        export.upsert("account", number, name="narrow", amount=number)
    export.add_column("account", "colour")
    for number in range(20, 55):
        export.upsert("account", number, name="wide", amount=number, colour="red")
    export.close_folder()

    export.load("account")

    expected = [("old", 1, None)]
    expected += [("narrow", number, None) for number in range(2, 20)]
    rows = export.rows("account", "name", "amount", "colour")
    assert rows[:19] == expected
    assert rows[19:] == [("wide", number, "red") for number in range(20, 55)]
    assert counted(export, "account") == 54


def test_case_19_a_key_that_comes_narrow_and_then_wide_ends_wide(
    export: Export,
) -> None:
    export.upsert("account", 1, name="old")
    export.close_folder()
    export.upsert("account", 1, name="narrow")
    export.add_column("account", "colour")
    export.upsert("account", 1, name="wide", colour="red")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name", "colour") == [("wide", "red")]


# What is no appending: the list of columns before, and the one now.
LATER = [Column("x"), Column("y")]
SWITCHED = [Column("y"), Column("x"), Column("z")]
CHANGES = {
    "inserted before IsDelete": [
        *BEFORE[:4],
        Column("colour"),
        *BEFORE[4:],
        *LATER,
    ],
    "inserted after IsDelete": [*BEFORE, Column("colour"), *LATER],
    "reordered": [*BEFORE, *SWITCHED],
    "renamed": [*BEFORE, Column("x2"), Column("y"), Column("z")],
    "removed": [*BEFORE, Column("y"), Column("z")],
}


def changed(export: Export, columns: list[Column]) -> Export:
    """Load a folder with x and y, then give account other columns."""
    table = export.table("account", [*BEFORE, *LATER])
    export.upsert("account", 100, name="before", x="old x", y="old y")
    export.close_folder()
    export.load("account")
    table.columns[:] = columns
    return export


@pytest.mark.parametrize("columns", CHANGES.values(), ids=CHANGES)
def test_case_20_full_rows_are_bound_by_the_model_of_their_folder(
    export: Export, columns: list[Column]
) -> None:
    changed(export, columns)
    own = [c.name for c in columns if c not in BEFORE]
    values: dict[str, Any] = {name: f"new {name}" for name in own}
    export.upsert("account", 1, name="a", **values)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name", *own)[0] == (
        "a",
        *values.values(),
    )
    assert export.rows("account", "name", "x", "y")[1] == ("before", "old x", "old y")


@pytest.mark.parametrize("columns", CHANGES.values(), ids=CHANGES)
def test_case_20_narrow_rows_are_refused_when_the_columns_were_not_appended(
    export: Export, columns: list[Column]
) -> None:
    changed(export, columns)
    cells = [str(n) if c.data_type == "string" else "" for n, c in enumerate(columns)]
    cells[0] = "00000000-0000-0000-0000-000000000001"
    put(export, ",".join(cells[:-1]).encode())
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_row", at=1)
    assert export.rows("account", "name") == [("before",)]

"""What numbers, Ids and empty cells become."""

from __future__ import annotations

import math
from decimal import Decimal
from uuid import UUID

import pytest

from tests.catalogue.steps import LF, configure, line, outcomes
from tests.sync.conftest import Export

DIGITS = "12345678901234567890123456789012345678"
TYPED = (
    "guid",
    "int64",
    "int32",
    "decimal",
    "double",
    "boolean",
    "dateTime",
    "dateTimeOffset",
    "date",
    "time",
)


def test_case_18_decimals_are_exact(export: Export) -> None:
    texts = {
        "1E-05": "0.00001",
        "1e5": "100000",
        "-1.5E+3": "-1500",
        "1.25e-10": "0.000000000125",
        DIGITS: DIGITS,
        f"-{DIGITS}": f"-{DIGITS}",
        f"0.{DIGITS}": f"0.{DIGITS}",
        f"{DIGITS[:22]}.{DIGITS[22:]}": f"{DIGITS[:22]}.{DIGITS[22:]}",
        "-0": "0",
        "-0.00": "0",
        "0": "0",
        "-1": "-1",
        "12.500000": "12.5",
        "0.1": "0.1",
    }
    expected = {text: Decimal(value) for text, value in texts.items()}
    assert outcomes(export, "decimal", expected) == expected


def test_a_decimal_is_stored_without_a_scale_of_its_column(export: Export) -> None:
    found = outcomes(export, "decimal", ["12.500000", "0.1", "7"])
    assert [str(value) for value in found.values()] == ["12.500000", "0.1", "7"]


def test_what_is_no_decimal_is_refused(export: Export) -> None:
    cells = ['"1,5"', '"1,000.00"', "abc", "1.2.3", "1E", "--1"]
    assert outcomes(export, "decimal", cells) == dict.fromkeys(cells, "bad_value")


@pytest.mark.parametrize("data_type", ["int64", "long"])
def test_integers_up_to_the_limits_are_read(export: Export, data_type: str) -> None:
    limits = (2**63 - 1, -(2**63), 0, 42, -1, 5637144576)
    expected = {str(number): number for number in limits}
    assert outcomes(export, data_type, expected) == expected


def test_an_integer_beyond_the_limits_is_refused(export: Export) -> None:
    cells = [str(2**63), str(-(2**63) - 1), "1.5", "abc", "9" * 40]
    assert outcomes(export, "int64", cells) == dict.fromkeys(cells, "bad_value")


@pytest.mark.parametrize("data_type", ["int32", "integer", "int16", "short", "byte"])
def test_small_integers_have_the_limits_of_an_integer(
    export: Export, data_type: str
) -> None:
    cells = {
        str(2**31 - 1): 2**31 - 1,
        str(-(2**31)): -(2**31),
        str(2**31): "bad_value",
        str(-(2**31) - 1): "bad_value",
    }
    assert outcomes(export, data_type, cells) == cells


def test_an_id_is_read_in_any_case(export: Export) -> None:
    text = "8f14e45f-ceea-467f-9575-1234567890ab"
    expected = {
        text: UUID(text),
        text.upper(): UUID(text),
        text.title(): UUID(text),
        f'"{text}"': UUID(text),
    }
    assert outcomes(export, "guid", expected) == expected


def test_a_key_in_upper_case_is_the_same_key(export: Export) -> None:
    key = "8f14e45f-ceea-467f-9575-1234567890ab"
    export.table("account", ["name"])
    for folder, text in enumerate((key, key.upper(), key.title()), 1):
        row = f'{text},,,"{folder}",{folder},,\n'
        export.raw("account", "2026.csv", row.encode())
        export.close_folder()
        export.load("account")

    assert export.rows("account", "id", "name") == [(UUID(key), "3")]


def test_what_is_no_id_is_refused(export: Export) -> None:
    cells = ["abc", "8f14e45f-ceea-467f-9575-1234567890a", "12"]
    assert outcomes(export, "guid", cells) == dict.fromkeys(cells, "bad_value")


@pytest.mark.parametrize("data_type", ["double", "float"])
def test_doubles_are_read_with_all_their_digits(export: Export, data_type: str) -> None:
    expected = {
        "12.5": 12.5,
        "0.1": 0.1,
        "1E-05": 1e-05,
        "1.7976931348623157E+308": 1.7976931348623157e308,
        "2.2250738585072014E-308": 2.2250738585072014e-308,
        "0.30000000000000004": 0.1 + 0.2,
        "Infinity": math.inf,
        "-Infinity": -math.inf,
    }
    assert outcomes(export, data_type, expected) == expected


def test_a_double_may_be_no_number(export: Export) -> None:
    [value] = outcomes(export, "double", ["NaN"]).values()
    assert isinstance(value, float)
    assert math.isnan(value)


def load_empty_cells(export: Export) -> list[tuple[object, ...]]:
    """Load a row of empty cells and one of quoted empty cells in each type."""
    export.table("probe", [f"c{n}:{kind}" for n, kind in enumerate(TYPED)])
    for key, text in ((1, ""), (2, '""')):
        export.raw("probe", "2026.csv", line(key, *[text] * len(TYPED)) + LF)
    export.close_folder()
    export.load("probe")
    return export.rows("probe", *(f"c{n}" for n in range(len(TYPED))))


def test_an_empty_cell_of_a_typed_column_is_null_with_and_without_quotes(
    export: Export,
) -> None:
    assert load_empty_cells(export) == [(None,) * len(TYPED)] * 2


def test_an_empty_cell_of_a_typed_column_is_null_also_if_empty_texts_are_kept(
    export: Export,
) -> None:
    configure(export, empty_text="empty")
    assert load_empty_cells(export) == [(None,) * len(TYPED)] * 2


@pytest.mark.parametrize("data_type", ["string", "char", "json", "unclassified", "odd"])
def test_words_for_nothing_are_data_in_a_text(export: Export, data_type: str) -> None:
    words = ("null", "NULL", "None", "nil", "NaN", "\\N", "\\.", "-", " ")
    expected = {f'"{word}"': word for word in words}
    assert outcomes(export, data_type, expected) == expected


def test_words_for_nothing_are_data_also_without_quotes(export: Export) -> None:
    expected = {word: word for word in ("null", "NULL", "None", "\\N", "\\.")}
    assert outcomes(export, "string", expected) == expected


@pytest.mark.parametrize("word", ["null", "NULL", "None"])
def test_words_for_nothing_are_no_values_of_a_type(export: Export, word: str) -> None:
    assert outcomes(export, "int64", [word]) == {word: "bad_value"}

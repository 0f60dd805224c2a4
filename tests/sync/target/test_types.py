"""The type table of the format document."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sync.model_json import DATA_TYPES
from sync.target.types import SQL_TYPES, sql_type

# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Section 6.2, with times as docs/architecture.md decides: always in UTC.
TABLE = {
    "guid": "uuid",
    "string": "text",
    "char": "text",
    "int64": "bigint",
    "long": "bigint",
    "int32": "integer",
    "integer": "integer",
    "int16": "integer",
    "short": "integer",
    "byte": "integer",
    "decimal": "numeric",
    "double": "double precision",
    "float": "double precision",
    "boolean": "boolean",
    "dateTime": "timestamp with time zone",
    "dateTimeOffset": "timestamp with time zone",
    "timestamp": "timestamp with time zone",
    "date": "date",
    "time": "time without time zone",
    "json": "text",
    "unclassified": "text",
    "binary": "text",
}


@pytest.mark.parametrize(("data_type", "expected"), TABLE.items())
def test_every_type_of_the_format_has_its_type(data_type: str, expected: str) -> None:
    assert sql_type(data_type) == expected


def test_every_known_type_is_in_the_table() -> None:
    assert {*TABLE} == DATA_TYPES


@pytest.mark.parametrize(("data_type", "expected"), TABLE.items())
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_the_case_of_a_type_does_not_matter(
    data_type: str, expected: str, change: type[str]
) -> None:
    assert sql_type(change(data_type)) == expected


@pytest.mark.parametrize(
    "data_type",
    [
        *("geometry", "", "text; drop table x", "guid ", "int64[]", "numeric(38,6)"),
        *("varchar(10)", "integer, x integer", "guid\0", "bigint", "uuid", "İnteger"),
    ],
)
def test_an_unknown_type_is_text(data_type: str) -> None:
    assert sql_type(data_type) == "text"


@unhurried
@given(st.text())
def test_any_text_becomes_one_of_the_listed_types(data_type: str) -> None:
    assert sql_type(data_type) in {*TABLE.values()}


def test_no_type_has_a_length_or_a_precision() -> None:
    assert not [name for name in SQL_TYPES if "(" in name or "char" in name]


def test_every_type_can_be_written_as_sql() -> None:
    assert {*SQL_TYPES} == {*TABLE.values()}
    for name, composable in SQL_TYPES.items():
        assert isinstance(composable, sql.SQL)
        assert composable.as_string() == name

"""The dialects of model.json in which tables declare their keys."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.errors import ModelError
from sync.model_json import (
    MAX_ATTRIBUTES,
    MAX_ENTITIES,
    Attribute,
    Dialect,
    Model,
    parse_model,
)

names = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20
).filter(str.strip)
types = st.sampled_from(["string", "int64", "decimal", "dateTime", "boolean"])
FIELD = {"name": "b"}
TEXTS = ["guid", "lookup", "uniqueidentifier", "Owner", "customer", "GUID"]


def parse(document: Any) -> Model:
    return parse_model(json.dumps(document).encode())


def refusal(document: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        parse(document)
    return caught.value


def refused_with(document: Any) -> ModelError | None:
    """Return how it is refused; any other exception goes through."""
    try:
        parse(document)
    except ModelError as error:
        return error
    return None


def logical(*attributes: dict[str, Any], name: str = "account") -> dict[str, Any]:
    return {"logicalName": name, "attributes": list(attributes)}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[tuple[str, str, bool]]]:
    """Return the columns of some tables: name, type, and whether it is of the key."""
    found = {}
    for table in draw(st.lists(names, unique=True, min_size=1, max_size=4)):
        columns = draw(st.lists(names, unique=True, min_size=1, max_size=6))
        found[table] = [
            (column, draw(types), index == 0 or draw(st.booleans()))
            for index, column in enumerate(columns)
        ]
    return found


@given(tables())
def test_what_was_written_with_logical_names_is_read(
    written: dict[str, list[tuple[str, str, bool]]],
) -> None:
    found = parse(
        {
            "entities": [
                logical(
                    *(
                        {"logicalName": name, "type": type_, "isPrimaryKey": is_key}
                        for name, type_, is_key in columns
                    ),
                    name=table,
                )
                for table, columns in written.items()
            ]
        }
    )
    assert found.dialect is Dialect.LOGICAL
    assert_equal(found, written)


@given(tables())
def test_what_was_written_with_fields_is_read(
    written: dict[str, list[tuple[str, str, bool]]],
) -> None:
    found = parse(
        {
            "tables": [
                {
                    "tableName": table,
                    "fields": [
                        {"name": name, "type": type_, "isPrimaryKey": is_key}
                        for name, type_, is_key in columns
                    ],
                }
                for table, columns in written.items()
            ]
        }
    )
    assert found.dialect is Dialect.FIELDS
    assert_equal(found, written)


@given(tables())
def test_what_was_written_with_columns_is_read(
    written: dict[str, list[tuple[str, str, bool]]],
) -> None:
    found = parse(
        {
            "tables": [
                {"name": table, "columns": [name for name, *_ in columns]}
                for table, columns in written.items()
            ]
        }
    )
    assert found.dialect is Dialect.COLUMNS
    first = {
        table: [(name, "string", index == 0) for index, (name, *_) in enumerate(them)]
        for table, them in written.items()
    }
    assert_equal(found, first)


def assert_equal(found: Model, written: dict[str, list[tuple[str, str, bool]]]) -> None:
    assert [entity.name for entity in found.entities] == list(written)
    for entity in found.entities:
        columns = written[entity.name]
        assert entity.attributes == tuple(Attribute(n, t) for n, t, _ in columns)
        assert entity.key == tuple(name for name, _, is_key in columns if is_key)
        names = [attribute.name for attribute in entity.attributes]
        assert [names[i] for i in entity.key_positions] == list(entity.key)


@pytest.mark.parametrize("data_type", TEXTS)
def test_references_are_text(data_type: str) -> None:
    found = parse({"entities": [logical({"logicalName": "a", "type": data_type})]})
    assert found.entities[0].attributes == (Attribute("a", "string"),)


def test_a_field_without_a_type_is_text() -> None:
    found = parse({"tables": [{"tableName": "t", "fields": [{"name": "a"}]}]})
    assert found.entities[0].attributes == (Attribute("a", "string"),)


def test_an_unknown_type_is_kept_and_told() -> None:
    found = parse({"entities": [logical({"logicalName": "a", "type": "geo"})]})
    assert found.entities[0].attributes == (Attribute("a", "geo"),)
    assert any("'geo' is not known" in warning for warning in found.warnings)


def test_a_table_without_a_key_is_read_and_told() -> None:
    found = parse({"entities": [logical({"logicalName": "a", "type": "string"})]})
    assert found.entities[0].key == ()
    assert found.warnings == (
        "account: no attribute is its key, so it cannot be replicated",
    )


def test_lengths_do_not_matter() -> None:
    attribute = {"logicalName": "a", "type": "string", "maxLength": 3}
    assert parse({"entities": [logical(attribute)]}).entities[0].attributes == (
        Attribute("a", "string"),
    )


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        ({}, "entities", "has no entities"),
        ({"tables": None}, "tables", "must be a list"),
        (
            {"entities": [{"name": "a", "attributes": []}], "tables": [{}]},
            "tables",
            "both entities and tables",
        ),
        (
            {"entities": [logical(), {"name": "b", "attributes": []}]},
            "entities[1]",
            "name and with logicalName",
        ),
        (
            {"entities": [{"name": "b", "attributes": []}, logical()]},
            "entities[1]",
            "name and with logicalName",
        ),
        (
            {"tables": [{"name": "a", "columns": ["b"]}, {"tableName": "c"}]},
            "tables[1]",
            "neither of columns and fields",
        ),
        (
            {"tables": [{"name": "a", "columns": ["b"], "fields": []}]},
            "tables[0]",
            "both of columns and fields",
        ),
        (
            {
                "tables": [
                    {"name": "a", "columns": ["b"]},
                    {"tableName": "c", "fields": [{"name": "d"}]},
                ]
            },
            "tables",
            "tables with columns and tables with fields",
        ),
        ({"tables": [{"name": "a", "columns": []}]}, "tables[0].columns", "empty"),
        (
            {"tables": [{"name": "a", "columns": ["b", 7]}]},
            "tables[0].columns[1]",
            "non-empty string",
        ),
        (
            {"tables": [{"name": "a", "columns": ["b", "b"]}]},
            "tables[0].columns[1]",
            "second time",
        ),
        (
            {"tables": [{"tableName": "a", "fields": [{"name": "\x00"}]}]},
            "tables[0].fields[0].name",
            "control character",
        ),
        (
            {"tables": [{"tableName": "a", "fields": [FIELD, FIELD]}]},
            "tables[0].fields[1].name",
            "second time",
        ),
        (
            {"tables": [{"tableName": "a", "fields": [FIELD]}] * 2},
            "tables[1].tableName",
            "second time",
        ),
        (
            {"tables": [{"name": "a", "columns": ["b"]}] * 2},
            "tables[1].name",
            "second time",
        ),
        (
            {"entities": [logical({"logicalName": "a"})] * 2},
            "entities[1].logicalName",
            "second time",
        ),
        (
            {"entities": [logical({"logicalName": "a"}, {"logicalName": "a"})]},
            "entities[0].attributes[1].logicalName",
            "second time",
        ),
        (
            {"entities": [logical({"logicalName": "a"}), 7]},
            "entities[1]",
            "must be an object",
        ),
        (
            {"entities": [{}, logical({"logicalName": "a"})]},
            "entities[0].logicalName",
            "missing",
        ),
        ({"tables": [7]}, "tables[0]", "must be an object"),
        (
            {"entities": [logical({"logicalName": "a", "type": 7})]},
            "entities[0].attributes[0].type",
            "non-empty string",
        ),
        (
            {"entities": [logical({"logicalName": "a", "isPrimaryKey": "yes"})]},
            "entities[0].attributes[0].isPrimaryKey",
            "true or false",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    document: Any, where: str, said: str
) -> None:
    error = refusal(document)
    assert error.where == where
    assert said in error.message


def test_an_empty_list_of_tables_is_a_model_without_tables() -> None:
    assert parse({"tables": []}) == Model((), (), Dialect.FIELDS)
    assert parse({"entities": []}) == Model((), (), Dialect.CDM)


@pytest.mark.parametrize("tables", [None, [], {"a": 1}, "x", 7])
def test_beside_entities_what_is_no_list_of_tables_is_ignored(tables: object) -> None:
    entity = {"name": "a", "attributes": [{"name": "Id", "dataType": "guid"}]}

    for entities in ([entity], [], [logical({"logicalName": "a"})]):
        document: dict[str, Any] = {"entities": entities}
        assert parse(document | {"tables": tables}) == parse(document)


@pytest.mark.parametrize("limited", ["entities", "attributes"])
def test_too_many_of_anything_are_refused_with_their_place(limited: str) -> None:
    fields: list[Any] = [FIELD]
    tables: list[Any] = [{"tableName": "a", "fields": fields}]
    if limited == "entities":
        tables *= MAX_ENTITIES + 1
    else:
        fields *= MAX_ATTRIBUTES + 1

    where = "tables" if limited == "entities" else "tables[0].fields"
    assert refusal({"tables": tables}).where == where


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("entities", "tables", "attributes", "columns", "fields"),
                    *("name", "logicalName", "tableName", "type", "isPrimaryKey"),
                ]
            ),
            inner,
        )
    ),
    max_leaves=25,
)


@given(st.sampled_from(["entities", "tables"]), json_values, json_values)
def test_any_json_with_the_keys_of_a_dialect_parses_or_is_refused(
    key: str, first: object, second: object
) -> None:
    for document in ({key: [first, second]}, {key: first, "tables": second}):
        error = refused_with(document)
        if error is not None:
            assert error.message
            assert re.match("(entities|tables)", error.where)

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from sync.engine.outline import ROW_LIMIT, TableOutline, column_outlines, outline
from sync.model_json import parse_model
from tests.models import COLUMNS, model_json
from tests.sync.conftest import Export


def only(data: bytes) -> TableOutline:
    [table] = outline(parse_model(data))
    return table


def test_a_plain_table_has_nothing_to_be_remarked() -> None:
    table = only(model_json("Account"))
    assert (table.entity, table.name, table.columns) == ("Account", "account", 5)
    assert table.key == "id"
    assert (table.warnings, table.problem) == ((), "")


def test_the_names_are_those_that_discovery_gives(
    make_export: Callable[..., Export],
) -> None:
    names = ["b" * 80, "account", "Account", "ACCOUNT", "ünïcode", "b" * 81]
    export = make_export()
    for name in names:
        export.upsert(name, 1)
    export.close_folder()
    export.poll()

    model = parse_model((export.root / "model.json").read_bytes())
    for table in outline(model):
        assert table.name == export.entity(table.entity).target_name


def test_names_that_are_long_or_clash_are_remarked() -> None:
    tables = outline(parse_model(model_json("a" * 70, "B", "b")))
    said = {table.entity: " ".join(table.warnings) for table in tables}
    assert "shortened" in said["a" * 70]
    assert "but for case" in said["b"]
    assert "but for case" in said["B"]


def test_columns_are_remarked_that_are_renamed_or_of_unknown_type() -> None:
    columns = [*COLUMNS, ("Name", "string"), ("x", "hologram")]
    said = " ".join(only(model_json("a", columns=columns)).warnings)
    assert "renamed" in said
    assert "unknown type" in said


def test_what_a_table_lacks_is_remarked() -> None:
    said = " ".join(only(model_json("a", columns=[("Id", "guid")])).warnings)
    assert "No versionnumber" in said
    assert "No IsDelete" in said


def test_a_very_wide_table_is_remarked_and_one_too_wide_is_none() -> None:
    wide = [("Id", "guid"), *((f"c{i}", "string") for i in range(460))]
    table = only(model_json("a", columns=wide))
    assert table.widest > ROW_LIMIT
    assert "wide" in " ".join(table.warnings)

    wider = [("Id", "guid"), *((f"c{i}", "boolean") for i in range(1600))]
    assert "1600" in only(model_json("a", columns=wider)).problem


def test_a_table_without_a_key_cannot_be_replicated() -> None:
    table = only(model_json("a", columns=[("name", "string")]))
    assert "no column Id" in table.problem
    assert table.key == ""


def test_a_key_of_several_columns_is_told_with_all_of_them() -> None:
    fields = [
        {"name": "Number", "type": "int64", "isPrimaryKey": True},
        {"name": "text"},
        {"name": "invoice", "isPrimaryKey": True},
    ]
    tables = [{"tableName": "Line", "fields": fields}]
    model = parse_model(json.dumps({"tables": tables}).encode())

    [table] = outline(model, feed=True)
    columns = column_outlines(model.entities[0], feed=True)

    assert table.key == "number, invoice"
    assert (table.warnings, table.problem) == ((), "")
    assert [column.notes for column in columns] == [("key",), (), ("key",)]


def test_every_column_is_told_with_both_types() -> None:
    entity = parse_model(model_json("a", columns=[*COLUMNS, ("x", "hologram")]))
    found = column_outlines(entity.entities[0])
    assert [(c.attribute, c.name, c.type) for c in found[:2]] == [
        ("Id", "id", "uuid"),
        ("SinkModifiedOn", "sinkmodifiedon", "timestamp with time zone"),
    ]
    assert found[0].notes == ("key",)
    assert found[-1].notes == ("unknown type, kept as text",)


def test_the_columns_of_a_table_that_cannot_be_are_told_without_names() -> None:
    entity = parse_model(model_json("a", columns=[("n", "string")])).entities[0]
    assert [(c.attribute, c.name) for c in column_outlines(entity)] == [("n", "")]


def test_a_model_of_300_tables_with_500_columns_is_outlined() -> None:
    columns = [*COLUMNS, *((f"attribute_{i}", "string") for i in range(495))]
    data = model_json(*(f"table_{i}" for i in range(300)), columns=columns)
    began = time.perf_counter()
    model = parse_model(data)
    parsed = time.perf_counter()
    tables = outline(model)
    outlined = time.perf_counter()
    sys.stdout.write(
        f"{len(data) / 1e6:.1f} MB: parsed in {parsed - began:.2f} s, "
        f"outlined in {outlined - parsed:.2f} s\n"
    )
    assert len(tables) == 300

"""The schema of a folder: cases 6, 27 and 28, types, and what changes harmlessly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import sql

from tests.catalogue.steps import (
    FILE,
    LF,
    counted,
    edit_model,
    event_kinds,
    line,
    only_failure,
    statuses,
)
from tests.exports import guid
from tests.sync.conftest import Export, run_sql

SERVICE = "Microsoft.Athena.TrickleFeedService"


@pytest.fixture
def cut(export: Export) -> Export:
    """Return an export with a loaded folder of account and contact, one more open."""
    for entity in ("account", "contact"):
        export.table(entity, ["name"])
        export.upsert(entity, 1, name="before")
    export.close_folder()
    export.sync()
    return export


def close_with_cut_model(export: Export) -> str:
    """Close the folder with a model.json that ends before contact."""
    folder = export.close_folder()

    def edit(model: dict[str, Any]) -> None:
        model["entities"] = [e for e in model["entities"] if e["name"] < "contact"]

    edit_model(export, folder, edit)
    return folder


def rescue(export: Export, folder: str) -> None:
    """Write the model.json of contact alone, as the service keeps it."""
    model = json.loads(export.find(folder).model)
    model["entities"] = [e for e in model["entities"] if e["name"] == "contact"]
    path = export.root / folder / SERVICE / "contact-model.json"
    path.parent.mkdir()
    path.write_text(json.dumps(model), "utf-8")


@pytest.mark.fault(
    "S4",
    injected="a model.json without the table, its own model beside it",
    outcome="read with that, said in an event",
)
def test_case_06_the_model_of_a_single_table_rescues_it(cut: Export) -> None:
    cut.add_column("contact", "colour")
    cut.upsert("account", 2, name="after")
    cut.upsert("contact", 2, name="after", colour="red")
    rescue(cut, close_with_cut_model(cut))

    cut.sync()

    assert cut.rows("account", "name") == [("before",), ("after",)]
    assert cut.rows("contact", "name", "colour") == [("before", None), ("after", "red")]


def test_case_06_else_full_rows_are_read_by_the_schema_before(cut: Export) -> None:
    cut.upsert("account", 2, name="after")
    cut.upsert("contact", 2, name="after")
    close_with_cut_model(cut)

    cut.sync()

    assert cut.rows("account", "name") == [("before",), ("after",)]
    assert cut.rows("contact", "name") == [("before",), ("after",)]


@pytest.mark.parametrize("grown", [False, True], ids=["narrower", "wider"])
def test_case_06_rows_of_another_width_than_the_schema_before_are_refused(
    export: Export, grown: bool
) -> None:
    for entity in ("account", "contact"):
        export.table(entity, ["name"])
        export.add_column(entity, "colour")
        export.upsert(entity, 1, name="before")
    export.close_folder()
    export.sync()
    export.upsert("account", 2, name="after")
    export.upsert("contact", 2, name="full", colour="red")
    after = ['"red"', '"new"'] if grown else []
    export.raw("contact", FILE, line(3, '"other"', after=after) + LF)
    close_with_cut_model(export)

    export.sync()

    assert export.rows("account", "name") == [("before",), ("after",)]
    assert only_failure(export, "contact").error_code in {"bad_row", "entity_missing"}
    assert export.rows("contact", "name") == [("before",)]


def test_case_06_a_table_without_any_schema_fails_and_holds_back_no_other(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="b")
    close_with_cut_model(export)

    export.sync()

    assert export.rows("account", "name") == [("a",)]
    assert only_failure(export, "contact").error_code == "entity_missing"


def test_case_06_a_model_whose_text_is_cut_is_no_other_case(cut: Export) -> None:
    cut.upsert("account", 1, name="second", version=50)
    folder = cut.close_folder()
    path = cut.root / folder / "model.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    cut.upsert("account", 2, name="third")
    cut.close_folder()

    cut.sync()

    assert cut.rows("account", "name") == [("second",), ("third",)]
    assert "schema_borrowed" in event_kinds(cut)


def test_case_27_option_set_metadata_is_no_table_and_harms_none_labels_come_later(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    place = export.root / export.folder.name / "OptionsetMetadata"
    place.mkdir()
    labels = (
        "account,colour,1,False,1033,Red\n"
        'account,colour,1,False,1031,"Rot, ""hell"""\n'
        "account,colour,2,False,1033,\n"
    )
    (place / "OptionsetMetadata.csv").write_text(labels)
    for name in ("GlobalOptionset", "State", "Status", "Target"):
        (place / f"{name}Metadata.csv").write_text("account,0,False,1033,Active\n")
    export.close_folder()

    results = export.sync()

    assert set(results) == {"account"}
    assert export.rows("account", "name") == [("a",)]
    assert not export.progress("OptionsetMetadata")


def test_the_services_own_folders_are_no_tables(export: Export) -> None:
    export.upsert("account", 1, name="a")
    for name in (SERVICE, "EntitySyncFailure", "Snapshot", "enumtranslation"):
        place = export.root / export.folder.name / name
        place.mkdir()
        (place / "1.csv").write_text("a,b\n")
        (place / "account-EntityMetadata.json").write_text("{}")
    export.close_folder()

    assert {entity: r.status for entity, r in export.sync().items()} == {
        "account": "success"
    }


def test_case_28_a_lookup_of_several_tables_has_two_columns(export: Export) -> None:
    export.table("task", ["ownerid:guid", "ownerid_entitytype:string"])
    export.upsert("task", 1, ownerid=guid(7), ownerid_entitytype="systemuser")
    export.upsert("task", 2, ownerid=guid(8), ownerid_entitytype="team")
    export.upsert("task", 3)
    export.close_folder()

    export.load("task")

    assert export.rows("task", "ownerid", "ownerid_entitytype") == [
        (guid(7), "systemuser"),
        (guid(8), "team"),
        (None, None),
    ]


TYPES = {
    **dict.fromkeys(("string", "char", "json", "unclassified", "binary"), "text"),
    **dict.fromkeys(("int64", "long"), "bigint"),
    **dict.fromkeys(("int32", "integer", "int16", "short", "byte"), "integer"),
    **dict.fromkeys(("double", "float"), "double precision"),
    **dict.fromkeys(("dateTime", "dateTimeOffset"), "timestamp with time zone"),
    "guid": "uuid",
    "decimal": "numeric",
    "boolean": "boolean",
    "date": "date",
    "time": "time without time zone",
}


def test_every_type_of_the_model_has_its_type_in_the_target(export: Export) -> None:
    export.table("probe", [f"c_{kind}:{kind}" for kind in TYPES])
    export.close_folder()
    export.poll()

    table = export.entity("probe").target()
    query = sql.SQL(
        "SELECT column_name, data_type, numeric_precision FROM"
        " information_schema.columns WHERE (table_schema, table_name) = ({}, {})"
    ).format(export.config.schema_name, table.name)
    found = {name: (kind, digits) for name, kind, digits in run_sql(query)}

    assert {kind: found[f"c_{kind.lower()}"][0] for kind in TYPES} == TYPES
    assert found["c_decimal"] == ("numeric", None)


def test_a_column_that_left_keeps_its_value_and_new_rows_have_none(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a", amount=1)
    export.upsert("account", 2, name="b", amount=2)
    export.close_folder()
    export.load("account")
    export.remove_column("account", "amount")
    export.upsert("account", 2, name="b2")
    export.upsert("account", 3, name="c")
    export.close_folder()

    export.load("account")

    expected = [("a", 1), ("b2", 2), ("c", None)]
    assert export.rows("account", "name", "amount") == expected


@pytest.mark.parametrize(
    ("before", "now"), [("dateTime", "dateTimeOffset"), ("dateTimeOffset", "dateTime")]
)
def test_a_time_may_change_between_its_two_types(
    export: Export, before: str, now: str
) -> None:
    export.table("probe", [f"at:{before}"])
    export.upsert("probe", 1, at="2026-06-25T16:21:12Z")
    export.close_folder()
    export.load("probe")
    export.table("probe", [f"at:{now}"])
    export.upsert("probe", 2, at="2026-06-25T16:21:12Z")
    export.close_folder()

    export.load("probe")

    [(first,), (second,)] = export.rows("probe", "at")
    assert first == second


def test_a_change_of_type_stops_the_table_with_its_content(export: Export) -> None:
    export.table("probe", ["value:boolean"])
    export.upsert("probe", 1, value=True)
    export.upsert("other", 1, name="a")
    export.close_folder()
    export.sync()
    export.table("probe", ["value:guid"])
    export.upsert("probe", 2, value=str(guid(2)))
    export.upsert("other", 1, name="b")
    export.close_folder()

    export.poll()
    export.sync()

    assert export.rows("probe", "value") == [(True,)]
    assert statuses(export, "probe")[1] != 1
    assert only_failure(export, "probe").error_code == "type_changed"
    assert export.rows("other", "name") == [("b",)]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "\ufeff" + text,
        lambda text: text + "\r\n  \n",
        lambda text: json.dumps({**json.loads(text), "cdm:imports": [], "x": {}}),
        lambda text: text.replace('"maxLength": -1', '"maxLength": 5'),
        lambda text: text.replace(', "maxLength": -1', ""),
        lambda text: text.replace("https://contoso", "file:///etc/../contoso"),
    ],
    ids=["bom", "trailing", "unknown keys", "lengths", "no lengths", "locations"],
)
def test_what_a_model_may_say_besides_does_not_matter(
    export: Export, edit: Any
) -> None:
    export.upsert("account", 1, name="longer than five", amount=1)
    path = export.root / export.close_folder() / "model.json"
    path.write_text(edit(path.read_text("utf-8")), "utf-8")

    export.load("account")

    assert export.rows("account", "name", "amount") == [("longer than five", 1)]
    assert counted(export, "account") == 1

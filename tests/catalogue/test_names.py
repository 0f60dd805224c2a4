"""The names of tables and columns in the target: cases 21 and 22."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sync.models import SyncTable
from tests.catalogue.steps import FILE, LF, MakeExport
from tests.exports import HEAD, TAIL, Column, guid
from tests.sync.conftest import Export, run_sql

RESERVED = ("select", "table", "user", "order", "group", "all", "Level_", "desc")
SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid", "CTID")
CASES = ("Account", "account", "ACCOUNT", "\u00c4rger", "\u00e4rger")
LONG = "new_" + "x" * 70
CUT = (LONG + "a", LONG + "b", LONG[:63], LONG[:64], LONG[:62])
# 62 bytes of ASCII before a character of four bytes: no cut in its middle.
WIDE = ("y" * 62 + "\N{GRINNING FACE}", "y" * 61 + "\u00e4\u00e4", "y" * 62)
ODD = ('say "hi"', "a.b", "a;drop table x", "%s", "{}", "a'b", "\\", " a ", "1st", "$1")
SIGNS = ("\N{GRINNING FACE}", "\u200f\u05e9\u05dc", "e\u0301", "\u00e9", "-")
HAZARDS = tuple(chain(RESERVED, SYSTEM, CASES, CUT, WIDE, ODD, SIGNS))
NO_FOLDERS = {"changelog", "optionsetmetadata", "snapshot", "deltalake"}
FRAME = {"id", "sinkcreatedon", "sinkmodifiedon", "versionnumber", "createdon"}

texts = st.text(
    # The longest name that is made stays below the 1,000 bytes that a model may have.
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"),
    max_size=40,
)
long_texts = st.builds(
    lambda stem, end: (stem * 70)[:70] + end,
    st.sampled_from(["a", "A", "\u00e4", "\N{GRINNING FACE}", "ab"]),
    texts,
)


def usable(name: str) -> bool:
    """Say whether a name can be that of a folder and of a column of one's own.

    Blank names and control characters make a model.json malformed.
    """
    taken = NO_FOLDERS | FRAME | {"isdelete", ".", ".."}
    return bool(name.strip()) and name.lower() not in taken


name_sets = st.lists(
    st.one_of(st.sampled_from(HAZARDS), texts, long_texts).filter(usable),
    min_size=1,
    max_size=12,
    unique=True,
)
property_of_names = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
together = example(first=list(HAZARDS[::2]), more=list(HAZARDS[1::2]))


def tables(export: Export) -> dict[str, str]:
    """Return the names of the tables in the target, as they are remembered."""
    found = SyncTable.objects.filter(config=export.config)
    return dict(found.values_list("entity", "target_name"))


def columns(export: Export, entity: str) -> dict[str, str]:
    """Return the names of a table's columns by attribute, as they are remembered."""
    return {attribute: name for attribute, name, _ in export.entity(entity).columns}


def in_database(export: Export, entity: str | None = None) -> set[str]:
    """Return the tables of the schema, or the columns of a table, as they are."""
    query = sql.SQL(
        "SELECT DISTINCT {what} FROM information_schema.columns"
        " WHERE table_schema = {schema} AND ({table}::text IS NULL"
        " OR table_name = {table})"
    ).format(
        what=sql.Identifier("column_name" if entity else "table_name"),
        schema=export.config.schema_name,
        table=export.entity(entity).target_name if entity else None,
    )
    return {name for (name,) in run_sql(query)}


def assert_good_names(names: dict[str, str]) -> None:
    assert len(set(names.values())) == len(names)
    assert all(0 < len(name.encode()) <= 63 for name in names.values())


def declare(export: Export, names: list[str]) -> None:
    for name in names:
        export.table(name, ["name"])
    export.close_folder()
    assert export.poll().failures == []


@property_of_names
@together
@given(first=name_sets, more=name_sets)
def test_any_set_of_tables_has_distinct_stable_names(
    make_export: MakeExport, first: list[str], more: list[str]
) -> None:
    export = make_export()
    declare(export, first)
    before = tables(export)
    assert set(before) == set(first)
    assert_good_names(before)

    declare(export, more)

    after = tables(export)
    assert set(after) == {*first, *more}
    assert_good_names(after)
    assert after.items() >= before.items()
    assert in_database(export) == set(after.values())


def put_attributes(export: Export, names: list[str], key: int) -> None:
    """Close a folder with a row whose own cells hold the names of their columns."""
    own = [Column(name) for name in names]
    frame = [Column.parse(spec) for spec in (*HEAD, *TAIL)]
    export.table("probe", [*frame, *own])
    cells = ['"' + name.replace('"', '""') + '"' for name in names]
    row = ",".join([str(guid(key)), "", "", str(key), "", "", *cells])
    export.raw("probe", FILE, row.encode() + LF)
    export.close_folder()
    export.load("probe")


@property_of_names
@together
@given(first=name_sets, more=name_sets)
def test_any_set_of_attributes_has_distinct_stable_columns_with_their_own_values(
    make_export: MakeExport, first: list[str], more: list[str]
) -> None:
    export = make_export()
    put_attributes(export, first, 1)
    before = columns(export, "probe")
    assert set(first) <= set(before)
    assert_good_names(before)
    every = [*first, *(name for name in more if name not in first)]

    put_attributes(export, every, 2)

    after = columns(export, "probe")
    assert_good_names(after)
    assert after.items() >= before.items()
    assert in_database(export, "probe") == set(after.values())
    row1, row2 = export.rows("probe", *(after[name] for name in every))
    assert row1 == (*first, *[None] * (len(every) - len(first)))
    assert row2 == tuple(every)


def test_case_21_reserved_words_and_colliding_long_names_get_names_of_their_own(
    export: Export,
) -> None:
    entities = [*RESERVED, LONG + "a", LONG + "b"]
    for entity in entities:
        export.table(entity, ["name", "select", "User", LONG + "a", LONG + "b"])
        export.raw(
            entity, FILE, f'{guid(1)},,,"{entity}","s","u","a","b",1,,\n'.encode()
        )
    export.close_folder()
    export.sync()

    names = tables(export)
    assert_good_names(names)
    assert names["select"] == "select"
    for entity in entities:
        own = columns(export, entity)
        assert_good_names(own)
        assert (own["select"], own["User"]) == ("select", "user")
        wanted = ["name", "select", "user", own[LONG + "a"], own[LONG + "b"]]
        assert export.rows(entity, *wanted) == [(entity, "s", "u", "a", "b")]


def test_case_21_names_stay_when_a_colliding_one_comes_later(export: Export) -> None:
    export.table("account", [LONG + "a"])
    declare(export, [LONG + "a"])
    before = tables(export), columns(export, "account")
    export.add_column("account", LONG + "b")

    declare(export, [LONG + "b"])

    after = tables(export), columns(export, "account")
    for old, new in zip(before, after, strict=True):
        assert new.items() > old.items()
        assert_good_names(new)


def test_case_22_names_that_differ_in_case_only_get_names_of_their_own(
    export: Export,
) -> None:
    for entity in ("Account", "account", "ACCOUNT"):
        export.table(entity, ["Name", "name", "NAME"])
        export.raw(entity, FILE, f'{guid(1)},,,"{entity}","2","3",1,,\n'.encode())
    export.close_folder()
    export.sync()

    assert_good_names(tables(export))
    for entity in ("Account", "account", "ACCOUNT"):
        own = columns(export, entity)
        assert_good_names(own)
        wanted = [own["Name"], own["name"], own["NAME"]]
        assert export.rows(entity, *wanted) == [(entity, "2", "3")]


@pytest.mark.parametrize("name", ["Account", "SalesOrder2", "msdyn_x", "1st"])
def test_a_name_without_a_rival_is_its_lower_case(export: Export, name: str) -> None:
    export.table(name, [name, "Other"])
    export.close_folder()
    export.poll()

    assert tables(export) == {name: name.lower()}
    own = columns(export, name)
    assert (own[name], own["Other"]) == (name.lower(), "other")


def test_columns_named_as_postgresql_names_its_own_hold_their_values(
    export: Export,
) -> None:
    put_attributes(export, list(SYSTEM), 1)

    own = columns(export, "probe")

    assert_good_names(own)
    assert export.rows("probe", *(own[name] for name in SYSTEM)) == [SYSTEM]

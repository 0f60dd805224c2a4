"""Names, columns and statements of target tables, whatever the source calls them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, sql

from sync.errors import TargetError
from sync.model_json import Attribute, Entity
from sync.target.relations import check_unaltered, inspect, schema_exists
from sync.target.tables import (
    Column,
    Table,
    add_columns,
    choose_name,
    columns_for,
    create_schema,
    create_table,
    key_columns,
    plan,
)

# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SYSTEM_COLUMNS = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"]
HOSTILE = [
    '"; drop table x; --',
    '"',
    '""',
    "'",
    "''",
    "$$",
    "%s",
    "%(a)s",
    "%",
    "%%",
    "{}",
    "{0}",
    "{a}",
    "{{}}",
    "\\",
    "a.b",
    'a"."b',
    "a b",
    " a ",
    "a,b",
    "a;b",
    "--",
    "/* x */",
    "select",
    "table",
    "user",
    "order",
    "null",
    "1",
    "007",
    "-1",
    "?",
    ":a",
    "@a",
    "#a",
    "é",
    "größe",
    "😀",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u202ereversed",
    "\u200b",
    "\u0130stanbul",
    "STRASSE",
    "stra\xdfe",
    "\u1e9e",
    "\u03a3\u03a3",
    *SYSTEM_COLUMNS,
    "oid",
    "Id_",
    "partition",
    "x" * 62,
    "x" * 63,
    "x" * 64,
    "x" * 1024,
    "ä" * 31 + "x",
    "ä" * 32,
    "😀" * 15 + "abc",
    "😀" * 16,
    "a" + "😀" * 16,
    "\u0130" * 40,
]
# The columns that order changes may not be text, in whatever case.
ORDERING = {"versionnumber", "sinkmodifiedon", "isdelete"}
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=90
).filter(lambda name: name.lower() not in ORDERING) | st.sampled_from(HOSTILE)
# Names that are equal but for their case, or in their first 63 bytes.
rivals = st.builds(
    lambda stem, tail, change: change(stem + tail),
    st.sampled_from(["name", "x" * 60, "ä" * 31, "ctid", "name_dcd1d522"]),
    st.sampled_from(["", "a", "b", "A", "ab", "aB", "_", "1"]),
    st.sampled_from([str, str.upper, str.title, str.swapcase]),
)
many_names = st.lists(names | rivals, unique=True, min_size=1, max_size=25)


def entity(*attributes: str, name: str = "account") -> Entity:
    """Make an entity of attributes spelled ``name:type``, after its Id."""
    pairs = (item.rpartition(":") for item in attributes)
    return Entity(
        name,
        (
            Attribute("Id", "guid"),
            *(Attribute(before or after, after if before else "string")
              for before, _, after in pairs),
        ),
    )  # fmt: skip


def texts(*attributes: str) -> Entity:
    """Make an entity of text attributes, after its Id."""
    return Entity(
        "account",
        (Attribute("Id", "guid"), *(Attribute(name, "string") for name in attributes)),
    )


def by_attribute(columns: Sequence[Column]) -> dict[str, str]:
    return {column.attribute: column.name for column in columns}


def refusal(wanted: Entity, existing: Sequence[Column] = ()) -> TargetError:
    with pytest.raises(TargetError) as caught:
        columns_for(wanted, existing)
    return caught.value


class TestChooseName:
    @pytest.mark.parametrize(
        ("source", "name"),
        [
            ("account", "account"),
            ("Account", "account"),
            ("SinkModifiedOn", "sinkmodifiedon"),
            ("new_Größe", "new_größe"),
            ("Level_", "level_"),
            ("a.b", "a.b"),
            ("order", "order"),
            ("x" * 63, "x" * 63),
            ("😀", "😀"),
        ],
    )
    def test_a_name_that_fits_is_kept_in_lower_case(
        self, source: str, name: str
    ) -> None:
        assert choose_name(source, set()) == name

    @unhurried
    @given(names, st.sets(names))
    def test_a_name_fits_and_is_free(self, source: str, taken: set[str]) -> None:
        name = choose_name(source, taken)

        assert name not in taken
        assert 0 < len(name.encode()) <= 63
        assert name == name.lower()

    @unhurried
    @given(names, st.lists(names, unique=True))
    def test_the_same_inputs_give_the_same_name(
        self, source: str, taken: list[str]
    ) -> None:
        assert choose_name(source, taken) == choose_name(source, taken[::-1])

    @unhurried
    @given(names, st.sets(names))
    def test_names_that_do_not_collide_have_no_influence(
        self, source: str, taken: set[str]
    ) -> None:
        assume(choose_name(source, set()) not in taken)

        assert choose_name(source, taken) == choose_name(source, set())

    def test_a_long_name_keeps_its_beginning(self) -> None:
        name = choose_name("new_averylongname" * 5, set())

        assert name.startswith("new_averylongnamenew_averylongname")

    def test_long_names_with_equal_beginnings_differ(self) -> None:
        assert choose_name("x" * 70 + "a", set()) != choose_name("x" * 70 + "b", set())

    def test_long_names_that_differ_in_case_only_differ(self) -> None:
        assert choose_name("x" * 70, set()) != choose_name("X" * 70, set())

    def test_a_taken_name_is_found_again_in_every_version_of_dvsync(self) -> None:
        """Names are stored, but a new installation must find the same ones."""
        assert choose_name("Name", {"name"}) == "name_dcd1d522"

    def test_a_name_stays_free_however_many_are_taken(self) -> None:
        taken: set[str] = set()
        for _ in range(8):
            taken.add(choose_name("Name", taken))

        assert len(taken) == 8


class TestColumnsFor:
    def test_attributes_become_columns_in_their_order(self) -> None:
        found = columns_for(entity("Name:string", "amount:decimal"), ())

        assert found == (
            Column("Id", "id", "uuid"),
            Column("Name", "name", "text"),
            Column("amount", "amount", "numeric"),
        )

    @pytest.mark.fault(
        "F53", injected="any set of attribute names", outcome="no two share a column"
    )
    @pytest.mark.fault(
        "C21", injected="any set of attribute names", outcome="no two share a column"
    )
    @unhurried
    @given(many_names)
    def test_no_two_attributes_share_a_column(self, attributes: list[str]) -> None:
        found = columns_for(texts(*(a for a in attributes if a != "Id")), ())

        assert len({column.name for column in found}) == len(found)
        assert len({column.attribute for column in found}) == len(found)

    @unhurried
    @given(many_names)
    @example(HOSTILE)
    def test_every_column_name_fits_postgresql(self, attributes: list[str]) -> None:
        for column in columns_for(texts(*(a for a in attributes if a != "Id")), ()):
            assert 0 < len(column.name.encode()) <= 63
            assert column.name == column.name.lower()
            assert column.name not in SYSTEM_COLUMNS

    @unhurried
    @given(many_names)
    def test_the_same_entity_gives_the_same_columns(
        self, attributes: list[str]
    ) -> None:
        wanted = texts(*(a for a in attributes if a != "Id"))

        assert columns_for(wanted, ()) == columns_for(wanted, ())

    @unhurried
    @given(many_names, st.data())
    def test_columns_that_exist_never_change(
        self, attributes: list[str], data: st.DataObject
    ) -> None:
        attributes = [a for a in attributes if a != "Id"]
        some = data.draw(st.integers(0, len(attributes)))
        order = data.draw(st.permutations(attributes))
        before = columns_for(texts(*attributes[:some]), ())

        after = columns_for(texts(*order), before)

        assert after[: len(before)] == before
        assert {c.attribute for c in after} == {"Id", *attributes}

    @unhurried
    @given(many_names)
    def test_nothing_is_added_when_nothing_is_new(self, attributes: list[str]) -> None:
        wanted = texts(*(a for a in attributes if a != "Id"))
        before = columns_for(wanted, ())

        assert columns_for(wanted, before) == before

    @unhurried
    @given(many_names)
    def test_columns_added_one_by_one_are_those_of_the_last_model(
        self, attributes: list[str]
    ) -> None:
        attributes = [a for a in attributes if a != "Id"]
        found: tuple[Column, ...] = ()
        for number in range(len(attributes) + 1):
            found = columns_for(texts(*attributes[:number]), found)

        assert found == columns_for(texts(*attributes), ())

    @unhurried
    @given(many_names)
    def test_a_column_that_left_the_model_stays(self, attributes: list[str]) -> None:
        before = columns_for(texts(*(a for a in attributes if a != "Id")), ())

        assert columns_for(texts(), before) == before

    def test_a_column_that_comes_back_is_the_old_one(self) -> None:
        before = columns_for(texts("a", "b"), ())
        between = columns_for(texts("a"), before)

        assert columns_for(texts("a", "b"), between) == before

    def test_a_new_column_does_not_take_the_name_of_one_that_left(self) -> None:
        before = columns_for(texts("Name"), ())

        found = by_attribute(columns_for(texts("name"), before))

        assert found["Name"] == "name"
        assert found["name"] != "name"

    @pytest.mark.fault(
        "F53",
        injected="attributes named ctid, xmin, tableoid",
        outcome="another name is chosen",
    )
    @pytest.mark.parametrize("name", [*SYSTEM_COLUMNS, "CTID", "TableOid"])
    def test_names_of_system_columns_are_avoided(self, name: str) -> None:
        assert by_attribute(columns_for(texts(name), ()))[name] not in SYSTEM_COLUMNS

    @pytest.mark.parametrize(
        ("old", "new"), [("int64", "boolean"), ("boolean", "int64"), ("guid", "string")]
    )
    def test_a_changed_type_is_refused_with_the_attribute(
        self, old: str, new: str
    ) -> None:
        before = columns_for(entity(f"code:{old}"), ())

        error = refusal(entity(f"code:{new}"), before)

        assert error.code == "type_changed"
        assert error.permanent
        assert "code" in str(error)

    @pytest.mark.parametrize(
        ("types", "kept"),
        [
            (["int32", "int64"], "bigint"),
            (["int64", "decimal"], "numeric"),
            (["decimal", "string"], "text"),
            (["double", "string"], "text"),
            (["int64", "int32"], "bigint"),
            (["string", "int64"], "text"),
            (["int32", "string", "decimal"], "text"),
        ],
    )
    def test_a_column_gets_the_wider_type_and_keeps_it(
        self, types: list[str], kept: str
    ) -> None:
        columns: tuple[Column, ...] = ()
        for type_ in types:
            columns = columns_for(entity(f"code:{type_}"), columns)

        assert columns[-1] == Column("code", "code", kept)

    @pytest.mark.parametrize(
        ("old", "new"),
        [("dateTime", "dateTimeOffset"), ("int64", "long"), ("string", "geometry")],
    )
    def test_a_change_to_a_type_that_is_kept_alike_is_none(
        self, old: str, new: str
    ) -> None:
        """createdon changed from dateTime to dateTimeOffset for everybody in 2022."""
        before = columns_for(entity(f"createdon:{old}"), ())

        assert columns_for(entity(f"createdon:{new}"), before) == before

    def test_an_entity_without_id_is_refused(self) -> None:
        error = refusal(Entity("account", (Attribute("name", "string"),)))

        assert error.code == "unsupported_entity"
        assert "account" in str(error)
        assert "Id" in str(error)

    @pytest.mark.parametrize(
        "attribute",
        ["versionnumber:string", "SinkModifiedOn:string", "IsDelete:string"],
    )
    def test_a_system_column_of_an_impossible_type_is_refused(
        self, attribute: str
    ) -> None:
        """It would be compared as text: version 9 after version 10."""
        assert refusal(entity(attribute)).code == "unsupported_entity"

    def test_the_system_columns_of_a_real_table_are_accepted(self) -> None:
        wanted = entity(
            "SinkCreatedOn:dateTime",
            "SinkModifiedOn:dateTime",
            "versionnumber:int64",
            "createdon:dateTimeOffset",
            "IsDelete:boolean",
        )

        assert len(columns_for(wanted, ())) == 6

    def test_1600_columns_are_accepted(self) -> None:
        assert len(columns_for(texts(*(f"c{n}" for n in range(1599))), ())) == 1600

    def test_more_than_1600_columns_are_refused(self) -> None:
        assert refusal(texts(*(f"c{n}" for n in range(1600)))).code == "target_limit"

    def test_columns_that_left_the_model_count_too(self) -> None:
        before = columns_for(texts(*(f"c{n}" for n in range(1599))), ())

        assert refusal(texts("d"), before).code == "target_limit"


class TestKeyColumn:
    @pytest.mark.parametrize("spelling", ["Id", "id", "ID"])
    def test_the_key_is_found_in_any_case(self, spelling: str) -> None:
        wanted = Entity("a", (Attribute("name", "string"), Attribute(spelling, "guid")))

        assert key_columns(wanted, columns_for(wanted, ())) == ("id",)

    def test_the_exact_spelling_is_the_key(self) -> None:
        wanted = Entity("a", (Attribute("id", "string"), Attribute("Id", "guid")))
        columns = columns_for(wanted, ())

        assert key_columns(wanted, columns) == (by_attribute(columns)["Id"],)


LINE = Entity(
    "line",
    (
        Attribute("Text", "string"),
        Attribute("Number", "int64"),
        Attribute("Id", "string"),
        Attribute("number", "string"),
        Attribute("versionnumber", "string"),
        Attribute("IsDelete", "string"),
    ),
    key=("Number", "versionnumber"),
)


class TestDeclaredKeys:
    def test_its_columns_are_the_key_and_not_id(self) -> None:
        columns = columns_for(LINE, ())

        assert key_columns(LINE, columns) == ("number", "versionnumber")

    def test_a_key_whose_column_has_another_name_is_found(self) -> None:
        wanted = replace(LINE, key=("number", "Id"))
        columns = columns_for(wanted, ())
        names = by_attribute(columns)

        assert names["number"] != "number"
        assert key_columns(wanted, columns) == (names["number"], "id")

    def test_the_names_of_synapse_link_mean_nothing_beside_it(self) -> None:
        found = {c.attribute: c.type for c in columns_for(LINE, ())}

        assert found["versionnumber"] == found["IsDelete"] == "text"
        undeclared = refusal(replace(LINE, key=()))
        assert undeclared.code == "unsupported_entity"

    def test_a_table_that_declares_none_and_has_no_id_is_refused(self) -> None:
        wanted = Entity("line", (Attribute("a", "string"),), key=("a",))

        assert columns_for(wanted, ())
        assert refusal(replace(wanted, key=())).code == "unsupported_entity"

    def test_the_table_has_a_primary_key_of_all_its_columns(self) -> None:
        columns = columns_for(LINE, ())[:3]
        statement = create_table(Table("sales", "line", columns), ["number", "id"])

        assert snapshot(statement) == (
            'CREATE TABLE "sales"."line" ("text" text, "number" bigint, "id" text, '
            'PRIMARY KEY ("number", "id"))'
        )


def snapshot(statement: sql.Composed) -> str:
    return statement.as_string()


SALES = Table(
    "sales",
    "account",
    columns_for(
        entity(
            "Name:string",
            "amount:decimal",
            "SinkModifiedOn:dateTime",
            "versionnumber:int64",
            "IsDelete:boolean",
        ),
        (),
    ),
)


class TestStatements:
    def test_create_schema(self) -> None:
        assert snapshot(create_schema("sales")) == 'CREATE SCHEMA "sales"'

    def test_create_table(self) -> None:
        assert snapshot(create_table(SALES, ["id"])) == (
            'CREATE TABLE "sales"."account" ('
            '"id" uuid, '
            '"name" text, '
            '"amount" numeric, '
            '"sinkmodifiedon" timestamp with time zone, '
            '"versionnumber" bigint, '
            '"isdelete" boolean, '
            'PRIMARY KEY ("id"))'
        )

    def test_add_columns(self) -> None:
        new = [Column("a", "a", "text"), Column("b", "b", "bigint")]

        assert snapshot(add_columns(SALES, new)) == (
            'ALTER TABLE "sales"."account" ADD COLUMN "a" text, ADD COLUMN "b" bigint'
        )

    def test_the_relation_is_qualified(self) -> None:
        assert SALES.relation.as_string() == '"sales"."account"'

    def test_a_column_is_found_by_the_exact_name_of_its_attribute(self) -> None:
        assert SALES.column("Name") == Column("Name", "name", "text")
        assert SALES.column("name") is None

    def test_a_table_that_is_new_is_planned_with_its_schema(self) -> None:
        new = Table("sales", "account", ())

        found = plan(new, SALES.columns, ["id"], schema_exists=False)

        assert [snapshot(s) for s in found] == [
            snapshot(create_schema("sales")),
            snapshot(create_table(SALES, ["id"])),
        ]

    def test_a_schema_that_exists_is_not_made_again(self) -> None:
        new = Table("sales", "account", ())

        (statement,) = plan(new, SALES.columns, ["id"], schema_exists=True)

        assert snapshot(statement) == snapshot(create_table(SALES, ["id"]))

    def test_only_what_is_new_is_added(self) -> None:
        new = Column("colour", "colour", "text")

        (statement,) = plan(SALES, (*SALES.columns, new), ["id"], schema_exists=True)

        assert snapshot(statement) == snapshot(add_columns(SALES, [new]))

    def test_nothing_is_planned_when_nothing_is_new(self) -> None:
        assert plan(SALES, SALES.columns, ["id"], schema_exists=True) == []

    @unhurried
    @given(names, names, many_names)
    def test_names_appear_in_statements_as_quoted_identifiers_only(
        self, schema: str, table: str, attributes: list[str]
    ) -> None:
        columns = columns_for(texts(*(a for a in attributes if a != "Id")), ())
        target = Table(choose_name(schema, ()), choose_name(table, ()), columns)

        for statement in (create_table(target, ["id"]), add_columns(target, columns)):
            bare = re.sub(r'"(?:[^"]|"")*"', "N", snapshot(statement))
            assert re.fullmatch(r"(CREATE|ALTER) TABLE N\.N [A-Za-z, ()]+", bare)


Raw = Cursor[tuple[object, ...]]


@pytest.fixture
def cursor(db: None) -> Iterator[Raw]:
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        raw.execute("CREATE SCHEMA sales")
        yield raw


def made(cursor: Raw, table: Table) -> Table:
    cursor.execute(create_table(table, ["id"]))
    return table


def found_columns(cursor: Raw, table: Table) -> dict[str, str]:
    found = inspect(cursor, table)
    assert found is not None
    return found


def wanted_columns(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: column.type for column in columns}


class TestOnPostgreSQL:
    def test_a_table_of_every_type_is_made(self, cursor: Raw) -> None:
        types = ["guid", "string", "int64", "int32", "decimal", "double", "boolean"]
        types += ["dateTime", "dateTimeOffset", "date", "time", "json", "geometry"]
        columns = columns_for(entity(*(f"{t}_:{t}" for t in types)), ())

        table = made(cursor, Table("sales", "account", columns))

        assert inspect(cursor, table) == wanted_columns(columns)

    @pytest.mark.fault(
        "F53",
        injected="reserved words, quotes, dots, emoji",
        outcome="all are columns of one table",
    )
    def test_all_hostile_names_are_columns_of_one_table(self, cursor: Raw) -> None:
        columns = columns_for(texts(*HOSTILE), ())

        table = made(cursor, Table("sales", "account", columns))

        assert inspect(cursor, table) == wanted_columns(columns)

    def test_all_hostile_names_can_be_added_to_a_table(self, cursor: Raw) -> None:
        first = columns_for(texts(), ())
        table = made(cursor, Table("sales", "account", first))
        columns = columns_for(texts(*HOSTILE), first)

        for statement in plan(table, columns, ["id"], schema_exists=True):
            cursor.execute(statement)

        assert inspect(cursor, table) == wanted_columns(columns)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_name_is_a_table_and_a_schema(
        self, cursor: Raw, name: str
    ) -> None:
        cursor.execute("CREATE TABLE x (a integer)")
        chosen = choose_name(name, ())
        columns = columns_for(texts(name), ())
        table = Table(chosen, chosen, columns)

        for statement in plan(
            Table(chosen, chosen, ()), columns, ["id"], schema_exists=False
        ):
            cursor.execute(statement)

        assert inspect(cursor, table) == wanted_columns(columns)
        assert schema_exists(cursor, chosen)
        cursor.execute("SELECT count(*) FROM x")

    @settings(
        max_examples=50,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        deadline=None,
    )
    @given(many_names, names)
    def test_any_names_can_be_made_and_added(
        self, cursor: Raw, attributes: list[str], name: str
    ) -> None:
        attributes = [a for a in attributes if a != "Id"]
        half = len(attributes) // 2
        chosen = choose_name(name, ())
        first = columns_for(texts(*attributes[:half]), ())
        columns = columns_for(texts(*attributes), first)
        table = Table("sales", chosen, first)

        made(cursor, table)
        for statement in plan(table, columns, ["id"], schema_exists=True):
            cursor.execute(statement)

        assert inspect(cursor, table) == wanted_columns(columns)
        cursor.execute(sql.SQL("DROP TABLE {}").format(table.relation))

    def test_1600_columns_can_be_made(self, cursor: Raw) -> None:
        columns = columns_for(texts(*(f"c{n}" for n in range(1599))), ())

        table = made(cursor, Table("sales", "account", columns))

        assert len(found_columns(cursor, table)) == 1600

    def test_the_key_is_unique_and_never_null(self, cursor: Raw) -> None:
        made(cursor, SALES)

        with pytest.raises(psycopg.errors.NotNullViolation):
            cursor.execute("INSERT INTO sales.account (name) VALUES ('x')")

    def test_old_rows_hold_null_in_a_new_column(self, cursor: Raw) -> None:
        made(cursor, SALES)
        cursor.execute("INSERT INTO sales.account (id) VALUES (gen_random_uuid())")

        cursor.execute(add_columns(SALES, [Column("a", "a", "text")]))

        cursor.execute("SELECT a FROM sales.account")
        assert cursor.fetchall() == [(None,)]


class TestInspect:
    def test_a_relation_that_is_not_there_has_no_columns(self, cursor: Raw) -> None:
        assert inspect(cursor, SALES) is None

    def test_a_relation_of_a_schema_that_is_not_there_has_none(
        self, cursor: Raw
    ) -> None:
        assert inspect(cursor, Table("nowhere", "account", ())) is None

    def test_a_table_of_the_same_name_elsewhere_is_not_meant(self, cursor: Raw) -> None:
        cursor.execute("CREATE TABLE public.account (id integer)")

        assert inspect(cursor, SALES) is None

    def test_a_name_is_compared_exactly(self, cursor: Raw) -> None:
        cursor.execute('CREATE TABLE sales."Account" (id integer)')

        assert inspect(cursor, SALES) is None

    def test_a_table_without_columns_is_there(self, cursor: Raw) -> None:
        cursor.execute("CREATE TABLE sales.account ()")

        assert inspect(cursor, SALES) == {}

    def test_dropped_and_system_columns_are_not_shown(self, cursor: Raw) -> None:
        made(cursor, SALES)
        cursor.execute("ALTER TABLE sales.account DROP COLUMN name")

        found = found_columns(cursor, SALES)

        assert [*found] == [c.name for c in SALES.columns if c.name != "name"]

    def test_a_type_with_a_length_is_shown_with_it(self, cursor: Raw) -> None:
        cursor.execute("CREATE TABLE sales.account (a varchar(10), b numeric(38, 6))")

        assert inspect(cursor, SALES) == {
            "a": "character varying(10)",
            "b": "numeric(38,6)",
        }

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE VIEW sales.account AS SELECT 1 AS id",
            "CREATE MATERIALIZED VIEW sales.account AS SELECT 1 AS id",
            "CREATE SEQUENCE sales.account",
            "CREATE TYPE sales.account AS (id integer)",
            "CREATE INDEX account ON sales.other (id)",
        ],
    )
    def test_what_is_no_table_is_refused(self, cursor: Raw, statement: str) -> None:
        cursor.execute("CREATE TABLE sales.other (id integer)")
        cursor.execute(statement.encode())

        with pytest.raises(TargetError) as caught:
            inspect(cursor, SALES)

        assert caught.value.code == "name_taken"
        assert "account" in str(caught.value)

    def test_the_schema_of_the_sync_is_seen(self, cursor: Raw) -> None:
        assert schema_exists(cursor, "sales")
        assert not schema_exists(cursor, "Sales")
        assert not schema_exists(cursor, "nowhere")


def alteration(cursor: Raw, statement: str) -> TargetError:
    """Return how a table is refused after a user's statement."""
    made(cursor, SALES)
    cursor.execute(statement.encode())
    with pytest.raises(TargetError) as caught:
        check_unaltered(SALES, inspect(cursor, SALES))
    return caught.value


class TestCheckUnaltered:
    def test_a_table_as_it_was_made_is_accepted(self, cursor: Raw) -> None:
        made(cursor, SALES)

        check_unaltered(SALES, inspect(cursor, SALES))

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE INDEX ON sales.account (name)",
            "COMMENT ON TABLE sales.account IS 'ours'",
            "ALTER TABLE sales.account SET (fillfactor = 90)",
            "CREATE VIEW sales.v AS SELECT * FROM sales.account",
        ],
    )
    def test_what_a_user_puts_around_a_table_is_accepted(
        self, cursor: Raw, statement: str
    ) -> None:
        made(cursor, SALES)
        cursor.execute(statement.encode())

        check_unaltered(SALES, inspect(cursor, SALES))

    @pytest.mark.parametrize(
        ("statement", "named"),
        [
            ("ALTER TABLE sales.account DROP COLUMN name", "name"),
            ("ALTER TABLE sales.account RENAME COLUMN amount TO sum", "amount"),
            ("ALTER TABLE sales.account ALTER name TYPE varchar(10)", "name"),
            ("ALTER TABLE sales.account ALTER amount TYPE numeric(10, 2)", "amount"),
            ("ALTER TABLE sales.account ALTER versionnumber TYPE int", "versionnumber"),
            ("DROP TABLE sales.account", "account"),
            ("ALTER TABLE sales.account RENAME TO customer", "account"),
            ("ALTER TABLE sales.account SET SCHEMA public", "account"),
        ],
    )
    def test_an_altered_table_is_refused_with_what_was_altered(
        self, cursor: Raw, statement: str, named: str
    ) -> None:
        error = alteration(cursor, statement)

        assert error.code == "target_altered"
        assert error.permanent
        assert named in str(error)

    def test_a_name_that_is_free_is_accepted_for_a_new_table(self) -> None:
        check_unaltered(Table("sales", "account", ()), None)

    @pytest.mark.parametrize("columns", [{}, {"id": "uuid"}])
    def test_a_table_that_dvsync_did_not_make_is_refused(
        self, columns: dict[str, str]
    ) -> None:
        with pytest.raises(TargetError) as caught:
            check_unaltered(Table("sales", "account", ()), columns)

        assert caught.value.code == "name_taken"
        assert "sales.account" in str(caught.value)

"""What PostgreSQL makes of the lines of a change feed: their values, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, sql

from sync.engine.session import prepare_session
from sync.model_json import Attribute, Entity
from sync.sources.feed_lines import BadLineError, LineShape
from sync.target.line_staging import TOLD, VERB, LineStaging
from sync.target.staging import PARTITION, RELATION, CopyRefusedError
from sync.target.tables import Column
from sync.target.types import TEXT, TIME_TYPES, columns_of, sql_type

Raw = Cursor[tuple[object, ...]]

TYPES = ("string", "int64", "int32", "decimal", "double", "boolean", "dateTime", "date")
ENTITY = Entity(
    "t",
    (Attribute("id", "string"), *(Attribute(kind, kind) for kind in TYPES)),
    key=("id",),
)
COLUMNS = tuple(
    Column(a.name, a.name, sql_type(a.data_type)) for a in ENTITY.attributes
)
SHAPE = LineShape(ENTITY, columns_of(ENTITY, TIME_TYPES), columns_of(ENTITY, {TEXT}))
NUMBERS = ("int64", "int32", "decimal", "double")
INTEGERS = {"int64": 2**63, "int32": 2**31}


@pytest.fixture
def cursor(db: None) -> Iterator[Raw]:
    """A cursor in a load's session."""
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        raw.execute("SET LOCAL timezone = 'Asia/Kathmandu'")
        prepare_session(raw)
        yield raw


@pytest.fixture
def staging(cursor: Raw) -> LineStaging:
    made = LineStaging(cursor, COLUMNS, [0], partitioned=False)
    made.create()
    return made


def line(said: str, verb: str = "INSERT") -> bytes:
    return f"2024-09-10T12:05:30Z | {verb} | t | {said}".encode()


def stored(cursor: Raw, staging: LineStaging, said: str) -> dict[str, str | None] | str:
    """Return what PostgreSQL has of an object, as text, or the code of the refusal."""
    cursor.execute(sql.SQL("TRUNCATE {}").format(RELATION))
    try:
        row = SHAPE.row(line(said))
    except BadLineError as error:
        return error.code
    try:
        with staging.savepoint():
            assert staging.copy_lines([row]) == 1
    except CopyRefusedError as error:
        return str(error.error.sqlstate) if error.line == 1 else "another line"
    texts = (sql.SQL("{}::text").format(staging.column(n)) for n in range(len(COLUMNS)))
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(texts), RELATION)
    (found,) = cursor.execute(query).fetchall()
    names = [attribute.name for attribute in ENTITY.attributes]
    return {n: v if v is None else str(v) for n, v in zip(names, found, strict=True)}


per_example = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)
characters = st.one_of(
    st.sampled_from(
        '\t\n\r\\"|\0NtnrabZ.,:{}[] \u2028\u202e\u05d0\u0627\ufeff\U0001f600'
    ),
    st.characters(),
)
texts = st.text(characters, max_size=20)
numbers = st.one_of(
    st.integers().map(str),
    st.integers(-(2**31) - 2, 2**31 + 2).map(str),
    st.sampled_from(
        [
            *(
                "-0",
                "-0.0",
                "0",
                "1e2",
                "1E+2",
                "1e-2",
                "0.10",
                "1e400",
                "-1e400",
                "1e999999",
            ),
            *("12345678901234567890123456789012345678", "9" * 38, "0." + "1" * 38),
            *(str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), "1.5"),
        ]
    ),
    st.from_regex(
        r"-?(0|[1-9][0-9]{0,37})(\.[0-9]{1,38})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ),
)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


class TestTexts:
    @per_example
    @given(texts, texts, st.booleans())
    @example("\\N", "\\.", False)
    @example("a\0b", "", True)
    @example("\ud800", "\udfff", True)
    @example("\ud83d\ude00", "\ufeff", True)
    @example("", "\t", True)
    def test_a_text_is_what_it_was_or_refused(
        self, cursor: Raw, staging: LineStaging, key: str, text: str, ascii_only: bool
    ) -> None:
        ascii_only = ascii_only or _has_half(key + text)
        said = json.dumps({"id": key, "string": text}, ensure_ascii=ascii_only)
        meant = json.loads(said)
        found = stored(cursor, staging, said)

        if isinstance(found, dict):
            assert (found["id"], found["string"]) == (meant["id"], meant["string"])
        else:
            both = meant["id"] + meant["string"]
            assert "\0" in both or _has_half(both)
            assert found in {"22021", "bad_encoding"}

    @per_example
    @given(nested.filter(lambda value: isinstance(value, list | dict)))
    def test_what_is_nested_is_the_same_json(
        self, cursor: Raw, staging: LineStaging, value: object
    ) -> None:
        said = json.dumps({"id": "a", "string": value})
        found = stored(cursor, staging, said)

        if isinstance(found, dict):
            assert found["string"] is not None
            assert json.loads(found["string"]) == json.loads(said)["string"]
        else:
            assert found == "bad_encoding"
            assert _has_half(json.dumps(json.loads(said), ensure_ascii=False))


class TestNumbers:
    @per_example
    @given(numbers)
    def test_a_text_column_keeps_every_digit(
        self, cursor: Raw, staging: LineStaging, number: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": {number}, "string": {number}}}')

        assert isinstance(found, dict)
        assert found["id"] == found["string"] == number

    @per_example
    @given(numbers)
    def test_a_decimal_is_the_very_number_or_refused(
        self, cursor: Raw, staging: LineStaging, number: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": "a", "decimal": {number}}}')

        if isinstance(found, dict):
            assert found["decimal"] is not None
            assert Decimal(found["decimal"]) == Decimal(number)
        else:
            assert found == "22003"
            assert abs(Decimal(number).adjusted()) > 10_000

    @per_example
    @given(numbers, st.sampled_from(sorted(INTEGERS)))
    def test_a_whole_number_is_the_very_number_or_refused(
        self, cursor: Raw, staging: LineStaging, number: str, kind: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": "a", "{kind}": {number}}}')

        if isinstance(found, dict):
            assert found[kind] == str(int(number))
        else:
            assert found in {"22003", "22P02"}
            limit = INTEGERS[kind]
            plain = number.removeprefix("-").isdecimal()
            assert not plain or not -limit <= int(number) < limit

    @per_example
    @given(numbers)
    @example("-0")
    @example("-0.0")
    def test_a_double_is_the_nearest_one_or_refused(
        self, cursor: Raw, staging: LineStaging, number: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": "a", "double": {number}}}')

        if isinstance(found, dict):
            assert found["double"] is not None
            assert repr(float(found["double"])) == repr(float(number))
        else:
            assert found == "22003"
            tiny = float(number) == 0 or abs(float(number)) < 1e-300
            assert tiny or abs(float(number)) == float("inf")

    @pytest.mark.parametrize("kind", NUMBERS)
    @pytest.mark.parametrize("said", ['"x"', "true", "[1]", "{}", '"1 2"', '" "'])
    def test_what_is_no_number_is_refused_with_its_column(
        self, staging: LineStaging, kind: str, said: str
    ) -> None:
        row = SHAPE.row(line(f'{{"id": "a", "{kind}": {said}}}'))
        with pytest.raises(CopyRefusedError) as caught, staging.savepoint():
            staging.copy_lines([row])

        assert caught.value.line == 1
        assert caught.value.column is not None
        assert ENTITY.attributes[caught.value.column].name == kind


class TestOtherTypes:
    @pytest.mark.parametrize(
        ("kind", "said", "value"),
        [
            ("boolean", "true", "true"),
            ("boolean", "false", "false"),
            ("boolean", '"True"', "true"),
            ("boolean", "1", "true"),
            ("boolean", "1.0", "22P02"),
            ("boolean", '"maybe"', "22P02"),
            ("dateTime", '"2024-09-10T12:05:30Z"', "2024-09-10 12:05:30+00"),
            ("dateTime", '"2024-09-10T12:05:30+02:00"', "2024-09-10 10:05:30+00"),
            ("dateTime", '"2024-09-10T12:05:30"', "2024-09-10 12:05:30+00"),
            ("dateTime", '"6/28/2026 4:34:35 PM"', "2026-06-28 16:34:35+00"),
            ("dateTime", '"now"', "bad_value"),
            ("dateTime", '"+infinity"', "bad_value"),
            ("dateTime", "true", "22007"),
            ("dateTime", '"2024-02-30"', "22008"),
            ("date", '"2024-09-10"', "2024-09-10"),
            ("date", '"today"', "bad_value"),
            ("string", "true", "true"),
            ("string", "false", "false"),
        ],
    )
    def test_a_value_is_read_or_refused(
        self, cursor: Raw, staging: LineStaging, kind: str, said: str, value: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": "a", "{kind}": {said}}}')

        assert (found[kind] if isinstance(found, dict) else found) == value

    @pytest.mark.parametrize("said", ["null", '""'])
    @pytest.mark.parametrize("kind", TYPES)
    def test_nothing_is_null_and_an_empty_text_is_text(
        self, cursor: Raw, staging: LineStaging, kind: str, said: str
    ) -> None:
        found = stored(cursor, staging, f'{{"id": "a", "{kind}": {said}}}')

        assert isinstance(found, dict)
        empty = kind == "string" and said == '""'
        assert found[kind] == ("" if empty else None)

    def test_what_is_not_told_is_null(self, cursor: Raw, staging: LineStaging) -> None:
        found = stored(cursor, staging, '{"id": "a"}')

        assert found == {"id": "a"} | dict.fromkeys(TYPES)


class TestTheTable:
    def test_verb_told_and_partition_are_kept_in_the_order_of_lines(
        self, cursor: Raw
    ) -> None:
        staging = LineStaging(cursor, COLUMNS, [0])
        staging.create()
        for number, verbs in ((3, ["INSERT", "update"]), (1, ["Delete"])):
            staging.begin_partition(number)
            rows = [SHAPE.row(line('{"id": "a", "date": null}', v)) for v in verbs]
            assert staging.copy_lines(rows) == len(verbs)
        query = sql.SQL("SELECT {}, {}::text, {} FROM {} ORDER BY ctid")
        found = cursor.execute(query.format(VERB, TOLD, PARTITION, RELATION)).fetchall()

        assert found == [("I", None, 3), ("U", "100000001", 3), ("D", None, 1)]

    @pytest.mark.parametrize("split", [1, 2, 3, 7, 10_000])
    def test_blocks_may_be_cut_anywhere(self, cursor: Raw, split: int) -> None:
        staging = LineStaging(cursor, COLUMNS, [0])
        staging.create()
        data = b"".join(
            SHAPE.row(line(json.dumps({"id": f"{n}", "string": "ä\t\\\n\U0001f600"})))
            for n in range(5)
        )
        parts = [data[at : at + split] for at in range(0, len(data), split)]

        assert staging.copy_lines(parts) == 5
        query = sql.SQL("SELECT DISTINCT c1 FROM {}").format(RELATION)
        assert cursor.execute(query).fetchall() == [("ä\t\\\n\U0001f600",)]

    @pytest.mark.parametrize("bad", [0, 3, 4])
    def test_a_refusal_names_the_line_and_undoes_the_block(
        self, cursor: Raw, staging: LineStaging, bad: int
    ) -> None:
        said: list[dict[str, Any]] = [
            {"id": f"{n}", "string": "c9 line 7"} for n in range(5)
        ]
        said[bad]["int64"] = "c2"
        with pytest.raises(CopyRefusedError) as caught, staging.savepoint():
            staging.copy_lines(SHAPE.row(line(json.dumps(s))) for s in said)

        assert (caught.value.line, caught.value.column) == (bad + 1, 2)
        assert _count(cursor) == 0

    @pytest.mark.parametrize("keys", [[0], [0, 1], [2, 0]])
    def test_no_key_may_be_null(self, cursor: Raw, keys: Sequence[int]) -> None:
        columns = [Column(f"k{n}", f"k{n}", "integer") for n in range(3)]
        for key in keys:
            staging = LineStaging(cursor, columns, keys, partitioned=False)
            staging.create()
            cells = ["1", "1", "1"]
            cells[key] = r"\N"
            with pytest.raises(CopyRefusedError) as caught, staging.savepoint():
                staging.copy_lines(["\t".join(["I", r"\N", *cells]).encode() + b"\n"])
            assert caught.value.column == key
            staging.drop()

    def test_the_widest_table_has_room_for_its_lines(self, cursor: Raw) -> None:
        names = [f"c{n}" for n in range(1500)]
        entity = Entity("t", tuple(Attribute(n, "string") for n in names), key=("c0",))
        shape = LineShape(entity, (), range(1500))
        columns = [Column(n, n, TEXT) for n in names]
        staging = LineStaging(cursor, columns, [0])
        staging.create()
        said = json.dumps({"c0": "a", "c1499": "z"})

        assert staging.copy_lines([shape.row(line(said, "UPDATE"))]) == 1
        query = sql.SQL("SELECT get_bit({}, 1499), get_bit({}, 1498), c1499 FROM {}")
        found = cursor.execute(query.format(TOLD, TOLD, RELATION)).fetchall()
        assert found == [(1, 0, "z")]


def _has_half(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _count(cursor: Raw) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(RELATION)
    (row,) = cursor.execute(query).fetchall()
    return int(str(row[0]))

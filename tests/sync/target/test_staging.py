"""What a real PostgreSQL makes of the export's cells, and which it refuses."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, sql

from sync.engine.session import prepare_session
from sync.errors import SourceError
from sync.model_json import Attribute, Entity
from sync.models import Tombstone
from sync.sources.csv_rows import RecordCounter, record_at
from sync.target.changes import SystemColumns
from sync.target.failures import from_postgres
from sync.target.merge import Merge
from sync.target.staging import PARTITION, RELATION, CopyRefusedError, Staging
from sync.target.tables import Column, Table, columns_for, create_table

Raw = Cursor[tuple[object, ...]]

KEY = str(UUID(int=7))


@pytest.fixture
def cursor(db: None) -> Iterator[Raw]:
    """A cursor in a load's session, over a role with unhelpful defaults."""
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        raw.execute("SET LOCAL datestyle = 'german, dmy'")
        raw.execute("SET LOCAL timezone = 'Asia/Kathmandu'")
        prepare_session(raw)
        yield raw


def columns(*data_types: str) -> tuple[Column, ...]:
    """Return the columns of an entity of an Id and attributes of these types."""
    attributes = (Attribute(f"a{n}", kind) for n, kind in enumerate(data_types, 1))
    return columns_for(Entity("t", (Attribute("Id", "guid"), *attributes)), ())


def staging(cursor: Raw, *data_types: str) -> Staging:
    made = Staging(cursor, columns(*data_types), 0)
    made.create()
    return made


def copy(table: Staging, rows: str | bytes, block: int = 1 << 16) -> int:
    data = rows.encode() if isinstance(rows, str) else rows
    parts = (data[at : at + block] for at in range(0, len(data), block))
    return table.copy(len(table.columns), parts)


def select(cursor: Raw, expression: str, number: int = 1) -> list[object]:
    """Return an expression over a staging column, of all rows in their order."""
    query = sql.SQL("SELECT " + expression + " FROM {} ORDER BY ctid")
    cursor.execute(query.format(RELATION, c=Staging.column(number)))
    return [row[0] for row in cursor.fetchall()]


def stored(cursor: Raw, data_type: str, cell: str) -> object:
    """Return how PostgreSQL writes the value of a cell; None for NULL."""
    copy(staging(cursor, data_type), f"{KEY},{cell}\n")
    (value,) = select(cursor, "{c}::text")
    return value


def refusal(
    cursor: Raw, data_types: Iterable[str], rows: str | bytes, block: int = 1 << 16
) -> CopyRefusedError:
    table = staging(cursor, *data_types)
    with pytest.raises(CopyRefusedError) as caught:
        copy(table, rows, block)
    return caught.value


def record_of(error: CopyRefusedError, rows: str | bytes) -> int:
    """Return the number of the record that the error means."""
    data = rows.encode() if isinstance(rows, str) else rows
    assert error.line is not None
    return record_at(io.BytesIO(data), error.line)


def quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


MOMENTS = {
    # SinkCreatedOn and SinkModifiedOn
    "6/28/2026 4:34:35 PM": "2026-06-28 16:34:35+00",
    "6/28/2026 4:34:35 AM": "2026-06-28 04:34:35+00",
    "1/2/2026 12:00:00 AM": "2026-01-02 00:00:00+00",
    "1/2/2026 12:59:59 AM": "2026-01-02 00:59:59+00",
    "1/2/2026 12:00:00 PM": "2026-01-02 12:00:00+00",
    "1/2/2026 12:59:59 PM": "2026-01-02 12:59:59+00",
    "12/31/2026 11:59:59 PM": "2026-12-31 23:59:59+00",
    "3/29/2026 2:30:00 AM": "2026-03-29 02:30:00+00",
    "1/1/2020 0:00:00 PM": "2020-01-01 12:00:00+00",
    "1/1/2020 0:00:01 PM": "2020-01-01 12:00:01+00",
    # ISO, without fractions and with seven digits
    "2026-06-25T16:21:12Z": "2026-06-25 16:21:12+00",
    "2026-06-25T16:21:12.0000000Z": "2026-06-25 16:21:12+00",
    "2026-06-25T16:21:12.1234567Z": "2026-06-25 16:21:12.123457+00",
    "2026-06-25T16:21:12.1234561Z": "2026-06-25 16:21:12.123456+00",
    "2026-06-25T16:21:12.9999999Z": "2026-06-25 16:21:13+00",
    "2026-12-31T23:59:59.9999999Z": "2027-01-01 00:00:00+00",
    "2026-06-25T16:21:12.5Z": "2026-06-25 16:21:12.5+00",
    # Without a zone it is UTC
    "2026-06-25T00:00:00.0000000": "2026-06-25 00:00:00+00",
    "2026-06-25T16:21:12": "2026-06-25 16:21:12+00",
    "2026-01-02": "2026-01-02 00:00:00+00",
    # With an offset
    "2026-05-25T16:21:09.0000000+00:00": "2026-05-25 16:21:09+00",
    "2026-05-25T01:21:09.0000000+02:00": "2026-05-24 23:21:09+00",
    "2026-05-25T16:21:09.1234567-05:30": "2026-05-25 21:51:09.123457+00",
    # Extremes
    "1900-01-01T00:00:00.0000000": "1900-01-01 00:00:00+00",
    "1900-01-01T00:00:00.0000000Z": "1900-01-01 00:00:00+00",
    "0001-01-01T00:00:00.0000000": "0001-01-01 00:00:00+00",
    "0001-01-03T00:00:00.0000000": "0001-01-03 00:00:00+00",
    "1/1/0001 12:00:00 AM": "0001-01-01 00:00:00+00",
    "9999-12-31T23:59:59Z": "9999-12-31 23:59:59+00",
    "9999-12-31T23:59:59.9999990Z": "9999-12-31 23:59:59.999999+00",
    "9999-12-31T00:00:00.0000000": "9999-12-31 00:00:00+00",
}


class TestMoments:
    @pytest.mark.fault(
        "C16", injected="every form of a date and time", outcome="the moment in UTC"
    )
    @pytest.mark.parametrize("data_type", ["dateTime", "dateTimeOffset"])
    @pytest.mark.parametrize(("text", "moment"), MOMENTS.items())
    def test_every_form_is_read_as_utc(
        self, cursor: Raw, data_type: str, text: str, moment: str
    ) -> None:
        assert stored(cursor, data_type, quote(text)) == moment

    @pytest.mark.parametrize("text", ["2026-06-25T16:21:12Z", "6/28/2026 4:34:35 PM"])
    def test_quotes_make_no_difference(self, cursor: Raw, text: str) -> None:
        assert stored(cursor, "dateTime", text) == MOMENTS[text]

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31T23:59:59.9999995Z", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31T23:59:59.9999999", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31T23:00:00-05:00", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31T23:59:59.9999990Z", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31T23:59:59Z", "9999-12-31 23:59:59+00"),
            ("0001-01-01T00:00:00.0000000", "0001-01-01 00:00:00+00"),
        ],
    )
    def test_a_moment_past_the_year_9999_becomes_the_last_one_before(
        self, cursor: Raw, text: str, moment: str
    ) -> None:
        assert replicated(cursor, "dateTime", quote(text)) == moment

    @pytest.mark.parametrize(
        "text",
        [
            *("28/6/2026 4:34:35 PM", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z"),
            *("1/1/2020 13:00:00 PM", "yesterday noon at", "2026-06-25T25:00:00Z", "x"),
        ],
    )
    def test_what_is_no_moment_is_refused(self, cursor: Raw, text: str) -> None:
        error = refusal(cursor, ["dateTime"], f"{KEY},{quote(text)}\n")

        assert (error.line, error.column) == (1, 1)

    @pytest.mark.parametrize(
        ("data_type", "text", "value"),
        [
            ("date", "2026-06-25", "2026-06-25"),
            ("date", "6/2/2026", "2026-06-02"),
            ("time", "16:21:12.1234567", "16:21:12.123457"),
        ],
    )
    def test_dates_and_times_alone_are_read(
        self, cursor: Raw, data_type: str, text: str, value: str
    ) -> None:
        assert stored(cursor, data_type, quote(text)) == value


def replicated(cursor: Raw, data_type: str, cell: str) -> object:
    """Return how PostgreSQL writes a value after it went through the merge."""
    table = Table("load_test", "t", columns(data_type))
    cursor.execute("CREATE SCHEMA load_test")
    cursor.execute(create_table(table, ["id"]))
    filled = Staging(cursor, table.columns, 0)
    filled.create()
    filled.begin_partition(1)
    rows = copy(filled, f"{KEY},{cell}\n")
    system = SystemColumns(None, None, None, None, None)
    tombstones = sql.Identifier(Tombstone._meta.db_table)
    merge = Merge(cursor, filled, system, table, tombstones, 1)
    merge.apply(merge.choose({1: rows}), {1: rows})
    cursor.execute("SELECT a1::text FROM load_test.t")
    ((value,),) = cursor.fetchall()
    return value


class TestValues:
    @pytest.mark.fault(
        "C17", injected="every spelling of a boolean", outcome="true, false or NULL"
    )
    @pytest.mark.parametrize(
        ("cell", "value"),
        [
            *(("True", "true"), ("False", "false"), ("true", "true")),
            *(("FALSE", "false"), ("1", "true"), ("0", "false")),
            *(('"True"', "true"), ("", None)),
        ],
    )
    def test_booleans(self, cursor: Raw, cell: str, value: str | None) -> None:
        assert stored(cursor, "boolean", cell) == value

    @pytest.mark.fault(
        "C18", injected="exponents, 38 digits, negative zero", outcome="exact"
    )
    @pytest.mark.parametrize(
        ("cell", "value"),
        [
            ("0", "0"),
            ("-1", "-1"),
            ("12.500000", "12.500000"),
            ("1E-05", "0.00001"),
            ("1e+3", "1000"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("9" * 38, "9" * 38),
            ("-" + "9" * 38 + "." + "9" * 16, "-" + "9" * 38 + "." + "9" * 16),
            ("0." + "0" * 37 + "1", "0." + "0" * 37 + "1"),
            ('"12.5"', "12.5"),
        ],
    )
    def test_numerics_are_exact(self, cursor: Raw, cell: str, value: str) -> None:
        assert stored(cursor, "decimal", cell) == value

    @pytest.mark.parametrize(
        ("cell", "value"),
        [
            *(("12.5", "12.5"), ("1E-05", "1e-05"), ("NaN", "NaN")),
            *(("Infinity", "Infinity"), ("-Infinity", "-Infinity")),
        ],
    )
    def test_doubles(self, cursor: Raw, cell: str, value: str) -> None:
        assert stored(cursor, "double", cell) == value

    def test_a_double_keeps_all_its_digits(self, cursor: Raw) -> None:
        copy(staging(cursor, "double"), f"{KEY},0.1234567890123456\n")

        assert select(cursor, "{c}") == [0.1234567890123456]

    @pytest.mark.parametrize(
        "number", [2**63 - 1, -(2**63), 0, -1, 5637144576, 3111000001]
    )
    def test_integers_are_exact_up_to_their_limits(
        self, cursor: Raw, number: int
    ) -> None:
        copy(staging(cursor, "int64"), f"{KEY},{number}\n")

        assert select(cursor, "{c}") == [number]

    @pytest.mark.fault(
        "F28",
        injected="values that do not fit their type",
        outcome="refused with record and column",
    )
    @pytest.mark.parametrize(
        ("data_type", "cell"),
        [
            *(("int64", str(2**63)), ("int64", str(-(2**63) - 1))),
            *(("int64", "1.5"), ("int64", "x"), ("int64", " "), ("int64", "1,000")),
            *(("int32", str(2**31)), ("decimal", "1.000,5"), ("decimal", "x")),
            *(("boolean", "maybe"), ("guid", "x"), ("guid", KEY[:-1])),
            *(("double", "1E400"), ("date", "x")),
        ],
    )
    def test_what_does_not_fit_its_type_is_refused_with_record_and_column(
        self, cursor: Raw, data_type: str, cell: str
    ) -> None:
        rows = f"{KEY},,a\n{KEY},{quote(cell)},b\n{KEY},,c\n"

        error = refusal(cursor, [data_type, "string"], rows)

        assert (record_of(error, rows), error.column) == (2, 1)

    def test_a_guid_is_stored_in_lower_case(self, cursor: Raw) -> None:
        assert stored(cursor, "guid", KEY.upper()) == KEY

    @pytest.mark.parametrize(
        "data_type",
        [
            *("guid", "int64", "int32", "decimal", "double", "boolean"),
            *("dateTime", "dateTimeOffset", "date", "time"),
        ],
    )
    @pytest.mark.parametrize("cell", ["", '""'])
    def test_an_empty_cell_of_a_typed_column_is_null_quoted_or_not(
        self, cursor: Raw, data_type: str, cell: str
    ) -> None:
        assert stored(cursor, data_type, cell) is None


TEXTS = [
    "",
    " ",
    "  padded  ",
    "null",
    "NULL",
    "None",
    "\\N",
    "\\.",
    "a\n\\.\nb",
    "\\",
    "\\\\",
    '\\"',
    'back\\slash before a "quote\\"',
    '"',
    '""',
    "a,b",
    ",",
    "\t",
    "line\nline",
    "line\r\nline",
    "\r",
    "\n",
    "\n\n",
    "trailing space ",
    "😀 👨‍👩‍👧",
    "\u05e9\u05dc\u05d5\u05dd \u202e",
    "e\u0301 \xe9",
    "\ufeff",
    "\x01\x1b[31m\x7f",
    "\u2028\x85",
    "<script>alert(1)</script>",
    "'; DROP TABLE x; --",
    "%s {} $1",
]


class TestTexts:
    @pytest.mark.parametrize("text", TEXTS)
    def test_a_quoted_text_is_kept_value_for_value(
        self, cursor: Raw, text: str
    ) -> None:
        assert stored(cursor, "string", quote(text)) == text

    @pytest.mark.parametrize(
        "text", ["null", "NULL", "\\N", "\\", " ", " a ", "a b", "😀", "\\.", "'", "1"]
    )
    def test_a_bare_text_is_kept_value_for_value(self, cursor: Raw, text: str) -> None:
        assert stored(cursor, "string", text) == text

    @pytest.mark.fault(
        "F49",
        injected='an empty cell and "" in a text column',
        outcome="NULL and an empty text",
    )
    @pytest.mark.fault(
        "C15",
        injected='an empty cell and "" in a text column',
        outcome="NULL and an empty text",
    )
    def test_an_empty_cell_is_null_and_an_empty_text_is_not(self, cursor: Raw) -> None:
        copy(staging(cursor, "string", "string"), f'{KEY},,""\n')

        assert select(cursor, "{c}", 1) == [None]
        assert select(cursor, "{c}", 2) == [""]

    @pytest.mark.fault("F51", injected="a cell of a megabyte", outcome="kept")
    @pytest.mark.parametrize("block", [7, 8191, 1 << 16])
    def test_a_text_of_a_megabyte_is_kept(self, cursor: Raw, block: int) -> None:
        text = 'a "memo"\n😀\\' * 70_000
        table = staging(cursor, "string")

        copy(table, f"{KEY},{quote(text)}\n", block)

        assert select(cursor, "{c}") == [text]

    @pytest.mark.parametrize(
        "data_type", ["json", "unclassified", "binary", "geometry"]
    )
    def test_types_that_are_kept_as_text_are_not_looked_into(
        self, cursor: Raw, data_type: str
    ) -> None:
        assert stored(cursor, data_type, quote('{"a": ]')) == '{"a": ]'

    @settings(
        max_examples=60,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        deadline=None,
    )
    @given(
        st.lists(
            st.none()
            | st.text(
                st.sampled_from('a",\n\r\\. ')
                | st.characters(exclude_characters="\0", exclude_categories=["Cs"])
            ),
            min_size=1,
            max_size=6,
        ),
        st.integers(1, 50),
        st.booleans(),
        st.sampled_from(["\n", "\r\n"]),
    )
    @example([TEXTS[8], "\n", None], 1, True, "\n")
    def test_any_texts_are_kept_whatever_the_blocks_and_counted_right(
        self,
        cursor: Raw,
        texts: list[str | None],
        block: int,
        ended: bool,
        newline: str,
    ) -> None:
        cells = ["" if text is None else quote(text) for text in texts]
        data = newline.join(f"{KEY},{cell}" for cell in cells) + newline * ended
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(RELATION))
        counter = RecordCounter()
        counter.feed(data.encode())

        rows = copy(staging(cursor, "string"), data, block)

        assert rows == counter.total == len(texts)
        assert select(cursor, "{c}") == texts


class TestRows:
    def test_rows_stand_in_the_order_of_the_file(self, cursor: Raw) -> None:
        rows = "".join(f"{KEY},{number}\n" for number in range(5000))

        assert copy(staging(cursor, "int64"), rows) == 5000
        assert select(cursor, "{c}") == [*range(5000)]

    def test_rows_of_several_files_stand_in_the_order_of_copying(
        self, cursor: Raw
    ) -> None:
        table = staging(cursor, "int64")
        for number in (3, 1, 2):
            copy(table, f"{KEY},{number}\n")

        assert select(cursor, "{c}") == [3, 1, 2]

    def test_rows_carry_the_number_of_their_partition(self, cursor: Raw) -> None:
        table = staging(cursor, "int64")
        for number in (4, 5, 4):
            table.begin_partition(number)
            copy(table, f"{KEY},{number}\n" * 2)

        query = sql.SQL("SELECT {}, count(*) FROM {} GROUP BY 1 ORDER BY 1")
        cursor.execute(query.format(PARTITION, RELATION))

        assert cursor.fetchall() == [(4, 4), (5, 2)]

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_the_last_row_may_lack_its_newline(self, cursor: Raw, ending: str) -> None:
        newline = ending or "\n"
        table = staging(cursor, "string")

        assert copy(table, f"{KEY},a{newline}{KEY},b{ending}") == 2
        assert select(cursor, "{c}") == ["a", "b"]

    @pytest.mark.parametrize("blocks", [[], [b""]])
    def test_an_empty_file_has_no_rows(self, cursor: Raw, blocks: list[bytes]) -> None:
        assert staging(cursor, "string").copy(2, blocks) == 0

    def test_columns_beyond_the_width_are_null(self, cursor: Raw) -> None:
        table = staging(cursor, "string", "int64")

        assert table.copy(2, [f"{KEY},a\n".encode()]) == 1
        assert select(cursor, "{c}", 2) == [None]

    def test_a_file_of_keys_only_is_read(self, cursor: Raw) -> None:
        assert staging(cursor).copy(1, [f"{KEY}\n{KEY}\n".encode()]) == 2

    def test_the_same_key_many_times_is_accepted(self, cursor: Raw) -> None:
        assert copy(staging(cursor, "string"), f"{KEY},a\n" * 3) == 3

    def test_1599_columns_are_copied(self, cursor: Raw) -> None:
        table = staging(cursor, *["int64"] * 1598)

        assert copy(table, KEY + "," * 1598 + "1\n") == 1
        assert select(cursor, "{c}", 1598) == [1]

    def test_a_row_over_the_page_size_of_postgresql_is_a_limit_of_the_target(
        self, cursor: Raw
    ) -> None:
        table = staging(cursor, *["int64"] * 1598)

        with pytest.raises(CopyRefusedError) as caught:
            copy(table, KEY + ",1" * 1598 + "\n")

        assert from_postgres(caught.value.error).code == "target_limit"

    def test_the_error_of_a_reader_goes_through(self, cursor: Raw) -> None:
        def blocks() -> Iterator[bytes]:
            yield f"{KEY},a\n".encode()
            raise SourceError("file_unreadable", "The disk is gone")

        table = staging(cursor, "string")

        with pytest.raises(SourceError, match="The disk is gone"):
            table.copy(2, blocks())


GOOD = f"{KEY},5,text\n"
# What stands before the bad row, and its number of records.
BEFORE = {
    "nothing": ("", 0),
    "rows": (GOOD * 4, 4),
    "newlines in cells": (f'{KEY},5,"a\nb\n\nc"\n' * 4, 4),
    "a newline in the cell just before": (GOOD * 2 + f'{KEY},5,"\n"\n', 3),
    "CR LF in cells": (f'{KEY},5,"a\r\nb"\n' * 4, 4),
    "quotes in the middle of cells": (f'{KEY},5,a"b\n"c\n' * 2, 2),
    "thousands of rows": (GOOD * 3000, 3000),
    "a long row": (f"{KEY},5,{quote(chr(10) * 100_000)}\n", 1),
}

BAD: dict[str, tuple[bytes, set[int | None]]] = {
    "narrow": (f"{KEY},5".encode(), {None, 2}),
    "narrower": (KEY.encode(), {None, 1}),
    "narrow, naming another column": (f"{KEY},c9".encode(), {None, 1, 2}),
    "empty": (b"", {None, 0, 1}),
    "wide": (f"{KEY},5,text,more".encode(), {None}),
    "wide, naming another column": (f"{KEY},5,c1 c0,more".encode(), {None}),
    "a bad value": (f"{KEY},five,text".encode(), {1}),
    "a bad value that spans lines": (f'{KEY},"5\n\n6",text'.encode(), {1}),
    "a bad key": (b"x,5,text", {0}),
    "a bad value before newlines": (f'{KEY},five,"a\nb\nc"'.encode(), {1}),
    "a key that is empty": (b",5,text", {None, 0}),
    "a key that is a quoted empty text": (b'"",5,text', {None, 0}),
    "no key, naming another column": (b",5,c1", {None, 0}),
    "Latin-1": (KEY.encode() + b",5,caf\xe9", {None, 2}),
    "half a character": (KEY.encode() + b',5,"\xf0\x9f\x98"', {None, 2}),
    "a surrogate": (KEY.encode() + b",5,\xed\xa0\x80", {None, 2}),
    "bytes of no character": (KEY.encode() + b",5,\xff\xfe", {None, 2}),
    "bad bytes after newlines in the cell": (
        KEY.encode() + b',5,"a\n\n\xff"',
        {None, 2},
    ),
    "NUL": (KEY.encode() + b",5,a\0b", {None, 2}),
}


class TestRefusedRows:
    @pytest.mark.parametrize("row", BAD)
    @pytest.mark.parametrize("block", [1 << 16, 61])
    def test_a_bad_row_is_refused_with_its_record_and_column(
        self, cursor: Raw, row: str, block: int
    ) -> None:
        content, possible = BAD[row]
        data = GOOD.encode() * 4 + content + b"\n" + GOOD.encode() * 3

        error = refusal(cursor, ["int64", "string"], data, block)

        assert record_of(error, data) == 5
        assert error.column in possible

    @pytest.mark.parametrize("start", BEFORE)
    @pytest.mark.parametrize("row", ["narrow", "a bad value", "NUL"])
    def test_the_record_is_right_whatever_stands_before_it(
        self, cursor: Raw, start: str, row: str
    ) -> None:
        good, records = BEFORE[start]
        data = good.encode() + BAD[row][0] + b"\n" + GOOD.encode() * 3

        error = refusal(cursor, ["int64", "string"], data)
        assert record_of(error, data) == records + 1

    @pytest.mark.fault(
        "F48",
        injected="any kind of newlines before a bad row",
        outcome="the record's number is right",
    )
    @pytest.mark.parametrize("cell", ["text", '"a\nb"', '"a\r\nb"', '"a\rb"'])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_the_record_is_right_with_any_kind_of_newlines(
        self, cursor: Raw, newline: str, cell: str
    ) -> None:
        """PostgreSQL's own count of lines depends on how the first one ended."""
        good = f"{KEY},5,{cell}{newline}"
        data = good * 4 + f"{KEY},five,text{newline}" + good

        error = refusal(cursor, ["int64", "string"], data)
        assert record_of(error, data) == 5

    @pytest.mark.fault(
        "C29", injected="a last row that is cut", outcome="refused with its record"
    )
    @pytest.mark.fault(
        "F40", injected="a last row that is cut", outcome="refused with its record"
    )
    @pytest.mark.parametrize("start", ["nothing", "rows"])
    @pytest.mark.parametrize(
        "cut",
        [
            *(KEY[:20], KEY, f"{KEY},5", f'{KEY},5,"cut', f'{KEY},5,"cut\nin a\nmemo'),
            *(f'{KEY},5,"ends in a doubled quote""', f'{KEY},5,"', f'{KEY},"5'),
        ],
    )
    def test_a_last_row_that_is_cut_is_refused_with_its_record(
        self, cursor: Raw, start: str, cut: str
    ) -> None:
        """Row 29."""
        good, records = BEFORE[start]

        error = refusal(cursor, ["int64", "string"], good + cut)

        assert record_of(error, good + cut) == records + 1

    @pytest.mark.parametrize("last", [11, 99, 100, 1597])
    def test_the_column_of_a_wide_table_is_told(self, cursor: Raw, last: int) -> None:
        cells = ["1"] * 1598
        cells[last - 1] = "x"

        error = refusal(cursor, ["int64"] * 1598, f"{KEY},{','.join(cells)}\n")

        assert (error.line, error.column) == (1, last)

    def test_the_record_is_that_of_the_file_and_not_of_the_staging_table(
        self, cursor: Raw
    ) -> None:
        table = staging(cursor, "int64")
        copy(table, f"{KEY},1\n" * 10)

        with pytest.raises(CopyRefusedError) as caught:
            copy(table, f"{KEY},1\n{KEY},x\n")

        assert (caught.value.line, caught.value.column) == (2, 1)

    @pytest.mark.parametrize(
        ("row", "state"),
        [
            (f"{KEY},5".encode(), "22P04"),
            (f"{KEY},5,text,more".encode(), "22P04"),
            (f"{KEY},five,text".encode(), "22P02"),
            (f"{KEY},{2**63},text".encode(), "22003"),
            (b",5,text", "23502"),
            (KEY.encode() + b",5,\xff", "22021"),
            (KEY.encode() + b",5,\0", "22021"),
            (f'{KEY},5,"cut'.encode(), "22P04"),
        ],
    )
    def test_the_error_of_postgresql_is_kept(
        self, cursor: Raw, row: bytes, state: str
    ) -> None:
        assert refusal(cursor, ["int64", "string"], row).error.sqlstate == state

"""The lines of a change feed: whose they are, whether they are whole, their values."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.model_json import Attribute, Entity
from sync.sources.feed_lines import BadLineError, LineShape, is_whole, table_of
from tests.sync.sources.places import unhurried

TIME = "2024-09-10T12:05:30Z"
KNOWN = {"account", "Ünïcode", "with space"}
COLUMNS = (
    *(("id", "string"), ("note", "string"), ("score", "int64"), ("price", "decimal")),
    *(("ok", "boolean"), ("at", "dateTime")),
)
ENTITY = Entity("account", tuple(Attribute(*c) for c in COLUMNS), key=("id",))
SHAPE = LineShape(ENTITY, times={5}, texts={0, 1})

_ESCAPED = re.compile(r"\\(.)")
_MEANT = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}

texts = st.text(
    st.one_of(
        st.sampled_from(
            '\t\n\r\\"|\0NtnrabZ.,:{}[] \u2028\u202e\u05d0\U0001f600\ufeff'
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


def line(values: object, verb: str = "INSERT", table: str = "account") -> bytes:
    said = values if isinstance(values, str) else json.dumps(values)
    return f"{TIME} | {verb} | {table} | {said}".encode()


def cells(row: bytes) -> list[str | None]:
    """Return what PostgreSQL makes of a row of COPY's text format."""
    text = row.decode()
    assert text.endswith("\n")
    assert "\n" not in text[:-1]
    assert "\r" not in text
    return [
        None if cell == r"\N" else _ESCAPED.sub(lambda m: _MEANT[m[1]], cell)
        for cell in text[:-1].split("\t")
    ]


def told(raw: bytes) -> dict[str, str | None]:
    """Return the cells of a line by the names of their columns."""
    _, _, *values = cells(SHAPE.row(raw))
    return dict(zip([name for name, _ in COLUMNS], values, strict=True))


def row_or_error(raw: bytes) -> bytes | BadLineError:
    try:
        return SHAPE.row(raw)
    except BadLineError as error:
        return error


def refusal(raw: bytes) -> BadLineError:
    with pytest.raises(BadLineError) as caught:
        SHAPE.row(raw)
    assert caught.value.message
    return caught.value


class TestTheTable:
    @pytest.mark.parametrize("verb", ["INSERT", "update", "DeLeTe"])
    def test_a_verb_may_be_in_any_case(self, verb: str) -> None:
        raw = line({"id": "1"}, verb)

        assert table_of(raw, ()) == "account"
        assert cells(SHAPE.row(raw))[0] == verb[0].upper()

    @pytest.mark.parametrize(
        "raw",
        [
            f'{TIME}|UPDATE|account|{{"id":"a"}}',
            f'  {TIME}  |  UPDATE  |  account  |  {{"id":"a"}}  ',
            f'\t{TIME}\t|\tUPDATE\t|\taccount\t|\t{{"id":"a"}}\t',
            f'{TIME} | UPDATE | account | {{"id":"a"}}\r',
        ],
    )
    def test_blanks_around_bars_mean_nothing(self, raw: str) -> None:
        assert table_of(raw.encode(), ()) == "account"
        assert is_whole(raw.encode())
        assert cells(SHAPE.row(raw.encode()))[:3] == ["U", "100000", "a"]

    @pytest.mark.parametrize(
        "moment",
        [
            *("2024-09-10T12:05:30", "2024-09-10T12:05:30.123456789Z"),
            *("2024-09-10T12:05:30+02:00", "2024-09-10T12:05:30-0530"),
        ],
    )
    def test_a_time_may_have_fractions_and_an_offset(self, moment: str) -> None:
        raw = f'{moment} | INSERT | x | {{"id":"a"}}'.encode()

        assert table_of(raw, ()) == "x"
        assert is_whole(raw)

    def test_bars_inside_the_json_are_values(self) -> None:
        raw = line({"id": "a|b", "note": " | DELETE | contact | {}"})

        assert table_of(raw, ()) == "account"
        assert told(raw)["id"] == "a|b"
        assert told(raw)["note"] == " | DELETE | contact | {}"

    @pytest.mark.parametrize("name", sorted(KNOWN))
    @pytest.mark.parametrize(
        "damaged", ["when | INSERT | {} | {{}}", "|UPSERT|{}|", " | | {} | {{\xe4"]
    )
    def test_a_damaged_line_is_still_of_a_known_table(
        self, name: str, damaged: str
    ) -> None:
        raw = damaged.format(name).encode()

        assert table_of(raw, KNOWN) == name
        assert table_of(raw, ()) is None

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"|||",
            b"account",
            b"2024-09-10T12:05:30Z | INSERT | account",
            b"2024-09-10T12:05:30Z | INSERT |  | {}",
            b"2024-09-10T12:05:30Z | UPSERT | other | {}",
            b"10/9/2024 | INSERT | other | {}",
            b"2024-09-10T12:05:30Z | INSERT | \xff | {}",
            b"2024-09-10T12:05:30Z | INSERT | a\0b | {}",
            b"2024-09-10T12:05:30Z | INSERT | a\x1bb | {}",
            "2024-09-10T12:05:30Z | INSERT | a\x85b | {}".encode(),
            b"2024-09-10T12:05:30Z | INSERT | " + b"x" * 1001 + b" | {}",
        ],
    )
    def test_nobody_can_say_whose_such_a_line_is(self, raw: bytes) -> None:
        assert table_of(raw, KNOWN) is None

    @unhurried
    @given(st.binary(max_size=80), st.booleans())
    def test_no_bytes_make_it_fail(self, data: bytes, begun: bool) -> None:
        raw = line("", table="t") + data if begun else data
        name = table_of(raw, KNOWN)

        assert name is None or name in KNOWN or (name.isprintable() or name)
        assert is_whole(raw) in {True, False}


class TestWholeLines:
    @unhurried
    @given(st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3))
    @example({"a": "}"})
    @example({})
    def test_no_beginning_of_a_line_is_a_whole_one(self, values: object) -> None:
        for ascii_only in (True, False):
            said = json.dumps(values, ensure_ascii=ascii_only)
            raw = line(said)

            assert is_whole(raw)
            assert not any(is_whole(raw[:end]) for end in range(len(raw)))

    @pytest.mark.parametrize("said", ["[1]", "1", '"a"', "null", "{} {}", "{},", "NaN"])
    def test_what_is_no_object_is_not_whole(self, said: str) -> None:
        assert not is_whole(line(said))

    def test_blanks_in_a_name_cost_no_time(self) -> None:
        began = time.process_time()
        for part in (b" " * 500_000 + b"x", b"x" + b" " * 500_000 + b"x"):
            raw = TIME.encode() + b" | INSERT | a" + part + b" | {}"
            assert is_whole(raw)
            assert table_of(raw, KNOWN) is None

        assert time.process_time() - began < 2


class TestValues:
    @unhurried
    @given(texts, texts, st.booleans())
    @example("\\N", "\\.", False)
    @example("\\", "\t", False)
    def test_every_text_comes_through(
        self, key: str, note: str, ascii_only: bool
    ) -> None:
        raw = line(json.dumps({"id": key, "note": note}, ensure_ascii=ascii_only))

        assert told(raw)["id"] == key
        assert told(raw)["note"] == note

    @pytest.mark.parametrize(
        "number",
        [
            *(
                "0",
                "-0",
                "-0.0",
                "1e400",
                "1E-7",
                "12345678901234567890123456789012345",
            ),
            *("0.10", "1.0", "99999999999999999999999999999999999.999", "9" * 5000),
        ],
    )
    def test_a_number_keeps_its_digits(self, number: str) -> None:
        raw = line(f'{{"id":"a","price":{number},"note":{number}}}')

        assert told(raw)["price"] == told(raw)["note"] == number

    def test_booleans_and_null_are_what_postgresql_calls_them(self) -> None:
        raw = line('{"id":"a","ok":true,"note":false,"score":null}')

        found = told(raw)
        assert (found["ok"], found["note"], found["score"]) == ("true", "false", None)

    def test_an_empty_text_is_null_where_the_column_is_no_text(self) -> None:
        found = told(
            line(dict.fromkeys(["note", "score", "ok", "at"], "") | {"id": ""})
        )

        assert (found["id"], found["note"]) == ("", "")
        assert [found[name] for name in ("score", "ok", "at")] == [None] * 3

    @unhurried
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | texts,
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
            ),
            max_leaves=8,
        ).filter(lambda value: isinstance(value, dict | list))
    )
    def test_what_is_nested_is_json_again(self, value: object) -> None:
        said = told(line({"id": "a", "note": value}))["note"]

        assert said is not None
        assert json.loads(said) == value

    @pytest.mark.parametrize("number", ["-0", "0.10", "1e400", "9" * 5000])
    def test_a_nested_number_keeps_its_digits(self, number: str) -> None:
        found = told(line(f'{{"id":"a","note":[{number},{{"x":{number}}}]}}'))

        assert found["note"] == f'[{number},{{"x":{number}}}]'

    @pytest.mark.parametrize("depth", [300, 900, 5000, 200_000])
    @pytest.mark.parametrize(("opened", "closed"), ["[]", ('{"a":', "}")])
    def test_what_is_nested_too_deeply_is_a_bad_row(
        self, opened: str, closed: str, depth: int
    ) -> None:
        raw = line(f'{{"id":"a","note":{opened * depth}1{closed * depth}}}')

        found = row_or_error(raw)
        if isinstance(found, BadLineError):
            assert found.code == "bad_row"
            assert "deeply" in found.message
        else:
            assert cells(found)[3] == f"{opened * depth}1{closed * depth}"

    def test_a_name_in_another_case_is_that_column(self) -> None:
        assert told(line({"ID": "a", "Note": "b"}))["note"] == "b"

    def test_of_columns_that_differ_in_case_the_exact_one_is_meant(self) -> None:
        twins = tuple(Attribute(name, "string") for name in ("id", "a", "A"))
        shape = LineShape(Entity("t", twins, key=("id",)), (), {0, 1, 2})

        row = cells(shape.row(line({"id": "1", "A": "big", "a": "small"})))
        assert row[2:] == ["1", "small", "big"]

    @unhurried
    @given(st.sets(st.sampled_from([name for name, _ in COLUMNS[1:]])))
    def test_an_update_tells_which_columns_it_has(self, names: set[str]) -> None:
        values: dict[str, Any] = dict.fromkeys(names) | {"id": "a"}

        for shuffled in (values, dict(reversed(values.items()))):
            verb, bits, *_ = cells(SHAPE.row(line(shuffled, "UPDATE")))
            assert verb == "U"
            assert bits == "".join(str(int(name in values)) for name, _ in COLUMNS)

    @pytest.mark.parametrize("verb", ["INSERT", "DELETE"])
    def test_others_than_updates_tell_all_columns(self, verb: str) -> None:
        assert cells(SHAPE.row(line({"id": "a"}, verb)))[1] is None

    def test_more_shapes_than_are_kept_are_told_right(self) -> None:
        names = tuple(f"c{number}" for number in range(1200))
        attributes = tuple(Attribute(name, "string") for name in ("id", *names))
        shape = LineShape(Entity("t", attributes, key=("id",)), (), range(1201))

        for number, name in enumerate(names, 1):
            bits = cells(shape.row(line({"id": "a", name: "x"}, "UPDATE")))[1]
            assert bits is not None
            assert [at for at, bit in enumerate(bits) if bit == "1"] == [0, number]


class TestBadLines:
    @pytest.mark.parametrize(
        ("raw", "column"),
        [
            (line({"note": "a"}), "id"),
            (line({"id": None}), "id"),
            (line({"id": "a", "nothing": 1}), "nothing"),
            (line('{"id":"a","ID":"b"}'), "id"),
            (line('{"id":"a","id":"b"}'), ""),
            (line('{"id":"a","note":{"x":1,"x":2}}'), ""),
            (line('{"id":"a"'), ""),
            (line('{"id":"a"} x'), ""),
            (line('{"id":"a","price":NaN}'), ""),
            (line('{"id":"a","price":-Infinity}'), ""),
            (line('{"id":"a","price":01}'), ""),
            (line('{"id":"a\tb"}'), ""),
            (line('["id"]'), ""),
            (line(""), ""),
            (line({"id": "a"}, "UPSERT"), ""),
            (b"when | INSERT | account | {}", ""),
            (b"", ""),
        ],
    )
    def test_it_is_refused_with_the_column_at_fault(
        self, raw: bytes, column: str
    ) -> None:
        error = refusal(raw)

        assert (error.code, error.column) == ("bad_row", column)

    @pytest.mark.parametrize(
        "raw",
        [
            line('{"id":"a","note":"') + b'\xff"}',
            line(r'{"id":"a","note":"\ud800"}'),
            line(r'{"id":"\udfff"}'),
            line(r'{"id":"a","note":["\udc80"]}'),
        ],
    )
    def test_half_characters_are_a_bad_encoding(self, raw: bytes) -> None:
        assert refusal(raw).code == "bad_encoding"

    def test_two_halves_are_one_character(self) -> None:
        raw = line(r'{"id":"\ud83d\ude00"}')

        assert told(raw)["id"] == "\U0001f600"

    @pytest.mark.parametrize(
        "word",
        ["now", "today", "infinity", "epoch", "allballs", "2024-01-01 now", "\uff4eow"],
    )
    def test_no_word_is_a_time(self, word: str) -> None:
        error = refusal(line({"id": "a", "at": word}))

        assert (error.code, error.column) == ("bad_value", "at")

    @unhurried
    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_bytes_are_a_row_or_a_bad_line(self, begin: bytes, end: bytes) -> None:
        for raw in (begin, line("") + end, line('{"id":"') + end + b'"}'):
            found = row_or_error(raw)
            if isinstance(found, BadLineError):
                assert found.code in {"bad_row", "bad_value", "bad_encoding"}
            else:
                assert len(cells(found)) == 2 + len(COLUMNS)

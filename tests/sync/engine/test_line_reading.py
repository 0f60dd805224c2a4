"""Lines into the staging table: every one accounted for, bad ones by their numbers."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, sql

from sync.engine import line_reading
from sync.engine.bad_rows import MAX_RAW, BadRows
from sync.engine.control import Control
from sync.engine.line_reading import LineReader
from sync.engine.session import prepare_session
from sync.errors import Cancelled, RowError, SourceError
from sync.model_json import Attribute, Entity
from sync.sources.base import Source, TableFile
from sync.target.line_staging import VERB, LineStaging
from sync.target.staging import RELATION
from sync.target.tables import Column
from sync.target.types import sql_type

Raw = Cursor[tuple[object, ...]]

LOG, TABLE = "a.log", 7
ENTITY = Entity(
    "t",
    (
        *(Attribute("id", "string"), Attribute("name", "string")),
        *(Attribute("score", "int64"), Attribute("at", "dateTime")),
    ),
    key=("id",),
)
COLUMNS = [Column(a.name, a.name, sql_type(a.data_type)) for a in ENTITY.attributes]

# Values of a line, and what is wrong with it: code, column, words of the message.
BAD: dict[str, tuple[str, tuple[str, str, str]]] = {
    "no json": ('{"id": "x"', ("bad_row", "", "It is no JSON")),
    "no key": ('{"name": "x"}', ("bad_row", "id", "It has no id")),
    "no column": ('{"id": "x", "other": 1}', ("bad_row", "other", "no column")),
    "no number": ('{"id": "x", "score": "abc"}', ("bad_value", "score", "'abc' is no")),
    "too large": ('{"id": "x", "score": 1e30}', ("bad_value", "score", "'1e30' is no")),
    "a word": ('{"id": "x", "at": "now"}', ("bad_value", "at", "'now' is no time")),
    "no day": (
        '{"id": "x", "at": "2024-02-31"}',
        ("bad_value", "at", "is no dateTime"),
    ),
    "half": (r'{"id": "\ud800"}', ("bad_encoding", "", "half a character")),
    "zero": (r'{"id": "a\u0000"}', ("bad_encoding", "", "cannot be stored")),
    "tabs": (
        *(r'{"id": "\t\\", "name": "\t", "score": "c1\tline 9"}',),
        ("bad_value", "score", "is no int64"),
    ),
}


class Files:
    """A source that has spool files in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.opened = 0

    @contextmanager
    def open(self, file: TableFile) -> Iterator[BinaryIO]:
        self.opened += 1
        yield io.BytesIO(self.data)


class Watching(Control):
    """Counts the bytes that it is told of, and may cancel after some."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self.beats = 0
        self.end = float("inf")

    def advance(self, table_id: int, size: int) -> None:
        assert table_id == TABLE
        self.passed += size
        self.beats += 1
        if self.passed > self.end:
            self.cancel()


@dataclass
class Reading:
    """A staging table and what reads lines into it."""

    cursor: Raw
    staging: LineStaging
    control: Watching = field(default_factory=Watching)
    bad_rows: BadRows = field(default_factory=BadRows)

    def copy(self, lines: list[tuple[int, bytes]]) -> int:
        self.files = Files(b"".join(b"%d %s\n" % item for item in lines))
        reader = LineReader(
            self.staging,
            cast("Source", self.files),
            ENTITY,
            self.control,
            TABLE,
            self.bad_rows,
            LOG,
        )
        return reader.copy(TableFile("key/0-9/0", len(self.files.data), 0, 9))

    def keys(self) -> list[str]:
        query = sql.SQL("SELECT c0 FROM {} ORDER BY ctid").format(RELATION)
        return [str(key) for (key,) in self.cursor.execute(query).fetchall()]

    def found(self) -> list[tuple[int, str, str]]:
        return [(row.line, row.code, row.column) for row in self.bad_rows.rows]


@pytest.fixture
def reading(db: None) -> Iterator[Reading]:
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        prepare_session(raw)
        staging = LineStaging(raw, COLUMNS, [0], partitioned=False)
        staging.create()
        yield Reading(raw, staging)


def line(said: str | dict[str, Any], verb: str = "INSERT") -> bytes:
    text = said if isinstance(said, str) else json.dumps(said)
    return f"2024-09-10T12:05:30Z | {verb} | t | {text}".encode()


def good(number: int) -> tuple[int, bytes]:
    return number, line({"id": f"k{number}", "score": number})


class TestGoodLines:
    @pytest.mark.parametrize("block", [1, 100, 65536])
    def test_all_are_copied_in_their_order(
        self, reading: Reading, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr(line_reading, "BLOCK_BYTES", block)
        lines = [good(number) for number in range(1, 500, 3)]

        assert reading.copy(lines) == len(lines)
        assert reading.keys() == [f"k{number}" for number, _ in lines]
        assert reading.control.passed == sum(len(raw) for _, raw in lines)
        assert reading.files.opened == 1

    def test_an_empty_file_has_no_lines(self, reading: Reading) -> None:
        assert reading.copy([]) == 0
        assert reading.keys() == []

    def test_verbs_stay_with_their_lines(self, reading: Reading) -> None:
        verbs = ["insert", "UPDATE", "Delete"]
        reading.copy([(n, line({"id": f"{n}"}, verb)) for n, verb in enumerate(verbs)])
        query = sql.SQL("SELECT c0, {} FROM {}").format(VERB, RELATION)

        found = reading.cursor.execute(query).fetchall()
        assert found == [("0", "I"), ("1", "U"), ("2", "D")]

    def test_a_load_stops_when_it_is_cancelled(
        self, reading: Reading, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(line_reading, "BLOCK_BYTES", 500)
        reading.control.end = 1000
        with pytest.raises(Cancelled):
            reading.copy([good(number) for number in range(200)])

        assert reading.control.passed < 2000

    def test_a_cut_spool_file_is_no_shorter_one(self, reading: Reading) -> None:
        reading.copy([good(1)])
        files = Files(b"1 " + good(1)[1] + b"\n2 " + good(2)[1])
        with pytest.raises(SourceError) as caught:
            LineReader(
                *(reading.staging, cast("Source", files), ENTITY, Control(), TABLE),
                *(BadRows(), LOG),
            ).copy(TableFile("x", 1))

        assert caught.value.code == "file_changed"


class TestBadLines:
    @pytest.mark.parametrize("name", BAD)
    @pytest.mark.parametrize("room", [None, 5])
    def test_it_is_raised_or_set_aside_with_file_line_and_column(
        self, reading: Reading, name: str, room: int | None
    ) -> None:
        said, (code, column, words) = BAD[name]
        lines = [good(1), good(2), (17, line(said)), good(30)]
        reading.bad_rows.room = room
        if room is None:
            with pytest.raises(RowError) as caught:
                reading.copy(lines)
            error = caught.value
            place = f"a.log, line 17, column {column}" if column else "a.log, line 17"
            assert (error.code, error.where) == (code, place)
            assert words in error.message
            return

        assert reading.copy(lines) == 4
        assert reading.keys() == ["k1", "k2", "k30"]
        (row,) = reading.bad_rows.rows
        assert (row.path, row.line, row.code, row.column) == (LOG, 17, code, column)
        assert row.raw == line(said)
        assert words in row.message

    def test_what_was_told_of_progress_is_taken_back_once(
        self, reading: Reading, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(line_reading, "BLOCK_BYTES", 200)
        reading.bad_rows.room = 1
        lines = [*(good(n) for n in range(100)), (100, line(BAD["no json"][0]))]
        reading.copy(lines)

        assert reading.control.passed == sum(len(raw) for _, raw in lines)

    @settings(
        deadline=None,
        max_examples=60,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.lists(st.sampled_from(["good", "good", *BAD]), max_size=25),
        st.integers(1, 9),
        st.randoms(use_true_random=False),
    )
    def test_any_mixture_is_sorted_into_good_and_bad(
        self,
        reading: Reading,
        names: list[str],
        piece: int,
        dice: random.Random,
    ) -> None:
        numbers = sorted(dice.sample(range(1, 10_000), len(names)))
        lines = [
            good(n) if name == "good" else (n, line(BAD[name][0]))
            for n, name in zip(numbers, names, strict=True)
        ]
        reading.cursor.execute(sql.SQL("TRUNCATE {}").format(RELATION))
        reading.bad_rows = BadRows(100)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(line_reading, "PIECE_LINES", piece)
            assert reading.copy(lines) == len(lines)

        expected = dict(zip(numbers, names, strict=True))
        assert reading.keys() == [f"k{n}" for n in numbers if expected[n] == "good"]
        assert sorted(reading.found()) == [
            (n, *BAD[name][1][:2]) for n, name in expected.items() if name != "good"
        ]

    def test_one_more_than_there_is_room_for_stops_the_load(
        self, reading: Reading
    ) -> None:
        reading.bad_rows.room = 1
        bad = line(BAD["no number"][0])
        with pytest.raises(RowError) as caught:
            reading.copy([(1, bad), good(2), (3, bad)])

        assert caught.value.code == "too_many_bad_rows"
        assert caught.value.where == "a.log, line 3, column score"

    def test_one_that_is_too_large_to_be_kept_stops_the_load(
        self, reading: Reading
    ) -> None:
        reading.bad_rows.room = 5
        large = line({"id": "x", "name": "y" * MAX_RAW, "score": "z"})
        with pytest.raises(RowError) as caught:
            reading.copy([good(1), (2, large)])

        assert caught.value.where == "a.log, line 2, column score"

    def test_a_long_value_is_shown_in_part(self, reading: Reading) -> None:
        reading.bad_rows.room = 1
        reading.copy([(1, line({"id": "x", "at": "9" * 5000}))])

        (row,) = reading.bad_rows.rows
        assert row.message.startswith("'" + "9" * 100 + "'… is no dateTime")

    def test_lines_that_were_set_aside_before_stay_there(
        self, reading: Reading
    ) -> None:
        reading.bad_rows = BadRows(5, aside={(LOG, 2), (LOG, 9), ("b.log", 1)})
        lines = [good(1), (2, line(BAD["no json"][0])), good(3), good(9)]

        assert reading.copy(lines) == 4
        assert reading.keys() == ["k1", "k3"]
        assert (reading.bad_rows.left, reading.found()) == (2, [])

    def test_a_key_that_is_an_empty_text_in_a_column_of_another_type_is_none(
        self, reading: Reading
    ) -> None:
        entity = Entity("t", (Attribute("id", "int64"),), key=("id",))
        reading.staging.drop()
        staging = LineStaging(
            reading.cursor, [Column("id", "id", "bigint")], [0], partitioned=False
        )
        staging.create()
        bad_rows = BadRows(5)
        files = Files(b"4 " + line('{"id": ""}') + b"\n")
        reader = LineReader(
            *(staging, cast("Source", files), entity, Control(), TABLE, bad_rows, LOG)
        )

        assert reader.copy(TableFile("x", 1)) == 1
        (row,) = bad_rows.rows
        assert (row.line, row.code, row.column) == (4, "bad_row", "id")

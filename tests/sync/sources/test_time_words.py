"""Words that PostgreSQL takes for the time of the load: none escapes the watch."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, sql

from sync.engine.session import prepare_session
from sync.sources.careful_rows import first_time_word
from sync.sources.time_words import WORDS, WordWatch, is_word, may_hold_word
from tests.slow_csv import slow_value, slow_words
from tests.sync.sources.places import unhurried
from tests.sync.sources.test_csv_rows import cut

# With more letters and digits no text is a time to PostgreSQL; a test below asks it.
MOST_LETTERS = 153
TYPES = ("timestamp with time zone", "date", "time")
with_database = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)


def suspicious(*blocks: bytes) -> bool:
    watch = WordWatch()
    for block in blocks:
        watch.feed(block)
    return watch.suspicious


def in_row(cell: bytes) -> bytes:
    return b'1,"some text",' + cell + b",True\n"


@pytest.fixture
def cursor(db: None) -> Iterator[Cursor[tuple[object, ...]]]:
    """A cursor in a load's session."""
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        prepare_session(raw)
        yield raw


def times_of(cursor: Cursor[tuple[object, ...]], text: str) -> list[str]:
    """Return the types of which PostgreSQL reads the text as a value."""
    found = []
    for name in TYPES:
        query = sql.SQL("SELECT %s::{}").format(sql.SQL(name))
        try:
            with cursor.connection.transaction():
                # As text: a client's date cannot be infinite.
                cursor.execute(sql.SQL("SELECT ({})::text").format(query), [text])
        except psycopg.DataError:
            continue
        found.append(name)
    return found


WHOLE = [
    *WORDS,
    *(b"NOW", b"Today", b"-infinity", b"+Infinity", b"- infinity", b" now ", b"\tnow"),
    *(b"today 10:00", b"10:00 tomorrow", b"today10:00", b"10:00today", b"today z"),
    *(b"yesterday 4:00 PM", b"today allballs", b"now bc", b"today at 10:00"),
    *(b"today 10:00 America/New_York", b"today EST5EDT", b"today at at at at on"),
    *(b"monday today", b"today 10:00 EST DST", b"!now!", b"now...", b"(today)"),
    *(b"!" * 300 + b"now", b"today" + b" " * 500, b"now" + b"." * 5000),
]
HIDDEN = [
    *(b'"now"', b'n"ow"', b'"n"ow', b'n""ow', b'"no"w', b'"t"o"d"a"y'),
    *(b'"z""today"', b'"z""to"day', b'n""o""w', b'""now""'),
]
ONCE_KNOWN = """
ad ago allballs am at bc century current d day dec decade dow doy dst early epoch
friday h hour infinity invalid isodow isoyear j jan jd julian late m may microsecond
millennium mm mon monday month now on pm quarter s second t timezone today tomorrow
undefined us week y year yesterday z zulu noon midnight never forever eternity
"""
HARMLESS = [
    *(b"2026-05-25T16:21:09Z", b"", b"known", b"snow", b"nowhere", b"todays"),
    *(b"epochs", b"infinityx", b'"no-w"', b'"no w"'),
]


class TestCells:
    @pytest.mark.parametrize("cell", WHOLE)
    def test_a_word_is_found_with_all_that_may_stand_around_it(
        self, cell: bytes
    ) -> None:
        assert is_word(cell)
        assert may_hold_word(in_row(cell))
        assert suspicious(in_row(cell))

    @pytest.mark.parametrize("cell", HIDDEN)
    def test_a_word_is_found_behind_quotes(self, cell: bytes) -> None:
        """COPY drops quotes in the middle of a cell."""
        assert is_word(cell)
        assert may_hold_word(in_row(cell))
        assert suspicious(in_row(cell))

    @pytest.mark.parametrize("cell", HARMLESS)
    def test_other_cells_are_none(self, cell: bytes) -> None:
        assert not is_word(cell)
        assert not suspicious(in_row(cell))

    @pytest.mark.parametrize(
        "cell", [b'"no""w"', b'"x""y"', b'x"now"', b'n""""ow', b'n"""o"w']
    )
    def test_a_doubled_quote_parts_words_and_a_single_one_does_not(
        self, cell: bytes
    ) -> None:
        assert not is_word(cell)


class TestWatch:
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 255, 256, 257, 600])
    @pytest.mark.parametrize("cell", [*WHOLE, *HIDDEN])
    def test_the_borders_of_blocks_hide_no_word(self, cell: bytes, size: int) -> None:
        assert suspicious(*cut(in_row(b"x") * 30 + in_row(cell), size))
        assert suspicious(*cut(in_row(cell) + in_row(b"x") * 30, size))

    @pytest.mark.parametrize(
        "text",
        [
            b'"Please call me now"',
            b'"We will deliver your order today, as it was agreed"',
            b'"The customer has called and said ""hello there"", now he waits for us"',
            b'"know how; snow; nowadays"',
            b"now " * 200,
        ],
    )
    @pytest.mark.parametrize("size", [50, 1000, 65_536])
    def test_a_word_in_plain_text_raises_no_suspicion(
        self, text: bytes, size: int
    ) -> None:
        assert not suspicious(*cut(in_row(text) * 100, size))

    def test_it_may_be_asked_at_any_time(self) -> None:
        watch = WordWatch()
        said = []
        for block in (b"1,no", b"w", b"here,\n", b"2,today", b",\n"):
            watch.feed(block)
            said.append(watch.suspicious)

        assert said == [False, True, False, True, True]

    def test_nothing_is_not_suspicious(self) -> None:
        assert not suspicious()
        assert not suspicious(b"", b"")


words = st.sampled_from([word.decode() for word in WORDS])
around = st.text(st.sampled_from(" \t!.,:;-+/_()'10:azAZ\u00e9"), max_size=6)
beside = st.sampled_from(
    [
        *("", "10:00", "4:00 PM", "2026-05-25", "EST", "z", "America/New_York", "at"),
        *("foo", "call me", "DST", "monday", "may", "BC", "12", "Singapore", "on at"),
    ]
)


@st.composite
def near_times(draw: st.DrawFn) -> str:
    """Draw a word as a person or a machine may write it."""
    word = draw(words)
    cased = draw(st.sampled_from([word, word.upper(), word.title()]))
    parts = [draw(beside), draw(around), cased, draw(around), draw(beside)]
    if draw(st.booleans()):
        parts.reverse()
    return draw(st.sampled_from(["", " "])).join(parts)


class TestPostgreSQL:
    @with_database
    @given(near_times())
    @example("!" * 300 + "now")
    @example('z"today')
    @example("today at at at 10:00 America/New_York")
    def test_no_time_of_the_load_escapes(
        self, cursor: Cursor[tuple[object, ...]], text: str
    ) -> None:
        if not times_of(cursor, text):
            return
        quoted = b'"' + text.replace('"', '""').encode() + b'"'
        # What the parser sees: its words are runs of letters.
        if set(slow_words(text.encode())).isdisjoint(WORDS):
            return

        assert is_word(quoted)
        assert first_time_word([in_row(quoted)], {2})
        assert suspicious(in_row(quoted))

    def test_there_are_no_other_words(self, cursor: Cursor[tuple[object, ...]]) -> None:
        """Of all that PostgreSQL knows in times, and of those that it once knew."""
        signed = [sign + word for word in ONCE_KNOWN.split() for sign in ("", "-", "+")]

        alone = {text for text in signed if times_of(cursor, text)}

        assert {text.strip("+-") for text in alone} == {w.decode() for w in WORDS}

    @pytest.mark.parametrize("text", ["today call me", "now EST PST", "today foo bar"])
    def test_it_knows_no_two_foreign_words(
        self, cursor: Cursor[tuple[object, ...]], text: str
    ) -> None:
        """On this the watch relies: one may be a time zone, of any name."""
        assert times_of(cursor, text) == []

    def test_it_knows_no_two_zones(self, cursor: Cursor[tuple[object, ...]]) -> None:
        for word in WORDS:
            for beside in ("EST Singapore", "10:00 EST Egypt", "Zulu GMT"):
                assert times_of(cursor, f"{word.decode()} {beside}") == []

    def test_it_reads_no_time_of_too_many_letters(
        self, cursor: Cursor[tuple[object, ...]]
    ) -> None:
        assert times_of(cursor, "today" + " at" * 20)
        assert times_of(cursor, "today" + " at" * 75) == []


pieces = st.sampled_from(
    [
        *(b"now", b"to", b"day", b"today", b"infinity", b"n", b"o", b"w", b"EST"),
        *(b'"', b'""', b",", b"\n", b"\r\n", b" ", b"!", b"10:00", b"at", b"call"),
        *(b'"' * 11, b'"' * 12, b" " * 300, b"x" * 200),
    ]
)


class TestAnyBytes:
    @unhurried
    @given(st.lists(pieces, max_size=14).map(b"".join), st.integers(1, 700))
    def test_blocks_of_any_size_hide_no_time(self, data: bytes, size: int) -> None:
        """A cell of words of times alone, and at most one that may be a zone."""
        times = [
            value
            for cell in re.split(rb"[\r\n]+", data)
            if (value := slow_value(cell)) and is_time_like(value)
        ]
        if not times or data.count(b'"') % 2 or b"," in data:
            return

        assert first_time_word([data], range(50))
        assert suspicious(*cut(data, size))

    def test_a_long_name_before_a_word_makes_it_no_time(self) -> None:
        assert not suspicious(b"x" * MOST_LETTERS + b" now")

    @unhurried
    @given(st.lists(pieces, max_size=14).map(b"".join))
    def test_no_word_is_lost_before_cells_are_looked_at(self, data: bytes) -> None:
        if not set(slow_words(slow_value(data))).isdisjoint(WORDS):
            assert may_hold_word(data)
            assert is_word(data)


def is_time_like(value: bytes) -> bool:
    if sum(map(bytes.isalnum, (bytes([sign]) for sign in value))) > MOST_LETTERS:
        return False  # PostgreSQL refuses it, whatever it says
    found = slow_words(value)
    others = [word for word in found if word not in {*WORDS, b"at"}]
    return (
        len(value.split()) < 20 and len(others) <= 1 and not {*WORDS}.isdisjoint(found)
    )

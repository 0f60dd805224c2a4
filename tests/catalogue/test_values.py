"""What the cells of each type become: cases 16 to 18, and dates of every form."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest
from django.db import connection

from tests.catalogue.steps import FILE, LF, assert_refused, outcomes
from tests.sync.conftest import Export

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
AFTERNOON = datetime(2026, 6, 25, 16, 21, 12, tzinfo=UTC)

SINK_FORMS = {
    "6/28/2026 4:34:35 PM": datetime(2026, 6, 28, 16, 34, 35, tzinfo=UTC),
    "6/28/2026 4:34:35 AM": datetime(2026, 6, 28, 4, 34, 35, tzinfo=UTC),
    "12/1/2026 11:59:59 PM": datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC),
    "2/1/2026 12:00:00 AM": datetime(2026, 2, 1, 0, 0, 0, tzinfo=UTC),
    "2/1/2026 12:00:00 PM": datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC),
    "2/1/2026 12:59:59 PM": datetime(2026, 2, 1, 12, 59, 59, tzinfo=UTC),
    "2/1/2026 12:59:59 AM": datetime(2026, 2, 1, 0, 59, 59, tzinfo=UTC),
    "2/29/2024 1:02:03 am": datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
    "1/1/2020 0:00:00 PM": NOON,
    "1/1/2020 0:00:00 AM": datetime(2020, 1, 1, tzinfo=UTC),
    # An hour over 12 ignores AM and PM.
    "1/1/2020 13:00:00 PM": datetime(2020, 1, 1, 13, tzinfo=UTC),
    "1/1/2020 13:00:00 AM": datetime(2020, 1, 1, 13, tzinfo=UTC),
    "1/1/2020 23:59:59 PM": datetime(2020, 1, 1, 23, 59, 59, tzinfo=UTC),
}

ISO_FORMS = {
    "2026-06-25T16:21:12Z": AFTERNOON,
    "2026-06-25T16:21:12.0000000Z": AFTERNOON,
    "2026-06-25T16:21:12": AFTERNOON,
    "2026-06-25T16:21:12.0000000": AFTERNOON,
    "2026-06-25T16:21:12+00:00": AFTERNOON,
    "2026-06-25T16:21:12.0000000+00:00": AFTERNOON,
    "2026-06-25T18:21:12.0000000+02:00": AFTERNOON,
    "2026-06-25T10:51:12-05:30": AFTERNOON,
    "2026-06-25T00:00:00.0000000": datetime(2026, 6, 25, tzinfo=UTC),
    "2026-06-25T16:21:12.1234564Z": AFTERNOON.replace(microsecond=123456),
    "2026-06-25T16:21:12.1234566Z": AFTERNOON.replace(microsecond=123457),
    "2026-06-25T16:21:12.9999999Z": AFTERNOON.replace(second=13),
    "1900-01-01T00:00:00.0000000Z": datetime(1900, 1, 1, tzinfo=UTC),
    "1900-01-01T00:00:00.0000000": datetime(1900, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00.0000000": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00.0000000Z": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-03T00:00:00.0000000": datetime(1, 1, 3, tzinfo=UTC),
    "9999-12-31T00:00:00Z": datetime(9999, 12, 31, tzinfo=UTC),
    "9999-12-31T23:59:59.9999990Z": LAST,
    "9999-12-31T23:59:59.9999999": LAST,
    "9999-12-31T23:59:59.9999999Z": LAST,
    "9999-12-31T23:59:59.9999999+00:00": LAST,
    "9999-12-31T23:00:00.0000000-02:00": LAST,
}

WORDS = (
    "now",
    "today",
    "tomorrow",
    "yesterday",
    "epoch",
    "infinity",
    "-infinity",
    "allballs",
)
CLOCK_WORDS = (
    *WORDS,
    *(word.upper() for word in WORDS),
    *(word.title() for word in WORDS),
    *(f"  {word} " for word in WORDS),
    "today 10:00",
    "Tomorrow 10:00:00",
    "yesterday 4:34:35 PM",
    "2026-06-25 allballs",
    "today allballs",
)


def quoted(*texts: str) -> list[str]:
    return [f'"{text}"' for text in texts]


@pytest.mark.parametrize("data_type", ["dateTime", "dateTimeOffset"])
def test_case_16_every_form_of_a_date_is_read(export: Export, data_type: str) -> None:
    forms = SINK_FORMS | ISO_FORMS
    expected = {f'"{text}"': moment for text, moment in forms.items()}
    assert outcomes(export, data_type, expected) == expected


def test_case_16_the_forms_of_the_sink_columns_are_read_there(export: Export) -> None:
    for number, text in enumerate(SINK_FORMS, 1):
        export.upsert("account", number, sink=text, name=text)
    export.close_folder()

    export.load("account")

    rows = export.rows("account", "name", "sinkmodifiedon", "sinkcreatedon")
    assert rows == [(text, at, at) for text, at in SINK_FORMS.items()]


def test_a_date_half_way_between_two_microseconds_is_rounded_as_postgresql_does(
    export: Export,
) -> None:
    texts = [f"2026-06-25T16:21:12.000{n:03}5Z" for n in (0, 1, 2, 3, 4, 5, 499, 999)]
    with connection.cursor() as cursor:
        expected = {}
        for text in texts:
            cursor.execute("SELECT %s::timestamptz", [text])
            expected[f'"{text}"'] = cursor.fetchone()[0]
    assert outcomes(export, "dateTime", expected) == expected


def test_a_date_without_fraction_or_with_a_few_digits_is_read(export: Export) -> None:
    expected = {
        f'"2026-06-25T16:21:12.{"5" * digits}Z"': AFTERNOON.replace(
            microsecond=int(("5" * digits).ljust(6, "0"))
        )
        for digits in range(1, 7)
    }
    assert outcomes(export, "dateTime", expected) == expected


@pytest.mark.parametrize("data_type", ["dateTime", "dateTimeOffset"])
def test_words_for_moments_of_the_clock_are_no_dates(
    export: Export, data_type: str
) -> None:
    cells = quoted(*CLOCK_WORDS)
    assert outcomes(export, data_type, cells) == dict.fromkeys(cells, "bad_value")


@pytest.mark.parametrize("data_type", ["date", "time"])
def test_words_for_moments_of_the_clock_are_no_days_and_no_times(
    export: Export, data_type: str
) -> None:
    cells = quoted(*WORDS)
    assert outcomes(export, data_type, cells) == dict.fromkeys(cells, "bad_value")


def test_a_word_without_quotes_is_no_date_either(export: Export) -> None:
    assert outcomes(export, "dateTime", WORDS) == dict.fromkeys(WORDS, "bad_value")


def test_a_word_in_a_sink_column_is_refused(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("account", 2, name="b", sink="today")
    export.close_folder()

    export.sync()

    assert_refused(
        export, "account", "bad_value", at=2, column="Sink(Created|Modified)On"
    )
    assert export.rows("account", "name") == []


def test_the_same_words_in_a_text_are_data(export: Export) -> None:
    expected = {f'"{word}"': word for word in CLOCK_WORDS}
    assert outcomes(export, "string", expected) == expected


def test_what_is_no_date_is_refused(export: Export) -> None:
    cells = quoted(
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "13/1/2026 1:00:00 AM",
        "2/30/2026 1:00:00 AM",
        "2026-06-25T25:00:00Z",
        "1/1/2020 25:00:00 PM",
        "soon",
    )
    assert outcomes(export, "dateTime", cells) == dict.fromkeys(cells, "bad_value")


def test_days_and_times_are_read(export: Export) -> None:
    day = {'"2026-06-25"': date(2026, 6, 25), '"0001-01-01"': date(1, 1, 1)}
    assert outcomes(export, "date", day) == day


def test_times_are_read(export: Export) -> None:
    times = {'"16:21:12"': time(16, 21, 12), '"00:00:00"': time(0)}
    assert outcomes(export, "time", times) == times


def test_case_17_every_spelling_of_a_boolean_is_read(export: Export) -> None:
    expected = {
        **dict.fromkeys(("True", "true", "TRUE", "1", '"True"', '"1"'), True),
        **dict.fromkeys(("False", "false", "FALSE", "0", '"false"'), False),
        **dict.fromkeys(("", '""'), None),
    }
    assert outcomes(export, "boolean", expected) == expected


def test_no_other_word_is_a_boolean(export: Export) -> None:
    cells = ["maybe", "2", "-1", "truth", "null", "10"]
    assert outcomes(export, "boolean", cells) == dict.fromkeys(cells, "bad_value")


@pytest.mark.parametrize("word", ["True", "true", "TRUE", "1", '"True"'])
def test_every_spelling_of_true_deletes(export: Export, word: str) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.load("account")
    text = f"00000000-0000-0000-0000-000000000001,,,,,,,{word}\n"
    export.raw("account", "1.csv", text.encode())
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("b",)]


@pytest.mark.parametrize("word", ["False", "false", "0", "", '""'])
def test_every_spelling_of_false_keeps_the_row(export: Export, word: str) -> None:
    for number in (1, 2):
        text = f'00000000-0000-0000-0000-00000000000{number},,,"a",1.5,1,,{word}\n'
        export.table("account")
        export.raw("account", FILE, text.encode())
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",), ("a",)]


def test_a_row_that_is_neither_deleted_nor_not_is_refused(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.write("account", {"Id": "00000000-0000-0000-0000-000000000002"})
    text = b"00000000-0000-0000-0000-000000000003,,,,,,,maybe" + LF
    export.raw("account", FILE, text)
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_value", at=3, column="IsDelete")

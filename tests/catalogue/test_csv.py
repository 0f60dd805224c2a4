"""What the files may look like: cases 14, 15 and 29, and line ends of all kinds."""

from __future__ import annotations

import pytest

from sync.engine.quarantine import reprocess
from tests.catalogue.steps import (
    FILE,
    LF,
    assert_read_or_refused,
    assert_refused,
    configure,
    counted,
    line,
    outcomes,
    quarantined,
)
from tests.sync.conftest import Export

TEXTS = {
    "newline": "a\nb",
    "quote": 'say "hi"',
    "only quotes": '""',
    "comma": "a,b",
    "trailing blank": "trailing ",
    "leading blank": "  leading",
    "tab": "\ta\tb\t",
    "emoji": "\N{GRINNING FACE}\N{FAMILY}\N{VARIATION SELECTOR-16}",
    "right to left": "\u200f\u05e9\u05dc\u05d5\u05dd\u200e abc",
    "backslash before a quote": 'a\\"b',
    "backslash at the end": "a\\",
    "backslash alone": "\\",
    "escape sequences": "\\n\\t\\x41\\\\",
    "memo of a megabyte": "x" * 1_048_576,
    "combining": "e\u0301 \u00e9",
    "controls": "\x01\x1b[31m\x7f\x85\u2028",
    "last code point": "\U0010ffff",
    "bom within": "a\ufeffb",
}

A, B, C = line(1, '"a"'), line(2, '"b"'), line(3, '"c"')
ABC = [("a",), ("b",), ("c",)]


def put(export: Export, content: bytes) -> None:
    """Write account's file of a folder and close the folder."""
    export.table("account", ["name"])
    export.raw("account", FILE, content)
    export.close_folder()


def load(export: Export, content: bytes) -> list[tuple[object, ...]]:
    """Load a file of account; every row must be accounted for."""
    put(export, content)
    export.load("account")
    rows = export.rows("account", "name")
    assert counted(export, "account") == len(rows)
    return rows


def test_case_14_texts_arrive_value_for_value(export: Export) -> None:
    for number, text in enumerate(TEXTS.values(), 1):
        export.upsert("account", number, name=text)
    export.close_folder()

    export.load("account")

    found = dict(zip(TEXTS, export.rows("account", "name"), strict=True))
    assert found == {name: (text,) for name, text in TEXTS.items()}
    assert counted(export, "account") == len(TEXTS)


def test_case_15_an_empty_cell_is_null_and_a_quoted_one_an_empty_text(
    export: Export,
) -> None:
    expected = {"": None, '""': "", '" "': " "}
    assert outcomes(export, "string", expected) == expected


def test_case_15_an_empty_cell_is_an_empty_text_where_the_sync_says_so(
    export: Export,
) -> None:
    configure(export, empty_text="empty")
    expected = {"": "", '""': "", '" "': " "}
    assert outcomes(export, "string", expected) == expected


def test_case_15_a_cell_that_is_not_there_is_null_also_if_empty_texts_are_kept(
    export: Export,
) -> None:
    configure(export, empty_text="empty")
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.upsert("account", 2, name="narrow")
    export.add_column("account", "colour")
    export.upsert("account", 3, name="empty")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "colour") == [(None,), (None,), ("",)]


def test_case_29_the_last_row_may_lack_its_newline(export: Export) -> None:
    assert load(export, LF.join([A, B, C])) == ABC


CUTS = {
    "in the key": C[:20],
    "after the key": C[:37],
    "in quotes": C[: C.index(b'"c"') + 2],
    "after a cell": C[: C.index(b'"c"') + 3],
    "between cells": C[: C.index(b'"c"') + 4],
    "in the version": line(3, '"c"', version=12345)[:-44],
    "in a date": C[:-10],
    "before IsDelete": C[:-1],
    "in IsDelete": line(3, '"c"', delete="Tru"),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_case_29_a_cut_last_row_is_refused_and_nothing_is_applied(
    export: Export, cut: bytes
) -> None:
    put(export, LF.join([A, B, cut]))

    export.sync()

    assert_refused(export, "account", "bad_row", at=3)
    assert export.rows("account", "name") == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("cell", ["Tru", "t", "yes", '"Tru"'])
def test_case_29_a_cut_delete_deletes_nothing(
    export: Export, cell: str, end: bytes
) -> None:
    assert load(export, A) == [("a",)]
    export.raw("account", FILE, end.join([B, line(1, "", version=2, delete=cell)]))
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_row", at=2, column="IsDelete")
    assert export.rows("account", "name") == [("a",)]


@pytest.mark.parametrize("cell", ["True", "true", '"TRUE"', "1"])
def test_case_29_a_whole_delete_needs_no_line_end(export: Export, cell: str) -> None:
    assert load(export, LF.join([A, B])) == [("a",), ("b",)]
    export.raw("account", FILE, line(1, "", version=2, delete=cell))
    export.close_folder()

    export.sync()

    assert export.rows("account", "name") == [("b",)]


def test_case_29_in_a_row_with_its_line_end_a_boolean_has_any_spelling(
    export: Export,
) -> None:
    deleted = line(1, "", version=2, delete="t")
    put(export, LF.join([A, B, deleted, C]))

    export.load("account")

    assert export.rows("account", "name") == [("b",), ("c",)]


def test_case_29_a_cut_row_is_set_aside_and_stays_refused(export: Export) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=5)
    cut = line(1, "", version=2, delete="Tru")
    put(export, LF.join([A, B, cut]))
    export.load("account")
    [row] = quarantined(export, "account")

    outcome = reprocess(row)

    assert outcome.error is not None
    assert outcome.error.code == "bad_row"
    assert export.rows("account", "name") == [("a",), ("b",)]


def test_a_row_set_aside_for_its_value_does_not_count_as_cut(export: Export) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=5)
    put(export, LF.join([A, line(2, "", version="x", delete="no"), C]))
    export.load("account")
    [row] = quarantined(export, "account")

    outcome = reprocess(row)

    assert outcome.error is not None
    assert outcome.error.code == "bad_value"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_file_has_line_ends_of_either_kind(export: Export, end: bytes) -> None:
    assert load(export, end.join([A, B, C, b""])) == ABC


@pytest.mark.parametrize(
    "content",
    [
        A + b"\r\n" + B + b"\n" + C + b"\r\n",
        A + b"\n" + B + b"\r\n" + C + b"\n",
        A + b"\n" + B + b"\r\n" + C,
        A + b"\r\n" + B + b"\r\n" + C + b"\n",
    ],
    ids=["crlf first", "lf first", "no last", "lf last"],
)
def test_line_ends_may_be_mixed_in_a_file(export: Export, content: bytes) -> None:
    assert load(export, content) == ABC


def test_files_of_a_folder_may_have_different_line_ends(export: Export) -> None:
    export.table("account", ["name"])
    export.raw("account", "2024.csv", A + b"\n")
    export.raw("account", "2025.csv", B + b"\r\n")
    export.raw("account", FILE, C)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == ABC


def test_a_file_with_returns_alone_as_line_ends_loses_nothing(export: Export) -> None:
    put(export, b"\r".join([A, B, C, b""]))
    export.sync()
    assert_read_or_refused(export, "account", ABC, code="bad_row|row_count")


def test_a_return_between_rows_loses_nothing(export: Export) -> None:
    put(export, A + b"\n" + B + b"\r" + C + b"\n")
    export.sync()
    assert_read_or_refused(export, "account", ABC, code="bad_row|row_count")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_line_ends_within_quotes_are_kept_as_they_are(
    export: Export, end: bytes
) -> None:
    texts = ["a\rb", "a\nb", "a\r\nb", "\r", "\n", "\r\n", "a\n\rb\r\r\n", "\n\n\n"]
    rows = [line(number, f'"{text}"') for number, text in enumerate(texts, 1)]
    assert load(export, end.join([*rows, b""])) == [(text,) for text in texts]


def test_a_byte_order_mark_at_the_start_of_each_file_is_dropped(export: Export) -> None:
    bom = b"\xef\xbb\xbf"
    export.table("account", ["name"])
    export.raw("account", "2025.csv", bom + A + LF)
    export.raw("account", FILE, bom + B + LF + C)
    export.raw("account", "1.csv", bom)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == ABC
    assert counted(export, "account") == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\r\n", b"\n\n\n", b" ", b"  \n \t \n"],
    ids=["0 bytes", "lf", "crlf", "three lf", "blank", "blanks"],
)
def test_a_file_without_rows_adds_none_and_harms_no_other_file_unsaid(
    export: Export, content: bytes
) -> None:
    export.table("account", ["name"])
    export.raw("account", "2025.csv", content)
    export.raw("account", FILE, LF.join([A, B, C, b""]))
    export.close_folder()

    export.sync()

    [row] = export.progress("account")
    if row.copy_status == 1:
        assert export.rows("account", "name") == ABC
        assert counted(export, "account") == 3
    else:
        assert content != b""
        assert_refused(export, "account", "bad_row", file="2025.csv", at=1)
        assert export.rows("account", "name") == []


@pytest.mark.parametrize(
    "content",
    [
        A + b"\n\n" + B + b"\n" + C + b"\n",
        b"\n" + A + b"\n" + B + b"\n" + C + b"\n",
        A + b"\n" + B + b"\n" + C + b"\n\n\n",
        A + b"\r\n\r\n" + B + b"\r\n" + C + b"\r\n",
        A + b"\n" + B + b"\n  \n" + C + b"\n",
    ],
    ids=["between", "first", "last", "crlf", "blanks"],
)
def test_empty_lines_lose_no_row(export: Export, content: bytes) -> None:
    put(export, content)
    export.sync()
    assert_read_or_refused(export, "account", ABC)


def test_megabytes_in_many_cells_arrive_whole(export: Export) -> None:
    texts = ["\N{GRINNING FACE}" * 700_000, 'say "hi",\n' * 200_000, "\r\n" * 900_000]
    for number, text in enumerate(texts, 1):
        export.upsert("account", number, name=text)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [(text,) for text in texts]


def test_the_line_of_an_error_counts_the_lines_within_quotes(export: Export) -> None:
    put(export, line(1, '"two\nlines"') + LF + line(2, '"b"', version="x") + LF)

    export.sync()

    assert_refused(export, "account", "bad_value", at=3, column="versionnumber")

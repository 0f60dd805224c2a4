"""Rows that cannot be read: case 35, the end-of-data line, and the quarantine."""

from __future__ import annotations

import pytest

from tests.catalogue.steps import (
    FILE,
    LF,
    assert_refused,
    command,
    configure,
    counted,
    line,
    quarantined,
    sync_until_parked,
)
from tests.sync.conftest import Export

A, B = line(1, '"a"'), line(2, '"b"')

NO_TEXT = {
    "nul": b"x\x00y",
    "nul alone": b"\x00",
    "latin 1": "caf\u00e9".encode("latin-1"),
    "never a byte of utf-8": b"\xff",
    "cut sequence": b"\xf0\x9f\x98",
    "lone continuation": b"\x80",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond the last code point": b"\xf4\x90\x80\x80",
}


def bad_text(text: bytes) -> bytes:
    """Return row 3 with these bytes as its name."""
    return line(3, '"?"').replace(b"?", text)


BAD_ROWS = {
    "no text": (bad_text(b"\xff"), "bad_encoding"),
    "nul": (bad_text(b"\x00"), "bad_encoding"),
    "end-of-data line": (b"\\.", "bad_row"),
    "too narrow": (b"00000000-0000-0000-0000-000000000003,,", "bad_row"),
    "too wide": (line(3, '"c"', after=["x", "y"]), "bad_row"),
    "bad key": (b"zz" + line(3, '"c"')[2:], "bad_value"),
    "bad integer": (line(3, '"c"', version="many"), "bad_value"),
    "bad boolean": (line(3, '"c"', delete="maybe"), "bad_value"),
    "too large": (line(3, '"c"', version=2**63), "bad_value"),
}


def put(export: Export, *rows: bytes, file: str = FILE) -> None:
    export.table("account", ["name"])
    export.raw("account", file, LF.join([*rows, b""]))


@pytest.mark.parametrize("text", NO_TEXT.values(), ids=NO_TEXT)
def test_case_35_bytes_that_are_no_text_stop_the_table_with_their_place(
    export: Export, text: bytes
) -> None:
    put(export, A, bad_text(text), B)
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_encoding", at=2, column="name")
    assert export.rows("account", "name") == []


@pytest.mark.parametrize("text", NO_TEXT.values(), ids=NO_TEXT)
def test_case_35_bytes_that_are_no_text_are_quarantined_unchanged(
    export: Export, text: bytes
) -> None:
    configure(export, bad_rows="quarantine")
    put(export, A, bad_text(text), B)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",), ("b",)]
    [row] = quarantined(export, "account")
    assert (row.file, row.line, row.column) == (FILE, 2, "name")
    assert (row.code, row.state) == ("bad_encoding", "open")
    assert bytes(row.raw).rstrip(b"\r\n") == bad_text(text)


def test_case_35_a_byte_order_mark_is_dropped_at_the_start_of_a_file_alone(
    export: Export,
) -> None:
    mark = "\ufeff".encode()
    put(export, mark + A, line(2, '"?b"').replace(b"?", mark))
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",), ("\ufeffb",)]


def test_a_line_that_ends_copy_early_is_a_bad_row(export: Export) -> None:
    put(export, A, b"\\.", B)
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_row", at=2)
    assert export.rows("account", "name") == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_line_that_ends_copy_early_is_seen_at_either_end(
    export: Export, place: str, end: bytes
) -> None:
    rows = [b"\\.", A, B] if place == "first" else [A, B, b"\\."]
    export.table("account", ["name"])
    export.raw("account", FILE, end.join([*rows, b""]))
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_row", at=1 if place == "first" else 3)
    assert export.rows("account", "name") == []


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_line_that_ends_copy_early_is_data_within_quotes(
    export: Export, end: str
) -> None:
    text = f"before{end}\\.{end}after"
    put(export, A, line(2, f'"{text}"'), line(3, '"\\."'), line(4, "\\."))
    export.close_folder()

    export.load("account")

    wanted = [("a",), (text,), ("\\.",), ("\\.",)]
    assert export.rows("account", "name") == wanted
    assert counted(export, "account") == 4


@pytest.mark.parametrize(("bad", "code"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_stops_its_table_before_anything_is_applied(
    export: Export, bad: bytes, code: str
) -> None:
    put(export, A, bad, B)
    export.upsert("contact", 1, name="another table")
    export.close_folder()

    export.sync()

    assert_refused(export, "account", code, at=2)
    assert export.rows("account", "name") == []
    assert export.rows("contact", "name") == [("another table",)]


@pytest.mark.parametrize(("bad", "code"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_quarantined_and_all_others_are_applied(
    export: Export, bad: bytes, code: str
) -> None:
    configure(export, bad_rows="quarantine")
    put(export, A, bad, B)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",), ("b",)]
    [progress] = export.progress("account")
    assert (progress.rows_inserted, progress.rows_rejected) == (2, 1)
    assert counted(export, "account") == 3
    [row] = quarantined(export, "account")
    assert (row.partition, row.file, row.line) == (progress.partition, FILE, 2)
    assert bytes(row.raw).rstrip(b"\r\n") == bad
    assert (row.code, row.state) == (code, "open")
    assert row.reason


def test_a_row_without_a_key_is_refused_with_its_place(export: Export) -> None:
    put(export, A, line(3, '"c"')[36:], B)
    export.close_folder()

    export.sync()

    assert_refused(export, "account", "bad_row|bad_value", at=2, column="Id")
    assert export.rows("account", "name") == []


def test_bad_rows_of_several_files_are_all_quarantined(export: Export) -> None:
    configure(export, bad_rows="quarantine")
    put(export, BAD_ROWS["no text"][0], A, file="2024.csv")
    put(export, BAD_ROWS["bad integer"][0], BAD_ROWS["too narrow"][0], file="2025.csv")
    put(export, B, BAD_ROWS["end-of-data line"][0])
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",), ("b",)]
    places = [(row.file, row.line) for row in quarantined(export, "account")]
    assert places == [("2024.csv", 1), ("2025.csv", 1), ("2025.csv", 2), (FILE, 2)]
    assert counted(export, "account") == 6


def test_a_quarantined_row_between_rows_of_line_breaks_has_its_own_line(
    export: Export,
) -> None:
    configure(export, bad_rows="quarantine")
    put(export, line(1, '"two\nlines"'), BAD_ROWS["bad integer"][0], B)
    export.close_folder()

    export.load("account")

    [row] = quarantined(export, "account")
    assert (row.line, row.column) == (3, "versionnumber")


@pytest.mark.parametrize(("bad", "stops"), [(2, False), (3, True)])
def test_a_table_stops_with_more_bad_rows_than_it_may_have(
    export: Export, bad: int, stops: bool
) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=2)
    put(export, A, *[BAD_ROWS["bad integer"][0]] * bad, B)
    export.close_folder()

    state = sync_until_parked(export, "account")

    if stops:
        [progress] = export.progress("account")
        assert (progress.copy_status, progress.error_code) == (2, "too_many_bad_rows")
        assert state == "parked"
        assert export.rows("account", "name") == []
    else:
        assert state == "active"
        assert export.rows("account", "name") == [("a",), ("b",)]


def test_bad_rows_of_earlier_folders_count_while_they_are_open(export: Export) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=2)
    for key, text in ((1, "a"), (2, "b")):
        put(export, line(key, f'"{text}"'), BAD_ROWS["bad integer"][0])
        export.close_folder()
        export.load("account")
    put(export, line(3, '"c"'), BAD_ROWS["bad integer"][0])
    export.close_folder()

    sync_until_parked(export, "account")

    assert export.progress("account")[-1].error_code == "too_many_bad_rows"
    assert export.rows("account", "name") == [("a",), ("b",)]


def test_a_dismissed_row_no_longer_counts_and_changes_no_data(export: Export) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=1)
    put(export, A, BAD_ROWS["bad integer"][0])
    export.close_folder()
    export.load("account")
    [row] = quarantined(export, "account")

    name = export.config.name
    assert command("quarantine", name, "--dismiss", str(row.pk)) == 0

    assert [row.state for row in quarantined(export, "account")] == ["dismissed"]
    assert export.rows("account", "name") == [("a",)]
    put(export, B, BAD_ROWS["bad integer"][0])
    export.close_folder()
    export.load("account")
    assert export.rows("account", "name") == [("a",), ("b",)]
    states = [row.state for row in quarantined(export, "account")]
    assert states == ["dismissed", "open"]


def test_a_row_that_is_still_bad_stays_open_when_it_is_tried_again(
    export: Export,
) -> None:
    configure(export, bad_rows="quarantine")
    put(export, A, BAD_ROWS["bad integer"][0])
    export.close_folder()
    export.load("account")
    [row] = quarantined(export, "account")

    assert command("quarantine", export.config.name, "--reprocess", str(row.pk)) == 3

    assert [row.state for row in quarantined(export, "account")] == ["open"]
    assert export.rows("account", "name") == [("a",)]

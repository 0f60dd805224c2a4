"""Rows that lack the newest columns are padded; no other row is touched."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sync.sources.row_widths import BadWidthError, Widths, padded

from sync.sources import row_widths
from tests.sync.sources.places import unhurried

# Four columns, the last two of which were added later.
WIDTHS = Widths(full=4, least=2)


def pad(data: bytes, widths: Widths = WIDTHS) -> bytes:
    return b"".join(padded([data], widths))


def refusal(data: bytes, widths: Widths = WIDTHS) -> BadWidthError:
    with pytest.raises(BadWidthError) as caught:
        pad(data, widths)
    return caught.value


class TestPadding:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"1,2,3,4\n",
            b"1,2,3,4",
            b"1,2,3,4\r\n5,6,7,8\r\n",
            b",,,\n",
            b'1,"a,b","c""d","e\nf"\n',
            b'1,"a\r\n,,,,b",,""\n',
            b'1,"","",""',
        ],
    )
    def test_full_rows_are_passed_on_unchanged(self, data: bytes) -> None:
        assert pad(data) == data

    @pytest.mark.parametrize(
        ("narrow", "full"),
        [
            (b"1,2\n", b"1,2,,\n"),
            (b"1,2,3\n", b"1,2,3,\n"),
            (b"1,2", b"1,2,,"),
            (b"1,2\r\n", b"1,2,,\r\n"),
            (b'1,""\n', b'1,"",,\n'),
            (b"1,\n", b"1,,,\n"),
            (b'1,"a,b\n,,"\n', b'1,"a,b\n,,",,\n'),
            (b'1,"a""b"', b'1,"a""b",,'),
            (b"1,2\n1,2,3\n1,2,3,4\n", b"1,2,,\n1,2,3,\n1,2,3,4\n"),
        ],
    )
    def test_narrow_rows_get_empty_cells_which_are_null(
        self, narrow: bytes, full: bytes
    ) -> None:
        """Row 19 of the catalogue."""
        assert pad(narrow) == full

    @pytest.mark.parametrize(
        ("trailing", "full"),
        [
            (b"1,2,3,4,\n", b"1,2,3,4\n"),
            (b"1,2,3,4,", b"1,2,3,4"),
            (b"1,2,3,,\r\n", b"1,2,3,\r\n"),
            (b'1,2,3,"4,"' + b",\n", b'1,2,3,"4,"\n'),
        ],
    )
    def test_a_trailing_comma_is_dropped(self, trailing: bytes, full: bytes) -> None:
        assert pad(trailing) == full

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"1\n", id="narrower than proven"),
            pytest.param(b"\n", id="an empty line"),
            pytest.param(b"1,2,3,4,5\n", id="wider"),
            pytest.param(b'1,2,3,4,""\n', id="wider by an empty string"),
            pytest.param(b"1,2,3,4,,\n", id="wider by two empty cells"),
            pytest.param(b"1,2,3,4\n1,2\n", id="narrow after full"),
            pytest.param(b"1,2,3\n1,2\n", id="narrow after wider"),
            pytest.param(b"1,2,3,4,\n1,2\n", id="narrow after a trailing comma"),
        ],
    )
    def test_other_widths_are_refused(self, data: bytes) -> None:
        assert refusal(data).message

    def test_no_row_may_be_narrow_when_nothing_is_proven(self) -> None:
        assert refusal(b"1,2,3\n", Widths(full=4, least=4)).line == 1

    def test_a_row_cut_in_its_quotes_is_refused(self) -> None:
        """Row 29: the rest of the file is in its last cell."""
        assert refusal(b'1,2,3,4\n1,"2\n1,2,3,4\n').line == 2

    def test_the_message_tells_the_widths(self) -> None:
        assert "5 cells" in refusal(b"1,2,3,4,5\n").message
        assert "4 columns" in refusal(b"1,2,3,4,5\n").message
        assert "2 cells after rows with 3" in refusal(b"1,2,3\n1,2\n").message

    def test_the_line_is_counted_with_newlines_in_cells(self) -> None:
        assert refusal(b'1,"\n\n",3,4\n1,2,3,4\n1\n').line == 5

    def test_a_record_that_is_too_long_is_refused_and_not_held(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row_widths, "MAX_RECORD", 1000)
        given: list[int] = []

        def endless() -> Iterator[bytes]:
            yield b'1,2,3,4\n1,"'
            while True:
                given.append(1)
                yield b"\n" * 100

        with pytest.raises(BadWidthError) as caught:
            list(padded(endless(), WIDTHS))

        assert caught.value.line == 2
        assert len(given) < 20

    def test_many_records_in_one_block_are_not_one_long_record(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row_widths, "MAX_RECORD", 1000)
        blocks = [b"1,2,3,4\n" * 100] * 100

        assert b"".join(padded(blocks, WIDTHS)) == b"".join(blocks)


cells = st.text(alphabet='ab,"\n\r é', max_size=5)
rows = st.lists(st.lists(cells, min_size=1, max_size=6), max_size=8)


def written(table: list[list[str]], end: str) -> bytes:
    """Write rows as Synapse Link does: texts in quotes."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end).writerows(table)
    return out.getvalue().encode()


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def allowed(table: list[list[str]]) -> bool:
    """Whether the format document, 9.3, allows all these widths; cells are quoted."""
    widths = [len(row) for row in table]
    grows = all(w >= max(widths[:n], default=0) for n, w in enumerate(widths))
    return grows and all(WIDTHS.least <= w <= WIDTHS.full for w in widths)


class TestAnyRows:
    @unhurried
    @given(rows, st.sampled_from(["\n", "\r\n"]), st.integers(1, 9))
    @example([["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]], "\n", 1)
    def test_rows_are_padded_or_refused_as_the_format_says(
        self, table: list[list[str]], end: str, step: int
    ) -> None:
        data = written(table, end)
        blocks = [data[at : at + step] for at in range(0, len(data), step)]

        try:
            found = b"".join(padded(blocks, WIDTHS))
        except BadWidthError:
            assert not allowed(table)
            return

        assert allowed(table)
        assert read(found) == [row + [""] * (4 - len(row)) for row in table]

    @unhurried
    @given(st.binary(max_size=60))
    def test_any_bytes_keep_their_rows_or_are_refused(self, data: bytes) -> None:
        try:
            found = pad(data)
        except BadWidthError:
            return

        assert found.count(b"\n") == data.count(b"\n")
        assert found.replace(b",", b"") == data.replace(b",", b"")

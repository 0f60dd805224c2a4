"""Reading a file record by record: every record is a row that may be copied, or bad."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.sources import careful_rows
from sync.sources.careful_rows import (
    MAX_RECORD,
    BadRow,
    RawRecord,
    RecordTooLongError,
    Row,
    Widths,
    checked_rows,
    first_time_word,
    records,
)
from tests.slow_csv import SlowRecord, slow_cells, slow_records
from tests.sync.sources.places import unhurried
from tests.sync.sources.test_csv_rows import cut, endless, peak_of

# Four columns, the last two of which were added later.
WIDTHS = Widths(full=4, least=2)
# The second column holds times, the last one booleans.
TIMES, BOOLEANS = {1}, {3}


def check(
    data: bytes, widths: Widths = WIDTHS, booleans: Collection[int] = BOOLEANS
) -> list[Row | BadRow]:
    return list(checked_rows([data], widths, TIMES, booleans))


def copied(data: bytes, widths: Widths = WIDTHS) -> list[bytes]:
    """Return what goes to COPY; every row must."""
    rows = check(data, widths)
    assert [row for row in rows if isinstance(row, BadRow)] == []
    return [row.data for row in rows if isinstance(row, Row)]


def only_bad(data: bytes, widths: Widths = WIDTHS) -> BadRow:
    """Return the one row that is bad."""
    [bad] = [row for row in check(data, widths) if isinstance(row, BadRow)]
    return bad


def raws(data: bytes) -> list[bytes]:
    return [record.raw for record in records([data])]


class TestRecords:
    @pytest.mark.parametrize(
        ("data", "found"),
        [
            (b"", []),
            (b"\n", [b""]),
            (b"a\nb\n", [b"a", b"b"]),
            (b"a\nb", [b"a", b"b"]),
            (b"a\r\nb\r\n", [b"a", b"b"]),
            (b"a\rb\r", [b"a", b"b"]),
            (b"a\rb", [b"a", b"b"]),
            (b"a\nb\r\nc\rd", [b"a", b"b", b"c", b"d"]),
            (b"a\n\nb", [b"a", b"", b"b"]),
            (b"a\r\rb", [b"a", b"", b"b"]),
            (b"a\n\rb", [b"a", b"", b"b"]),
            (b'"a\nb"\n', [b'"a\nb"']),
            (b'"a\r\nb",c\r\nd', [b'"a\r\nb",c', b"d"]),
            (b'"a\rb"\rc', [b'"a\rb"', b"c"]),
            (b'"a""\n""b"\nc', [b'"a""\n""b"', b"c"]),
            (b'a"b\nc"d\ne', [b'a"b\nc"d', b"e"]),
            (b'"\r\n', [b'"\r\n']),
        ],
    )
    def test_they_end_at_line_ends_of_every_kind_outside_quotes(
        self, data: bytes, found: list[bytes]
    ) -> None:
        assert raws(data) == found

    def test_each_has_the_line_on_which_it_begins(self) -> None:
        data = b'a\n"b\n\r\nc"\r\nd\re'

        assert [record.line for record in records([data])] == [1, 2, 5, 6]

    def test_a_return_within_quotes_begins_no_line(self) -> None:
        assert [record.line for record in records([b'"a\rb"\nc'])] == [1, 2]

    @pytest.mark.parametrize(
        ("data", "ended", "closed"),
        [
            (b"a\n", True, True),
            (b"a\r", True, True),
            (b"a\r\n", True, True),
            (b"a", False, True),
            (b'"a"', False, True),
            (b'"a', False, False),
            (b'"a\n', False, False),
        ],
    )
    def test_the_last_one_says_how_it_ends(
        self, data: bytes, ended: bool, closed: bool
    ) -> None:
        [record] = records([data])

        assert (record.ended, record.closed) == (ended, closed)

    @pytest.mark.parametrize("size", range(1, 9))
    def test_the_borders_of_blocks_make_no_difference(self, size: int) -> None:
        data = b'a,b\r\n"c\r\n",""""\rd\n\r\n"e\r"'

        assert [r.raw for r in records(cut(data, size))] == [
            *(b"a,b", b'"c\r\n",""""', b"d", b"", b'"e\r"')
        ]

    @unhurried
    @given(st.text('a",\r\n', max_size=40) | st.binary(max_size=60), st.integers(1, 20))
    def test_any_bytes_in_any_blocks_are_the_records_of_the_rule(
        self, drawn: str | bytes, size: int
    ) -> None:
        data = drawn.encode() if isinstance(drawn, str) else drawn

        found = [
            SlowRecord(record.line, record.raw, record.closed, record.ended)
            for record in records(cut(data, size))
        ]

        assert found == slow_records(data)

    @unhurried
    @given(st.lists(st.sampled_from([b"", b"a", b'"', b"\r", b"\n"]), max_size=12))
    def test_empty_blocks_make_no_difference(self, blocks: list[bytes]) -> None:
        assert list(records(blocks)) == list(records([b"".join(blocks)]))

    def test_an_endless_quoted_value_is_refused_and_not_held(self) -> None:
        block = b"x" * 65_536
        stream = endless(b'1,a\n2,"', block, 200 * 2**20)
        refused: list[int] = []

        def read() -> None:
            with pytest.raises(RecordTooLongError) as caught:
                list(records(iter(lambda: stream.read(65_536), b"")))
            refused.append(caught.value.line)

        peak = peak_of(read)

        assert refused == [2]
        assert peak < 100 * 2**20

    @pytest.mark.parametrize("filler", [b"\n", b"\r", b"\r\n", b'""', b"\n,"])
    def test_nothing_in_it_makes_a_long_record_pass_or_costly(
        self, monkeypatch: pytest.MonkeyPatch, filler: bytes
    ) -> None:
        limit = 256 * 1024
        monkeypatch.setattr(careful_rows, "MAX_RECORD", limit)
        many = [b'"', *([filler * 512] * (limit // 512 + 1))]

        def read() -> None:
            with pytest.raises(RecordTooLongError) as caught:
                list(records(many))
            assert caught.value.line == 1

        assert peak_of(read) < 6 * limit

    def test_a_record_just_short_enough_is_read(self) -> None:
        raw = b"x" * (MAX_RECORD - 1)

        assert raws(raw + b"\n") == [raw]

    def test_memory_does_not_grow_with_the_file(self) -> None:
        block = b'1,"2026-01-01",a,True\r\n' * 2_800

        def read() -> None:
            for _ in checked_rows((block for _ in range(3_500)), WIDTHS, TIMES):
                if next(left, None) is None:
                    break

        # Reading all of 200 MB row by row while memory is traced takes minutes.
        left = iter(range(20_000))
        few = peak_of(read)
        left = iter(range(60_000))
        many = peak_of(read)

        assert many < few + 2**20
        assert many < 8 * 2**20

    def test_hundreds_of_megabytes_in_long_records_stream_through(self) -> None:
        block = (b'1,"' + b"x" * 65_000 + b'"\n') * 16
        total = []

        def read() -> None:
            total.append(sum(len(r.raw) for r in records(block for _ in range(310))))

        peak = peak_of(read)

        assert total[0] > 300 * 2**20
        assert peak < 16 * 2**20


class TestWidths:
    @pytest.mark.parametrize(
        ("data", "widths"),
        [
            (b"1,,3,\n", [4]),
            (b"1,,3\n", [3]),
            (b"1,\n", [2]),
            (b'1,"",\n', [3]),
            (b"1,\n1,,3\n1,,3,\n", [2, 3, 4]),
            (b'1,,"a\r\n,,,,b",\r\n', [4]),
            (b'1,,"c""d,",""\n', [4]),
        ],
    )
    def test_a_row_may_lack_the_newest_columns(
        self, data: bytes, widths: list[int]
    ) -> None:
        """Row 19 of the catalogue; COPY then puts NULL into them."""
        assert [row.width for row in check(data) if isinstance(row, Row)] == widths
        assert len(check(data)) == len(widths)

    @pytest.mark.parametrize(
        ("trailing", "full"),
        [
            (b"1,,3,True,\n", b"1,,3,True"),
            (b"1,,3,1,", b"1,,3,1"),
            (b"1,,3,,\r\n", b"1,,3,"),
            (b'1,,3,"1"' + b",\n", b'1,,3,"1"'),
        ],
    )
    def test_a_trailing_comma_is_dropped_and_counted(
        self, trailing: bytes, full: bytes
    ) -> None:
        [row] = check(trailing)

        assert isinstance(row, Row)
        assert (row.data, row.width, row.trimmed) == (full, 4, True)

    def test_a_last_comma_of_a_full_row_is_an_empty_cell(self) -> None:
        [row] = check(b"1,,3,\n")

        assert isinstance(row, Row)
        assert (row.data, row.trimmed) == (b"1,,3,", False)

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"1\n", id="narrower than proven"),
            pytest.param(b"\n", id="an empty line"),
            pytest.param(b"1,,3,4,5\n", id="wider"),
            pytest.param(b'1,,3,4,""\n', id="wider by an empty string"),
            pytest.param(b"1,,3,4,,\n", id="wider by two empty cells"),
            pytest.param(b"1,,3,4\n1,\n", id="narrow after full"),
            pytest.param(b"1,,3\n1,\n", id="narrow after wider"),
            pytest.param(b"1,,3,4,\n1,\n", id="narrow after a trailing comma"),
            pytest.param(b'1,,"3,4\n', id="quotes not closed"),
        ],
    )
    def test_other_widths_are_bad_rows(self, data: bytes) -> None:
        bad = only_bad(data)

        assert bad.code == "bad_row"
        assert bad.record.raw == slow_records(data)[-1].raw

    def test_no_row_may_be_narrow_when_nothing_is_proven(self) -> None:
        assert only_bad(b"1,,3\n", Widths(full=4, least=4)).record.line == 1

    def test_a_bad_row_does_not_widen_the_file(self) -> None:
        found = check(b"1,,3,4,5\n1,\n")

        assert [type(row) for row in found] == [BadRow, Row]

    def test_the_message_tells_the_widths(self) -> None:
        assert "5 cells" in only_bad(b"1,,3,4,5\n").message
        assert "4 columns" in only_bad(b"1,,3,4,5\n").message
        assert "2 cells after rows with 3" in only_bad(b"1,,3\n1,\n").message

    def test_the_line_is_counted_with_newlines_in_cells(self) -> None:
        assert only_bad(b'1,,"\n\n",4\n1,,3,4\n1\n').record.line == 5

    def test_quotes_that_are_not_closed_take_the_rest_of_the_file(self) -> None:
        """Row 29: the rest of the file is in its last cell."""
        bad = only_bad(b'1,,3,4\n1,"2\n1,,3,4\n')

        assert (bad.record.line, bad.record.raw) == (2, b'1,"2\n1,,3,4\n')
        assert "quoted" in bad.message

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
    def test_the_end_of_copy_is_a_bad_row_and_ends_nothing(self, end: bytes) -> None:
        one = Widths(full=1, least=1)

        found = check(b"\\." + end, one)

        assert [type(row) for row in found] == [BadRow]
        assert copied(b'"\\."\n\\.x\n', one) == [b'"\\."', b"\\.x"]


class TestText:
    @pytest.mark.parametrize(
        ("data", "column"),
        [
            (b"1,,\xff,\n", 2),
            (b'1,",","\xe9t\xe9",\n', 2),
            (b"\xff\xfe1\0,\n", 0),
            (b"1,,,\xed\xa0\x80\n", 3),
            (b"1,,a\0b,\n", 2),
            (b'"\n\0",\n', 0),
        ],
    )
    def test_bytes_that_are_no_text_are_a_bad_row_with_its_column(
        self, data: bytes, column: int
    ) -> None:
        """Row 35 of the catalogue."""
        bad = only_bad(data)

        assert (bad.code, bad.column) == ("bad_encoding", column)

    def test_the_rows_around_are_none(self) -> None:
        found = check(b"1,\n2,\xff\n3,\n")

        assert [type(row) for row in found] == [Row, BadRow, Row]

    def test_text_of_any_language_passes_unchanged(self) -> None:
        raw = '1,,"שלום\U0001f642\u0085\u2028",'.encode()

        assert copied(raw + b"\n") == [raw]


class TestHalfDays:
    @pytest.mark.parametrize(
        ("cell", "mended"),
        [
            (b"1/1/2020 13:00:00 PM", b"1/1/2020 13:00:00"),
            (b'"1/1/2020 13:00:00 PM"', b'"1/1/2020 13:00:00"'),
            (b'"12/31/2020 23:59:59.1234567 pm"', b'"12/31/2020 23:59:59.1234567"'),
            (b"1/1/2020 24:00:00AM", b"1/1/2020 24:00:00"),
        ],
    )
    def test_over_12_am_and_pm_are_dropped(self, cell: bytes, mended: bytes) -> None:
        """The format document, 5.2: an hour over 12 says it all."""
        assert copied(b"1," + cell + b",,\n") == [b"1," + mended + b",,"]

    @pytest.mark.parametrize(
        "cell",
        [
            *(b"1/1/2020 0:00:00 PM", b"1/1/2020 12:59:59 PM", b"1/1/2020 1:00:00 AM"),
            *(b"1/1/2020 13:00:00", b"1/1/2020 25:00:00 PM", b"13:00:00 PM"),
        ],
    )
    def test_other_times_are_left_to_postgresql(self, cell: bytes) -> None:
        assert copied(b"1," + cell + b",,\n") == [b"1," + cell + b",,"]

    def test_only_columns_of_times_are_mended(self) -> None:
        raw = b'1,"1/1/2020 13:00:00 PM","1/1/2020 13:00:00 PM",'
        mended = b'1,"1/1/2020 13:00:00","1/1/2020 13:00:00 PM",'

        assert copied(raw + b"\n") == [mended]


class TestTimeWords:
    @pytest.mark.parametrize("cell", [b"now", b'"Today"', b'n"o"w', b"-infinity"])
    def test_a_word_for_a_time_is_a_bad_value(self, cell: bytes) -> None:
        bad = only_bad(b"1,,a,\n1," + cell + b",a,\n1,,a,\n")

        assert (bad.code, bad.column, bad.record.line) == ("bad_value", 1, 2)
        assert cell.decode() in bad.message

    def test_in_other_columns_it_is_text(self) -> None:
        assert copied(b"now,,today,\n") == [b"now,,today,"]
        assert not first_time_word([b"now,,today,\n"], TIMES)

    def test_a_file_holds_one_if_any_row_does(self) -> None:
        rows = b'1,"2020-01-01",a,\n' * 3

        assert not first_time_word([rows], TIMES)
        assert first_time_word([rows, b"1,now", b",a,\n"], TIMES)


class TestCutRows:
    @pytest.mark.parametrize("cell", [b"Tru", b"f", b"yes", b'"Tru"', b'"True', b" 1"])
    def test_a_last_boolean_that_may_be_cut_is_a_bad_row(self, cell: bytes) -> None:
        found = check(b"1,,a,True\n1,,a," + cell)

        assert [type(row) for row in found] == [Row, BadRow]
        assert found[1].record.line == 2
        assert isinstance(found[1], BadRow)
        assert found[1].code == "bad_row"

    def test_the_row_says_that_it_is_cut_and_where(self) -> None:
        bad = only_bad(b"1,,a,Fals")

        assert (bad.message, bad.column) == ("The last row is cut", 3)

    @pytest.mark.parametrize(
        "cell",
        [b"", b'""', b"True", b"FALSE", b"true", b"1", b"0", b'"False"', b'"1"'],
    )
    def test_a_whole_boolean_needs_no_line_end(self, cell: bytes) -> None:
        assert copied(b"1,,a," + cell) == [b"1,,a," + cell]

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("cell", [b"yes", b"on", b"t", b"Tru"])
    def test_with_a_line_end_every_spelling_is_left_to_postgresql(
        self, cell: bytes, end: bytes
    ) -> None:
        assert copied(b"1,,a," + cell + end) == [b"1,,a," + cell]

    def test_only_the_last_row_can_be_cut(self) -> None:
        assert len(copied(b"1,,a,yes\n1,,a,True")) == 2

    def test_a_row_that_lacks_the_column_is_not_cut(self) -> None:
        assert copied(b"1,,Tru") == [b"1,,Tru"]

    def test_it_is_cut_before_it_has_a_bad_value(self) -> None:
        assert only_bad(b"1,now,a,Tru").code == "bad_row"


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from('",\r\n;'),
    max_size=6,
)
tables = st.lists(st.lists(cells, min_size=1, max_size=6), max_size=8)


def written(table: list[list[str]], end: str, *, quoted: bool) -> bytes:
    out = io.StringIO(newline="")
    if quoted:
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=end).writerows(table)
    else:
        csv.writer(out, lineterminator=end).writerows(table)
    return out.getvalue().encode()


class TestAnyRows:
    @unhurried
    @given(tables, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.data())
    def test_what_a_writer_wrote_comes_back_byte_for_byte(
        self, table: list[list[str]], end: str, quoted: bool, data: st.DataObject
    ) -> None:
        raw_rows = [written([row], "\r\n", quoted=quoted)[:-2] for row in table]
        content = end.encode().join([*raw_rows, b""])
        # A row of "\." alone would end the copy in older programs.
        widest = Widths(full=6, least=1)

        size = data.draw(st.integers(1, 30))
        found = list(checked_rows(cut(content, size), widest, ()))

        assert [row.record.raw for row in found] == raw_rows
        grown = 0
        for row, raw, cells in zip(found, raw_rows, table, strict=True):
            if len(cells) < grown or raw == b"\\.":
                assert isinstance(row, BadRow)
                continue
            assert isinstance(row, Row)
            assert (row.data, row.width) == (raw, len(cells))
            grown = len(cells)

    @unhurried
    @given(tables, st.sampled_from(["\n", "\r\n"]), st.integers(1, 9))
    @example([["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]], "\n", 1)
    def test_widths_are_allowed_or_refused_as_the_format_says(
        self, table: list[list[str]], end: str, step: int
    ) -> None:
        """The format document, 9.3; no cell is empty, for all are quoted."""
        blocks = cut(written(table, end, quoted=True), step)

        found = list(checked_rows(blocks, WIDTHS, ()))

        widest = 0
        for row, width in zip(found, map(len, table), strict=True):
            good = max(WIDTHS.least, widest) <= width <= WIDTHS.full
            assert isinstance(row, Row) == good
            widest = max(widest, width) if good else widest

    @unhurried
    @given(st.binary(max_size=60) | st.text('1,"\r\n', max_size=60).map(str.encode))
    def test_any_bytes_are_rows_with_their_cells_or_bad_rows(self, data: bytes) -> None:
        found = check(data)

        assert [RawRecord(**vars(r)) for r in slow_records(data)] == [
            row.record for row in found
        ]
        rows = [row for row in found if isinstance(row, Row)]
        assert all(row.width == len(slow_cells(row.data)) for row in rows)
        assert all(a.width <= b.width for a, b in pairwise(rows))

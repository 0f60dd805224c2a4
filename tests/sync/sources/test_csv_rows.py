"""Counting the records of raw CSV, and finding one again."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync.sources import csv_rows
from sync.sources.csv_rows import RecordCounter, blocks, find_record

DATA = Path(__file__).parents[2] / "data"
BOM = b"\xef\xbb\xbf"
# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

block_sizes = st.integers(1, 40)
patching = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Cells as a writer of CSV makes them: bare, or quoted with doubled quotes.
bare = st.text(
    st.characters(exclude_characters='",\r\n', exclude_categories=["Cs"]), max_size=5
)
quoted = st.text(
    st.sampled_from('a",\n\r\\ \u05e9\U0001f642') | st.characters(codec="utf-8"),
    max_size=8,
).map(lambda text: '"' + text.replace('"', '""') + '"')
records = st.lists(bare | quoted, min_size=2, max_size=4).map(",".join)
ends = st.sampled_from(["\n", "\r\n"])


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Draw a valid CSV file, and its records with their line ends."""
    end = draw(ends)
    drawn = draw(st.lists(records, max_size=8))
    cut_end: bool = draw(st.booleans())
    lines = [record + end for record in drawn]
    if lines and cut_end:
        lines[-1] = lines[-1].removesuffix(end)
    encoded = [line.encode() for line in lines]
    return b"".join(encoded), encoded


class _Trickle(io.RawIOBase):
    """An unbuffered stream that gives at most ``step`` bytes at a time."""

    def __init__(self, content: bytes, step: int) -> None:
        self._rest = content
        self._step = step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        size = self._step if size < 0 else min(size, self._step)
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


class _Endless(io.RawIOBase):
    """A stream of a given length that nobody holds in memory."""

    def __init__(
        self, start: bytes, block: bytes, total: int, end: bytes = b""
    ) -> None:
        self._start, self._block, self._left, self._end = start, block, total, end

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._start:
            found, self._start = self._start, b""
        elif self._left > 0:
            found = self._block
            self._left -= len(found)
        else:
            found, self._end = self._end, b""
        return found


def trickle(content: bytes, step: int) -> BinaryIO:
    return cast("BinaryIO", _Trickle(content, step))


def endless(start: bytes, block: bytes, total: int, end: bytes = b"") -> BinaryIO:
    return cast("BinaryIO", _Endless(start, block, total, end))


def count(parts: Sequence[bytes]) -> int:
    counter = RecordCounter()
    for part in parts:
        counter.feed(part)
    return counter.total


def feed(counter: RecordCounter, stream: BinaryIO) -> None:
    for block in blocks(stream):
        counter.feed(block)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def rows_of_python(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestCounting:
    @pytest.mark.parametrize(
        ("data", "total"),
        [
            (b"", 0),
            (b"a,b", 1),
            (b"a,b\n", 1),
            (b"a,b\nc,d", 2),
            (b"a,b\nc,d\n", 2),
            (b"a,b\r\nc,d\r\n", 2),
            (b'"a\nb",c\nd,e\n', 2),
            (b'"a\r\n\r\nb",c\n', 1),
            (b'"a""\n""b",c\n', 1),
            (b'"",""\n', 1),
            (b'a"b,c"d\ne,f\n', 2),
            (b'a"\n"b,c\n', 1),
            (b'a,"cut', 1),
            (b'a,b\nc,"cut\n\n\n', 2),
            (b"a,b\n\n", 2),
            (b"\n", 1),
            (b"a,b\rc,d\n", 1),
            (b'a\\",b\n"\n', 1),
            (b"\\.\n", 1),
            (b"a\0,b\n\xff\xfe,\x80\n", 2),
        ],
    )
    def test_records_end_at_newlines_outside_quotes(
        self, data: bytes, total: int
    ) -> None:
        assert count([data]) == total

    @pytest.mark.parametrize("name", ["fno_00.csv", "fno_15.csv", "fno_30.csv"])
    def test_a_real_file_has_the_records_that_python_reads(self, name: str) -> None:
        data = (DATA / name).read_bytes()

        assert count([data]) == len(rows_of_python(data))

    @unhurried
    @given(files())
    def test_valid_csv_has_the_records_that_python_reads(
        self, file: tuple[bytes, list[bytes]]
    ) -> None:
        data, _ = file

        assert count([data]) == len(rows_of_python(data))

    @unhurried
    @given(files())
    def test_valid_csv_has_the_records_that_were_written(
        self, file: tuple[bytes, list[bytes]]
    ) -> None:
        data, written = file

        assert count([data]) == len(written)

    @unhurried
    @given(st.text(st.sampled_from('a",\r\n\\'), max_size=40), block_sizes)
    @example('a"\n"b\n', 1)
    @example('""""\n', 3)
    def test_any_split_into_blocks_gives_the_same_count(
        self, text: str, size: int
    ) -> None:
        data = text.encode()

        assert count(cut(data, size)) == count([data])

    @unhurried
    @given(st.lists(st.binary(max_size=6)))
    def test_empty_blocks_change_nothing(self, parts: list[bytes]) -> None:
        padded = [b"", *(p for part in parts for p in (part, b""))]

        assert count(padded) == count([b"".join(parts)])

    @unhurried
    @given(st.binary())
    def test_a_last_newline_counts_no_record(self, data: bytes) -> None:
        whole = data.replace(b'"', b"").rstrip(b"\n") + b"x"

        assert count([whole]) == count([whole + b"\n"])

    def test_the_total_may_be_asked_for_at_any_time(self) -> None:
        counter = RecordCounter()
        totals = []
        for block in (b"a,", b'"b\n', b'c"', b"\n", b"d,e"):
            counter.feed(block)
            totals.append(counter.total)

        assert totals == [1, 1, 1, 1, 2]

    def test_memory_does_not_grow_with_a_huge_record(self) -> None:
        counter = RecordCounter()
        stream = endless(b'1,"', b'x""\n' * 16_384, 128 * 2**20, b'"\n')

        peak = peak_of(lambda: feed(counter, stream))

        assert counter.total == 1
        assert peak < 4 * 2**20


class TestBlocks:
    @given(st.binary(max_size=60), block_sizes, block_sizes)
    @patching
    def test_blocks_are_the_file(
        self, monkeypatch: pytest.MonkeyPatch, data: bytes, size: int, step: int
    ) -> None:
        monkeypatch.setattr(csv_rows, "BLOCK", size)

        found = b"".join(blocks(trickle(b"x" + data, step)))

        assert found == b"x" + data

    @pytest.mark.parametrize("size", [3, 4, 5, 6, 64])
    def test_a_byte_order_mark_is_dropped(
        self, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(csv_rows, "BLOCK", size)

        assert b"".join(blocks(trickle(BOM + b"1,a\n2,b\n", 64))) == b"1,a\n2,b\n"

    @pytest.mark.parametrize("step", [1, 2])
    def test_a_byte_order_mark_that_comes_in_pieces_is_dropped(self, step: int) -> None:
        """An unbuffered stream may give less than it is asked for."""
        assert b"".join(blocks(trickle(BOM + b"1,a\n2,b\n", step))) == b"1,a\n2,b\n"

    @pytest.mark.parametrize("size", [3, 4, 64])
    def test_a_file_of_a_byte_order_mark_alone_is_empty(
        self, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(csv_rows, "BLOCK", size)

        assert list(blocks(trickle(BOM, 64))) == []

    def test_only_the_first_byte_order_mark_is_dropped(self) -> None:
        assert b"".join(blocks(trickle(BOM + BOM + b"a\n", 64))) == BOM + b"a\n"

    def test_a_byte_order_mark_further_on_is_kept(self) -> None:
        assert b"".join(blocks(trickle(b"a" + BOM, 64))) == b"a" + BOM

    def test_no_block_is_empty(self) -> None:
        assert all(blocks(trickle(b"abc" * 50, 7)))

    def test_a_file_is_not_read_ahead(self) -> None:
        stream = _Trickle(b"x" * 1000, 10)

        next(blocks(cast("BinaryIO", stream)))

        assert len(stream._rest) == 990


class TestFinding:
    @given(files(), block_sizes, block_sizes, st.booleans())
    @patching
    def test_every_record_is_found_with_its_line_and_bytes(
        self,
        monkeypatch: pytest.MonkeyPatch,
        file: tuple[bytes, list[bytes]],
        size: int,
        step: int,
        marked: bool,
    ) -> None:
        data, written = file
        size, step = (max(size, 3), max(step, 3)) if marked else (size, step)
        monkeypatch.setattr(csv_rows, "BLOCK", size)
        line = 1

        for number, raw in enumerate(written, 1):
            found = find_record(trickle(BOM * marked + data, step), number)

            assert found is not None
            assert found.line == line
            assert found.raw.rstrip(b"\r\n") == raw.rstrip(b"\r\n")
            line += raw.count(b"\n")

    @given(files(), block_sizes)
    @patching
    def test_the_cells_of_a_record_are_those_that_python_reads(
        self,
        monkeypatch: pytest.MonkeyPatch,
        file: tuple[bytes, list[bytes]],
        size: int,
    ) -> None:
        data, _ = file
        monkeypatch.setattr(csv_rows, "BLOCK", size)

        for number, cells in enumerate(rows_of_python(data), 1):
            found = find_record(trickle(data, 64), number)

            assert found is not None
            assert found.cells() == cells

    @given(files(), block_sizes, st.integers(1, 5))
    @patching
    def test_there_is_no_record_past_the_end(
        self,
        monkeypatch: pytest.MonkeyPatch,
        file: tuple[bytes, list[bytes]],
        size: int,
        beyond: int,
    ) -> None:
        data, written = file
        monkeypatch.setattr(csv_rows, "BLOCK", size)

        assert find_record(trickle(data, 64), len(written) + beyond) is None

    @given(files(), block_sizes, st.integers(1, 30))
    @patching
    def test_a_long_record_is_shown_by_its_own_first_bytes(
        self,
        monkeypatch: pytest.MonkeyPatch,
        file: tuple[bytes, list[bytes]],
        size: int,
        shown: int,
    ) -> None:
        data, written = file
        monkeypatch.setattr(csv_rows, "BLOCK", size)
        monkeypatch.setattr(csv_rows, "RECORD_SHOWN", shown)

        for number, raw in enumerate(written, 1):
            found = find_record(trickle(data, 64), number)

            assert found is not None
            assert raw.startswith(found.raw.rstrip(b"\r\n"))
            assert len(found.raw.rstrip(b"\r\n")) >= min(
                len(raw.rstrip(b"\r\n")), shown
            )

    def test_a_record_is_found_without_those_after_it(self) -> None:
        """With the real sizes: it begins in one block and ends in the next."""
        before, wanted = b"1," + b"a" * 10_000, b"2," + b"b" * 60_000
        after = b"".join(b"3,%d\n" % n for n in range(30_000))

        found = find_record(
            trickle(before + b"\n" + wanted + b"\n" + after, 1 << 20), 2
        )

        assert found is not None
        assert found.raw.rstrip(b"\n") == wanted

    def test_quotes_in_the_middle_of_cells_are_followed(self) -> None:
        data = b'1,a"b\nc"d\n2,x\n'

        found = find_record(trickle(data, 64), 2)

        assert found is not None
        assert (found.line, found.raw.strip()) == (3, b"2,x")

    def test_a_record_cut_in_its_quotes_is_found(self) -> None:
        found = find_record(trickle(b'1,x\n2,"cut\nhere', 64), 2)

        assert found is not None
        assert (found.line, found.raw) == (2, b'2,"cut\nhere')

    def test_bytes_that_are_not_utf8_are_kept_and_shown_replaced(self) -> None:
        found = find_record(trickle(b"1,a\xffb\n", 64), 1)

        assert found is not None
        assert found.raw.strip() == b"1,a\xffb"
        assert found.cells() == ["1", "a\ufffdb"]

    @pytest.mark.parametrize(
        "raw", [b"\0", b"1,\0x", b'"cut', b"a\rb,c", b"\n", b'"a"b,c', b"x" * 200_000]
    )
    def test_the_cells_of_any_record_can_be_shown(self, raw: bytes) -> None:
        found = find_record(trickle(raw, 1 << 20), 1)

        assert found is not None
        assert isinstance(found.cells(), list)

    def test_a_cell_over_pythons_own_limit_is_shown(self) -> None:
        """One of 131,072 characters is refused by Python's csv module."""
        data = b'1,"' + b"x" * 500_000 + b'"\n'

        found = find_record(trickle(data, 1 << 20), 1)

        assert found is not None
        assert found.cells()[0] == "1"

    def test_there_is_nothing_to_find_in_an_empty_file(self) -> None:
        assert find_record(trickle(b"", 64), 1) is None

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_memory_does_not_grow_with_a_huge_record(self, number: int) -> None:
        stream = endless(b'1,a\n2,"', b'x""\n' * 16_384, 64 * 2**20, b'"\n3,b\n')

        peak = peak_of(lambda: find_record(stream, number))

        assert peak < 8 * 2**20

    def test_the_record_after_a_huge_one_has_its_line(self) -> None:
        lines = 64 * 2**20 // 4
        stream = endless(b'1,a\n2,"', b'x""\n' * 16_384, 64 * 2**20, b'"\n3,b\n')

        found = find_record(stream, 3)

        assert found is not None
        assert (found.line, found.raw.strip()) == (3 + lines, b"3,b")


def test_many_small_records_are_found_in_order() -> None:
    data = b"".join(b'%d,"a\nb"\n' % number for number in range(1, 2001))
    numbers = [1, 2, 1000, 1999, 2000]

    lines = [find_record(trickle(data, 100), number) for number in numbers]

    assert [line.line for line in lines if line] == [2 * n - 1 for n in numbers]
    assert all(a.line < b.line for a, b in pairwise(line for line in lines if line))

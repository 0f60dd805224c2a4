"""Counting the records of raw CSV, and where the last one began."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync.sources import csv_rows
from sync.sources.csv_rows import RecordCounter, blocks
from tests.slow_csv import SlowRecord, slow_records

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


class TestOpenRecord:
    @pytest.mark.parametrize(
        ("data", "length"),
        [
            (b"", 0),
            (b"a,b\n", 0),
            (b"a,b", 3),
            (b"a,b\nc", 1),
            (b"a,b\n\nc,d", 3),
            (b"a,b\r\nc,d", 3),
            (b'"a\nb",c', 7),
            (b'a\n"b\nc"', 5),
            (b'a\n"b\nc', 4),
            (b'a\n"\n"\n"\n', 2),
            (b'a\nb"\n"\n"c\n"', 4),
        ],
    )
    def test_its_bytes_are_those_after_the_last_line_end(
        self, data: bytes, length: int
    ) -> None:
        counter = RecordCounter()
        counter.feed(data)

        assert counter.open_bytes == length

    @unhurried
    @given(st.text(st.sampled_from('a",\n'), max_size=40), block_sizes)
    def test_it_is_the_last_record_in_any_blocks(self, text: str, size: int) -> None:
        data, counter = text.encode(), RecordCounter()
        for block in cut(data, size):
            counter.feed(block)

        last = [*slow_records(data), SlowRecord(1, b"")][max(0, counter.total - 1)]

        assert counter.open_bytes == (0 if last.ended else len(last.raw))


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

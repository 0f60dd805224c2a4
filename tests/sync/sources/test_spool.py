"""Sorting a log file by table: whole lines only, in order, again the same."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.errors import SourceError
from sync.sources import spool as spool_module
from sync.sources.csv_rows import BOM
from sync.sources.spool import INDEX, Segment, Spool, numbered_lines
from sync.sources.storage import Directory
from tests.sync.sources.places import unhurried

TIME = "2024-09-10T12:05:30Z"
KNOWN = ("account", "contact")

_folders = iter(range(10**9))


class Numbered(NamedTuple):
    """A line as the spool has it."""

    number: int
    raw: bytes


def line(table: str = "account", values: object = None, end: str = "\n") -> bytes:
    said = json.dumps(values or {"id": "1"}, ensure_ascii=False)
    return f"{TIME} | INSERT | {table} | {said}{end}".encode()


@contextmanager
def small(**sizes: int) -> Iterator[None]:
    """Make the blocks and limits of a pass small."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(spool_module, name, size)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spools")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", "key")


def made(
    spool: Spool, data: bytes, start: int = 0, end: int | None = None, first: int = 0
) -> Segment:
    stream = io.BytesIO(data)
    return spool.make(stream, start, len(data) if end is None else end, first, KNOWN)


def read(root: Path, spool: Spool, segment: Segment) -> dict[str, list[Numbered]]:
    """Return the lines of every table of a segment."""
    found: dict[str, list[Numbered]] = {}
    for table in segment.tables:
        (file,) = spool.files(segment, table)
        assert (file.start, file.end) == (segment.start, segment.end)
        with Directory(root).open(file.path) as stream:
            assert os.fstat(stream.fileno()).st_size == file.size
            found[table] = [Numbered(*item) for item in numbered_lines(stream)]
    return found


def expected(data: bytes) -> tuple[dict[str, list[Numbered]], int, int | None]:
    """Return the lines by table, where they end, and the first broken one, slowly."""
    found: dict[str, list[Numbered]] = {}
    at = 0
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, 1):
        last = number == len(lines)
        text = (raw.removeprefix(BOM) if at == 0 else raw).rstrip()
        if last and not text.endswith(b"}"):
            break
        if text.strip():
            parts = text.split(b"|", 3)
            if len(parts) < 4:
                return found, at, number
            found.setdefault(parts[2].strip().decode(), []).append(
                Numbered(number, text)
            )
        at += len(raw) + (not last)
    return found, at, None


def joined(
    parts: list[dict[str, list[Numbered]]],
) -> dict[str, list[Numbered]]:
    found: dict[str, list[Numbered]] = {}
    for part in parts:
        for table, lines in part.items():
            found.setdefault(table, []).extend(lines)
    return found


feeds = st.builds(
    lambda mark, lines, last: mark + b"".join(lines) + last,
    st.sampled_from([b"", BOM]),
    st.lists(
        st.one_of(
            st.builds(
                line,
                st.sampled_from(["account", "contact", "other", "a/b", ".."]),
                st.fixed_dictionaries(
                    {"id": st.text('ab|"\\{}é\U0001f600', max_size=6)}
                ),
                st.sampled_from(["\n", "\r\n", " \n"]),
            ),
            st.sampled_from([b"\n", b"\r\n", b"  \n"]),
        ),
        max_size=8,
    ),
    st.sampled_from([b"", line(end=""), line(end="\r"), line(end="")[:-3], b" "]),
)
sizes = st.fixed_dictionaries(
    {"BLOCK": st.integers(1, 200), "GATHERED": st.integers(0, 300)}
)


class TestWholeLines:
    @unhurried
    @given(feeds, sizes)
    @example(BOM + line(end=""), {"BLOCK": 1, "GATHERED": 0})
    def test_blocks_of_any_size_make_the_same_segment(
        self, base: Path, data: bytes, sizes: dict[str, int]
    ) -> None:
        spool = Spool(base, f"blocks{next(_folders)}")
        with small(**sizes):
            segment = made(spool, data)

        lines, end, broken = expected(data)
        assert (segment.start, segment.end, segment.broken) == (0, end, broken)
        assert segment.lines == data[:end].count(b"\n")
        assert read(base, spool, segment) == lines

    @pytest.mark.parametrize("end", ["\n", "\r\n", ""])
    @pytest.mark.parametrize("mark", [b"", BOM])
    def test_a_cut_anywhere_takes_whole_lines_and_the_rest_later(
        self, tmp_path: Path, mark: bytes, end: str
    ) -> None:
        last = line("contact", {"id": "ä|\U0001f600", "n": {"m": "}"}}, end)
        data = mark
        wholes = {0}
        for part in (line("account", end="\r\n"), b"\n", line(), last):
            text = part.rstrip()
            ends = {len(part)} | ({len(text), len(text + b"\r")} if text else set())
            wholes |= {len(data) + at for at in ends if at <= len(part)}
            data += part
        whole = expected(data)
        for cut in range(len(data) + 1):
            spool = Spool(tmp_path, f"cut{cut}")
            first = made(spool, data, end=cut)
            second = made(spool, data, first.end, first=first.lines)

            assert first.end == max(at for at in wholes if at <= cut)
            assert (first.broken, second.broken) == (None, None)
            assert (second.start, second.end) == (first.end, whole[1])
            both = [read(tmp_path, spool, part) for part in (first, second)]
            assert joined(both) == whole[0]

    @unhurried
    @given(feeds, sizes, st.lists(st.integers(0, 400), max_size=6))
    def test_segments_chain_and_keep_the_numbers_of_their_lines(
        self, base: Path, data: bytes, sizes: dict[str, int], cuts: list[int]
    ) -> None:
        spool = Spool(base, f"chain{next(_folders)}")
        segments: list[Segment] = []
        at = lines = 0
        with small(**sizes):
            for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
                if cut >= at:
                    segments.append(made(spool, data, at, cut, lines))
                    at, lines = segments[-1].end, lines + segments[-1].lines

        whole = expected(data)
        assert all(a.end == b.start for a, b in pairwise(segments))
        assert at == whole[1]
        assert joined([read(base, spool, part) for part in segments]) == whole[0]

    def test_a_line_end_that_comes_later_counts_once(self, spool: Spool) -> None:
        data = line() + line(end="")
        first = made(spool, data)
        more = data + b"\n" + line("contact") + b"nonsense\n"
        second = made(spool, more, first.end, first=first.lines)

        assert first.end == len(data)
        assert second.broken == 4
        assert second.end == len(data) + 1 + len(line("contact"))

    def test_the_broken_line_ends_a_segment(self, tmp_path: Path, spool: Spool) -> None:
        segment = made(spool, line() + b"\n" + b"nonsense\n" + line("contact"))

        assert segment.broken == 3
        assert segment.end == len(line()) + 1
        assert read(tmp_path / "spool", spool, segment) == {
            "account": [Numbered(1, line(end=""))]
        }
        assert spool.find(0, 10**9) == segment

    def test_nothing_whole_is_no_segment(self, tmp_path: Path, spool: Spool) -> None:
        segment = made(spool, line()[:-4])

        assert (segment.start, segment.end, segment.tables) == (0, 0, {})
        assert not spool.is_there
        assert list((tmp_path / "spool" / "key").iterdir()) == []

    def test_an_unended_line_of_no_table_is_broken_only_when_it_is_whole(
        self, spool: Spool
    ) -> None:
        unknown = f"{TIME} | UPSERT | other | {{}}".encode()

        assert made(spool, unknown[:-1]).broken is None
        assert made(spool, unknown).broken == 1
        assert made(spool, unknown + b"\n").broken == 1


class TestLongLines:
    @pytest.mark.parametrize("block", [1, 7, 100, 1000])
    @pytest.mark.parametrize("end", [b"\n", b""])
    @pytest.mark.parametrize("before", [0, 3, 64])
    def test_whether_a_line_is_too_long_is_no_question_of_blocks(
        self, spool: Spool, block: int, end: bytes, before: int
    ) -> None:
        longest = len(line(end="")) + 1
        first = b" " * (before % longest) + b"\n" if before else b""
        with small(BLOCK=block, MAX_LINE=longest):
            fits = made(spool, first + line(end=" ") + end)
            spool.release(10**9)
            too_long = made(spool, first + line(end="  ") + end)

        assert fits.broken is None
        assert fits.end == len(first) + longest + len(end)
        assert too_long.broken == 1 + bool(before)
        assert too_long.end == len(first)

    def test_an_endless_line_is_not_read_to_its_end(self, spool: Spool) -> None:
        stream = io.BytesIO(line() + b"x" * 100_000)
        with small(BLOCK=100, MAX_LINE=1000):
            segment = spool.make(stream, 0, 200_000, 0, KNOWN)

        assert (segment.broken, segment.end) == (2, len(line()))
        assert stream.tell() < 2000


class TestTables:
    def test_a_name_in_another_case_is_the_known_table(self, spool: Spool) -> None:
        segment = made(spool, line("Account") + line("ACCOUNT") + line("account"))

        assert list(segment.tables) == ["account"]

    def test_of_tables_that_differ_in_case_the_exact_one_is_meant(
        self, spool: Spool
    ) -> None:
        data = line("A") + line("a") + line("á")
        segment = spool.make(io.BytesIO(data), 0, len(data), 0, ("a", "A", "Á"))

        assert list(segment.tables) == ["A", "a", "Á"]

    @pytest.mark.parametrize(
        "name",
        [
            *("../../x", "..", ".", "/etc/passwd", "a/b", "index.json", "0", "draft-x"),
            *(
                "~",
                "$(id)",
                "x" * 1000,
                "\u202eevil",
                "\U0001f600" * 250,
                "a\\b",
                "-rf",
            ),
        ],
    )
    def test_no_name_of_a_table_leads_out_of_the_spool(
        self, tmp_path: Path, spool: Spool, name: str
    ) -> None:
        before = set(tmp_path.rglob("*"))
        segment = made(spool, line(name) + line("account"))

        folder = tmp_path / "spool" / "key" / segment.name
        assert {p.name for p in folder.iterdir()} == {"0", "1", INDEX}
        outside = {
            p
            for p in set(tmp_path.rglob("*")) - before
            if folder not in (p, *p.parents) and p not in folder.parents
        }
        assert outside == set()
        assert read(tmp_path / "spool", spool, segment)[name] == [
            Numbered(1, line(name, end=""))
        ]
        assert spool.find(0, segment.end) == segment

    @pytest.mark.parametrize("name", ["a\0b", "a\x1bb", "x" * 1001, "a\x85b"])
    def test_no_table_has_such_a_name(self, spool: Spool, name: str) -> None:
        assert made(spool, line(name)).broken == 1

    def test_ten_thousand_tables_have_files_of_their_own(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        names = [f"../table {number}" for number in range(10_000)]
        data = b"".join(line(name) for name in names) * 2
        with small(GATHERED=1 << 19):
            segment = made(spool, data)

        assert list(segment.tables) == names
        for number in (0, 5_000, 9_999):
            (file,) = spool.files(segment, names[number])
            with Directory(tmp_path / "spool").open(file.path) as stream:
                found = [n for n, _ in numbered_lines(stream)]
            assert found == [number + 1, number + 10_001]

    def test_a_table_without_lines_has_no_file(self, spool: Spool) -> None:
        assert list(spool.files(made(spool, line()), "contact")) == []


class TestKeeping:
    @unhurried
    @given(feeds, sizes)
    def test_a_segment_that_is_made_again_is_the_first_one(
        self, base: Path, data: bytes, sizes: dict[str, int]
    ) -> None:
        key = f"again{next(_folders)}"
        spool = Spool(base, key)
        first = made(spool, data)
        content = _content(base / key)
        spool.release(10**9)
        assert not spool.is_there
        with small(**sizes):
            assert made(spool, data) == first
        assert _content(base / key) == content

    def test_the_longest_segment_within_the_stretch_is_found(
        self, spool: Spool
    ) -> None:
        data = line() * 3
        one = len(line())
        for end in (one, 2 * one, 3 * one):
            made(spool, data, end=end)
        made(spool, data, one, 3 * one, 1)

        for end, longest in ((one - 1, None), (one, one), (3 * one - 1, 2 * one)):
            found = spool.find(0, end)
            assert (found and found.end) == longest
        middle = spool.find(one, 10**9)
        assert middle is not None
        assert (middle.first_line, middle.lines) == (1, 2)
        assert spool.find(one + 1, 10**9) is None

    def test_what_is_applied_is_released(self, tmp_path: Path, spool: Spool) -> None:
        data = line() * 3
        one = len(line())
        for number in range(3):
            made(spool, data, number * one, (number + 1) * one, number)
        spool.release(2 * one - 1)
        assert spool.find(0, one) is None
        assert spool.find(one, 2 * one)
        spool.release(3 * one)

        assert not spool.is_there
        assert list((tmp_path / "spool").iterdir()) == []
        spool.release(3 * one)

    def test_a_crash_within_a_pass_leaves_no_segment(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 50:
                    raise OSError(errno.EIO, "Input/output error")
                return super().read(size)

        data = line() * 3
        with small(BLOCK=40, GATHERED=0), pytest.raises(OSError, match="Input"):
            spool.make(Failing(data), 0, len(data), 0, KNOWN)

        assert not spool.is_there
        assert list((tmp_path / "spool" / "key").iterdir()) == []

    def test_a_process_that_is_killed_within_a_pass_leaves_no_segment(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        child = os.fork()
        if not child:

            class Killing(io.BytesIO):
                def read(self, size: int | None = -1, /) -> bytes:
                    if self.tell() > 50:
                        os._exit(9)
                    return super().read(size)

            with small(BLOCK=40, GATHERED=0):
                spool.make(Killing(line() * 3), 0, len(line() * 3), 0, KNOWN)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

        assert not spool.is_there
        (draft,) = (tmp_path / "spool" / "key").iterdir()
        assert draft.name.startswith("draft-")
        segment = made(spool, line() * 3)
        assert spool.find(0, segment.end) == segment
        os.utime(draft, (0, 0))
        made(spool, line())
        assert not draft.exists()

    def test_a_segment_whose_index_is_broken_is_made_again(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        segment = made(spool, line())
        index = tmp_path / "spool" / "key" / segment.name / INDEX
        for broken in ("", "[]", "{}", '{"tables": 1}', "\0" * 40):
            index.write_text(broken)
            assert spool.find(0, segment.end) is None
            assert made(spool, line()) == segment
            assert spool.find(0, segment.end) == segment

    @pytest.mark.parametrize("size", [None, 0, 30])
    def test_a_segment_that_lost_a_file_with_the_power_is_made_again(
        self, tmp_path: Path, spool: Spool, size: int | None
    ) -> None:
        segment = made(spool, line() + line("contact"))
        file = tmp_path / "spool" / "key" / segment.name / "0"
        if size is None:
            file.unlink()
        else:
            os.truncate(file, size)
        with pytest.raises(SourceError) as caught:
            list(spool.files(segment, "account"))

        assert caught.value.code == "file_changed"
        assert not caught.value.permanent
        assert spool.find(0, segment.end) is None
        made(spool, line() + line("contact"))
        assert list(spool.files(segment, "account"))

    def test_a_line_that_is_cut_in_a_spool_file_is_no_line(self) -> None:
        with pytest.raises(SourceError) as caught:
            list(numbered_lines(io.BytesIO(b"1 a\n2 b")))

        assert caught.value.code == "file_changed"

    def test_two_passes_at_once_make_one_segment(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        data = line() * 200 + line("contact") * 200
        found: list[Segment] = []
        gate = threading.Barrier(4)

        def make() -> None:
            gate.wait()
            found.append(made(spool, data))

        with small(BLOCK=100, GATHERED=500):
            threads = [threading.Thread(target=make) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert found == [found[0]] * 4
        assert [p.name for p in (tmp_path / "spool" / "key").iterdir()] == [
            found[0].name
        ]
        assert read(tmp_path / "spool", spool, found[0]) == expected(data)[0]

    def test_a_pass_begins_although_the_empty_folder_is_removed_meanwhile(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        ended = threading.Event()

        def release() -> None:
            while not ended.is_set():
                Spool(tmp_path / "spool", "key").release(10**9)

        thread = threading.Thread(target=release)
        thread.start()
        try:
            for _ in range(200):
                assert made(spool, b"").end == 0
        finally:
            ended.set()
            thread.join()

    def test_what_nobody_let_go_goes_after_a_day(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        data = line() * 2
        one = len(line())
        made(spool, data, end=one)
        old = time.time() - spool_module.FORGOTTEN_AFTER - 1
        os.utime(tmp_path / "spool" / "key" / f"0-{one}", (old, old))
        made(spool, data, one, first=1)

        assert spool.find(0, one) is None
        assert spool.find(one, 2 * one)

    def test_other_names_in_the_folder_are_no_segments(
        self, tmp_path: Path, spool: Spool
    ) -> None:
        for name in ("1-2-3", "a-b", "1-", "-1", "²-³", "draft-1", "1"):
            (tmp_path / "spool" / "key" / name).mkdir(parents=True)

        assert not spool.is_there
        assert spool.find(1, 10) is None
        spool.release(10**9)
        assert len(list((tmp_path / "spool" / "key").iterdir())) == 7


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }

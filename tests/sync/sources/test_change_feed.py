"""A directory of log files as a source: growth, rotation, and what stops it."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.errors import SourceError
from sync.model_json import Attribute, Entity, Model
from sync.sources import change_feed as module
from sync.sources import log_files
from sync.sources.base import Discovery, Partition, Stretch
from sync.sources.change_feed import ChangeFeed
from sync.sources.log_files import Follower, Mark
from sync.sources.spool import Spool, numbered_lines
from sync.sources.storage import Directory
from tests.sync.sources.places import unhurried

TIME = "2024-09-10T12:05:30Z"
LOG, NEXT = "a.log", "b.log"
ENTITY = Entity("account", (Attribute("id", "string"),), key=("id",))
UPLOADED = Model((ENTITY,))

_keys = itertools.count()


def line(key: str = "", table: str = "account", **values: object) -> str:
    said = json.dumps({"id": key or f"k{next(_keys)}", **values})
    return f"{TIME} | INSERT | {table} | {said}\n"


class Watched(Directory):
    """A directory that counts what is opened, and may fail or change meanwhile."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.errors: dict[str, Exception] = {}

    def open(self, path: str) -> BinaryIO:
        self.opened.append(path)
        if path in self.errors:
            raise self.errors[path]
        return super().open(path)


@dataclass
class Feed:
    """A directory of logs, and what a sync of it has come to know."""

    base: Path
    only: str = ""
    uploaded: Model | None = UPLOADED
    known: dict[str, str] = field(default_factory=dict)
    taken: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.base / "logs"
        self.root.mkdir(parents=True, exist_ok=True)
        self.spool = self.base / "spool"
        self.storage = Watched(self.root)
        self.source = ChangeFeed(
            self.storage, self.spool, only=self.only, uploaded=self.uploaded
        )

    def write(self, text: str | bytes, name: str = LOG, mode: str = "ab") -> None:
        """Append to a log, at another time than before."""
        path = self.root / name
        before = path.stat().st_mtime_ns if path.exists() else 0
        with path.open(mode) as stream:
            stream.write(text.encode() if isinstance(text, str) else text)
        now = max(time.time_ns(), before + 1_000)
        os.utime(path, ns=(now, now))

    def state(self) -> str:
        return self.source.listing().state

    def look(self, seconds: float = math.inf) -> Discovery:
        """Look once, and remember what was found as the engine does."""
        found = self.source.discover(self.known, seconds=seconds)
        for item in found.renamed:
            assert item.new not in self.known, "a name is taken"
            self.known[item.new] = item.mark
            del self.known[item.old]
            self.taken[item.new] = self.taken.pop(item.old)
            self.numbers[item.new] = self.numbers.pop(item.old)
        for partition in found.partitions:
            before = self.known.get(partition.name)
            known_end = Mark.read(before).end if before else 0
            assert partition.since == known_end
            self._take(partition)
            self.known[partition.name] = partition.mark
        return found

    def _take(self, partition: Partition) -> None:
        stretch = Stretch(partition.since, partition.extent, partition.mark)
        for number, text in self.lines(partition.name, "account", stretch):
            self.taken.setdefault(partition.name, []).append(text)
            self.numbers.setdefault(partition.name, []).append(number)
        self.taken.setdefault(partition.name, [])
        self.numbers.setdefault(partition.name, [])

    def lines(
        self, name: str, table: str, stretch: Stretch
    ) -> Iterator[tuple[int, str]]:
        for file in self.source.files(name, table, stretch):
            with self.source.open(file) as stream:
                for number, raw in numbered_lines(stream):
                    yield number, raw.decode() + "\n"

    def look_until_done(self, seconds: float) -> int:
        for count in range(1, 1000):
            if not self.look(seconds).cut_short:
                return count
        raise AssertionError("no end")

    def whole(self, name: str) -> Stretch:
        return Stretch(0, Mark.read(self.known[name]).end, self.known[name])


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(tmp_path)


def names(found: Discovery) -> list[str]:
    return [partition.name for partition in found.partitions]


def renames(found: Discovery) -> list[tuple[str, str]]:
    return [(item.old, item.new) for item in found.renamed]


def refusal(feed: Feed) -> SourceError:
    with pytest.raises(SourceError) as caught:
        feed.look()
    return caught.value


class TestGrowth:
    def test_only_what_is_new_is_taken(self, feed: Feed) -> None:
        one, two, three = line(), line(), line()
        feed.write(one)
        feed.look()
        feed.write(two + three[:30])
        found = feed.look()
        feed.write(three[30:])
        feed.look()

        assert [(p.since, p.extent) for p in found.partitions] == [
            (len(one), len(one + two))
        ]
        assert feed.taken == {LOG: [one, two, three]}
        assert feed.numbers == {LOG: [1, 2, 3]}
        assert feed.look().partitions == ()

    @unhurried
    @given(st.data())
    def test_a_file_that_grows_by_any_steps_is_taken_once(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        feed = Feed(tmp_path_factory.mktemp("grows"))
        text = "".join(
            data.draw(
                st.lists(
                    st.sampled_from([line("a"), line("ä|b"), "\n", line("c", "other")]),
                    max_size=6,
                )
            )
        ).encode()
        segment = data.draw(st.integers(150, 400))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SEGMENT_BYTES", segment)
            at = 0
            while at < len(text):
                step = data.draw(st.integers(1, len(text) - at))
                feed.write(text[at : at + step])
                at += step
                feed.look_until_done(seconds=data.draw(st.sampled_from([0, 60])))

        lines = text.decode().splitlines(keepends=True)
        ours = [(n, s) for n, s in enumerate(lines, 1) if "| account |" in s]
        assert feed.taken.get(LOG, []) == [s for _, s in ours]
        assert feed.numbers.get(LOG, []) == [n for n, _ in ours]

    def test_a_log_without_a_whole_line_is_no_partition_yet(self, feed: Feed) -> None:
        feed.write(b"")
        assert names(feed.look()) == []
        feed.write(line()[:20])
        found = feed.look()

        assert (names(found), found.problem, found.cut_short) == ([], None, False)
        assert found.present == {LOG}

    def test_files_go_in_the_order_of_names_known_ones_first(self, feed: Feed) -> None:
        feed.write(line(), "c.log")
        feed.look()
        for name in ("d.log", "b.log", "C.LOG", "c.log"):
            feed.write(line(), name)
        found = feed.look()

        assert names(found) == ["c.log", "C.LOG", "b.log", "d.log"]
        opened = [p.opened_at for p in found.partitions]
        assert opened == sorted(set(opened))

    def test_the_state_is_another_one_after_each_change_only(self, feed: Feed) -> None:
        states = [feed.state()]

        def changed() -> None:
            assert feed.state() == feed.state()
            states.append(feed.state())

        for text in (line("a"), line("b")):
            feed.write(text)
            changed()
        feed.look()
        assert feed.state() == states[-1]
        feed.write(line("x") + line("y"), mode="wb")
        changed()
        feed.write(b"{}", "model.json")
        changed()
        feed.write(b"[]", "model.json", mode="wb")
        changed()
        (feed.root / LOG).rename(feed.root / "a.log.1")
        changed()
        feed.write(line(), NEXT)
        changed()
        shutil.copy2(feed.root / NEXT, feed.root / "copy")
        (feed.root / "copy").rename(feed.root / NEXT)
        changed()
        (feed.root / NEXT).unlink()
        changed()

        assert all(before != after for before, after in pairwise(states))
        assert len(set(states)) == len(states) - 1  # it is as it was before b.log

    def test_a_quiet_look_opens_no_log(self, feed: Feed) -> None:
        for number in range(20):
            feed.write(line(), f"{number}.log")
        feed.look()
        feed.storage.opened.clear()
        feed.look()

        assert {*feed.storage.opened} <= {"model.json"}

    def test_without_time_a_look_goes_on_where_the_last_one_ended(
        self, feed: Feed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SEGMENT_BYTES", 2 * len(line("kkk")))
        texts = {name: [line("kkk") for _ in range(5)] for name in (LOG, NEXT)}
        for name, lines in texts.items():
            feed.write("".join(lines), name)
        first = feed.look(seconds=0)

        assert (names(first), first.cut_short) == ([LOG], True)
        assert first.partitions[0].extent == 2 * len(line("kkk"))
        assert feed.look_until_done(seconds=0) >= 4
        assert feed.taken == texts
        assert feed.numbers == {LOG: [1, 2, 3, 4, 5], NEXT: [1, 2, 3, 4, 5]}

    def test_an_unended_line_does_not_keep_looks_without_time_from_others(
        self, feed: Feed
    ) -> None:
        feed.write(line()[:20], LOG)
        feed.write(line(), NEXT)
        feed.look_until_done(seconds=0)

        assert list(feed.taken) == [NEXT]

    def test_spool_files_are_made_again_with_the_same_lines(
        self, feed: Feed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
        texts = [line() for _ in range(9)]
        feed.write("".join(texts[:4]))
        feed.look()
        feed.write("".join(texts[4:]) + "\n" + line("x", "contact"))
        feed.look()
        end = Mark.read(feed.known[LOG]).end
        middle = len("".join(texts[:4]))
        for start, first in ((0, 0), (middle, 4)):
            shutil.rmtree(feed.spool)
            stretch = Stretch(start, end, feed.known[LOG])
            assert list(feed.lines(LOG, "account", stretch)) == [
                *enumerate(texts[first:], first + 1)
            ]
        assert [n for n, _ in feed.lines(LOG, "contact", feed.whole(LOG))] == [11]

    def test_what_is_applied_is_released(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        mark = feed.known[LOG]
        feed.source.release({mark: Mark.read(mark).end - 1})
        assert list(feed.spool.rglob("index.json"))
        list(
            feed.source.files(
                LOG, "account", Stretch(0, Mark.read(mark).end, mark, True)
            )
        )
        assert len(list(feed.spool.rglob("index.json"))) == 2
        feed.source.release({mark: Mark.read(mark).end})

        assert list(feed.spool.iterdir()) == []
        shutil.rmtree(feed.spool)
        feed.source.release({mark: Mark.read(mark).end})


class TestRotation:
    @pytest.mark.parametrize("new", ["a.log.1", "0.log", "z.log", "old", "a.log-2024"])
    def test_a_log_that_was_renamed_is_followed(self, feed: Feed, new: str) -> None:
        one, two, three = line(), line(), line()
        feed.write(one)
        feed.look()
        feed.write(two)
        (feed.root / LOG).rename(feed.root / new)
        feed.write(three)
        found = feed.look()

        assert renames(found) == [(LOG, new)]
        assert feed.taken == {new: [one, two], LOG: [three]}
        assert names(found) == [new, LOG]
        assert feed.look().renamed == ()

    @pytest.mark.parametrize("form", ["a.log.{}", "a.{}.log"])
    def test_a_whole_chain_of_rotations_is_followed(
        self, feed: Feed, form: str
    ) -> None:
        expected: dict[str, list[str]] = {}
        for turn in range(1, 7):
            early, late = line(), line()
            feed.write(early)
            feed.look()
            assert feed.taken == {LOG: [early], **expected}
            feed.write(late)
            chain = [LOG, *(form.format(number) for number in range(1, turn + 1))]
            for old, new in reversed([*pairwise(chain)]):
                (feed.root / old).rename(feed.root / new)
            older = list(expected.values())
            expected = dict(zip(chain[1:], [[early, late], *older], strict=True))
        found = feed.look()

        assert feed.taken == expected
        assert len(found.renamed) == 6
        assert feed.look().renamed == ()

    def test_two_files_that_swapped_their_names_keep_what_is_known(
        self, feed: Feed
    ) -> None:
        one, two = line(), line()
        feed.write(one, LOG)
        feed.write(two, NEXT)
        feed.look()
        (feed.root / LOG).rename(feed.root / "x")
        (feed.root / NEXT).rename(feed.root / LOG)
        (feed.root / "x").rename(feed.root / NEXT)
        more = line()
        feed.write(more, LOG)
        found = feed.look()

        assert feed.taken == {NEXT: [one], LOG: [two, more]}
        assert [p.since for p in found.partitions] == [len(two)]
        assert feed.look().renamed == ()

    @unhurried
    @given(
        st.permutations(["a.log", "b.log", "c.log", "d.log", "e.log"]), st.booleans()
    )
    def test_any_exchange_of_names_is_followed(
        self, tmp_path_factory: pytest.TempPathFactory, new: list[str], moved: bool
    ) -> None:
        feed = Feed(tmp_path_factory.mktemp("exchange"))
        old = sorted(new)
        texts = {name: line() for name in old}
        for name, text in texts.items():
            feed.write(text, name)
        feed.look()
        for name in old:
            (feed.root / name).rename(feed.root / f"{name}.aside")
        for name, to in zip(old, new, strict=True):
            to = "f.log" if moved and to == "c.log" else to
            (feed.root / f"{name}.aside").rename(feed.root / to)
        found = feed.look()

        assert found.partitions == ()
        assert {name: "".join(lines) for name, lines in feed.taken.items()} == {
            ("f.log" if moved and to == "c.log" else to): texts[name]
            for name, to in zip(old, new, strict=True)
        }

    @pytest.mark.parametrize("copied", [True, False])
    def test_a_log_that_is_cut_is_read_from_its_beginning(
        self, feed: Feed, copied: bool
    ) -> None:
        one, two, unseen = line(), line(), line()
        feed.write(one)
        feed.look()
        if copied:
            feed.write(unseen)
            shutil.copy2(feed.root / LOG, feed.root / "a.log.1")
        os.truncate(feed.root / LOG, 0)
        feed.look()
        feed.write(two)
        found = feed.look()

        old = "a.log.1" if copied else "a.log#1"
        kept = [one, unseen] if copied else [one]
        assert feed.taken == {old: kept, LOG: [two]}
        assert found.renamed == ()

    def test_a_log_is_cut_again_and_again(self, feed: Feed) -> None:
        for number in range(4):
            feed.write(line("x" * (9 - number)), mode="wb")
            found = feed.look()
            if number:
                (item,) = found.renamed
                assert (item.old, item.new) == (LOG, f"a.log#{number}")
                assert "was cut" in item.reason

        assert sorted(feed.taken) == ["a.log", "a.log#1", "a.log#2", "a.log#3"]

    @pytest.mark.parametrize("in_place", [True, False])
    def test_a_log_of_the_same_name_and_size_with_other_content_is_another(
        self, feed: Feed, in_place: bool
    ) -> None:
        one, two = line("111"), line("222")
        feed.write(one)
        feed.look()
        if not in_place:
            (feed.root / LOG).unlink()
        feed.write(two, mode="wb")
        found = feed.look()

        (item,) = found.renamed
        assert "begins otherwise" in item.reason
        assert feed.taken == {"a.log#1": [one], LOG: [two]}

    def test_one_that_begins_as_the_old_one_has_a_spool_of_its_own(
        self, feed: Feed
    ) -> None:
        one, two, three = line("1"), line("2"), line("3")
        feed.write("\n" + one + two)
        feed.look()
        old = feed.known[LOG]
        feed.write("\n" + one, mode="wb")
        feed.look()
        feed.write(three + two)
        feed.look()

        assert Mark.read(feed.known["a.log#1"]).key != Mark.read(feed.known[LOG]).key
        assert feed.taken == {"a.log#1": [one, two], LOG: [one, three, two]}
        end = Mark.read(old).end
        assert [s for _, s in feed.lines(LOG, "account", feed.whole(LOG))] == [
            *(one, three, two)
        ]
        assert [
            s
            for _, s in feed.lines(
                "a.log#1", "account", Stretch(0, end, feed.known["a.log#1"])
            )
        ] == [one, two]

    def test_a_number_of_an_old_file_is_no_sign_of_it(self, feed: Feed) -> None:
        feed.write(line("old"))
        feed.look()
        mark = Mark.read(feed.known[LOG])
        (feed.root / LOG).unlink()
        feed.write(line("new and longer"), NEXT)
        identity = Directory(feed.root).entries()[0].identity
        feed.known[LOG] = replace(mark, identity=identity).text()
        found = feed.look()

        assert found.renamed == ()
        assert names(found) == [NEXT]

    def test_a_log_that_is_copied_and_removed_is_the_same(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        shutil.copy(feed.root / LOG, feed.root / "z.log")
        (feed.root / LOG).unlink()
        found = feed.look()

        assert renames(found) == [(LOG, "z.log")]
        assert found.partitions == ()

    def test_a_deleted_log_is_there_as_long_as_its_spool(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        (feed.root / LOG).unlink()
        found = feed.look()
        assert found.present == {LOG}
        assert found.renamed == ()
        mark = feed.known[LOG]
        assert len(list(feed.lines(LOG, "account", feed.whole(LOG)))) == 1
        feed.source.release({mark: Mark.read(mark).end})

        assert feed.look().present == frozenset()
        with pytest.raises(SourceError) as caught:
            feed.source.files(LOG, "account", feed.whole(LOG))
        assert caught.value.code == "file_missing"

    def test_a_file_with_the_name_of_one_that_is_gone_stops_nothing(
        self, feed: Feed
    ) -> None:
        feed.write(line("long enough"))
        feed.look()
        feed.write(line("short"), mode="wb")
        feed.look()
        feed.write(line("stranger and longer than that"), "a.log#1")
        feed.write(line("more"))
        found = feed.look()

        assert found.problem is None
        assert names(found) == [LOG]
        feed.write(line(), mode="wb")
        assert renames(feed.look()) == [(LOG, "a.log#2")]

    def test_a_log_that_is_replaced_between_look_and_pass_is_not_mixed(
        self, feed: Feed
    ) -> None:
        feed.write(line("old"))
        feed.look()
        feed.write(line("new"))
        shutil.copy(feed.root / LOG, feed.root / "kept")
        find = Follower.follow

        def follow(self: Follower, *args: object) -> object:
            found = find(self, *args)  # type: ignore[arg-type]
            feed.write(line("other") * 5, mode="wb")
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Follower, "follow", follow)
            found = feed.look()
        assert found.problem is not None
        assert (found.problem.code, found.partitions) == ("file_changed", ())
        feed.look()

        assert len(feed.taken[LOG]) == 5
        assert "other" in feed.taken[LOG][0]

    def test_the_head_of_another_file_is_not_taken_for_its_own(
        self, feed: Feed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feed.write(line("first"))
        passes = log_files.with_head

        def longer(*args: object) -> object:
            feed.write(line("other") * 5, mode="wb")
            return passes(*args)  # type: ignore[arg-type]

        feed.look()
        feed.write(line("second"))
        with monkeypatch.context() as patch:
            patch.setattr(module, "with_head", longer)
            feed.look()
        found = feed.look()

        assert renames(found) == [(LOG, "a.log#1")]
        assert len(feed.taken[LOG]) == 5

    def test_many_deleted_logs_cost_a_look_little(self, feed: Feed) -> None:
        for number in range(300):
            feed.write(line(), f"{number}.log")
        feed.look()
        for number in range(300):
            (feed.root / f"{number}.log").unlink()
        for number in range(50):
            feed.write(line() * 2, f"new{number}.log")
        feed.storage.opened.clear()
        feed.look()

        assert len(feed.storage.opened) < 50 * 6


class TestStrangers:
    def test_a_symbolic_link_is_refused(self, feed: Feed) -> None:
        (feed.base / "secret").write_text(line())
        (feed.root / LOG).symlink_to(feed.base / "secret")

        assert refusal(feed).code == "unsafe_path"
        with pytest.raises(SourceError):
            feed.source.listing()

    def test_other_links_are_no_logs(self, feed: Feed) -> None:
        (feed.base / "secret").write_text(line())
        (feed.root / "elsewhere").symlink_to(feed.base / "secret")
        feed.write(line())

        assert names(feed.look()) == [LOG]

    def test_a_link_in_the_place_of_a_known_log_is_refused(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        (feed.root / LOG).rename(feed.base / "moved")
        (feed.root / LOG).symlink_to(feed.base / "moved")

        assert refusal(feed).code == "unsafe_path"

    def test_a_folder_or_a_pipe_is_no_log(self, feed: Feed) -> None:
        (feed.root / "folder.log").mkdir()
        os.mkfifo(feed.root / "pipe.log")
        (feed.root / ".hidden.log").write_text(line())
        feed.write(line())

        assert names(feed.look()) == [LOG]

    def test_a_known_log_that_became_a_folder_is_gone(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        (feed.root / LOG).unlink()
        (feed.root / LOG).mkdir()
        found = feed.look()

        assert (found.renamed, found.problem) == ((), None)

    @pytest.mark.parametrize("known", [True, False])
    def test_after_an_unreadable_log_nothing_is_taken(
        self, feed: Feed, known: bool
    ) -> None:
        if known:
            feed.write(line(), NEXT)
            feed.look()
        for name in (LOG, NEXT, "c.log"):
            feed.write(line(), name)
        feed.storage.errors[NEXT] = SourceError("file_unreadable", "denied")
        found = feed.look()

        assert found.problem is not None
        assert found.problem.code == "file_unreadable"
        assert names(found) == ([] if known else [LOG])
        feed.storage.errors.clear()
        feed.look()
        assert set(feed.taken) == {LOG, NEXT, "c.log"}

    @pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE])
    def test_a_disk_that_fails_is_an_error_of_the_source(
        self, feed: Feed, error: int
    ) -> None:
        feed.write(line())
        feed.storage.errors[LOG] = OSError(error, os.strerror(error))
        found = feed.look()

        assert found.problem is not None
        assert os.strerror(error) in found.problem.message

    def test_a_log_that_vanishes_within_a_look_ends_it_without_a_problem(
        self, feed: Feed
    ) -> None:
        for name in (LOG, NEXT, "c.log"):
            feed.write(line(), name)
        feed.storage.errors[NEXT] = SourceError("file_missing", "gone")
        found = feed.look()

        assert (names(found), found.problem, found.cut_short) == ([LOG], None, True)

    def test_a_full_disk_is_said(
        self, feed: Feed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feed.write(line())

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(Spool, "_keep", full)
            found = feed.look()
        assert found.problem is not None
        assert "No space left" in found.problem.message
        feed.look()
        assert len(feed.taken[LOG]) == 1

    def test_a_directory_without_logs_is_no_feed(self, feed: Feed) -> None:
        feed.write(b"", "notes.txt")
        with pytest.raises(SourceError) as caught:
            feed.source.model()

        assert caught.value.code == "not_an_export"


class TestBrokenLines:
    def test_nothing_after_a_broken_line_is_taken(self, feed: Feed) -> None:
        feed.write(line("known"), "z.log")
        feed.look()
        feed.write(line("1"), LOG)
        feed.write(line("2") + "\nwhat is this\n" + line("3"), NEXT)
        feed.write(line("4"), "c.log")
        feed.write(line("5"), "z.log")
        found = feed.look()

        assert found.problem is not None
        assert found.problem.code == "line_malformed"
        assert found.problem.where == "b.log, line 3"
        assert names(found) == ["z.log", LOG, NEXT]
        assert "c.log" not in feed.taken
        again = feed.look()
        assert (names(again), again.problem and again.problem.where) == (
            [],
            "b.log, line 3",
        )

    def test_after_it_is_mended_the_rest_is_taken(self, feed: Feed) -> None:
        first, broken, last = line("2"), "what is this\n", line("3")
        feed.write(first + broken + last)
        feed.look()
        feed.write(first + " " * (len(broken) - 1) + "\n" + last, mode="wb")
        found = feed.look()

        assert (found.problem, found.renamed) == (None, ())
        assert feed.taken == {LOG: [first, last]}
        assert feed.numbers == {LOG: [1, 3]}


class TestModels:
    def test_without_a_model_lines_are_sorted_all_the_same(
        self, tmp_path: Path
    ) -> None:
        feed = Feed(tmp_path, uploaded=None)
        feed.write(line() + line("x", "contact"))
        found = feed.look()

        assert list(found.partitions[0].files) == ["account", "contact"]
        assert found.partitions[0].model is None
        with pytest.raises(SourceError) as caught:
            feed.source.entity(LOG, "account")
        assert caught.value.code == "entity_missing"

    def test_a_broken_model_stops_the_feed_until_it_is_mended(self, feed: Feed) -> None:
        feed.write(line())
        feed.look()
        feed.write(b"{", "model.json")
        feed.write(line())
        found = feed.look()
        assert found.problem is not None
        assert found.problem.code == "model_malformed"
        (feed.root / "model.json").unlink()
        feed.look()

        assert len(feed.taken[LOG]) == 2

    def test_the_model_of_the_folder_is_before_the_uploaded_one(
        self, feed: Feed
    ) -> None:
        feed.write(line())
        assert feed.source.entity(LOG, "account") == ENTITY
        attributes = [
            {"name": name, "dataType": "string"} for name in ("Id", "fullname")
        ]
        entities = [{"name": "account", "attributes": attributes}]
        feed.write(json.dumps({"entities": entities}), "model.json")

        found = feed.source.entity(LOG, "account")
        assert found.key == ("Id",)
        assert [a.name for a in found.attributes] == ["Id", "fullname"]
        with pytest.raises(SourceError):
            feed.source.entity(LOG, "contact")
        model = feed.look().partitions[0].model
        assert model is not None
        assert model.entities == (found,)

    def test_a_look_reads_the_model_once(self, feed: Feed) -> None:
        attributes = [{"name": "Id", "dataType": "string"}]
        entities = [{"name": "account", "attributes": attributes}]
        feed.write(json.dumps({"entities": entities}), "model.json")
        for number in range(20):
            feed.write(line(), f"{number}.log")
        feed.storage.opened.clear()
        found = feed.source.discover({})

        assert len(found.partitions) == 20
        assert feed.storage.opened.count("model.json") == 1
        assert len({id(p.model) for p in found.partitions}) == 1


class TestOneFile:
    def test_other_files_are_not_looked_at(self, tmp_path: Path) -> None:
        feed = Feed(tmp_path, only="changes.txt")
        feed.write(line(), "changes.txt")
        feed.write(line(), "other.log")
        (feed.root / "link.log").symlink_to("other.log")
        found = feed.look()

        assert names(found) == ["changes.txt"]
        assert found.present == {"changes.txt"}
        assert [name for _, name in feed.source.listing().partitions] == ["changes.txt"]
        assert {*feed.storage.opened} == {"model.json", "changes.txt"}

    def test_a_link_is_refused(self, tmp_path: Path) -> None:
        feed = Feed(tmp_path, only="changes.txt")
        (feed.root / "changes.txt").symlink_to("/etc/passwd")

        assert refusal(feed).code == "unsafe_path"

    def test_one_that_is_cut_is_read_anew(self, tmp_path: Path) -> None:
        feed = Feed(tmp_path, only="changes.txt")
        feed.write(line("long long"), "changes.txt")
        feed.look()
        feed.write(line("short"), "changes.txt", mode="wb")
        found = feed.look()

        assert renames(found) == [("changes.txt", "changes.txt#1")]
        assert len(feed.taken["changes.txt"]) == 1

    def test_without_the_file_it_is_no_feed(self, tmp_path: Path) -> None:
        feed = Feed(tmp_path, only="changes.txt")
        with pytest.raises(SourceError) as caught:
            feed.source.model()

        assert caught.value.code == "not_an_export"
        assert feed.look().partitions == ()

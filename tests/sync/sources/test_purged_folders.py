"""Which folders are there, and which were purged before anyone read them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.sources import synapse_link
from sync.sources.folder_names import folder_time
from sync.sources.synapse_link import SynapseLink
from tests.sync.sources.places import (
    FIRST,
    OPEN,
    SECOND,
    SECRET,
    THIRD,
    Export,
    Failing,
    Watched,
    unhurried,
)

LOG = "Changelog/Synapse.log"
NEXT = "2026-03-01T09.00.00Z"


def log(export: Export, *names: str) -> None:
    export.write(LOG, ",".join(names).encode())


class TestPresent:
    def test_every_folder_of_the_listing_is_present(self, export: Export) -> None:
        """Also the open one, later ones, known ones and those that wait."""
        export.folder(FIRST, "account/2026.csv")
        export.folder(SECOND, model=None)
        export.folder(THIRD)
        export.folder(OPEN, model=b"")
        export.folder(NEXT)

        assert export.discover(FIRST, THIRD).present == {
            FIRST,
            SECOND,
            THIRD,
            OPEN,
            NEXT,
        }

    def test_only_change_folders_are_present(self, export: Export) -> None:
        export.folder(FIRST)
        export.write("model.json", b"{}")
        export.write(SECOND, b"a file")
        export.write("account/2026.csv", b"")
        export.write("2026-03-01T08.10.00Z.partial/account/2026.csv", b"")

        assert export.discover().present == {FIRST}

    def test_names_are_present_as_they_are_spelled(self, export: Export) -> None:
        export.folder("2026-03-01T08:00:00.000Z")

        assert export.discover().present == {"2026-03-01T08:00:00.000Z"}

    def test_nothing_is_present_in_a_new_export(self, export: Export) -> None:
        assert export.discover().present == frozenset()


class TestPurged:
    def test_a_closed_folder_of_the_log_that_is_not_there_was_purged(
        self, export: Export
    ) -> None:
        """Row 34 of the catalogue."""
        export.folder(SECOND)
        log(export, FIRST, SECOND, THIRD)

        assert export.discover().purged == (FIRST, THIRD)

    def test_it_does_not_matter_what_is_known(self, export: Export) -> None:
        log(export, FIRST, SECOND)

        assert export.discover(FIRST).purged == (FIRST, SECOND)

    def test_folders_that_are_there_were_not_purged(self, export: Export) -> None:
        """Whatever state they are in."""
        export.folder(FIRST)
        export.folder(SECOND, model=None)
        export.folder(THIRD, model=b"{")
        log(export, FIRST, SECOND, THIRD)

        assert export.discover().purged == ()

    def test_only_folders_older_than_the_marker_can_be_purged(
        self, export: Export
    ) -> None:
        export.mark(THIRD)
        log(export, FIRST, SECOND, THIRD, "2026-03-01T08.30.00.001Z", OPEN, NEXT)

        assert export.discover().purged == (FIRST, SECOND)

    @pytest.mark.parametrize(
        "spelled",
        [
            "2026-03-01T08:00:00Z",
            "2026-03-01T08.00.00",
            "2026-03-01T08:00:00.000Z",
            "2026-03-01T08.00.00.0000000Z",
            "2026-03-01T08.00.00z",
        ],
    )
    def test_a_folder_is_there_however_its_time_is_spelled(
        self, export: Export, spelled: str
    ) -> None:
        export.folder(FIRST)
        log(export, spelled)

        assert export.discover().purged == ()

    def test_the_marker_is_compared_by_time(self, export: Export) -> None:
        export.mark("2026-03-01T08:30:00.000Z")
        log(export, "2026-03-01T08:15:01Z", THIRD)

        assert export.discover().purged == ("2026-03-01T08:15:01Z",)

    def test_purged_folders_are_told_once_and_in_the_order_of_their_times(
        self, export: Export
    ) -> None:
        early = "2026-03-01T07:59:59Z"  # by text it is later than FIRST
        log(export, THIRD, FIRST, early, THIRD, "2026-03-01T08:30:00Z", FIRST)

        purged = export.discover().purged

        assert [folder_time(name) for name in purged] == [
            folder_time(name) for name in (early, FIRST, THIRD)
        ]

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(f"{FIRST},{SECOND}", id="as written"),
            pytest.param(f"{FIRST},{SECOND},", id="a trailing comma"),
            pytest.param(f",{FIRST},,{SECOND},,", id="empty items"),
            pytest.param(f"{FIRST},{SECOND}\n", id="a trailing newline"),
            pytest.param(f"{FIRST}\n{SECOND}\n", id="lines"),
            pytest.param(f"{FIRST},\r\n{SECOND},\r\n", id="lines with commas"),
            pytest.param(f"{FIRST}\r{SECOND}\r", id="CR"),
            pytest.param(f" {FIRST} ,\t{SECOND}  ", id="spaces"),
            pytest.param(f"\ufeff{FIRST},{SECOND}", id="a BOM"),
            pytest.param(f"x,{FIRST},2026-13-01T08.00.00Z,{SECOND},../..", id="junk"),
        ],
    )
    def test_what_surrounds_the_names_is_stripped(
        self, export: Export, content: str
    ) -> None:
        export.write(LOG, content.encode())

        assert export.discover().purged == (FIRST, SECOND)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\xef\xbb\xbf", id="a BOM"),
            pytest.param(b"\n", id="a newline"),
            pytest.param(b"," * 1000, id="commas"),
            pytest.param(b"\0" * 1000, id="zeros"),
            pytest.param(f"{FIRST},".encode("utf-16"), id="UTF-16"),
            pytest.param(b"%s | INSERT | account | {}\n" % FIRST.encode(), id="a log"),
            pytest.param(b"%s error\n" % FIRST.encode(), id="another log"),
            pytest.param(b'{"folders": ["%s"]}' % FIRST.encode(), id="JSON"),
            pytest.param(b"<html>404</html>", id="an error page"),
        ],
    )
    def test_a_log_without_names_says_nothing(
        self, export: Export, content: bytes
    ) -> None:
        export.write(LOG, content)

        assert export.discover().purged == ()

    def test_there_may_be_no_log(self, export: Export) -> None:
        export.folder(FIRST)

        assert export.discover().purged == ()

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("kind", ["a directory", "a link", "a pipe"])
    def test_what_is_no_file_says_nothing(self, export: Export, kind: str) -> None:
        export.folder(SECOND)
        path = export.root / LOG
        (export.base / "elsewhere").write_text(FIRST)
        if kind == "a directory":
            path.mkdir()
        elif kind == "a link":
            path.symlink_to(export.base / "elsewhere")
        else:
            os.mkfifo(path)

        found = export.discover()

        assert found.purged == ()
        assert found.problem is None

    def test_a_log_that_cannot_be_read_is_no_problem(self, export: Export) -> None:
        export.folder(SECOND)
        log(export, FIRST)

        found = SynapseLink(Failing(export.root, LOG)).discover(())

        assert found.purged == ()
        assert found.problem is None
        assert [partition.state for partition in found.partitions] == ["ready"]

    def test_a_folder_born_after_the_listing_was_not_purged(
        self, export: Export
    ) -> None:
        """The log then names a folder that the listing lacks."""
        export.folder(THIRD)

        def synapse_link_goes_on(path: str) -> None:
            if path == "":
                export.folder(OPEN)
                export.folder(NEXT)
                export.mark(NEXT)
                log(export, THIRD, OPEN, NEXT)

        source = SynapseLink(Watched(export.root, after=synapse_link_goes_on))

        assert source.discover(()).purged == ()
        assert (export.root / NEXT).exists()

    def test_a_folder_purged_after_the_listing_is_told_by_the_next_look(
        self, export: Export
    ) -> None:
        folder = export.folder(FIRST)
        log(export, FIRST)

        def retention(path: str) -> None:
            if path == "":
                shutil.rmtree(folder, ignore_errors=True)

        source = SynapseLink(Watched(export.root, after=retention))

        first, second = source.discover([FIRST]), source.discover([FIRST])

        assert first.present == {FIRST}
        assert first.purged == ()
        assert second.present == frozenset()
        assert second.purged == (FIRST,)

    def test_a_log_of_years_is_read(self, export: Export) -> None:
        start = datetime(2020, 1, 1, tzinfo=UTC)
        names = [
            f"{start + timedelta(minutes=5 * n):%Y-%m-%dT%H.%M.%SZ}"
            for n in range(30_000)
        ]
        export.folder(names[-1])
        log(export, *names)

        assert export.discover().purged == tuple(names[:-1])

    def test_wherever_a_log_is_cut_off_no_name_is_made_up(
        self, export: Export, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The beginning of a name may be a name, of another time."""
        names = ("2026-03-01T07:00:00.1234567Z", "2026-03-01T07:00:00.2345678Z")
        content = ",".join(names).encode()
        export.write(LOG, content)

        for length in range(len(content)):
            monkeypatch.setattr(synapse_link, "LOG_BYTES", length)
            purged = export.discover().purged
            assert purged == names[: len(purged)]
        monkeypatch.setattr(synapse_link, "LOG_BYTES", len(content))
        assert export.discover().purged == names


moments = st.integers(0, 3600).map(
    lambda seconds: datetime(2026, 3, 1, 8, tzinfo=UTC) + timedelta(seconds=seconds)
)


@st.composite
def spelled(draw: st.DrawFn, moment: datetime) -> str:
    """Write a moment as a folder name in one of its forms."""
    separator = draw(st.sampled_from(".:"))
    fraction = draw(st.sampled_from(["", ".0", ".000", ".0000000"]))
    end = draw(st.sampled_from(["Z", "z", ""]))
    return f"{moment:%Y-%m-%dT%H{separator}%M{separator}%S}{fraction}{end}"


junk = st.sampled_from(["", " ", "x", "2026", "2026-03-01", "..", "null"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Return an export that many examples share."""
    return Export(tmp_path_factory.mktemp("purged"))


class TestAnyLog:
    @unhurried
    @given(st.data())
    def test_what_is_logged_older_and_not_there_was_purged(
        self, shared: Export, data: st.DataObject
    ) -> None:
        logged = data.draw(st.lists(moments, max_size=8))
        there = data.draw(st.sets(st.sampled_from(logged))) if logged else set()
        marker = data.draw(moments)
        items = [data.draw(spelled(moment) | junk) for moment in logged]
        items += [data.draw(spelled(moment)) for moment in logged]
        text = ""
        for item in data.draw(st.permutations(items)):
            text += item + data.draw(st.sampled_from([",", ", ", "\n", "\r\n", ",\n"]))
        marked = data.draw(spelled(marker))
        # An example may be given up while it is drawn: files are made afterwards.
        present = [data.draw(spelled(moment)) for moment in sorted(there)]
        shared.write(LOG, text.encode())
        shared.mark(marked)
        folders = [shared.folder(name) for name in present]

        try:
            purged = shared.discover().purged
        finally:
            for folder in folders:
                shutil.rmtree(folder)

        assert {*purged} <= {*items}
        assert [folder_time(name) for name in purged] == [
            moment for moment in sorted({*logged} - there) if moment < marker
        ]

    @unhurried
    @given(st.binary(max_size=100))
    @example(SECRET)
    @example(FIRST.encode() * 2)
    @example(b"\xff," + FIRST.encode())
    def test_any_bytes_are_a_log(self, shared: Export, content: bytes) -> None:
        shared.mark(OPEN)
        path: Path = shared.write(LOG, content)
        assert path.read_bytes() == content

        for name in shared.discover().purged:
            assert name.encode() in content
            assert folder_time(name) is not None

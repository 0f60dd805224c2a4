"""Which change folders of an export are complete, and what they hold."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sync.errors import ModelError, SourceError
from sync.sources.base import PartitionState, TableFile
from sync.sources.storage import Directory
from sync.sources.synapse_link import SynapseLink, folder_time
from tests.sync.sources.places import (
    ACCOUNT,
    DATA,
    FIRST,
    LATER,
    OPEN,
    ROWS,
    SECOND,
    SECRET,
    THIRD,
    Export,
    Watched,
    at,
    listed,
    model,
)


class TestMarker:
    @pytest.mark.fault(
        "C26",
        injected="a byte order mark, blanks and a slash around the marker",
        outcome="stripped",
    )
    @pytest.mark.parametrize(
        "content",
        [
            OPEN.encode(),
            OPEN.encode("utf-8-sig"),
            f"{OPEN}\n".encode(),
            f"{OPEN}\r\n".encode(),
            f" \t{OPEN} \n\n".encode(),
            f"{OPEN}/".encode(),
            f"{OPEN}/\n".encode(),
            f"\ufeff {OPEN}/ \r\n".encode(),
        ],
    )
    def test_what_surrounds_the_name_is_stripped(
        self, export: Export, content: bytes
    ) -> None:
        export.mark(content)

        assert export.source.marker() == (OPEN, folder_time(OPEN))
        assert export.discover().marker == OPEN

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\n", id="a newline"),
            pytest.param(b"\xef\xbb\xbf", id="a BOM"),
            pytest.param(b"/", id="a slash"),
            pytest.param(b"garbage", id="a word"),
            pytest.param(b"\0" * 20, id="zeros"),
            pytest.param(b"\xff\xfe2\x000\x00", id="UTF-16"),
            pytest.param(OPEN[:10].encode(), id="cut"),
            pytest.param(b"../" + OPEN.encode(), id="a path"),
            pytest.param(f"{OPEN},{OPEN}".encode(), id="a list"),
            pytest.param(f'"{OPEN}"'.encode(), id="quoted"),
            pytest.param(b'{"folder": "%s"}' % OPEN.encode(), id="JSON"),
            pytest.param(b"2026-13-01T08.15.01Z", id="a bad month"),
            pytest.param(b"x" * 10_000_000, id="10 MB"),
        ],
    )
    def test_a_marker_without_a_name_is_refused_for_now(
        self, export: Export, content: bytes
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        export.mark(content)

        with pytest.raises(SourceError) as caught:
            export.discover()

        assert caught.value.code == "marker_unusable"
        assert not caught.value.permanent
        assert "changelog.info" in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500

    def test_without_a_marker_it_is_no_export(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        (export.root / "Changelog/changelog.info").unlink()

        with pytest.raises(SourceError) as caught:
            export.discover()

        assert caught.value.code == "not_an_export"

    def test_an_empty_directory_is_no_export(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError) as caught:
            SynapseLink(Directory(tmp_path)).discover(())

        assert caught.value.code == "not_an_export"

    def test_a_missing_directory_is_an_unreadable_source(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError) as caught:
            SynapseLink(Directory(tmp_path / "gone")).discover(())

        assert caught.value.code == "source_unreadable"

    def test_a_directory_in_the_place_of_the_marker_is_refused(
        self, export: Export
    ) -> None:
        (export.root / "Changelog/changelog.info").unlink()
        (export.root / "Changelog/changelog.info").mkdir()

        with pytest.raises(SourceError):
            export.discover()

    def test_a_link_in_the_place_of_the_marker_is_refused(self, export: Export) -> None:
        marker = export.root / "Changelog/changelog.info"
        marker.rename(export.base / "elsewhere")
        marker.symlink_to(export.base / "elsewhere")

        with pytest.raises(SourceError) as caught:
            export.discover()

        assert caught.value.code == "unsafe_path"

    @pytest.mark.timeout(10)
    def test_a_pipe_in_the_place_of_the_marker_does_not_hang(
        self, export: Export
    ) -> None:
        (export.root / "Changelog/changelog.info").unlink()
        os.mkfifo(export.root / "Changelog/changelog.info")

        with pytest.raises(SourceError):
            export.discover()


class TestCompleteness:
    @pytest.mark.fault(
        "C1",
        injected="an open folder with a 0-byte model.json",
        outcome="only the closed one is read",
    )
    def test_of_two_folders_only_the_closed_one_is_read(self, export: Export) -> None:
        """Row 1 of the catalogue: the open one has a 0-byte model.json."""
        export.folder(THIRD, "account/2026.csv")
        export.folder(OPEN, "account/2026.csv", model=b"")

        assert export.ready() == [THIRD]
        assert export.states().get(OPEN) is not PartitionState.SKIPPED

    @pytest.mark.fault(
        "C2", injected="an open folder without model.json", outcome="not read"
    )
    def test_an_open_folder_without_model_is_not_read(self, export: Export) -> None:
        """Row 2."""
        export.folder(THIRD, "account/2026.csv")
        export.folder(OPEN, "account/2026.csv", model=None)

        assert export.ready() == [THIRD]

    def test_an_open_folder_with_a_whole_model_is_not_read(
        self, export: Export
    ) -> None:
        export.folder(OPEN, "account/2026.csv")

        assert export.ready() == []

    def test_a_folder_later_than_the_marker_is_not_read(self, export: Export) -> None:
        export.mark(SECOND)
        for name in (FIRST, SECOND, THIRD):
            export.folder(name, "account/2026.csv")

        assert export.ready() == [FIRST]

    def test_a_marker_that_was_copied_before_its_folder_closes_those_before(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")

        assert export.ready() == [FIRST]

    def test_the_marker_and_the_folder_may_be_spelled_differently(
        self, export: Export
    ) -> None:
        export.mark("2026-03-01T08:15:01.000Z")
        export.folder(FIRST, "account/2026.csv")
        export.folder(SECOND, "account/2026.csv")

        assert export.ready() == [FIRST]

    @pytest.mark.fault(
        "S1",
        injected="Synapse Link goes on between marker and listing",
        outcome="the older marker counts",
    )
    def test_a_folder_opened_while_one_looks_is_not_read(self, export: Export) -> None:
        """The marker counts as it was before the folders were listed."""
        export.folder(FIRST, "account/2026.csv")
        export.mark(SECOND)

        def synapse_link_goes_on(path: str) -> None:
            if path.startswith("Changelog"):
                export.folder(SECOND, "account/2026.csv")
                export.folder(THIRD, "account/2026.csv")
                export.mark(OPEN)

        source = SynapseLink(Watched(export.root, after=synapse_link_goes_on))
        found = source.discover(())

        assert [p.name for p in found.partitions if p.state == "ready"] == [FIRST]
        assert found.marker == SECOND

    @pytest.mark.fault(
        "C3",
        injected="a closed folder without model.json, or with an empty one",
        outcome="waits",
    )
    @pytest.mark.parametrize("model", [None, b""])
    def test_a_closed_folder_waits_for_its_model(
        self, export: Export, model: bytes | None
    ) -> None:
        """Row 3: it may come after its successor."""
        export.folder(THIRD, "account/2026.csv", model=model)

        partition = export.look(THIRD)

        assert partition.state is PartitionState.WAITING
        assert "model.json" in partition.reason

    @pytest.mark.parametrize("model", [None, b""])
    def test_nothing_overtakes_a_waiting_folder(
        self, export: Export, model: bytes | None
    ) -> None:
        export.mark("2026-03-01T09.00.00Z")
        export.folder(FIRST, "account/2026.csv")
        export.folder(SECOND, "account/2026.csv", model=model)
        export.folder(THIRD, "account/2026.csv")
        export.folder(OPEN, "contact/2026.csv")

        with at(datetime(2026, 3, 1, 8, 31, tzinfo=UTC)):
            assert export.ready() == [FIRST]

    def test_known_folders_behind_a_waiting_one_do_not_free_it(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        export.folder(SECOND, "account/2026.csv", model=None)
        export.folder(THIRD, "account/2026.csv")

        assert export.ready(FIRST) == []

    def test_a_waiting_folder_is_read_when_its_model_appears(
        self, export: Export
    ) -> None:
        source = export.source
        export.folder(SECOND, "account/2026.csv", model=None)
        export.folder(THIRD, "account/2026.csv")
        source.discover(())
        export.folder(SECOND)

        found = source.discover(())

        assert [(p.name, p.state) for p in found.partitions] == [
            (SECOND, "ready"),
            (THIRD, "ready"),
        ]

    def test_an_empty_folder_waits_while_its_successor_is_young(
        self, export: Export
    ) -> None:
        """Row 4."""
        export.folder(THIRD, model=None)
        moment = folder_time(OPEN)
        assert moment is not None

        with at(moment + timedelta(minutes=59)):
            assert export.states() == {THIRD: "waiting"}

    @pytest.mark.parametrize("model", [None, b""])
    def test_an_empty_folder_is_skipped_when_its_successor_is_over_an_hour_old(
        self, export: Export, model: bytes | None
    ) -> None:
        """Row 4."""
        export.folder(THIRD, model=model)
        moment = folder_time(OPEN)
        assert moment is not None

        with at(moment + timedelta(minutes=61)):
            partition = export.look(THIRD)

        assert partition.state is PartitionState.SKIPPED
        assert partition.reason

    def test_an_empty_folder_is_judged_by_its_successor_and_not_by_itself(
        self, export: Export
    ) -> None:
        """A folder may stay the open one for 18 hours."""
        export.mark("2026-03-02T02.00.00Z")
        export.folder(FIRST, model=None)

        with at(datetime(2026, 3, 2, 2, 30, tzinfo=UTC)):
            assert export.states() == {FIRST: "waiting"}

    def test_the_successor_is_the_next_folder_and_not_the_marker(
        self, export: Export
    ) -> None:
        export.mark("2026-03-01T11.50.00Z")
        export.folder(FIRST, model=None)
        export.folder(SECOND, "account/2026.csv")

        with at(LATER):
            assert export.look().state is PartitionState.SKIPPED

    def test_an_empty_folder_with_option_sets_and_drafts_only_is_skipped(
        self, export: Export
    ) -> None:
        export.folder(
            FIRST,
            "OptionsetMetadata/StateMetadata.csv",
            "account/.2026.csv.x7",
            model=None,
        )

        with at(LATER):
            assert export.look().state is PartitionState.SKIPPED

    def test_a_folder_of_empty_files_has_no_rows_and_is_skipped(
        self, export: Export
    ) -> None:
        export.folder(FIRST, model=None)
        export.write(f"{FIRST}/account/2026.csv", b"")

        with at(LATER):
            assert export.look().state is PartitionState.SKIPPED

    def test_what_follows_a_skipped_folder_is_read(self, export: Export) -> None:
        export.folder(FIRST, model=None)
        export.folder(SECOND, "account/2026.csv")

        with at(LATER):
            assert export.states() == {FIRST: "skipped", SECOND: "ready"}

    def test_a_folder_with_rows_waits_while_its_successor_is_young(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", model=None)

        with at(datetime(2026, 3, 1, 9, 44, tzinfo=UTC)):
            assert export.states() == {FIRST: "waiting"}

    @pytest.mark.fault(
        "F06", injected="a clock that is six years behind", outcome="nothing is skipped"
    )
    def test_a_clock_that_is_behind_does_not_skip(self, export: Export) -> None:
        export.folder(FIRST, model=None)

        with at(datetime(2020, 1, 1, tzinfo=UTC)):
            assert export.states() == {FIRST: "waiting"}

    @pytest.mark.parametrize("hours", [-11, 0, 11])
    def test_the_machines_time_zone_has_no_effect(
        self, export: Export, hours: int
    ) -> None:
        export.folder(FIRST, model=None)
        zone = timezone(timedelta(hours=hours))

        with at(datetime(2026, 3, 1, 9, 44, tzinfo=UTC).astimezone(zone)):
            assert export.states() == {FIRST: "waiting"}

    def test_a_closed_folder_with_a_model_is_complete_however_old_it_is(
        self, export: Export
    ) -> None:
        export.mark("2026-03-02T02.00.00Z")
        export.folder(FIRST, "account/2026.csv")

        with at(datetime(2026, 3, 3, tzinfo=UTC)):
            assert export.ready() == [FIRST]

    @pytest.mark.fault(
        "C30", injected="a backlog of 1,000 folders", outcome="found whole"
    )
    @pytest.mark.fault(
        "F57", injected="a backlog of 1,000 folders", outcome="found whole"
    )
    def test_a_backlog_of_1000_folders_is_found_whole(self, export: Export) -> None:
        """Row 30."""
        start = datetime(2026, 1, 1, tzinfo=UTC)
        names = [
            f"{start + timedelta(minutes=5 * n):%Y-%m-%dT%H.%M.%SZ}"
            for n in range(1001)
        ]
        for name in names:
            export.folder(name, model=ACCOUNT)
        export.mark(names[-1])

        assert export.ready() == names[:-1]

    @pytest.mark.fault("C30", injected="a gap of 18 hours", outcome="no obstacle")
    def test_a_gap_of_18_hours_is_no_obstacle(self, export: Export) -> None:
        """Row 30."""
        export.mark("2026-03-02T02.30.01Z")
        export.folder(FIRST, "account/2026.csv")
        export.folder("2026-03-02T02.15.01Z", "account/2026.csv")

        with at(datetime(2026, 3, 2, 2, 31, tzinfo=UTC)):
            assert export.ready() == [FIRST, "2026-03-02T02.15.01Z"]

    @pytest.mark.fault(
        "C33",
        injected="a model without entities",
        outcome="a complete folder without tables",
    )
    def test_no_entities_are_a_complete_folder_without_tables(
        self, export: Export
    ) -> None:
        """Row 33."""
        export.folder(FIRST, model=b'{"entities": []}')

        partition = export.look()

        assert partition.state is PartitionState.READY
        assert partition.files == {}
        assert partition.model is not None


class TestTimes:
    def test_a_folder_closes_when_its_successor_opens(self, export: Export) -> None:
        export.folder(FIRST)
        export.folder(SECOND)

        assert export.look().opened_at == folder_time(FIRST)
        assert export.look().closed_at == folder_time(SECOND)

    def test_the_last_folder_closes_when_the_open_one_opens(
        self, export: Export
    ) -> None:
        export.folder(FIRST)
        export.folder(OPEN, model=None)

        assert export.look().closed_at == folder_time(OPEN)

    def test_an_empty_folder_is_a_successor_too(self, export: Export) -> None:
        export.folder(FIRST)
        export.folder(SECOND, model=None)

        assert export.look().closed_at == folder_time(SECOND)

    def test_folders_are_found_in_the_order_of_their_times(
        self, export: Export
    ) -> None:
        names = [
            "2026-03-01T07:59:59Z",  # a colon sorts after a dot
            "2026-03-01T08.00.00Z",
            "2026-03-01T08.00.00.5Z",  # a dot sorts before Z
            "2026-03-01T08:00:01",
            "2026-03-01T08.00.02.0000001Z",
            "2026-03-01T08.00.02.12Z",
            "2026-03-01T08:00:03.000Z",
            "2026-03-01T08.00.04Z",
        ]
        for name in (*names[::2], *names[1::2]):
            export.folder(name)

        assert export.ready() == names
        assert sorted(names) != names

    def test_a_folder_is_compared_with_the_marker_by_time(self, export: Export) -> None:
        export.mark("2026-03-01T08.30.00Z")
        export.folder("2026-03-01T08:15:00Z")  # by text it is later than the marker
        export.folder("2026-03-01T08.30.00.5Z")  # by text it is earlier

        assert export.ready() == ["2026-03-01T08:15:00Z"]


class TestKnownFolders:
    def test_they_are_not_found_again(self, export: Export) -> None:
        for name in (FIRST, SECOND, THIRD):
            export.folder(name, "account/2026.csv")

        assert export.states(FIRST, THIRD) == {SECOND: "ready"}

    def test_they_are_not_looked_at_again(self, export: Export) -> None:
        for name in (FIRST, SECOND, THIRD):
            export.folder(name, "account/2026.csv")
        storage = Watched(export.root)

        SynapseLink(storage).discover([FIRST, THIRD])

        assert not [p for p in storage.asked if p.startswith((FIRST, THIRD))]

    def test_they_may_have_been_damaged_or_purged(self, export: Export) -> None:
        export.folder(FIRST, model=None)
        export.folder(THIRD, "account/2026.csv")

        assert export.ready(FIRST, SECOND) == [THIRD]

    def test_they_still_close_the_folder_before_them(self, export: Export) -> None:
        export.folder(FIRST)
        export.folder(SECOND)

        (partition,) = export.discover(SECOND).partitions

        assert partition.closed_at == folder_time(SECOND)

    def test_the_open_folder_is_not_listed(self, export: Export) -> None:
        export.folder(FIRST)
        export.folder(OPEN, "account/2026.csv")
        storage = Watched(export.root)

        SynapseLink(storage).discover([FIRST])

        assert not [path for path in storage.asked if path.startswith(OPEN)]


class TestFiles:
    @pytest.mark.fault(
        "C13", injected="a partition in several parts", outcome="all are found"
    )
    def test_all_parts_of_a_partition_are_found(self, export: Export) -> None:
        """Row 13."""
        names = ["2025.csv", "2025_001.csv", "2025_002.csv", "1.csv", "4.csv"]
        export.folder(FIRST, *(f"account/{name}" for name in names))

        assert sorted(export.paths()["account"]) == sorted(
            f"{FIRST}/account/{name}" for name in names
        )

    def test_files_are_found_with_their_sizes(self, export: Export) -> None:
        export.folder(FIRST)
        export.write(f"{FIRST}/account/2026.csv", b"x" * 12_345)

        assert export.look().files["account"] == (
            TableFile(f"{FIRST}/account/2026.csv", 12_345),
        )

    def test_a_file_has_its_own_name(self) -> None:
        assert TableFile(f"{FIRST}/account/2026.csv", 1).name == "2026.csv"

    def test_what_was_found_is_what_is_listed_later(self, export: Export) -> None:
        export.folder(FIRST, "account/2025.csv", "account/2026.csv")
        source = export.source
        (partition,) = source.discover(()).partitions

        assert source.files(FIRST, "account") == partition.files["account"]

    def test_files_are_listed_as_they_are_now(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        source.discover(())
        export.write(f"{FIRST}/account/2026.csv", ROWS * 2)

        (file,) = source.files(FIRST, "account")

        assert file.size == 2 * len(ROWS)

    def test_a_file_is_opened(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        (file,) = source.files(FIRST, "account")

        with source.open(file) as stream:
            assert stream.read() == ROWS

    def test_an_opened_file_is_closed_after_use(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        (file,) = source.files(FIRST, "account")

        with source.open(file) as stream:
            pass

        assert stream.closed

    def test_a_table_without_files_is_not_there(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")

        assert [*export.look().files] == ["account"]

    def test_an_empty_table_folder_is_no_table(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        (export.root / FIRST / "contact").mkdir()

        assert [*export.look().files] == ["account"]

    def test_files_that_the_model_does_not_list_are_read(self, export: Export) -> None:
        """Row 31."""
        model_ = model("account", account=listed("2026"))
        export.folder(FIRST, "account/2026.csv", "account/1.csv", model=model_)

        assert len(export.paths()["account"]) == 2
        assert len(export.source.files(FIRST, "account")) == 2

    def test_files_of_an_entity_that_lists_none_are_read(self, export: Export) -> None:
        """Row 31: the public samples are so."""
        export.folder(FIRST, "account/2026.csv")

        assert export.paths() == {"account": [f"{FIRST}/account/2026.csv"]}

    @pytest.mark.fault(
        "C31", injected="files that model.json does not list", outcome="read, and noted"
    )
    @pytest.mark.parametrize("names", [[], ["2026"]])
    def test_files_that_the_model_does_not_list_are_noted(
        self, export: Export, names: list[str]
    ) -> None:
        """Row 31: read, with an event."""
        model_ = model("account", account=listed(*names))
        export.folder(FIRST, "account/2026.csv", "account/1.csv", model=model_)

        assert any("account" in note for note in export.look().notes)

    def test_a_listed_file_that_is_missing_makes_its_table_appear(
        self, export: Export
    ) -> None:
        """Row 32: or nobody would ever see that its rows are missing."""
        export.folder(FIRST, model=model("account", account=listed("2026")))

        assert "account" in export.look().files

    @pytest.mark.fault(
        "C32", injected="a listed file that is missing", outcome="refused by name"
    )
    @pytest.mark.parametrize("there", [[], ["account/1.csv"]])
    def test_a_listed_file_that_is_missing_is_refused_by_name(
        self, export: Export, there: list[str]
    ) -> None:
        """Row 32."""
        listing = listed("2026", "1") if there else listed("2026")
        export.folder(FIRST, *there, model=model("account", account=listing))

        error = export.refusal("account")

        assert error.code == "file_missing"
        assert "2026.csv" in str(error)
        assert "account" in str(error)

    def test_a_missing_file_fails_its_own_table_only(self, export: Export) -> None:
        """Row 32."""
        model_ = model("account", "contact", account=listed("2026"))
        export.folder(FIRST, "contact/2026.csv", model=model_)

        assert export.look().state is PartitionState.READY
        assert len(export.source.files(FIRST, "contact")) == 1

    def test_a_folder_that_is_gone_is_refused(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        source.discover(())
        shutil.rmtree(export.root / FIRST)

        with pytest.raises(SourceError):
            source.files(FIRST, "account")

    def test_a_file_that_is_gone_cannot_be_opened(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        (file,) = source.files(FIRST, "account")
        (export.root / file.path).unlink()

        with pytest.raises(SourceError) as caught, source.open(file):
            pass

        assert caught.value.code == "file_missing"

    @pytest.mark.parametrize(
        "name",
        [
            "Changelog",
            "OptionsetMetadata",
            "Microsoft.Athena.TrickleFeedService",
            "EntitySyncFailure",
            "Snapshot",
            "deltalake",
            "enumtranslation",
        ],
    )
    def test_folders_that_are_no_tables_are_left_out(
        self, export: Export, name: str
    ) -> None:
        export.folder(FIRST, "account/2026.csv", f"{name}/data.csv")

        assert [*export.look().files] == ["account"]

    @pytest.mark.fault("F43", injected="drafts of copy tools", outcome="left out")
    def test_hidden_folders_and_the_drafts_of_copy_tools_are_left_out(
        self, export: Export
    ) -> None:
        export.folder(
            FIRST,
            "account/2026.csv",
            "account/.2026.csv.Xy12zQ",
            "account/.2027.csv",
            ".~tmp~/2026.csv",
            ".account.4fk2/2026.csv",
        )

        assert export.paths() == {"account": [f"{FIRST}/account/2026.csv"]}

    def test_a_folder_with_drafts_only_is_no_table(self, export: Export) -> None:
        export.folder(FIRST, "account/.2026.csv.Xy12zQ")

        assert export.look().files == {}

    @pytest.mark.parametrize(
        "name", ["2026.csv.gz", "2026.parquet", "readme.txt", "2026", "2026.csv~"]
    )
    def test_other_files_are_noted_and_not_read(
        self, export: Export, name: str
    ) -> None:
        export.folder(FIRST, "account/2026.csv", f"account/{name}")

        assert export.paths() == {"account": [f"{FIRST}/account/2026.csv"]}
        assert any(name in note for note in export.look().notes)

    def test_a_folder_named_like_a_file_is_noted_and_not_read(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", "account/x.csv/2026.csv")

        assert export.paths() == {"account": [f"{FIRST}/account/2026.csv"]}
        assert any("x.csv" in note for note in export.look().notes)

    @pytest.mark.timeout(10)
    def test_a_pipe_named_like_a_file_is_noted_and_not_read(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        os.mkfifo(export.root / FIRST / "account" / "x.csv")

        assert export.paths() == {"account": [f"{FIRST}/account/2026.csv"]}
        assert any("x.csv" in note for note in export.look().notes)

    def test_an_ordinary_folder_gives_nothing_to_note(self, export: Export) -> None:
        model_ = model("account", "contact", account=listed("2026"))
        export.folder(
            FIRST,
            "account/2026.csv",
            "OptionsetMetadata/StateMetadata.csv",
            "Microsoft.Athena.TrickleFeedService/account-model.json",
            model=model_,
        )

        assert export.look().notes == ()

    def test_what_a_name_that_is_not_utf8_brings_can_be_stored(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        for name in (b"account/\xff.csv", b"account/\xff.txt", b"\xfe/2026.csv"):
            path = os.fsencode(export.root / FIRST) + b"/" + name
            Path(os.fsdecode(path)).parent.mkdir(exist_ok=True)
            Path(os.fsdecode(path)).write_bytes(ROWS)

        partition = export.look()

        texts = [*partition.notes, *partition.files, partition.reason]
        texts += [f.path for files in partition.files.values() for f in files]
        assert "\n".join(texts).encode()


class TestNames:
    def test_a_folder_in_another_case_belongs_to_its_entity(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "Account/2026.csv")

        assert export.paths() == {"account": [f"{FIRST}/Account/2026.csv"]}
        (file,) = export.source.files(FIRST, "account")
        assert file.path == f"{FIRST}/Account/2026.csv"

    def test_names_that_differ_in_case_only_are_two_tables(
        self, export: Export
    ) -> None:
        """Row 22."""
        export.folder(
            FIRST, "Name/2026.csv", "name/2026.csv", model=model("Name", "name")
        )

        assert export.paths() == {
            "Name": [f"{FIRST}/Name/2026.csv"],
            "name": [f"{FIRST}/name/2026.csv"],
        }

    @pytest.mark.parametrize(
        "folders", [("account", "Account"), ("ACCOUNT", "Account")]
    )
    def test_no_file_gets_lost_when_two_folders_could_be_a_table(
        self, export: Export, folders: tuple[str, str]
    ) -> None:
        paths = [f"{folder}/2026.csv" for folder in folders]
        export.folder(FIRST, *paths)
        partition = export.look()
        source = export.source
        read: set[str] = set()

        for table in partition.files:
            try:
                read.update(file.path for file in source.files(FIRST, table))
            except SourceError:
                return  # the table fails, and a person sees it

        assert read == {f"{FIRST}/{path}" for path in paths}

    def test_a_folder_without_an_entity_appears_and_is_refused(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", "stranger/2026.csv")

        assert "stranger" in export.look().files
        error = export.refusal("stranger")
        assert error.code == "entity_missing"
        assert FIRST in error.where

    def test_a_table_folder_with_an_odd_name_is_read(self, export: Export) -> None:
        name = "größe 😀 %2e%2e"
        export.folder(FIRST, f"{name}/2026.csv", model=model(name))

        (file,) = export.source.files(FIRST, name)

        assert file.path == f"{FIRST}/{name}/2026.csv"

    @pytest.mark.parametrize(
        "name",
        [
            "..",
            "../..",
            "/",
            "/etc",
            ".",
            "account/../..",
            "..\\..",
            "a/b",
            "~",
            "%2e%2e",
        ],
    )
    def test_an_entity_name_is_never_used_as_a_path(
        self, export: Export, name: str
    ) -> None:
        model_ = model(name, "account", **{name: listed("canary")})
        export.folder(FIRST, "account/2026.csv", model=model_)

        assert export.look().state is PartitionState.READY
        error = export.refusal(name)
        assert error.code in {"file_missing", "unsafe_path", "entity_missing"}

    def test_files_and_folders_beside_the_change_folders_are_ignored(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        export.write("model.json", b"garbage")
        export.write("2026-03-01T08.10.00Z", b"a file")
        export.write("2026-03-01T08.10.00Z.partial/account/2026.csv", ROWS)
        export.write(".2026-03-01T08.10.01Z.aB3/account/2026.csv", ROWS)
        export.write("account/Snapshot/2026.csv", ROWS)
        export.write("2026-13-01T08.10.00Z/account/2026.csv", ROWS)

        assert export.states() == {FIRST: "ready"}


ODD_LOCATIONS = [
    "https://acct.dfs.core.windows.net:443/c/" + FIRST + "/account/2026.csv",
    "https://acct.dfs.core.windows.net:443/c/" + FIRST + "/account/2026%2Ecsv",
    "https://acct.dfs.core.windows.net:443/c/x%2F..%2F..%2Fcanary.csv",
    "https://acct.blob.core.windows.net/c/2026.csv?sv=1&sig=../../canary.csv",
    "../../canary.csv",
    "..%2f..%2fcanary.csv",
    "..\\..\\canary.csv",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "//evil.example/share/2026.csv",
    "\\\\evil.example\\share\\2026.csv",
    "http://[::1",
    "%",
    "%ff%fe%00",
    "",
]


class TestLocations:
    @pytest.mark.fault(
        "F55",
        injected="hostile locations in model.json",
        outcome="never used as a path",
    )
    @pytest.mark.parametrize("location", ODD_LOCATIONS)
    def test_a_location_is_never_used_as_a_path(
        self, export: Export, location: str
    ) -> None:
        listing = listed("2026", location=location)
        export.folder(
            FIRST, "account/2026.csv", model=model("account", account=listing)
        )
        storage = Watched(export.root)
        source = SynapseLink(storage)

        source.discover(())
        (file,) = source.files(FIRST, "account")
        with source.open(file) as stream:
            assert stream.read() == ROWS

        expected = {f"{FIRST}/account", f"{FIRST}/account/2026.csv"}
        under = {p for p in storage.asked if p.startswith(f"{FIRST}/account")}
        assert under <= expected
        roots = ("", "Changelog", "model.json", FIRST)
        assert {path.partition("/")[0] for path in storage.asked} <= {*roots}

    @pytest.mark.parametrize("location", ODD_LOCATIONS)
    def test_what_a_location_names_elsewhere_does_not_stand_in_for_a_missing_file(
        self, export: Export, location: str
    ) -> None:
        listing = listed("2026", location=location)
        export.folder(FIRST, model=model("account", account=listing))

        assert export.refusal("account").code == "file_missing"

    @pytest.mark.parametrize("name", ["..", "../../canary", "/etc/passwd", "a\0b", ""])
    def test_a_partition_name_is_never_used_as_a_path(
        self, export: Export, name: str
    ) -> None:
        export.folder(FIRST, model=model("account", account=listed(name)))

        assert export.look().state is PartitionState.READY
        assert export.refusal("account").code == "file_missing"

    @pytest.mark.parametrize(
        "last", ["2026_001.csv", "2026%5F001.csv", "2026_001.csv?sv=1&sig=x"]
    )
    def test_the_last_part_of_a_location_names_the_file(
        self, export: Export, last: str
    ) -> None:
        location = f"https://a.dfs.core.windows.net:443/c/{FIRST}/account/{last}"
        listing = listed("part-7", location=location)
        model_ = model("account", account=listing)
        export.folder(FIRST, "account/2026_001.csv", model=model_)

        (file,) = export.source.files(FIRST, "account")

        assert file.path == f"{FIRST}/account/2026_001.csv"

    @pytest.mark.parametrize("name", ["2026", "2026.csv"])
    def test_a_listed_name_may_have_its_ending(self, export: Export, name: str) -> None:
        model_ = model("account", account=listed(name))
        export.folder(FIRST, "account/2026.csv", model=model_)

        assert len(export.source.files(FIRST, "account")) == 1


class TestLinks:
    def test_a_linked_table_folder_fails_its_own_table_only(
        self, export: Export
    ) -> None:
        elsewhere = export.base / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "2026.csv").write_bytes(SECRET)
        export.folder(FIRST, "contact/2026.csv")
        (export.root / FIRST / "account").symlink_to(elsewhere)

        partition = export.look()

        assert partition.state is PartitionState.READY
        assert {*partition.files} == {"account", "contact"}
        assert export.refusal("account").code == "unsafe_path"
        assert len(export.source.files(FIRST, "contact")) == 1

    def test_a_linked_file_fails_its_own_table_only(self, export: Export) -> None:
        export.folder(FIRST, "account/2025.csv", "contact/2026.csv")
        link = export.root / FIRST / "account" / "2026.csv"
        link.symlink_to(export.base / "canary.csv")

        partition = export.look()

        assert partition.state is PartitionState.READY
        assert {*partition.files} == {"account", "contact"}
        assert export.refusal("account").code == "unsafe_path"

    def test_a_link_put_in_the_place_of_a_listed_file_is_not_followed(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv")
        source = export.source
        (file,) = source.files(FIRST, "account")
        (export.root / file.path).unlink()
        (export.root / file.path).symlink_to(export.base / "canary.csv")

        with pytest.raises(SourceError) as caught, source.open(file):
            pass

        assert caught.value.code == "unsafe_path"

    def test_nothing_overtakes_a_linked_change_folder(self, export: Export) -> None:
        """Its rows are the older ones: passing it over would lose their order."""
        export.folder(SECOND, "account/2026.csv")
        export.folder(THIRD, "account/2026.csv")
        (export.root / SECOND).rename(export.base / "elsewhere")
        (export.root / SECOND).symlink_to(export.base / "elsewhere")

        try:
            found = export.discover()
        except SourceError as error:
            code = error.code
        else:
            assert found.problem is not None
            code = found.problem.code
            assert [p.name for p in found.partitions if p.state == "ready"] == []
        assert code == "unsafe_path"

    def test_a_linked_model_is_not_read(self, export: Export) -> None:
        folder = export.folder(FIRST, "account/2026.csv", model=None)
        (export.base / "model.json").write_bytes(ACCOUNT)
        (folder / "model.json").symlink_to(export.base / "model.json")

        assert export.look().model is None
        assert export.refusal("account").code == "unsafe_path"


MALFORMED = [
    pytest.param(b"{", id="cut"),
    pytest.param(ACCOUNT[:-30], id="cut near its end"),
    pytest.param((DATA / "malformed_model_json.json").read_bytes(), id="real"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b"\0" * 500, id="zeros"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b"\xef\xbb\xbf", id="a BOM"),
    pytest.param(b" \n", id="white space"),
]


class TestMalformedModels:
    @pytest.mark.parametrize("data", MALFORMED)
    def test_the_tables_with_files_appear_and_fail(
        self, export: Export, data: bytes
    ) -> None:
        export.folder(FIRST, "account/2026.csv", "contact/1.csv", model=data)

        partition = export.look()

        assert partition.model is None
        assert partition.reason
        assert {*partition.files} == {"account", "contact"}
        assert isinstance(export.refusal("account"), ModelError)

    def test_what_follows_is_found_too(self, export: Export) -> None:
        """A failing table holds back only itself."""
        export.folder(FIRST, "account/2026.csv", model=b"{")
        export.folder(SECOND, "contact/2026.csv")

        assert export.states()[SECOND] == "ready"

    def test_the_error_names_the_folder_and_the_place_in_it(
        self, export: Export
    ) -> None:
        broken = b'{"entities": [{"name": "account", "attributes": {}}]}'
        export.folder(FIRST, "account/2026.csv", model=broken)

        with pytest.raises(ModelError) as caught:
            export.source.entity(FIRST, "account")

        assert FIRST in str(caught.value)
        assert "entities[0].attributes" in str(caught.value)

    def test_a_repaired_model_is_read(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=b"{")
        source = export.source
        source.discover(())
        export.folder(FIRST)

        assert source.entity(FIRST, "account").name == "account"

    def test_a_folder_is_read_with_its_own_model(self, export: Export) -> None:
        other = ACCOUNT.replace(b'"string"', b'"int64"')
        export.folder(FIRST, "account/2026.csv")
        export.folder(SECOND, "account/2026.csv", model=other)
        export.write("model.json", other)
        source = export.source
        source.discover(())

        assert source.entity(FIRST, "account").attributes[1].data_type == "string"
        assert source.entity(SECOND, "account").attributes[1].data_type == "int64"

    def test_unknown_types_are_noted(self, export: Export) -> None:
        odd = ACCOUNT.replace(b'"string"', b'"geometry"')
        export.folder(FIRST, "account/2026.csv", model=odd)

        assert any("geometry" in note for note in export.look().notes)


class TestRootModel:
    def test_it_is_the_newest_model(self, export: Export) -> None:
        export.write("model.json", ACCOUNT)

        found = export.source.root_model()

        assert found is not None
        assert [entity.name for entity in found.entities] == ["account", "contact"]

    @pytest.mark.parametrize("data", [None, b""])
    def test_there_may_be_none_yet(self, export: Export, data: bytes | None) -> None:
        if data is not None:
            export.write("model.json", data)

        assert export.source.root_model() is None

    def test_a_malformed_one_is_refused(self, export: Export) -> None:
        export.write("model.json", b"{")

        with pytest.raises(ModelError):
            export.source.root_model()


class TestSample:
    def test_the_public_sample_is_three_complete_folders(self, export: Export) -> None:
        table = "dimensionattributelevelvalue"
        for minute, name in (("00", "2020.csv"), ("15", "2020.csv"), ("30", "1.csv")):
            folder = f"2020-01-01T00.{minute}.00Z"
            export.folder(folder, model=(DATA / "fno_model.json").read_bytes())
            rows = (DATA / f"fno_{minute}.csv").read_bytes()
            export.write(f"{folder}/{table}/{name}", rows)
        export.folder("2020-01-01T00.45.00Z", f"{table}/2020.csv", model=b"")
        export.mark("2020-01-01T00.45.00Z")

        found = export.discover()

        assert found.problem is None
        assert [(p.name, p.state) for p in found.partitions] == [
            ("2020-01-01T00.00.00Z", "ready"),
            ("2020-01-01T00.15.00Z", "ready"),
            ("2020-01-01T00.30.00Z", "ready"),
        ]
        assert [[*p.files] for p in found.partitions] == [[table]] * 3

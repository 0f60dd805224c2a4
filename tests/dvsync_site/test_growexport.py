from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dvsync_site.management.commands import growexport
from dvsync_site.sample_demo import make_demo_export, only_writer
from dvsync_site.sample_export import SampleExport, write_export
from dvsync_site.sample_feed import SampleFeed
from tests.dvsync_site.test_supervisor import ROOT, wait_until


def grow(directory: Path, *arguments: str) -> str:
    said = io.StringIO()
    call_command("growexport", str(directory), *arguments, stderr=said)
    return said.getvalue()


def refused(directory: Path, *arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        grow(directory, *arguments)
    assert caught.value.returncode == 2
    return str(caught.value)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    directory = tmp_path / "export"
    make_demo_export(directory, lambda _: None, rows=20, live=True)
    return directory


def test_a_folder_is_closed_when_its_successor_is_opened_by_the_clock(
    live: Path,
) -> None:
    first = SampleExport.resume(live)
    said = grow(live, "--every", "1", "--folders", "2")
    export = SampleExport.resume(live)
    assert export.closed == [*first.closed, first.marker, export.closed[-1]]
    assert f"Closed the folder {first.marker}" in said
    assert (export.opened - first.opened).total_seconds() >= 2
    assert sum(1 for _ in export.expected_rows(export.tables[0])) > 0


def test_a_change_feed_gets_lines_instead(tmp_path: Path) -> None:
    SampleFeed(tmp_path / "feed", rows=5).write_initial()
    said = grow(tmp_path / "feed", "--every", "1", "--folders", "2")
    feed = SampleFeed.resume(tmp_path / "feed")
    assert feed.lines == feed.first_lines + 2 * growexport.CHANGES
    assert said.count("lines to changes-000001.log") == 2


def test_one_process_at_a_time_lets_a_change_feed_grow(tmp_path: Path) -> None:
    SampleFeed(tmp_path, rows=1).write_initial()
    with only_writer(tmp_path) as alone:
        assert alone
        assert "Another process" in refused(tmp_path)


def test_an_export_of_the_past_goes_on_in_the_present(tmp_path: Path) -> None:
    write_export(tmp_path / "old", tables=2, rows=20, folders=2)
    before = SampleExport.resume(tmp_path / "old")
    grow(tmp_path / "old", "--folders", "1")
    assert SampleExport.resume(tmp_path / "old").closed[:-1] == before.closed


def test_times_go_on_when_the_clock_was_set_back(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SampleExport.resume(live).opened
    monkeypatch.setattr(growexport, "_now", lambda: before.replace(year=2000))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    grow(live, "--folders", "1")
    assert SampleExport.resume(live).opened > before


def test_a_big_one_grows_slower(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(growexport, "MANY_FOLDERS", 2)
    monkeypatch.setattr(time, "sleep", waits.append)
    grow(live, "--folders", "2")
    assert waits[0] <= 30 < 500 < waits[1]


def test_a_killed_writer_is_taken_over(live: Path) -> None:
    command = [sys.executable, "manage.py", "growexport", str(live), "--every", "1"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as writer:
        wait_until(lambda: len(list(live.glob("2*"))) >= 3)
        writer.send_signal(signal.SIGKILL)
    closed = SampleExport.resume(live).closed
    grow(live, "--every", "1", "--folders", "1")
    assert SampleExport.resume(live).closed[:-1] == closed


def test_two_writers_at_once_are_refused(live: Path) -> None:
    with only_writer(live) as alone:
        assert alone
        assert "Another process" in refused(live)


def test_a_directory_that_is_no_sample_is_refused(tmp_path: Path) -> None:
    assert "makeexport" in refused(tmp_path)
    assert "makeexport" in refused(tmp_path / "none")
    assert "--every" in refused(tmp_path, "--every", "0")


def test_a_live_export_does_not_begin_in_the_future(tmp_path: Path) -> None:
    export = SampleExport(tmp_path / "export", rows=5)
    with pytest.raises(ValueError, match="backwards"):
        export.write_initial(opens=export.opened)

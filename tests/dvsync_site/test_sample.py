"""Sample data at the press of a button."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.urls import reverse
from pytest_django import Settings

from dvsync_site import sample_demo
from dvsync_site.sample_demo import demo_directory, make_sample_export
from sync.models import SetupDraft
from sync.sources.browsing import glance
from sync.sources.storage import Directory
from tests.people import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_demo, "SAMPLE_ROWS", 20)


def test_the_button_makes_an_export_and_goes_on_with_it(
    tmp_path: Path, settings: Settings
) -> None:
    root = tmp_path / "not" / "there yet"
    settings.ROOTS = [root]
    for _ in range(2):
        answer = signed_in("administrator").post("/setup/sample/")
        assert answer.headers["Location"] == reverse("setup-step", args=["tables"])
    seen = glance(Directory(root / "sample"))
    assert (seen.closed, seen.model) == (1, True)
    draft = SetupDraft.objects.get()
    assert set(draft.answers) == {"model", "location"}
    assert draft.answers["location"]["path"] == str(root / "sample")
    assert [path.name for path in root.iterdir()] == ["sample"]


def test_the_first_root_that_can_be_written_is_taken(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "file").touch()
    settings.ROOTS = [tmp_path / "file" / "x", tmp_path / "good"]
    signed_in("administrator").post("/setup/sample/")
    assert (tmp_path / "good" / "sample").is_dir()


def test_without_a_place_the_reason_is_told(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").touch()
    settings.ROOTS = [tmp_path / "file" / "x"]
    answer = signed_in("administrator").post("/setup/sample/", follow=True)
    assert "The sample cannot be written" in answer.content.decode()


def test_two_who_press_at_once_get_one_whole_export(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(make_sample_export(tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [tmp_path / "sample"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_the_demo_of_an_earlier_version_stays_where_it_is(tmp_path: Path) -> None:
    assert demo_directory(tmp_path) == tmp_path / "exports" / "demo"
    (tmp_path / "demo-export").mkdir()
    assert demo_directory(tmp_path) == tmp_path / "demo-export"

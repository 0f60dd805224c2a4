from __future__ import annotations

from pathlib import Path

import pytest

from sync.errors import SourceError
from sync.sources import browsing
from sync.sources.browsing import find_sources, glance
from sync.sources.storage import Directory
from tests.exports import ExportWriter


def make(root: Path, folders: int = 2) -> ExportWriter:
    export = ExportWriter(root)
    for number in range(folders):
        export.upsert("account", number)
        export.close_folder()
    return export


def paths(root: Path) -> list[str]:
    return [path for path, _ in find_sources(Directory(root)).sources]


def test_an_export_is_told_by_its_marker_and_its_folders(tmp_path: Path) -> None:
    export = make(tmp_path / "contoso", folders=3)
    seen = glance(Directory(export.root))
    names = [folder.name for folder in export.folders]
    assert seen.is_source
    assert (seen.first, seen.last, seen.marker) == (names[0], names[2], names[3])
    assert seen.closed == 3
    assert seen.model


def test_an_export_without_a_closed_folder_is_one(tmp_path: Path) -> None:
    seen = glance(Directory(make(tmp_path / "new", folders=0).root))
    assert seen.is_source
    assert (seen.closed, seen.first, seen.last) == (0, "", "")


def test_a_model_alone_looks_like_an_export_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    seen = glance(Directory(tmp_path))
    assert seen.is_source
    assert not seen.begun


def test_a_marker_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    export = make(tmp_path / "odd")
    (export.root / "Changelog" / "changelog.info").write_text("<b>later</b>")
    seen = glance(Directory(export.root))
    assert seen.is_source
    assert "no folder name" in seen.problem


def test_any_other_folder_is_no_export(tmp_path: Path) -> None:
    assert not glance(Directory(tmp_path)).is_source


def test_what_is_not_there_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        glance(Directory(tmp_path / "nowhere"))


def test_exports_are_found_below_the_nearest_first(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "er" / "contoso")
    make(tmp_path / "near")
    (tmp_path / "empty").mkdir()
    assert paths(tmp_path) == ["near", "deep/er/contoso"]


def test_a_root_may_be_an_export_itself(tmp_path: Path) -> None:
    make(tmp_path / "contoso")
    assert paths(tmp_path / "contoso") == [""]


def test_nothing_is_looked_for_inside_exports_links_and_hidden_folders(
    tmp_path: Path,
) -> None:
    export = make(tmp_path / "in" / "contoso")
    make(export.root / "inner")
    make(tmp_path / "in" / ".hidden")
    make(tmp_path / "elsewhere")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    assert paths(tmp_path / "in") == ["contoso"]


def test_change_folders_are_no_exports(tmp_path: Path) -> None:
    folder = tmp_path / "2026-03-01T08.00.00Z"
    folder.mkdir()
    (folder / "model.json").touch()
    assert paths(tmp_path) == []


def test_a_search_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (tmp_path / str(number)).mkdir()
    assert find_sources(Directory(tmp_path), seconds=-1).cut_short
    monkeypatch.setattr(browsing, "FOLDERS", 3)
    assert find_sources(Directory(tmp_path)).cut_short
    monkeypatch.setattr(browsing, "FOLDERS", 6)
    assert not find_sources(Directory(tmp_path)).cut_short


def test_it_does_not_go_deeper_than_it_says(tmp_path: Path) -> None:
    inner = tmp_path.joinpath(*"abcdef")
    make(inner / "contoso")
    assert paths(tmp_path) == []


# Change feeds

LINE = '2024-09-10T12:01:25Z | insert | account | {"accountid": "a"}\n'


def feed(root: Path, *names: str, text: str = LINE) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_text(text)
    return root


def test_a_change_feed_is_told_by_its_log_files(tmp_path: Path) -> None:
    feed(tmp_path, "b.log", "a.LOG", "c.log", ".hidden.log", "other.txt")
    seen = glance(Directory(tmp_path))
    assert seen.is_source
    assert not seen.is_both
    assert (seen.logs, seen.first, seen.last) == (3, "a.LOG", "c.log")
    assert seen.bytes == 3 * len(LINE)
    assert not seen.model


def test_any_other_logs_are_no_feed_unless_there_is_a_model(tmp_path: Path) -> None:
    feed(tmp_path, "nginx.log", text="GET / 200\n")
    assert not glance(Directory(tmp_path)).is_source
    (tmp_path / "model.json").write_text("{}")
    assert glance(Directory(tmp_path)).is_source


@pytest.mark.parametrize(
    "text",
    [
        LINE.rstrip(),
        "\ufeff" + LINE,
        "\n\n" + LINE,
        LINE.rstrip()[:-1] + ', "note": "' + "x" * 10_000,
    ],
)
def test_a_feed_is_known_by_how_its_first_line_begins(
    tmp_path: Path, text: str
) -> None:
    feed(tmp_path, "b.log", text=text)
    feed(tmp_path, "a.log", text="")
    assert glance(Directory(tmp_path)).lines


def test_what_is_both_is_told(tmp_path: Path) -> None:
    export = make(tmp_path / "contoso")
    feed(export.root, "a.log")
    seen = glance(Directory(export.root))
    assert seen.is_both
    assert seen.closed == 2


def test_a_link_among_the_log_files_is_told(tmp_path: Path) -> None:
    feed(tmp_path, "a.log")
    (tmp_path / "b.log").symlink_to(tmp_path / "a.log")
    assert "b.log is a symbolic link" in glance(Directory(tmp_path)).problem


def test_feeds_are_found_and_logs_hide_nothing_below_them(tmp_path: Path) -> None:
    feed(tmp_path, "service.log", text="started\n")
    feed(tmp_path / "changes", "a.log")
    make(tmp_path / "changes" / "contoso")
    assert paths(tmp_path) == ["changes", "changes/contoso"]

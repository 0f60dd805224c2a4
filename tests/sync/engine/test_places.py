from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_django import Settings

from sync.engine import places
from sync.errors import ConfigError
from tests.exports import ExportWriter


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "exports-too").mkdir()
    settings.ROOTS = [made]
    return made


def test_a_directory_below_a_root_may_be_chosen(root: Path) -> None:
    (root / "contoso").mkdir()
    assert places.checked(f"{root}/contoso") == str(root / "contoso")
    assert places.checked(f"{root}//contoso/../contoso/") == str(root / "contoso")
    assert places.checked(str(root)) == str(root)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc", "contoso", ".", "~", "{root}/..", "{root}/../outside"),
        *("{root}/../../../../etc/passwd", "{root}-too", "{root}/x/../../outside"),
        *("{root}/a\0b", "\0", "{root}/\udcff", "file://{root}", "//etc"),
        "\u202e{root}",
    ],
)
def test_nothing_else_may_be(root: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="DVSYNC_ROOTS"):
        places.checked(path.format(root=root))


def test_what_is_outside_is_refused_whether_it_exists_or_not(root: Path) -> None:
    said = []
    for name in ("outside", "nowhere"):
        with pytest.raises(ConfigError) as caught:
            places.checked(str(root.parent / name))
        said.append(caught.value.message.replace(f"/{name} ", " "))
    assert said[0] == said[1]


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_resolved(
    root: Path,
) -> None:
    (root / "contoso").mkdir()
    (root / "out").symlink_to(root.parent / "outside")
    (root / "in").symlink_to(root / "contoso")
    (root / "loop").symlink_to(root / "loop")
    assert places.checked(f"{root}/in") == str(root / "contoso")
    for name in ("out", "out/deeper"):
        with pytest.raises(ConfigError, match="DVSYNC_ROOTS"):
            places.checked(f"{root}/{name}")
    with pytest.raises(ConfigError):
        places.checked(f"{root}/loop")


def test_a_link_to_a_name_that_is_no_text_is_refused(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).mkdir()
    (root / "in").symlink_to(root / "\udcff")
    with pytest.raises(ConfigError, match="DVSYNC_ROOTS"):
        places.checked(f"{root}/in")


def test_a_directory_that_vanished_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="no longer there"):
        places.checked(f"{root}/gone")
    with pytest.raises(ConfigError):
        places.look(f"{root}/gone")


def test_a_root_may_be_a_link_itself(root: Path, settings: Settings) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    (root / "contoso").mkdir()
    settings.ROOTS = [link]
    assert places.checked(f"{link}/contoso") == str(root / "contoso")


def test_a_root_that_is_missing_or_no_directory_is_told(
    root: Path, settings: Settings
) -> None:
    (root / "file").touch()
    settings.ROOTS = [root / "none", root / "file", root]
    missing, file, good = places.roots()
    assert missing.problem == "does not exist"
    assert "Not a directory" in file.problem
    assert good.problem == ""
    assert places.sources().places == ()


def test_exports_of_all_roots_are_offered_once(root: Path, settings: Settings) -> None:
    export = ExportWriter(root / "inner" / "contoso")
    settings.ROOTS = [root, root / "inner"]
    assert [place.path for place in places.sources().places] == [str(export.root)]


def test_one_browses_from_folder_to_folder(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / ".hidden").mkdir()
    (root / "a" / "link").symlink_to(root.parent / "outside")
    os.mkdir(os.fsencode(root / "a") + b"/\xff")  # noqa: PTH102
    folder = places.browse(f"{root}/a")
    assert [place.name for place in folder.folders] == ["b"]
    assert folder.links == ("link",)
    assert folder.unnameable == 1
    assert folder.above == str(root)
    assert places.browse(str(root)).above == ""


def test_an_export_has_no_folders_to_go_into(root: Path) -> None:
    export = ExportWriter(root / "contoso")
    (export.root / "account").mkdir()
    folder = places.browse(str(export.root))
    assert folder.place.seen.is_source
    assert folder.folders == ()

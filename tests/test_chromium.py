from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import NAMES, VARIABLE, NoBrowserError, find_browser


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder of programs."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_of_the_path_is_found(programs: Path, name: str) -> None:
    found = program(programs / name)
    assert find_browser(program(programs / "playwrights")) == found


def test_the_one_that_playwright_installed_is_the_last(programs: Path) -> None:
    assert find_browser(program(programs / "own")) == programs / "own"


def test_a_named_one_goes_before_all_others(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs / "chromium")
    monkeypatch.setenv(VARIABLE, str(program(programs / "mine")))
    assert find_browser() == programs / "mine"


def test_a_named_one_must_be_there(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs / "chromium")
    monkeypatch.setenv(VARIABLE, str(programs / "mine"))
    with pytest.raises(NoBrowserError, match=f"{VARIABLE}=.*mine is no program"):
        find_browser()


def test_without_any_it_is_said_what_to_install(programs: Path) -> None:
    with pytest.raises(NoBrowserError, match="apt-get install chromium"):
        find_browser(programs / "own")

from __future__ import annotations

from pathlib import Path

import pytest

from tests import postgresql_15
from tests.postgresql_15 import VARIABLE, WrongProgramsError, find_programs


def test_postgresql_15_is_here_to_be_tested() -> None:
    """Fails where it is demanded, as `.ci/run` does, and is skipped elsewhere."""
    if find_programs() is None:
        pytest.skip("PostgreSQL 15 was not found: the embedded one alone was tested")


def programs(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("initdb", "postgres"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_usual_folder_is_taken_when_none_is_named(
    tmp_path: Path, nothing_named: None
) -> None:
    usual = programs(tmp_path / "usual", "15.18 (Debian 15.18-0+deb12u1)")
    assert find_programs(usual) == usual


def test_a_named_folder_is_taken_before_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = programs(tmp_path / "named", "15.2")
    monkeypatch.setenv(VARIABLE, str(named))
    assert find_programs(programs(tmp_path / "usual", "15.18")) == named


@pytest.mark.parametrize("version", ["14.9", "16.1", "150.1"])
def test_another_version_is_not_taken_for_it(
    tmp_path: Path, nothing_named: None, version: str
) -> None:
    assert find_programs(programs(tmp_path / "usual", version)) is None


def test_nothing_is_found_where_there_is_nothing(
    tmp_path: Path, nothing_named: None
) -> None:
    assert find_programs(tmp_path / "nowhere") is None


@pytest.mark.parametrize("there", [True, False])
def test_a_named_folder_must_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    named = programs(tmp_path / "named", "18.6") if there else tmp_path / "named"
    monkeypatch.setenv(VARIABLE, str(named))
    with pytest.raises(WrongProgramsError, match=VARIABLE):
        find_programs(programs(tmp_path / "usual", "15.18"))


def test_a_run_on_it_has_data_of_its_own() -> None:
    inherited = {
        "DATABASE_URL": "postgres://another/server",
        "DVSYNC_DATA": "data of another version",
        "PG_BINDIR": "programs of another version",
        "HOME": "home",
    }
    found = postgresql_15.environment(Path("bin"), inherited)
    assert "DATABASE_URL" not in found
    assert "DVSYNC_DATA" not in found
    assert (found["PG_BINDIR"], found["HOME"]) == ("bin", "home")


def test_the_number_of_random_histories_may_be_chosen_for_it_too() -> None:
    name = "DVSYNC_STATE_MACHINE_EXAMPLES"
    assert postgresql_15.environment(Path("bin"), {name: "7"})[name] == "7"
    assert int(postgresql_15.environment(Path("bin"), {})[name]) > 0


def test_what_runs_on_it_exists() -> None:
    root = Path(__file__).parents[1]
    assert all((root / folder).is_dir() for folder in postgresql_15.TESTS)

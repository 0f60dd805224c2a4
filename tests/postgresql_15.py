"""The oldest PostgreSQL that dvsync supports: where a run of the tests finds it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "DVSYNC_TEST_PG15_BINDIR"
DEBIAN_DIR = Path("/usr/lib/postgresql/15/bin")
# What a run on 15 leaves out: tests that have nothing to do with the server, and
# those of the embedded server itself, which choose their programs on their own.
TESTS = ("tests/sync/engine", "tests/sync/target", "tests/sync/management")
# Random histories on 15. Each takes a second; all of them are played on 18.
EXAMPLES = "60"


class WrongProgramsError(Exception):
    """The variable names a folder that does not hold PostgreSQL 15."""


def find_programs(usual: Path = DEBIAN_DIR) -> Path | None:
    """Return the folder of PostgreSQL 15's programs, or None when there is none.

    A folder that the variable names must hold them.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else usual
    if _version(folder) == "15":
        return folder
    if named:
        raise WrongProgramsError(
            f"{VARIABLE}={named} does not hold the programs of PostgreSQL 15. "
            "Install them there (Debian: apt-get install postgresql-15), or unset it."
        )
    return None


def _version(folder: Path) -> str | None:
    if not (folder / "initdb").is_file() or not (folder / "postgres").is_file():
        return None
    command = [str(folder / "postgres"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+", done.stdout)
    return found[0] if found else None


def environment(programs: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a run on these programs, with a server of its own."""
    # The data directory of another run holds data of another version.
    others = {"DATABASE_URL", "DATABASE_URL_FILE", "DVSYNC_DATA", "DVSYNC_DATA_FILE"}
    kept = {name: text for name, text in inherited.items() if name not in others}
    kept.setdefault("DVSYNC_STATE_MACHINE_EXAMPLES", EXAMPLES)
    return kept | {"PG_BINDIR": str(programs)}

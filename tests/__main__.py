"""``python -m tests``: every check and every test; ends with pytest's summary.

The tests that depend on the server run on PostgreSQL 15 first, when its programs are
here. The last run is of all tests, on the embedded PostgreSQL and with coverage.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import postgresql_15

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
MANAGE = [sys.executable, "manage.py"]
MIGRATIONS = ["makemigrations", "--check", "--dry-run"]

CHECKS: Sequence[Sequence[str | Path]] = (
    [BIN / "ruff", "check", "."],
    [BIN / "ruff", "format", "--check", "."],
    [BIN / "mypy"],
    [BIN / "lint-imports"],
    [*MANAGE, "check"],
    # Without a database, which Django warns of: the files alone are compared.
    [sys.executable, "-W", "ignore", *MANAGE[1:], *MIGRATIONS],
)
PYTEST = [sys.executable, "-m", "pytest", "-n", "auto"]
COVERAGE = ["--cov", "--cov-report", "term", "--cov-fail-under", "95"]


def main() -> int:
    """Run the checks, then the tests with any further arguments; stop at a failure."""
    for check in CHECKS:
        if code := run(check):
            return code
    arguments = sys.argv[1:]
    if code := run_on_15(arguments):
        return code
    return run([*PYTEST, *COVERAGE, *arguments])


def run_on_15(arguments: Sequence[str]) -> int:
    """Run the tests that depend on the server on PostgreSQL 15, if it is here."""
    try:
        programs = postgresql_15.find_programs()
    except postgresql_15.WrongProgramsError:
        programs = None  # the last run has a test that fails of it
    if programs is None:
        say("PostgreSQL 15 was not found: the tests run on the embedded one only.")
        return 0
    say(f"On PostgreSQL 15, of {programs}:")
    command = [*PYTEST, *postgresql_15.TESTS, *arguments]
    code = run(command, postgresql_15.environment(programs, os.environ))
    # Further arguments may choose none of these tests.
    return 0 if code == 5 and arguments else code


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
    """Run a command of the repository's root and return its exit code."""
    words = [str(part) for part in command]
    say(f"$ {Path(words[0]).name} {' '.join(words[1:])}")
    return subprocess.run(words, cwd=ROOT, env=env, check=False).returncode


def say(line: str) -> None:
    """Write a line before the output of what runs next."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

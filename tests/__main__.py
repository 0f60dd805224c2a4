"""``python -m tests``: every check and every test; ends with pytest's summary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
MANAGE = [sys.executable, "manage.py"]
MIGRATIONS = ["makemigrations", "--check", "--dry-run"]

CHECKS = (
    [BIN / "ruff", "check", "."],
    [BIN / "ruff", "format", "--check", "."],
    [BIN / "mypy"],
    [BIN / "lint-imports"],
    [*MANAGE, "check"],
    # Without a database, which Django warns of: the files alone are compared.
    [sys.executable, "-W", "ignore", *MANAGE[1:], *MIGRATIONS],
)
TESTS = [
    *(sys.executable, "-m", "pytest", "-n", "auto"),
    *("--cov", "--cov-report", "term", "--cov-fail-under", "95"),
]


def main() -> int:
    """Run the checks, then the tests with any further arguments."""
    for check in CHECKS:
        command = [str(part) for part in check]
        sys.stdout.write(f"$ {Path(command[0]).name} {' '.join(command[1:])}\n")
        sys.stdout.flush()
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return code
    return subprocess.run([*TESTS, *sys.argv[1:]], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

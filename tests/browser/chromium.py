"""The browser of the tests: where it is, and what to do when it is nowhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "DVSYNC_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
REMEDY = (
    "The tests of the pages need Chromium, and there is none. Debian: apt-get install "
    "chromium. Elsewhere: .venv/bin/playwright install chromium. Or name the program "
    f"in {VARIABLE}."
)


class NoBrowserError(Exception):
    """There is no browser, and so no way to know whether the pages work."""


def find_browser(*others: Path, names: Iterable[str] = NAMES) -> Path:
    """Return the program: the named one, else that of the PATH, else one of others."""
    if named := os.environ.get(VARIABLE):
        if program := shutil.which(named):
            return Path(program)
        raise NoBrowserError(f"{VARIABLE}={named} is no program. {REMEDY}")
    for name in names:
        if program := shutil.which(name):
            return Path(program)
    for other in others:
        if other.is_file():
            return other
    raise NoBrowserError(REMEDY)

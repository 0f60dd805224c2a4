"""The catalogue has a test for each of its cases."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
FORMAT = HERE.parent.parent / "docs" / "synapse-link-format.md"


def test_every_case_of_the_catalogue_has_a_test() -> None:
    text = FORMAT.read_text("utf-8")
    section = text[text.index("\n## 13.") : text.index("\n## 14.")]
    cases = {int(number) for number in re.findall(r"^\| (\d+) \|", section, re.M)}
    tests = "".join(path.read_text("utf-8") for path in HERE.glob("test_*.py"))
    tested = {
        int(number) for number in re.findall(r"^def test_case_(\d\d)_", tests, re.M)
    }
    assert cases == set(range(1, 36))
    assert tested == cases

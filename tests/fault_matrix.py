"""docs/fault-matrix.md, by ``python -m tests.fault_matrix [--check]``.

A test says which fault it injects::

    @pytest.mark.fault("F40", injected="a row cut in quotes", outcome="nothing applied")

A test that is named ``test_case_12_...`` says the same by its name. The ids are those
of ``tests.fault_catalogue``. The marks are read from the source, so that neither a
database nor the tests need to run.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fault_catalogue import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "fault-matrix.md"

INTRODUCTION = """\
# Faults, how they are injected, and what becomes of them

Made from the tests by `python -m tests.fault_matrix`; change the marks of the tests,
not this file. Every line names a test of the test command that injects the fault. What
must hold whatever happens is in `tests/invariants.py`; that its checks can go red is
shown by `tests/sync/engine/test_negative_controls.py`.
"""

HEAD = "| id | scenario | injected | outcome | test |"

_CASE = re.compile(r"test_case_(\d\d)_(.+)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Fault:
    """One mark: a test injects a fault."""

    id: str
    test: str
    injected: str
    outcome: str


def faults() -> list[Fault]:
    """Return every mark of the tests, in the order of files and lines."""
    found: list[Fault] = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(ROOT).as_posix()
        for test, node in _tests(tree, name):
            found.extend(_marks(test, node))
    known = {number for section in SECTIONS.values() for number in section}
    if unknown := sorted({fault.id for fault in found} - known):
        raise ValueError(f"no such fault: {', '.join(unknown)}")
    return found


def _tests(
    tree: ast.Module | ast.ClassDef, name: str
) -> Iterator[tuple[str, Function]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, f"{name}::{node.name}")
        elif isinstance(node, Function) and node.name.startswith("test_"):
            yield f"{name}::{node.name}", node


def _marks(test: str, node: Function) -> Iterator[Fault]:
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and ast.unparse(decorator.func) == "pytest.mark.fault"
        ):
            [number] = map(ast.literal_eval, decorator.args)
            told = {k.arg: ast.literal_eval(k.value) for k in decorator.keywords}
            yield Fault(number, test, told["injected"], told["outcome"])
    if match := _CASE.match(node.name):
        said = match[2].replace("_", " ")
        yield Fault(f"C{int(match[1])}", test, "as it says", said)


def document() -> str:
    """Return the text that docs/fault-matrix.md must have."""
    by_id: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in faults():
        by_id[fault.id].append(fault)
    ids = [number for section in SECTIONS.values() for number in section]
    lines = [
        INTRODUCTION,
        f"{len(by_id)} of {len(ids)} scenarios have a test that injects them.",
    ]
    missing = []
    for title, scenarios in SECTIONS.items():
        lines += ["", f"## {title}", ""]
        lines += [
            "| id | scenario | injected | outcome | test |",
            "|---|---|---|---|---|",
        ]
        for number, scenario in scenarios.items():
            lines += [_line(scenario, fault) for fault in by_id[number]]
            if not by_id[number]:
                missing.append(f"| {number} | {_cell(scenario)} |")
    lines += ["", "## Not covered", "", "No test injects these yet.", ""]
    lines += ["| id | scenario |", "|---|---|", *missing]
    return "\n".join(lines) + "\n"


def _line(scenario: str, fault: Fault) -> str:
    path, _, name = fault.test.partition("::")
    where = f"`{name}` in `{path.removeprefix('tests/')}`"
    cells = map(_cell, (fault.id, scenario, fault.injected, fault.outcome, where))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the document, or with ``--check`` say whether it is up to date."""
    text = document()
    if arguments == ["--check"]:
        if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write("Out of date; run: python -m tests.fault_matrix\n")
        return 1
    if arguments:
        sys.stderr.write("usage: python -m tests.fault_matrix [--check]\n")
        return 2
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

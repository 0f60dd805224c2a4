from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from sync.management.base import DvsyncCommand
from tests import fault_catalogue, fault_matrix

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted(
    name for name, app in get_commands().items() if app in {"sync", "dvsync_site"}
)


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_documented_with_all_its_options(name: str) -> None:
    text = document("commands.md")
    assert f"\n## {name}\n" in text
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    shared = {
        option
        for action in DvsyncCommand().create_parser("manage.py", "x")._actions
        for option in action.option_strings
    }
    for action in parser._actions:
        for option in set(action.option_strings) - shared:
            assert f"`{option}" in section or f"[{option}" in section, option


@pytest.mark.parametrize("name", OURS)
def test_every_commands_help_begins_with_examples(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    help_text = command.create_parser("manage.py", name).format_help()
    assert help_text.startswith(f"Examples:\n  manage.py {name}")
    assert "Exit codes: " in help_text


def test_every_setting_is_documented() -> None:
    sources = [*ROOT.glob("dvsync_site/**/*.py"), *ROOT.glob("sync/**/*.py")]
    names = {
        name
        for path in sources
        for name in re.findall(
            r"[\"'`]((?:DVSYNC|DJANGO|PG)_[A-Z_]+|DATABASE_URL)\b",
            path.read_text(encoding="utf-8"),
        )
    }
    assert {"DATABASE_URL", "DVSYNC_DATA"} <= names
    text = document("settings.md")
    undocumented = {name for name in names if f"| `{name}` |" not in text}
    # Django's own, and a file of PostgreSQL's.
    others = {"DJANGO_SETTINGS_MODULE", "DJANGO_AUTO_COMPLETE", "PG_VERSION"}
    assert undocumented - others == set()


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target


def test_the_readme_begins_with_the_two_lines_that_set_everything_up() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -e "
    assert f"{setup}'.[embedded]' && .venv/bin/python manage.py up --demo" in text
    assert f"{setup}'.[embedded,dev]' && .venv/bin/python -m tests" in text


def test_the_changelog_knows_the_version() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [version] = re.findall(r'^version = "(.+)"', project, re.MULTILINE)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_documents_list_the_modules_that_exist() -> None:
    text = document("architecture.md")
    layout = text.partition("## Layout")[2].partition("## The load")[0]
    for path in sorted(ROOT.glob("sync/*/*.py")) + sorted(ROOT.glob("sync/*.py")):
        if path.parent.name not in {"migrations", "management"}:
            assert path.name == "__init__.py" or path.name in layout, path.name


def test_the_fault_matrix_is_what_the_tests_say() -> None:
    """When it is not: python -m tests.fault_matrix."""
    assert document("fault-matrix.md") == fault_matrix.document()


def test_a_fault_that_no_catalogue_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"Files": {"F40": "a cut file"}}
    monkeypatch.setattr(fault_matrix, "SECTIONS", known)
    with pytest.raises(ValueError, match=r"no such fault: .*F01"):
        fault_matrix.faults()


def test_every_case_of_the_format_is_in_the_catalogue() -> None:
    numbers = [f"C{number}" for number in range(1, 36)]
    assert list(fault_catalogue.format_cases()) == numbers


def test_every_sentence_of_the_promise_is_held_by_tests_that_exist() -> None:
    promised = document("promise.md").partition("## What it does not promise")[0]
    sentences = re.split(r"(?m)^\* \*\*", promised)[1:]
    assert len(sentences) > 10
    for sentence in sentences:
        named = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", sentence)
        assert named, sentence
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name

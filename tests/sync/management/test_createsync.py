from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from sync.models import Event, SyncConfig
from tests.exports import ExportWriter

DATA = Path(__file__).parents[2] / "data"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def location(tmp_path: Path) -> str:
    export = ExportWriter(tmp_path / "export")
    for name in ("account", "account_note", "contact"):
        export.upsert(name, 1)
    export.close_folder()
    return str(export.root)


def create(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("createsync", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refused(*arguments: str) -> str:
    before = list(SyncConfig.objects.values())
    with pytest.raises(CommandError) as caught:
        create(*arguments)
    assert caught.value.returncode == 2
    assert list(SyncConfig.objects.values()) == before
    return str(caught.value)


def test_it_creates_a_sync_and_says_what_it_selects(location: str) -> None:
    out, _ = create("Sales EU", location)

    config = SyncConfig.objects.get()
    assert (config.name, config.schema_name) == ("Sales EU", "sales eu")
    assert config.location == location
    assert "3 tables" in out
    assert Event.objects.get().kind == "sync_created"


def test_globs_choose_tables_and_exclude_wins(location: str) -> None:
    out, _ = create(
        "sales", location, "--include", "ACC*", "contact", "--exclude", "*_note"
    )
    assert "2 tables" in out
    config = SyncConfig.objects.get()
    assert config.include == ["ACC*", "contact"]
    assert config.selects("Account")
    assert not config.selects("account_note")


def test_globs_that_select_nothing_are_warned_of(location: str) -> None:
    _, err = create("sales", location, "--include", "lead")
    assert "none of the tables" in err


def test_the_location_is_stored_absolute(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(location).parent)
    create("sales", "export")
    assert SyncConfig.objects.get().location == location


def test_a_duplicate_name_is_refused(location: str) -> None:
    create("sales", location)
    assert "'sales' already" in refused("sales", location, "--schema", "other")


def test_a_schema_in_use_is_refused(location: str) -> None:
    create("sales", location)
    assert "--schema" in refused("other", location, "--schema", "Sales")


@pytest.mark.parametrize(
    "schema", ["public", "PUBLIC", "pg_catalog", "pg_toast_x", "information_schema"]
)
def test_a_reserved_schema_is_refused(location: str, schema: str) -> None:
    assert "reserved" in refused("sales", location, "--schema", schema)
    assert "reserved" in refused(schema, location)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_name_that_is_none_is_refused(location: str, name: str) -> None:
    assert "no name" in refused(name, location)


def test_a_location_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused("sales", str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    assert "is not a directory" in refused("sales", str(tmp_path / "file"))


@pytest.mark.parametrize("location", ["", " ", "x" * 300, "~nosuchuser/x", "a\udcff"])
def test_an_odd_location_is_refused(location: str) -> None:
    refused("sales", location)


def test_the_schema_of_the_application_is_refused(location: str) -> None:
    """Django's own tables would be made there, or are."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        [(user,)] = cursor.fetchall()
    assert "reserved" in refused("sales", location, "--schema", user)


def test_a_directory_without_a_marker_is_refused(tmp_path: Path) -> None:
    assert "Changelog/changelog.info" in refused("sales", str(tmp_path))


def test_an_empty_marker_is_refused(location: str) -> None:
    (Path(location) / "Changelog" / "changelog.info").write_text(" \n")
    assert "is empty" in refused("sales", location)


def test_a_model_json_stands_in_for_an_export_to_come(tmp_path: Path) -> None:
    out, _ = create(
        "sales", str(tmp_path), "--model-json", str(DATA / "fno_model.json")
    )
    assert " tables of " in out
    assert SyncConfig.objects.get().model_json


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_text("{"), "not valid JSON"),
        (
            lambda path: shutil.copy(DATA / "malformed_model_json.json", path),
            "no entities",
        ),
    ],
)
def test_an_unreadable_model_json_is_refused(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "uploaded.json"
    make(path)
    assert said in refused("sales", str(tmp_path), "--model-json", str(path))


def test_help_begins_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("createsync", "--help")
    assert capsys.readouterr().out.startswith("Examples:\n  manage.py createsync ")

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from sync.models import Event, SourceKind, SyncConfig
from tests.exports import ExportWriter
from tests.feeds import FeedWriter

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
    (tmp_path / "model.json").touch()
    assert "is no log file" in refused("sales", str(tmp_path / "model.json"))
    os.mkfifo(tmp_path / "pipe")
    assert "neither a directory nor a file" in refused("sales", str(tmp_path / "pipe"))


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


# Which kind it is

UTILITY = DATA / "dvsyncutil" / "model.json"
CDM = DATA / "fno_model.json"
EXPORT, FEED = SourceKind.SYNAPSE_LINK, SourceKind.CHANGE_FEED


def place(root: Path, *things: str) -> str:
    """Make a directory with these things in it."""
    root.mkdir()
    for thing in things:
        if thing == "marker":
            (root / "Changelog").mkdir()
            marker = root / "Changelog" / "changelog.info"
            marker.write_text("2026-01-01T00.00.00Z")
        elif thing == "log":
            shutil.copy(DATA / "dvsyncutil" / "synapse.json", root / "a.log")
        else:
            shutil.copy({"cdm": CDM, "utility": UTILITY}[thing], root / "model.json")
    return str(root)


@pytest.mark.parametrize(
    ("things", "given", "kind"),
    [
        (["marker"], None, EXPORT),
        (["marker", "cdm"], None, EXPORT),
        (["marker"], CDM, EXPORT),
        (["log", "utility"], None, FEED),
        (["log", "cdm"], None, FEED),
        (["log"], UTILITY, FEED),
        (["log"], CDM, FEED),
        ([], CDM, EXPORT),
        ([], UTILITY, FEED),
        (["utility"], None, FEED),
        (["utility"], UTILITY, FEED),
    ],
)
def test_the_kind_is_told_by_what_is_there(
    tmp_path: Path, things: list[str], given: Path | None, kind: SourceKind
) -> None:
    location = place(tmp_path / "data", *things)
    arguments = ["--model-json", str(given)] if given else []
    out, _ = create("sales", location, *arguments)
    assert SyncConfig.objects.get().kind == kind
    assert f"the {kind.label} {location}" in out


@pytest.mark.parametrize(
    ("things", "given"),
    [
        (["marker", "log"], None),
        (["marker", "log"], UTILITY),
        (["marker", "utility"], None),
        (["marker"], UTILITY),
        (["cdm"], UTILITY),
        (["utility"], CDM),
    ],
)
def test_what_contradicts_itself_is_asked_about(
    tmp_path: Path, things: list[str], given: Path | None
) -> None:
    location = place(tmp_path / "data", *things)
    arguments = ["--model-json", str(given)] if given else []
    said = refused("sales", location, *arguments)
    assert "--kind synapse-link or --kind change-feed" in said


def test_what_is_both_is_what_one_says(tmp_path: Path) -> None:
    location = place(tmp_path / "data", "marker", "log")
    create("one", location, "--kind", "synapse-link")
    create("two", location, "--kind", "change-feed", "--model-json", str(UTILITY))
    kinds = dict(SyncConfig.objects.values_list("name", "kind"))
    assert kinds == {"one": EXPORT, "two": FEED}


def test_neither_of_both_is_refused_with_what_each_looks_like(tmp_path: Path) -> None:
    said = refused("sales", place(tmp_path / "data"))
    assert "changelog.info" in said
    assert "log files" in said


def test_a_feed_without_a_model_is_refused(tmp_path: Path) -> None:
    said = refused("sales", place(tmp_path / "data", "log"))
    assert "needs a model.json" in said
    assert "--model-json" in said


def test_the_given_model_of_a_feed_is_kept_whole(tmp_path: Path) -> None:
    create("sales", place(tmp_path / "data", "log"), "--model-json", str(UTILITY))
    kept = SyncConfig.objects.get().model_json
    assert kept == json.loads(UTILITY.read_bytes())


def test_a_feed_with_a_model_of_its_own_keeps_no_other(tmp_path: Path) -> None:
    location = place(tmp_path / "data", "log", "utility")
    create("sales", location, "--model-json", str(UTILITY))
    assert SyncConfig.objects.get().model_json is None


def test_a_given_model_with_signs_that_postgresql_refuses_is_kept(
    tmp_path: Path,
) -> None:
    document = json.loads(UTILITY.read_bytes())
    document["entities"][0]["description"] = "\0 and \ud800" + "x" * 5000
    model = tmp_path / "given.json"
    model.write_text(json.dumps(document), encoding="utf-8")
    create("sales", place(tmp_path / "data", "log"), "--model-json", str(model))
    kept: Any = SyncConfig.objects.get().model_json
    assert len(kept["entities"][0]["description"]) == 5007


def test_the_broken_model_of_a_feed_is_refused(tmp_path: Path) -> None:
    location = place(tmp_path / "data", "log")
    Path(location, "model.json").write_text("{")
    assert "not valid JSON" in refused("sales", location)


def test_one_log_file_is_a_feed(tmp_path: Path) -> None:
    location = place(tmp_path / "data", "log", "utility")
    file = Path(location, "a.log").rename(Path(location, "changes.txt"))
    out, _ = create("sales", str(file))
    assert "2 tables" in out
    config = SyncConfig.objects.get()
    assert (config.kind, config.location) == (FEED, str(file))
    assert "is a file" in refused("other", str(file), "--kind", "synapse-link")


def test_a_link_to_a_log_file_is_refused(tmp_path: Path) -> None:
    location = place(tmp_path / "data", "log", "utility")
    link = Path(location, "b.log")
    link.symlink_to(Path(location, "a.log"))
    assert "symbolic link" in refused("sales", str(link))


def test_policies_of_the_other_kind_are_refused(tmp_path: Path, location: str) -> None:
    assert "whole rows" in refused("sales", location, "--missing-keys", "insert")
    feed = FeedWriter(tmp_path / "feed")
    feed.table("account", "accountid")
    feed.insert("account", accountid="a")
    root = str(feed.root)
    assert "no empty cells" in refused("sales", root, "--empty-text", "empty")
    create("sales", root, "--missing-keys", "insert")
    config = SyncConfig.objects.get()
    assert config.missing_keys == "insert"
    call_command("editsync", "sales", "--missing-keys", "ignore", stdout=io.StringIO())
    config.refresh_from_db()
    assert config.missing_keys == "ignore"
    with pytest.raises(CommandError, match="no empty cells"):
        call_command("editsync", "sales", "--empty-text", "empty")

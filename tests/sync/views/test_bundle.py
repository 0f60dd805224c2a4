"""The support bundle: it tells what helps, and nothing that it must not."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from sync.engine import bundle_parts
from sync.engine.bundle import bundle, file_name
from sync.engine.discretion import TOLD, WITHHELD, host_of, told, without_secrets
from sync.engine.switches import explain_pause, pause
from sync.errors import PROBLEMS
from sync.models import Event, Incident
from tests import processes
from tests.catalogue.steps import FILE, LF, configure, line
from tests.people import signed_in
from tests.sync.conftest import Export, run_sql

PARTS = {
    *("about", "settings", "database", "migrations", "service", "status"),
    *("errors", "loads", "exports", "tables"),
}
# In rows; nothing of it may be in the bundle.
VALUE, OTHER = "Geheimrat Goethe", "kein Betrag 4711"


def parts(data: bytes) -> dict[str, Any]:
    """Return the parts of a bundle by their names."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {
            name.removesuffix(".json"): json.loads(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".json")
        }


def text_of(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return "\n".join(archive.read(name).decode() for name in archive.namelist())


@pytest.fixture
def troubled(export: Export) -> Export:
    """Return an export with good rows, a parked table and rows set aside."""
    configure(export, bad_rows="quarantine")
    export.upsert("account", 1, name=VALUE)
    export.upsert("contact", 1, name=VALUE)
    export.close_folder()
    export.table("lead", ["name", "amount:decimal"])
    export.raw("lead", FILE, line(3, f'"{VALUE}"', OTHER) + LF)
    export.close_folder()
    export.sync()
    configure(export, bad_rows="stop")
    export.raw("account", FILE, line(2, f'"{VALUE}"', OTHER) + LF)
    export.close_folder()
    for _ in range(3):
        export.sync()
    return export


@pytest.fixture
def secrets(settings: Settings) -> list[str]:
    """Plant secrets in the settings; return what must not be told."""
    settings.METRICS_TOKEN = "planted-metrics"
    settings.WEBHOOK_SECRET = "planted-webhook"
    settings.WEBHOOK_URL = "https://bob:planted-user@hooks.example/T0/planted-path?k=v"
    settings.LOAD_WEBHOOK_URL = "https://loads.example/x?planted-query"
    settings.EMAIL_HOST_PASSWORD = "planted-mail"
    settings.ALERT_EMAILS = ["planted@mail.example"]
    return ["planted", settings.SECRET_KEY, "planted%2Dmail"]


def test_every_part_is_there(troubled: Export) -> None:
    found = parts(bundle({"queue": lambda: {"queues": {}}}))
    assert found.keys() == PARTS | {"queue"}
    assert not [name for name, part in found.items() if "error" in part], found
    assert found["about"]["packages"]["Django"]
    assert found["migrations"]["complete"] is True
    [sync] = found["status"]["syncs"]
    assert sync["state"] == "action required"
    tables = {table["table"]: table for table in found["tables"]}
    assert tables["account"]["types"]["dateTime"] == 2
    assert tables["account"]["column_types"]["numeric"] == 1
    assert tables["lead"]["rows_set_aside"] == {"open bad_value": 1}
    [export] = found["exports"]
    assert export["partitions"]["ready"]["number"] == 3
    assert export["gaps_seconds"]["median"] == 300
    assert export["now"]["partitions"] == 4
    assert {load["table"] for load in found["loads"]} == {"account", "contact", "lead"}
    [failed] = found["errors"]["partitions"]
    assert (failed["code"], failed["attempts"]) == ("bad_value", 3)
    assert "left out" in failed["message"]
    assert "line 1" in failed["where"]


def test_no_value_of_a_row_is_in_it(troubled: Export) -> None:
    text = text_of(bundle())
    for value in (VALUE, OTHER, "Goethe", "4711"):
        assert value not in text


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_no_text_that_may_quote_a_row_is_in_it(export: Export, code: str) -> None:
    message = f"PostgreSQL says: broken (Key (id)=({VALUE}) exists)"
    if code in WITHHELD:
        message = f"Unexpected KeyError: {VALUE}"
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    export.entity("account").progress.update(
        copy_status=2, error_code=code, error_message=message
    )
    config = export.config
    Event.record(config, "load_failed", message, table_name="account")
    Event.record(config, "something_new", message)
    Incident.objects.create(config=config, kind="failing", code=code, message=message)
    found = bundle()
    assert VALUE not in text_of(found)
    assert parts(found)["errors"]["partitions"][0]["code"] == code


def test_why_something_is_paused_is_not_in_it(export: Export) -> None:
    """It is a person's own words, who may quote what is in a row."""
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    for what in (export.entity("account"), export.config):
        pause(what, by="bob", reason=f"wrong: {VALUE}")
    explain_pause(export.config, f"still wrong: {VALUE}", by="eve")
    found = bundle()
    assert VALUE not in text_of(found)
    [sync] = parts(found)["status"]["syncs"]
    assert re.fullmatch(r"paused \d+ s ago by bob", sync["reason"])
    events = parts(found)["errors"]["events"]
    assert [e["said"] for e in events if e["kind"] == "paused"] == ["by bob"] * 2


def test_of_every_code_it_is_decided_what_is_told() -> None:
    assert PROBLEMS.keys() == TOLD | WITHHELD
    assert not TOLD & WITHHELD
    assert "a cell" not in told("of the future", "a cell")


def test_no_secret_is_in_it(troubled: Export, secrets: list[str]) -> None:
    configure(troubled, location="/data/planted-metrics/planted-mail")
    found = bundle()
    text = text_of(found)
    for secret in secrets:
        assert secret not in text
    settings = parts(found)["settings"]
    assert settings["METRICS_TOKEN is set"] is True
    assert settings["WEBHOOK_URL"] == "https://hooks.example/…"
    assert settings["ALERT_EMAILS"] == "1 addresses"


def test_the_password_of_the_database_is_hidden_wherever_it_is(
    settings: Settings,
) -> None:
    password = 'p@ss "word"/1'
    with mock.patch.dict(settings.DATABASES["default"], PASSWORD=password):
        for form in (password, "p%40ss%20%22word%22/1", "p%40ss%20%22word%22%2F1"):
            assert without_secrets(f"at {form}!") == "at ***!"
        assert password not in without_secrets(json.dumps(password))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("", None),
        ("https://u:p@h.example:8443/x?y#z", "https://h.example:8443/…"),
        ("https://h.example:port/x", "***"),
        ("https://[broken/x", "***"),
    ],
)
def test_of_an_address_only_the_host_is_told(url: str, host: str | None) -> None:
    assert host_of(url) == host


def test_an_export_that_is_gone_leaves_the_rest(troubled: Export) -> None:
    shutil.rmtree(troubled.root)
    found = parts(bundle())
    [export] = found["exports"]
    assert export["now"]["code"] == "source_unreadable"
    assert export["partitions"]["ready"]["number"] == 3
    assert len(found["tables"]) == 3


def test_an_export_that_does_not_answer_leaves_the_rest(
    troubled: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_parts, "EXPORT_SECONDS", 0.0)
    monkeypatch.setattr("threading.Thread", mock.MagicMock())
    [export] = parts(bundle())["exports"]
    assert "no answer within" in export["now"]["problem"]


def test_a_part_that_breaks_leaves_the_rest(troubled: Export) -> None:
    def broken() -> object:
        raise KeyError(VALUE)

    def refused() -> object:
        return run_sql("SELECT 'Geheimrat Goethe'::int")

    data = bundle({"broken": broken, "refused": refused})
    found = parts(data)
    assert found["broken"]["error"]["message"] == "KeyError"
    assert found["refused"]["error"]["code"]
    assert "error" not in found["status"]
    assert VALUE not in text_of(data)


@pytest.mark.django_db
def test_without_any_sync_it_is_made_all_the_same() -> None:
    found = parts(bundle())
    assert found.keys() == PARTS
    assert found["exports"] == found["tables"] == found["loads"] == []


# The page and the command


@pytest.mark.django_db
def test_an_operator_downloads_it() -> None:
    client = signed_in("operator")
    page = client.get("/support-bundle/")
    assert "/support-bundle/download/" in page.content.decode()
    answer = client.get("/support-bundle/download/")
    assert answer.headers["Content-Type"] == "application/zip"
    assert 'attachment; filename="dvsync-support-' in answer["Content-Disposition"]
    assert "no-store" in answer["Cache-Control"]
    assert parts(answer.content)["queue"]["failed_tasks"] == 0


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/support-bundle/", "/support-bundle/download/"])
def test_a_viewer_does_not(path: str) -> None:
    assert signed_in("viewer").get(path).status_code == 403
    assert signed_in("operator").post(path).status_code == 405


@pytest.mark.django_db
def test_the_command_writes_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle.zip"
    call_command("supportbundle", str(path))
    assert capsys.readouterr().out == f"{path}\n"
    assert parts(path.read_bytes()).keys() == PARTS | {"queue"}
    for place in (path, tmp_path / "nowhere" / "x.zip"):
        with pytest.raises(CommandError) as caught:
            call_command("supportbundle", str(place))
        assert caught.value.returncode == 2


def test_without_a_database_the_rest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    url = "postgres://nobody:hidden@127.0.0.1:1/nothing"
    code, out, err = processes.run("supportbundle", str(path), DATABASE_URL=url)
    assert (code, out) == (0, f"{path}\n"), err
    found = parts(path.read_bytes())
    assert found["about"]["python"]
    assert found["settings"]["DATABASE"]["HOST"] == "127.0.0.1"
    assert found["status"]["error"]["code"] == "database_unavailable"
    assert "hidden" not in text_of(path.read_bytes()) + err


def test_the_name_of_the_file_has_the_time() -> None:
    assert file_name().startswith("dvsync-support-20")
    assert file_name().endswith("Z.zip")

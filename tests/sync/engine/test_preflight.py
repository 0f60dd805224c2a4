"""Checks before a sync is created, on real exports and the real PostgreSQL."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection
from psycopg import sql
from pytest_django import Settings

from sync.engine import dry_load as dry
from sync.engine import preflight, preflight_database, preflight_export
from sync.engine.dry_load import dry_load
from sync.engine.preflight import check
from sync.engine.preflight_results import Report, State
from sync.errors import SyncError
from sync.model_json import parse_model
from sync.models import Event, SyncConfig
from sync.sources.storage import Directory
from tests.exports import ExportWriter
from tests.models import model_json
from tests.sync.conftest import run_sql

pytestmark = pytest.mark.django_db

TITLES = [
    "Reach the location",
    "List its folders",
    "Read a file",
    "Understand its model.json",
    "Connect to PostgreSQL",
    "Encoding of the database",
    "Privileges in the database",
    "Disk space",
    "Load one table, and undo it",
    "The service",
]


@pytest.fixture
def source(tmp_path: Path, settings: Settings) -> ExportWriter:
    settings.ROOTS = [tmp_path]
    export = ExportWriter(tmp_path / "contoso")
    for number in range(5):
        export.upsert("account", number, name="Ann")
        export.upsert("contact", number, name="a longer name, so a bigger file")
    export.close_folder()
    return export


def planned(export: ExportWriter, **fields: object) -> SyncConfig:
    return SyncConfig(
        **{
            "name": "crm",
            "schema_name": "trial_schema",
            "location": str(export.root),
            **fields,
        }
    )


def report(
    export: ExportWriter, *, data: bytes = b"", uploaded: bool = False, **fields: object
) -> Report:
    model = parse_model(data or model_json("account", "contact"))
    return check(planned(export, **fields), model, uploaded=uploaded)


def states(found: Report) -> dict[str, State]:
    return {result.title: result.state for result in found.results}


def stored() -> list[tuple[str, int]]:
    """Return what all tables of the database hold, in numbers, and all schemas."""
    connection.ensure_connection()
    tables = run_sql(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN "
        "('pg_catalog', 'information_schema') ORDER BY 1, 2"
    )
    counts = [
        (
            f"{schema}.{name}",
            run_sql(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))
            )[0][0],
        )
        for schema, name in tables
    ]
    schemas = [(name, 0) for (name,) in run_sql("SELECT nspname FROM pg_namespace")]
    return counts + sorted(s for s in schemas if not s[0].startswith("pg_t"))


def test_everything_is_checked_and_timed(source: ExportWriter) -> None:
    found = report(source)
    assert [result.title for result in found.results] == TITLES
    assert found.passed
    assert all(result.seconds >= 0 for result in found.results)
    others = {t: s for t, s in states(found).items() if t != "The service"}
    assert set(others.values()) <= {State.PASSED, State.UNKNOWN}
    [service] = [r for r in found.results if r.title == "The service"]
    assert service.state is State.WARNING
    assert "manage.py up" in service.remedy
    size = sum(p.stat().st_size for p in source.root.rglob("*.csv"))
    assert (found.bytes, found.partial) == (size, False)


def test_nothing_is_left_of_the_dry_load(source: ExportWriter) -> None:
    before = stored()
    assert "5 rows of account" in str(dry_load(planned(source)))
    assert stored() == before
    assert not Event.objects.exists()


def test_nothing_is_left_of_one_that_fails(source: ExportWriter) -> None:
    source.raw("lead", "1.csv", b'1,2\n"never closed')
    source.close_folder()
    source.tables.pop("lead", None)
    before = stored()
    (source.root / source.folders[0].name / "account" / "2026.csv").write_text("x,y\n")
    with pytest.raises(SyncError):
        dry_load(planned(source))
    assert stored() == before


def test_a_bad_row_is_a_warning_for_it_stops_its_table_only(
    source: ExportWriter,
) -> None:
    file = source.root / source.folders[0].name / "account" / "2026.csv"
    file.write_text("x,y\n")
    found = report(source)
    [load] = [r for r in found.results if r.title.startswith("Load one")]
    assert load.state is State.WARNING
    assert "2026.csv" in load.detail
    assert load.remedy
    assert found.passed


def test_the_dry_load_takes_chosen_tables_only(source: ExportWriter) -> None:
    assert "rows of contact" in str(dry_load(planned(source, exclude=["account"])))
    assert dry_load(planned(source, include=["nothing"])) is None


def test_a_first_file_that_is_large_is_not_tried(
    source: ExportWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry, "LARGEST", 10)
    found = states(report(source))
    assert found["Load one table, and undo it"] is State.UNKNOWN


def test_a_dry_load_that_lasts_is_stopped(
    source: ExportWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored()
    monkeypatch.setattr(threading.Timer, "start", lambda timer: timer.function())
    with pytest.raises(SyncError, match="not done within"):
        dry_load(planned(source))
    assert stored() == before


def test_a_location_that_vanished_fails_each_check_of_it(source: ExportWriter) -> None:
    source.root.rename(source.root.with_name("moved"))
    found = states(report(source))
    for title in (*TITLES[:4], "Disk space", "Load one table, and undo it"):
        assert found[title] is State.FAILED, title
    assert found["Connect to PostgreSQL"] is State.PASSED


def test_a_location_that_hangs_is_given_up(
    source: ExportWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(preflight, "SOURCE_SECONDS", 0.05)
    monkeypatch.setattr(Directory, "entries", lambda *_: release.wait(60) and [])
    try:
        with pytest.raises(SyncError, match="does not answer"):
            preflight._bounded(Directory(source.root).entries)
    finally:
        release.set()


def test_an_export_without_a_finished_folder_is_a_warning(
    tmp_path: Path, settings: Settings
) -> None:
    settings.ROOTS = [tmp_path]
    found = report(ExportWriter(tmp_path / "new"))
    assert states(found)["List its folders"] is State.WARNING
    assert states(found)["Read a file"] is State.UNKNOWN
    assert found.passed


def test_what_is_no_export_yet_needs_an_uploaded_model(
    tmp_path: Path, settings: Settings
) -> None:
    settings.ROOTS = [tmp_path]
    (tmp_path / "empty").mkdir()
    writer = planned_at(tmp_path / "empty")
    model = parse_model(model_json("account"))
    assert not check(writer, model, uploaded=False).passed
    found = check(writer, model, uploaded=True)
    assert states(found)["List its folders"] is State.WARNING


def planned_at(path: Path) -> SyncConfig:
    return SyncConfig(name="crm", schema_name="trial_schema", location=str(path))


def test_tables_that_the_export_lacks_are_told(source: ExportWriter) -> None:
    data = model_json("account", *(f"other{i}" for i in range(7)))
    found = report(source, data=data, uploaded=True)
    [parse] = [r for r in found.results if r.title.startswith("Understand")]
    assert parse.state is State.WARNING
    assert "other0" in parse.detail
    assert "2 more" in parse.detail


def test_a_marker_that_cannot_be_used_fails(source: ExportWriter) -> None:
    (source.root / "Changelog" / "changelog.info").write_text("soon")
    assert states(report(source))["List its folders"] is State.FAILED


def test_a_model_that_cannot_be_read_fails(source: ExportWriter) -> None:
    (source.root / "model.json").write_text("{")
    [parse] = [r for r in report(source).results if r.title.startswith("Understand")]
    assert parse.state is State.FAILED
    assert "line 1" in parse.detail


def test_a_schema_in_which_nothing_may_be_made_fails(source: ExportWriter) -> None:
    found = report(source, schema_name="pg_catalog")
    [result] = [r for r in found.results if r.title.startswith("Privileges")]
    assert result.state is State.FAILED
    assert "lacks CREATE on the schema pg_catalog" in result.detail
    assert "grants.sql" in result.remedy


def test_a_table_in_the_way_fails_the_dry_load(source: ExportWriter) -> None:
    run_sql("CREATE SCHEMA trial_schema")
    run_sql("CREATE TABLE trial_schema.account (x int)")
    try:
        found = report(source)
        [load] = [r for r in found.results if r.title.startswith("Load one")]
        assert load.state is State.FAILED
        assert "was not made by dvsync" in load.detail
        assert not found.passed
    finally:
        run_sql("DROP SCHEMA trial_schema CASCADE")


def test_sizes_that_take_too_long_are_told_in_part(
    source: ExportWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_export, "SIZES_SECONDS", -1)
    found = report(source)
    assert found.partial


def test_a_full_disk_is_a_warning(
    source: ExportWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_database, "free_space", lambda: 10)
    assert states(report(source))["Disk space"] is State.WARNING


def test_a_foreign_server_shows_no_disk(
    source: ExportWriter, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_HOMES = ()
    monkeypatch.setattr(preflight_database, "_ask", lambda *_: "false")
    assert preflight_database.free_space() is None


@pytest.mark.parametrize(
    ("query", "answer", "title"),
    [
        ("SHOW server_encoding", "LATIN1", "Encoding of the database"),
        ("has_database_privilege", "false", "Privileges in the database"),
    ],
)
def test_a_database_that_is_not_fit_fails(
    source: ExportWriter,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    answer: str,
    title: str,
) -> None:
    ask = preflight_database._ask

    def told(asked: str, *parameters: str) -> str:
        return answer if query in asked else ask(asked, *parameters)

    monkeypatch.setattr(preflight_database, "_ask", told)
    [result] = [r for r in report(source).results if r.title == title]
    assert result.state is State.FAILED
    assert result.remedy

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import call_command
from django.test import override_settings

from dvsync_site.management.commands import demo
from dvsync_site.sample_export import SampleExport
from dvsync_site.sample_feed import SampleFeed
from sync.models import SyncConfig, SyncTable
from tests.sync.conftest import run_sql


@pytest.fixture
def data_dir(tmp_path: Path, transactional_db: None) -> Iterator[Path]:
    with override_settings(DATA_DIR=tmp_path), mock.patch.object(demo, "ROWS", 40):
        yield tmp_path
    run_sql("DROP SCHEMA IF EXISTS demo, demo_feed CASCADE")


def show() -> str:
    out = io.StringIO()
    errors = io.StringIO()
    try:
        call_command("demo", stdout=out, stderr=errors)
    except SystemExit:
        pytest.fail(out.getvalue() + errors.getvalue())
    return out.getvalue()


def count(table: SyncTable) -> int:
    name = f'"{table.config.schema_name}"."{table.target_name}"'
    number: int = run_sql(f"SELECT count(*) FROM {name}")[0][0]
    return number


def test_it_loads_a_sample_and_says_what_to_do_next(data_dir: Path) -> None:
    out = show()

    export = SampleExport.resume(data_dir / "exports" / "demo")
    assert len(export.closed) == 1 + demo.LATER_FOLDERS
    for table in SyncTable.objects.filter(config__name="demo"):
        assert count(table) == len(list(export.expected_rows(table.entity)))
        assert f"{table.label} " in out
    assert "updated" in out
    assert "createsync NAME DIRECTORY" in out


def test_a_change_feed_is_loaded_beside_it(data_dir: Path) -> None:
    out = show()

    feed = SampleFeed.resume(data_dir / "exports" / "demo_feed")
    assert feed.lines == feed.first_lines + demo.LATER_LINES
    for name in feed.tables:
        table = SyncTable.objects.get(config__name="demo_feed", entity=name)
        assert count(table) == len(feed.expected_rows(name))
        assert f"{table.label} " in out


def test_the_queries_that_it_proposes_work(data_dir: Path) -> None:
    out = show()
    assert out.count("dbshell") == len(demo.QUERIES) == 4
    for query in demo.QUERIES:
        assert query in out
        assert run_sql(query)


def test_it_may_be_run_again(data_dir: Path) -> None:
    show()
    before = {table.label: count(table) for table in SyncTable.objects.all()}
    show()
    assert SyncConfig.objects.count() == 2
    assert {table.label: count(table) for table in SyncTable.objects.all()} == before


def test_what_a_killed_run_left_is_begun_anew(data_dir: Path) -> None:
    half = data_dir / "exports" / "demo" / "2026-03-01T08.00.00Z"
    half.mkdir(parents=True)
    (half / "left").touch()
    assert "demo.account" in show()

"""The sample change feed: repeatable, growing, and what its replica holds."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dvsync_site import sample_feed
from dvsync_site.sample_feed import Row, SampleFeed
from sync.engine.configs import create_config
from sync.models import SourceKind, SyncConfig
from tests.sync.conftest import run_sql


def changes(feed: SampleFeed) -> list[str]:
    """Return the lines without their times."""
    texts = (path.read_text() for path in feed.files)
    return [line.split(" | ", 1)[1] for text in texts for line in text.splitlines()]


def test_the_same_arguments_write_the_same_changes(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        feed = SampleFeed(tmp_path / name, rows=10, seed=seed)
        feed.write_initial()
        feed.write_changes(100)
        made.append(changes(feed))
    assert made[0] == made[1] != made[2]


def test_it_goes_on_where_a_killed_writer_left_it(tmp_path: Path) -> None:
    whole = SampleFeed(tmp_path / "whole", rows=10)
    whole.write_initial()
    whole.write_changes(80)

    feed = SampleFeed(tmp_path / "killed", rows=10)
    feed.write_initial()
    feed.write_changes(30)
    with feed.files[-1].open("ab") as log:
        log.write(b"2026-03-01T08:00:00Z | UPDATE | acc")
    resumed = SampleFeed.resume(tmp_path / "killed")
    resumed.write_changes(50)
    assert changes(resumed) == changes(whole)
    assert resumed.expected_rows("orderline") == whole.expected_rows("orderline")


def test_one_that_was_killed_at_its_beginning_is_completed(tmp_path: Path) -> None:
    feed = SampleFeed(tmp_path, rows=10)
    feed.write_initial()
    log = feed.files[0]
    log.write_bytes(log.read_bytes()[:500])
    assert SampleFeed.resume(tmp_path).lines == feed.first_lines
    assert len(changes(feed)) == feed.first_lines


def test_the_next_file_begins_after_so_many_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_feed, "LINES_PER_FILE", 50)
    feed = SampleFeed(tmp_path, rows=10)
    feed.write_initial()
    assert feed.write_changes(75) == "changes-000003.log"
    counts = [len(path.read_text().splitlines()) for path in feed.files]
    assert counts == [50, 50, 35]
    assert SampleFeed.resume(tmp_path).lines == 135


@pytest.mark.django_db(transaction=True)
def test_a_replica_holds_what_the_feed_expects(tmp_path: Path) -> None:
    feed = SampleFeed(tmp_path, rows=20)
    feed.write_initial()
    created = create_config("sample_feed", str(tmp_path))
    assert created.config.kind == SourceKind.CHANGE_FEED
    try:
        for _ in range(3):
            feed.write_changes(150)
            call_command("syncnow", "sample_feed", stdout=io.StringIO())
            for table in feed.tables:
                found = run_sql(f"SELECT to_json(t)::text FROM sample_feed.{table} t")
                there = comparable(json.loads(row) for (row,) in found)
                assert there == comparable(feed.expected_rows(table))
    finally:
        run_sql("DROP SCHEMA sample_feed CASCADE")
        SyncConfig.objects.all().delete()


def comparable(rows: Iterable[Row]) -> list[str]:
    """Return rows as sorted texts; times are as PostgreSQL shows them."""
    texts = (json.dumps(row, sort_keys=True) for row in rows)
    return sorted(text.replace('Z"', '+00:00"') for text in texts)


def test_makeexport_writes_one(tmp_path: Path) -> None:
    out, said = io.StringIO(), io.StringIO()
    arguments = [str(tmp_path / "feed"), "--feed", "--rows", "10"]
    call_command("makeexport", *arguments, stdout=out, stderr=said)
    assert out.getvalue().strip() == arguments[0]
    assert "Tables: 3. Lines: 90. Files: 1." in said.getvalue()
    with pytest.raises(CommandError, match="not an empty directory"):
        call_command("makeexport", *arguments)

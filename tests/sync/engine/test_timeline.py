"""One stream of all that happened: complete, in order, and cheap however long."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

import sync
from sync.engine import happenings
from sync.engine.configs import edit_config
from sync.engine.switches import pause, retry
from sync.engine.timeline import Entry, Place, Wanted, timeline
from sync.models import DataSyncProgress, Event, Incident, SyncConfig
from tests.people import person
from tests.sync.conftest import Export, run_sql

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ALL = Wanted()


@pytest.fixture
def config(transactional_db: None) -> SyncConfig:
    return SyncConfig.objects.create(name="sales", location="/x", schema_name="sales")


def story(config: SyncConfig, wanted: Wanted = ALL, size: int = 100) -> list[Entry]:
    """Return the whole stream, read page by page."""
    entries: list[Entry] = []
    before: Place | None = None
    while True:
        page = timeline(config, wanted, before, size)
        entries += page.entries
        if page.older is None:
            return entries
        before = Place.parse(str(page.older))
        assert before == page.older


def titles(config: SyncConfig, **wanted: str) -> list[str]:
    return [entry.title for entry in story(config, Wanted(**wanted))]


def test_a_load_of_several_folders_is_one_entry(export: Export) -> None:
    for key in (1, 2, 3):
        export.upsert("account", key, name="x")
        export.close_folder()
    export.upsert("contact", 1, name="x")
    export.close_folder()
    export.sync()
    loads = story(export.config, Wanted("loads"))
    assert [(e.table, e.load["folders"], e.load["inserted"]) for e in loads] == [  # type: ignore[index]
        ("contact", 1, 1),
        ("account", 3, 3),
    ]
    assert loads[1].partition == export.progress("account")[0].partition
    assert loads[0].load["took"] > timedelta()  # type: ignore[index]


def test_a_sync_tells_its_tables_its_failures_and_what_people_did(
    export: Export,
) -> None:
    export.upsert("account", 1, amount="many")
    export.close_folder()
    export.sync()
    table = export.entity("account")
    retry(table, by="anna")
    edit_config(export.config, {"bad_rows": "quarantine"}, by="ben")
    pause(table, by="anna")
    found = story(export.config)
    assert [entry.title for entry in found] == [
        "Paused",
        "Settings changed",
        "Retried",
        "Load failed",
        "Table created",
    ]
    assert [entry.message for entry in found[:3]] == [
        "by anna",
        "bad_rows quarantine (by ben)",
        "by anna",
    ]
    assert (found[3].level, found[3].table) == ("error", "account")


def test_alerts_begin_and_end(config: SyncConfig) -> None:
    make = Incident.objects.create
    make(config=config, kind="failing", table_name="account", opened_at=NOW)
    make(
        config=config,
        kind="late",
        table_name="contact",
        opened_at=NOW,
        closed_at=NOW + timedelta(hours=1),
    )
    found = story(config)
    assert [(e.title, e.table) for e in found] == [
        ("Recovered", "contact"),
        ("Alert: late", "contact"),
        ("Alert: failing", "account"),
    ]
    assert found[0].load == {"lasted": timedelta(hours=1)}
    assert titles(config, category="alerts", table="account") == ["Alert: failing"]


def test_an_edit_in_the_admin_is_told_once(config: SyncConfig) -> None:
    anna = person("administrator")

    def log(flag: int, message: str) -> None:
        LogEntry.objects.log_actions(
            anna.pk, [config], flag, change_message=message, single_object=True
        )

    edit_config(config, {"max_bad_rows": 7}, by=anna.username)
    log(CHANGE, "Changed limit")
    assert titles(config) == ["Settings changed"]
    LogEntry.objects.update(action_time=NOW)
    log(ADDITION, "")
    LogEntry.objects.filter(action_time__gt=NOW).update(
        action_time=NOW + timedelta(hours=1)
    )
    [changed, added, old] = story(config)
    assert changed.title == "Settings changed"
    assert (added.title, added.by) == ("Added in the admin", anna.username)
    assert (old.title, old.message) == ("Changed in the admin", "Changed limit")


def test_other_syncs_have_their_own_story(config: SyncConfig, export: Export) -> None:
    Event.record(config, "paused", "by anna")
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.sync()
    assert titles(config) == ["Paused"]
    assert set(titles(export.config)) == {"Load", "Table created"}


def test_filters_are_by_kind_table_and_text(config: SyncConfig) -> None:
    for kind, table, message in (
        ("columns_added", "account", "new columns: size_100%"),
        ("load_failed", "account", "bad value 'x'"),
        ("paused", "contact", "by anna"),
        ("sync_edited", "", "bad_rows stop (by anna)"),
        ("from_the_future", "", ""),
    ):
        Event.record(config, kind, message, table_name=table)
    assert titles(config, category="schema") == ["Columns added"]
    assert titles(config, category="people") == ["Paused"]
    assert titles(config, table="account") == ["Load failed", "Columns added"]
    assert titles(config, text="ANNA") == ["Settings changed", "Paused"]
    assert titles(config, text="0%") == ["Columns added"]
    assert titles(config, text="acc", category="problems") == ["Load failed"]
    assert titles(config, text="%_%") == []
    assert titles(config)[0] == "From the future"


def test_pages_meet_without_gap_or_repetition_at_equal_times(
    config: SyncConfig,
) -> None:
    """Everything happened at the same two moments, from every source."""
    anna = person("viewer")
    for moment in (NOW, NOW - timedelta(seconds=1)):
        for number in range(3):
            Event.objects.create(config=config, kind=f"k{number}", happened_at=moment)
            for folder in ("p1", "p2"):
                DataSyncProgress.objects.create(
                    config=config,
                    partition=f"{folder} {moment}",
                    table_name=f"t~{number}",
                    copy_status=1,
                    finished_at=moment,
                )
            Incident.objects.create(
                config=config,
                kind="late",
                table_name=f"t{number} {moment}",
                opened_at=moment,
                closed_at=moment,
            )
        LogEntry.objects.log_actions(anna.pk, [config], CHANGE, single_object=True)
        LogEntry.objects.filter(action_time__gt=NOW).update(action_time=moment)
    whole = story(config)
    assert len(whole) == 2 * (3 + 3 + 3 + 3 + 1)
    assert [e.at for e in whole] == sorted((e.at for e in whole), reverse=True)
    for size in (1, 2, 3, 5, 7, 25, 26, 27):
        assert [e.place for e in story(config, size=size)] == [e.place for e in whole]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2026-05-01~1~3",
        "2026-05-01T12:00:00Z~9~3",
        "2026-05-01T12:00:00Z~1~x",
        "2026-05-01T12:00:00Z~1~" + "9" * 40,
        "2026-99-01T12:00:00+00:00~1~3",
        "2026-05-01T12:00:00~1~3",
    ],
)
def test_an_address_that_is_no_place_is_none(text: str) -> None:
    assert Place.parse(text) is None


def test_a_place_may_be_that_of_a_table_with_any_name(config: SyncConfig) -> None:
    place = Place(NOW, 0, "a~1~'; DROP\n\N{RIGHT-TO-LEFT OVERRIDE}")
    assert Place.parse(str(place)) == place
    assert timeline(config, ALL, place).entries == []


def test_a_long_history_costs_no_more_than_a_short_one(config: SyncConfig) -> None:
    """100,000 folders and events: each source is asked once, and sorts none of it."""
    other = SyncConfig.objects.create(name="o", location="/o", schema_name="o")
    for pk, rows in ((config.pk, 100_000), (other.pk, 1000)):
        run_sql(
            "INSERT INTO data_sync_progress (config_id, partition, table_name, "
            "copy_status, rows_inserted, rows_updated, rows_deleted, rows_unchanged, "
            "rows_rejected, rows_missing, bytes, attempts, error_code, error_message, "
            "error_where, error_remedy, finished_at) "
            f"SELECT {pk}, 'p' || n, 'account' || n % 100, 1, 1, 0, 0, 0, 0, 0, 0, 1, "
            "'', '', '', '', now() - n * interval '1 s' "
            f"FROM generate_series(1, {rows}) n"
        )
        run_sql(
            "INSERT INTO sync_event (config_id, table_name, partition, kind, level, "
            f"message, happened_at) SELECT {pk}, 'account', '', 'load_failed', "
            "'error', 'm', now() - n * interval '1 s' "
            f"FROM generate_series(1, {rows}) n"
        )
    run_sql("ANALYZE data_sync_progress")
    run_sql("ANALYZE sync_event")
    first = timeline(config, ALL)
    assert first.older is not None
    deep = Place(first.older.at - timedelta(hours=20), 0, "account5")
    for before in (None, first.older, deep):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page = timeline(config, ALL, before)
        assert len(page.entries) == 100
        assert len(queries) <= 6
        for query in queries:
            assert _rows_read(query["sql"]) < 2500, query["sql"]


def _rows_read(statement: str) -> int:
    """Return how many rows the largest step of a statement's plan met."""
    run: Any = connection.connection.execute
    plan = run(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}").fetchall()
    text = "\n".join(row[0] for row in plan)
    return max(int(float(n)) for n in re.findall(r"actual rows=([\d.]+)", text))


def test_every_kind_of_event_has_its_title() -> None:
    root = Path(sync.__file__).parent
    pattern = re.compile(
        r"(?:Event\.record|_announce|_tell|_record)\(\s*[\w.]+,\s*\"(\w+)\""
        r"|yield \"(\w+)\", (?:Event|warning|said|f\"|\")"
    )
    found = {
        first or second
        for path in root.glob("*/*.py")
        for first, second in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 15
    for kind in sorted(found):
        assert kind in happenings._BY_KIND, kind


def test_a_large_page_of_a_story_is_fast_to_filter(
    config: SyncConfig, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(6):
        timeline(config, Wanted(table="account", text="x"))

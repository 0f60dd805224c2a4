"""Refreshing a table: equal to the oracle afterwards, whatever it was before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from psycopg import sql

from sync import faultpoints
from sync.engine import rebuild, schema, transfer
from sync.engine.configs import edit_config
from sync.engine.control import Control
from sync.engine.load import sync_table
from sync.engine.locks import BusyError
from sync.engine.reconcile import reconcile_table
from sync.engine.refresh import refresh_table
from sync.errors import Cancelled, SyncError
from sync.models import DataSyncProgress, Event, SyncTable, Tombstone
from sync.target.rebuilt import Difference
from tests.catalogue.steps import (
    FILE,
    LF,
    configure,
    counted,
    line,
    quarantined,
    say_full_copy,
)
from tests.exports import guid
from tests.oracle import replay
from tests.sync.conftest import Export, run_sql


class CrashError(Exception):
    """What a fault point raises in these tests."""


def crash() -> None:
    raise CrashError


def in_thread(work: Callable[[], object]) -> None:
    """Do the work on a connection of its own, and wait for it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def refresh(export: Export, entity: str = "account") -> Difference:
    return refresh_table(export.entity(entity))


def refused(export: Export, entity: str = "account") -> SyncError:
    with pytest.raises(SyncError) as caught:
        refresh(export, entity)
    return caught.value


def change(export: Export, statement: str) -> None:
    """Run a statement in which {t} is the target, as a user would."""
    relation = export.entity("account").target().relation
    run_sql(sql.SQL(statement).format(t=relation))


def content(export: Export) -> list[tuple[Any, ...]]:
    return export.rows("account", "id", "name", "amount", "versionnumber")


def expected(export: Export) -> list[tuple[Any, ...]]:
    rows = replay(export)["account"].rows
    return [
        (key, row["name"], row["amount"], row["versionnumber"])
        for key, row in sorted(rows.items())
    ]


def tombstones(export: Export) -> dict[object, int]:
    found = Tombstone.objects.filter(table=export.entity("account"))
    return {row.key[0]: row.version for row in found}


def wanted_tombstones(export: Export) -> dict[object, int]:
    return {str(k): v for k, v in replay(export)["account"].tombstones.items()}


def assert_exact(export: Export) -> None:
    """Rows, tombstones and counts are what the folders say."""
    assert content(export) == expected(export)
    assert tombstones(export) == wanted_tombstones(export)
    done = export.progress("account")
    assert {row.copy_status for row in done} == {1}
    growth = sum(row.rows_inserted - row.rows_deleted for row in done)
    assert growth == len(expected(export))
    read = replay(export)["account"].read
    assert counted(export, "account") == sum(read.values())


@pytest.fixture
def loaded(export: Export) -> Export:
    """Return an export of three applied folders, with updates and deletes."""
    for key, name in enumerate("abcd", 1):
        export.upsert("account", key, name=name, amount=key)
    export.close_folder()
    export.upsert("account", 2, name="b2", amount=22)
    export.delete("account", 3)
    export.close_folder()
    export.upsert("account", 5, name="e")
    export.delete("account", 4, version=100)
    export.upsert("account", 4, name="stale", version=50)
    export.close_folder()
    export.load("account")
    return export


DAMAGE = {
    "nothing": "SELECT 1",
    "rows changed": "UPDATE {t} SET name = 'mine', amount = -1",
    "versions raised": "UPDATE {t} SET versionnumber = 10000",
    "version lost": "UPDATE {t} SET versionnumber = NULL",
    "rows gone": "DELETE FROM {t} WHERE name = 'a'",
    "all rows gone": "TRUNCATE {t}",
    "rows of a user's": "INSERT INTO {t} (id) VALUES (gen_random_uuid())",
    "deleted rows back": (
        "INSERT INTO {t} (id, name) "
        "VALUES ('00000000-0000-0000-0000-000000000003', 'x')"
    ),
    "dropped": "DROP TABLE {t}",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_refresh_undoes_what_was_done_to_the_rows(
    loaded: Export, damage: str
) -> None:
    change(loaded, damage)

    refresh(loaded)

    assert_exact(loaded)


def test_a_refresh_says_how_many_rows_it_changed(loaded: Export) -> None:
    # Left are a, b2 and e.
    change(loaded, "UPDATE {t} SET name = 'mine' WHERE name = 'a'")
    change(loaded, "DELETE FROM {t} WHERE name IN ('b2', 'e')")
    change(loaded, "INSERT INTO {t} (id) SELECT gen_random_uuid() FROM pg_am LIMIT 3")

    assert refresh(loaded) == Difference(inserted=2, updated=1, deleted=3)
    assert refresh(loaded) == Difference(0, 0, 0)


def test_a_refresh_is_told_as_an_event(loaded: Export) -> None:
    refresh(loaded)

    event = Event.objects.get(config=loaded.config, kind="table_refreshed")
    assert event.table_name == "account"


@pytest.mark.parametrize("damage", ["lost", "too high", "of rows that live"])
def test_a_refresh_writes_the_tombstones_anew(loaded: Export, damage: str) -> None:
    table = loaded.entity("account")
    found = Tombstone.objects.filter(table=table)
    if damage == "lost":
        found.delete()
    elif damage == "too high":
        found.update(version=10**9)
    else:
        Tombstone.objects.create(table=table, key=[str(guid(1))], version=10**9)

    refresh(loaded)

    assert_exact(loaded)


def test_a_refresh_leaves_the_tombstones_of_other_tables(loaded: Export) -> None:
    loaded.delete("contact", 1, version=7)
    loaded.close_folder()
    loaded.sync()

    refresh(loaded)

    other = Tombstone.objects.filter(table=loaded.entity("contact"))
    assert [row.version for row in other] == [7]


def test_pending_folders_are_applied_as_well(loaded: Export) -> None:
    loaded.add_column("account", "colour")
    loaded.upsert("account", 6, name="f", colour="red")
    loaded.close_folder()
    loaded.poll()
    loaded.upsert("account", 7, name="g", colour="blue")
    loaded.close_folder()

    refresh(loaded)

    assert_exact(loaded)
    assert loaded.rows("account", "colour")[-2:] == [("red",), ("blue",)]
    assert loaded.entity("account").last_partition == loaded.folders[-2].name
    assert loaded.sync() == {}


def test_views_grants_indexes_and_the_table_itself_survive(loaded: Export) -> None:
    name = loaded.config.schema_name
    change(loaded, "CREATE INDEX own ON {t} (name)")
    change(loaded, "CREATE VIEW " + name + ".seen AS SELECT name, amount FROM {t}")
    change(loaded, "GRANT SELECT ON {t} TO PUBLIC")
    change(loaded, "ALTER TABLE {t} ADD COLUMN note text")
    change(loaded, "UPDATE {t} SET note = 'of a user', amount = 0 WHERE name = 'a'")
    query = (
        "SELECT c.oid, c.relacl::text, (SELECT count(*) FROM pg_index "
        "WHERE indrelid = c.oid) FROM pg_class c JOIN pg_namespace n "
        f"ON n.oid = relnamespace WHERE relname = 'account' AND nspname = '{name}'"
    )
    before = run_sql(query)

    refresh(loaded)

    assert run_sql(query) == before
    assert run_sql(f"SELECT count(*) FROM {name}.seen") == [(3,)]
    assert loaded.rows("account", "note")[0] == ("of a user",)
    assert_exact(loaded)


def test_a_reader_sees_the_old_rows_or_the_new(loaded: Export) -> None:
    change(loaded, "UPDATE {t} SET name = 'old'")
    seen: list[set[Any]] = []

    def look() -> None:
        in_thread(lambda: seen.append({n for (n,) in loaded.rows("account", "name")}))

    with faultpoints.armed("progress_written", action=look):
        refresh(loaded)
    look()

    assert seen == [{"old"}, {"a", "b2", "e"}]


POINTS = (
    "discovered",
    "discovery_recorded",
    "table_altered",
    "load_started",
    "staging_created",
    "block_copied",
    "file_copied",
    "partition_copied",
    "winners_chosen",
    "rows_deleted",
    "rows_updated",
    "rows_inserted",
    "tombstones_written",
    "progress_written",
)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_leaves_everything_as_before(
    loaded: Export, point: str
) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine'")
    Tombstone.objects.update(version=1)
    loaded.upsert("account", 6, name="f")
    loaded.close_folder()

    def state() -> tuple[object, ...]:
        # What was found in the source may be remembered.
        done = [row for row in loaded.progress("account") if row.copy_status]
        fields = [f.name for f in DataSyncProgress._meta.concrete_fields]
        table = SyncTable.objects.filter(pk=loaded.entity("account").pk).values().get()
        return (
            content(loaded),
            tombstones(loaded),
            [[getattr(row, name) for name in fields] for row in done],
            table,
        )

    before = state()

    with faultpoints.armed(point, action=crash), pytest.raises(CrashError):
        refresh(loaded)

    assert state() == before
    refresh(loaded)
    assert_exact(loaded)


def test_a_cancelled_refresh_changes_nothing(loaded: Export) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine'")
    before = content(loaded)
    control = Control()

    with (
        faultpoints.armed("winners_chosen", action=control.cancel),
        pytest.raises(Cancelled),
    ):
        refresh_table(loaded.entity("account"), control=control)

    assert content(loaded) == before


# Refused


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_refresh_is_refused_when_a_folder_is_gone(loaded: Export, index: int) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine'")
    before = content(loaded)
    gone = loaded.folders[index].name
    shutil.rmtree(loaded.root / gone)

    error = refused(loaded)

    assert error.code == "refresh_refused"
    assert error.remedy
    assert gone in str(error)
    assert content(loaded) == before


def test_a_folder_that_has_no_rows_of_the_table_is_not_needed(loaded: Export) -> None:
    loaded.upsert("contact", 1, name="other")
    other = loaded.close_folder()
    loaded.sync()
    shutil.rmtree(loaded.root / other)
    change(loaded, "TRUNCATE {t}")

    refresh(loaded)

    assert_exact(loaded)


def test_a_folder_before_the_full_copy_is_not_needed(loaded: Export) -> None:
    loaded.upsert("account", 1, name="new")
    copy = loaded.close_folder()
    say_full_copy(loaded, copy, "account", "3/1/2026 9:00:00 AM")
    loaded.sync()
    for folder in loaded.folders[:3]:
        shutil.rmtree(loaded.root / folder.name)

    refresh(loaded)

    assert loaded.rows("account", "name") == [("new",)]
    assert tombstones(loaded) == {}
    assert loaded.entity("account").refresh_reason == ""


def test_a_file_that_is_not_as_it_was_found_is_refused(loaded: Export) -> None:
    before = content(loaded)
    place = loaded.folders[0]
    loaded.raw("account", FILE, line(9, '"more"', "1") + LF, folder=place.name)

    assert refused(loaded).code == "file_changed"
    assert content(loaded) == before


def test_a_table_that_waits_for_a_yes_is_not_filled_by_a_refresh(
    loaded: Export,
) -> None:
    configure(loaded, new_tables="ask")
    loaded.upsert("lead", 1, name="x")
    loaded.close_folder()
    loaded.sync()

    assert refused(loaded, "lead").code == "refresh_refused"
    assert loaded.entity("lead").columns == []


def test_an_excluded_table_is_not_refreshed(loaded: Export) -> None:
    edit_config(loaded.config, {"exclude": ["account"]})
    before = content(loaded)
    change(loaded, "UPDATE {t} SET name = name")

    assert refused(loaded).code == "refresh_refused"
    assert content(loaded) == before


def test_a_bad_row_in_a_pending_folder_refuses_the_refresh_with_its_place(
    loaded: Export,
) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine'")
    before = content(loaded)
    loaded.raw("account", FILE, line(9, '"x"', "no number") + LF)
    folder = loaded.close_folder()

    error = refused(loaded)

    assert error.code == "bad_value"
    assert folder in error.where
    assert "line 1" in error.where
    assert content(loaded) == before


# Tables that wait


def test_a_parked_table_goes_on(loaded: Export) -> None:
    table = loaded.entity("account")
    table.park()
    loaded.upsert("account", 6, name="f")
    loaded.close_folder()
    loaded.poll()
    rows = DataSyncProgress.objects.filter(config=loaded.config, copy_status=0)
    rows.update(copy_status=2, error_code="bad_row", attempts=3)

    refresh(loaded)

    assert loaded.entity("account").state == "active"
    assert {row.error_code for row in loaded.progress("account")} == {""}
    assert_exact(loaded)


def test_a_paused_table_stays_paused(loaded: Export) -> None:
    SyncTable.objects.filter(pk=loaded.entity("account").pk).update(state="paused")

    refresh(loaded)

    assert loaded.entity("account").state == "paused"


# Two at once


def test_a_refresh_during_a_load_is_busy(loaded: Export) -> None:
    loaded.upsert("account", 6, name="f")
    loaded.close_folder()
    loaded.poll()
    busy: list[bool] = []

    def meanwhile() -> None:
        def run() -> None:
            with pytest.raises(BusyError):
                refresh(loaded)
            busy.append(True)

        in_thread(run)

    with faultpoints.armed("staging_created", action=meanwhile):
        sync_table(loaded.entity("account"))

    assert busy == [True]
    assert_exact(loaded)


def test_a_load_during_a_refresh_is_busy(loaded: Export) -> None:
    table = loaded.entity("account")
    loaded.upsert("account", 6, name="f")
    loaded.close_folder()
    statuses: list[str] = []

    def meanwhile() -> None:
        in_thread(lambda: statuses.append(sync_table(table).status))

    with faultpoints.armed("staging_created", action=meanwhile):
        refresh(loaded)

    assert statuses == ["busy"]
    assert_exact(loaded)


def test_a_folder_that_a_load_applies_before_the_lock_is_taken_is_not_lost(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outrun(*arguments: Any) -> None:
        schema.ensure_columns(*arguments)
        if not any(c.values.get("name") == "f" for c in changes(loaded)):
            loaded.upsert("account", 6, name="f")
            loaded.close_folder()
            in_thread(loaded.sync)

    monkeypatch.setattr("sync.engine.refresh.ensure_columns", outrun)

    refresh(loaded)

    assert ("f",) in loaded.rows("account", "name")
    assert_exact(loaded)


def changes(export: Export) -> list[Any]:
    return [c for f in export.folders for c in f.changes.get("account", [])]


# Columns


def test_a_column_that_left_the_model_keeps_its_values(loaded: Export) -> None:
    loaded.remove_column("account", "amount")
    loaded.upsert("account", 1, name="a2")
    loaded.upsert("account", 8, name="h")
    loaded.close_folder()
    loaded.load("account")
    assert content(loaded) == expected(loaded)

    refresh(loaded)

    assert_exact(loaded)
    assert loaded.rows("account", "name", "amount")[0] == ("a2", 1)


def test_a_column_that_left_and_came_back_keeps_its_values(loaded: Export) -> None:
    loaded.remove_column("account", "amount")
    loaded.upsert("account", 1, name="a2")
    loaded.close_folder()
    loaded.add_column("account", "amount:decimal")
    loaded.upsert("account", 8, name="h", amount=8)
    loaded.close_folder()

    refresh(loaded)

    assert_exact(loaded)
    assert loaded.rows("account", "name", "amount")[0] == ("a2", 1)


def test_a_column_of_folders_before_the_full_copy_keeps_its_values(
    loaded: Export,
) -> None:
    loaded.remove_column("account", "amount")
    for key in (1, 2):
        loaded.upsert("account", key, name="new")
    copy = loaded.close_folder()
    say_full_copy(loaded, copy, "account", "3/1/2026 9:00:00 AM")
    loaded.sync()

    refresh(loaded)

    assert loaded.rows("account", "name", "amount") == [("new", 1), ("new", 22)]


def test_a_table_as_wide_as_postgresql_allows_is_refreshed(export: Export) -> None:
    # The usual frame has six columns.
    export.table("account", [f"c{number}" for number in range(1594)])
    for key in range(3):
        export.upsert("account", key, c0=f"row {key}")
        export.close_folder()
    export.load("account")
    change(export, "TRUNCATE {t}")

    refresh(export)

    assert export.rows("account", "c0") == [("row 0",), ("row 1",), ("row 2",)]


# Types


def widen(export: Export) -> None:
    """Let the next folder say that amount is text."""
    export.table("account", ["name:string", "amount:string"])
    export.upsert("account", 6, name="f", amount="no number")


def test_a_large_table_gets_a_wider_type_through_a_refresh(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "REWRITTEN_BYTES", 0)
    widen(loaded)
    loaded.close_folder()
    result = loaded.sync()["account"]
    assert result.error is not None
    assert result.error.code == "type_widened"
    assert "refreshtable" in result.error.remedy
    assert loaded.rows("account", "amount") == [(1,), (22,), (None,)]

    refresh(loaded)

    assert loaded.rows("account", "amount") == [
        ("1",),
        ("22",),
        (None,),
        ("no number",),
    ]
    assert loaded.entity("account").state == "active"
    assert Event.objects.filter(config=loaded.config, kind="columns_widened").exists()
    assert loaded.sync() == {}


def test_a_view_in_the_way_of_a_wider_type_is_named(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "REWRITTEN_BYTES", 0)
    view = f"{loaded.config.schema_name}.seen"
    change(loaded, f"CREATE VIEW {view} AS SELECT amount FROM {{t}}")
    widen(loaded)
    loaded.close_folder()
    before = loaded.rows("account", "amount")

    error = refused(loaded)

    assert error.code == "column_in_use"
    assert view in str(error)
    assert loaded.rows("account", "amount") == before
    run_sql(f"DROP VIEW {view}")
    refresh(loaded)
    assert loaded.rows("account", "amount")[-1] == ("no number",)


# Rows that were set aside

BAD = line(8, '"h"', "no number")
WORSE = line(9, '"i"', "nothing")


@pytest.fixture
def picky(export: Export) -> Export:
    """Return an export with two bad rows in one file, one of them dismissed."""
    configure(export, bad_rows="quarantine", max_bad_rows=2)
    export.upsert("account", 1, name="a")
    export.raw("account", FILE, BAD + LF + WORSE + LF)
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.load("account")
    first = quarantined(export, "account")[0]
    first.state = "dismissed"
    first.save(update_fields=["state"])
    return export


def aside(export: Export) -> list[tuple[int, str, bytes]]:
    rows = quarantined(export, "account")
    return [(row.line, row.state, bytes(row.raw)) for row in rows]


@pytest.mark.parametrize("policy", ["stop", "quarantine"])
def test_rows_that_were_set_aside_stay_so(picky: Export, policy: str) -> None:
    configure(picky, bad_rows=policy)
    before = aside(picky)
    assert [state for _, state, _ in before] == ["dismissed", "open"]
    change(picky, "TRUNCATE {t}")

    refresh(picky)

    assert aside(picky) == before
    assert picky.rows("account", "name") == [("a",), ("b",)]
    [row] = picky.progress("account")
    assert (row.rows_inserted, row.rows_rejected) == (2, 2)


@pytest.mark.parametrize("budget", [1, 10**9], ids=["apart", "together"])
def test_rows_set_aside_before_take_no_room_from_others(
    picky: Export, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(rebuild, "BATCH_BYTES", budget)
    picky.raw("account", FILE, BAD + LF)
    picky.close_folder()

    refresh(picky)

    assert [state for _, state, _ in aside(picky)] == ["dismissed", "open", "open"]
    picky.raw("account", FILE, BAD + LF)
    picky.close_folder()
    assert refused(picky).code == "too_many_bad_rows"


def test_a_row_that_could_be_read_by_now_stays_set_aside(picky: Export) -> None:
    widen(picky)
    picky.close_folder()

    refresh(picky)

    assert [state for _, state, _ in aside(picky)] == ["dismissed", "open"]
    assert [name for (name,) in picky.rows("account", "name")] == ["a", "b", "f"]


# Many folders


def test_a_table_of_a_thousand_folders_is_replayed_in_batches(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        export.upsert("account", number % 50 + 1, name=f"row {number}")
        export.close_folder()
    export.poll()
    batches: list[int] = []
    sizes: list[int] = []
    real = transfer.move

    def move(table: SyncTable, steps: list[Any], *rest: Any) -> Any:
        batches.append(len(steps))
        found = run_sql(
            "SELECT count(*) FROM pg_class WHERE relname IN "
            "('dvsync_staging', 'dvsync_winners')"
        )
        sizes.append(found[0][0])
        return real(table, steps, *rest)

    monkeypatch.setattr(rebuild, "move", move)
    monkeypatch.setattr(rebuild, "BATCH_PARTITIONS", 300)

    refresh(export)

    assert batches == [300, 300, 300, 100]
    # Nothing of a batch is left when the next one begins.
    assert sizes == [0, 0, 0, 0]
    assert_exact(export)


def test_a_refresh_of_a_table_that_was_never_loaded_fills_it(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()

    assert refresh(export) == Difference(1, 0, 0)
    assert_exact(export)


def test_what_a_refresh_leaves_is_equal_for_reconcile(loaded: Export) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine'")
    refresh(loaded)

    found = reconcile_table(loaded.entity("account"))

    assert (found.missing, found.extra, found.stale, found.unverifiable) == (0, 0, 0, 0)


def test_nothing_is_left_behind(loaded: Export) -> None:
    refresh(loaded)

    assert run_sql("SELECT relname FROM pg_class WHERE relname LIKE 'dvsync_%'") == []
    assert connection.in_atomic_block is False

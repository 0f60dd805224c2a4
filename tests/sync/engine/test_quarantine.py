"""Rows that are set aside: counted, kept whole, applied after all, or let go."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import connection

from sync import faultpoints
from sync.engine import load
from sync.engine.load import sync_table
from sync.engine.locks import BusyError, Namespace
from sync.engine.quarantine import dismiss, reprocess
from sync.models import Event, QuarantinedRow, Tombstone
from tests.catalogue.steps import (
    FILE,
    LF,
    configure,
    counted,
    line,
    only_failure,
    quarantined,
)
from tests.exports import guid
from tests.sync.conftest import Export, run_sql
from tests.sync.engine.test_refresh import CrashError, crash, in_thread

BAD = "no number"


def bad_line(key: int, version: int | str = 100, *, delete: str = "") -> bytes:
    """Return a row whose amount is no number."""
    return line(key, '"set aside"', BAD, version=version, delete=delete) + LF


@pytest.fixture
def picky(export: Export) -> Export:
    configure(export, bad_rows="quarantine")
    export.table("account", ["name", "amount:decimal"])
    return export


def put(export: Export, *rows: bytes, file: str = FILE) -> None:
    for row in rows:
        export.raw("account", file, row)


def open_rows(export: Export) -> list[QuarantinedRow]:
    return [row for row in quarantined(export, "account") if row.state == "open"]


def widen(export: Export) -> None:
    """Let a further folder say that amount is text; every bad row can be read then."""
    export.table("account", ["name", "amount:string"])
    export.upsert("account", 99, name="other", amount="text")
    export.close_folder()
    export.load("account")


def totals(export: Export) -> dict[str, int]:
    rows = export.progress("account")
    names = ("inserted", "updated", "deleted", "unchanged", "rejected")
    return {name: sum(getattr(row, f"rows_{name}") for row in rows) for name in names}


# While loading


def history(export: Export) -> None:
    """Write six folders, bad rows in three of them, in several files."""
    for number in range(6):
        for key in range(1, 5):
            export.upsert("account", key, name=f"{key} of {number}")
        if number % 2:
            put(export, bad_line(number))
            put(export, bad_line(number + 1), b"too,narrow\n", file="2025.csv")
        if number == 3:
            export.delete("account", 4)
        export.close_folder()


def test_counts_and_rows_do_not_depend_on_the_batches(make_export: Any) -> None:
    found = []
    for budget in (1, 10**9):
        export = make_export()
        configure(export, bad_rows="quarantine")
        export.table("account", ["name", "amount:decimal"])
        history(export)
        with mock.patch.object(load, "BATCH_BYTES", budget):
            export.sync()
        rejected = [row.rows_rejected for row in export.progress("account")]
        rows = [
            (r.partition, r.file, r.line, r.column, bytes(r.raw), r.code, r.reason)
            for r in quarantined(export, "account")
        ]
        found.append((export.rows("account", "id", "name"), rejected, rows))
        assert rejected == [0, 3, 0, 3, 0, 3]
        assert len(rows) == 9
        assert counted(export, "account") == 6 * 4 + 9 + 1
        assert totals(export)["inserted"] - totals(export)["deleted"] == 4

    assert found[0] == found[1]


@pytest.mark.parametrize("budget", [1, 10**9])
def test_the_limit_is_reached_at_the_same_row_in_any_batch(
    picky: Export, budget: int
) -> None:
    configure(picky, max_bad_rows=5)
    history(picky)

    with mock.patch.object(load, "BATCH_BYTES", budget):
        picky.sync()

    # The second folder with bad rows brings the sixth.
    assert [r.copy_status for r in picky.progress("account")] == [1, 1, 1, 2, 0, 0]
    assert only_failure(picky, "account").error_code == "too_many_bad_rows"
    assert len(open_rows(picky)) == 3


def test_dismissed_rows_make_room(picky: Export) -> None:
    configure(picky, max_bad_rows=3)
    history(picky)
    picky.sync()
    assert only_failure(picky, "account").error_code == "too_many_bad_rows"

    for row in open_rows(picky):
        dismiss(row)
    picky.sync()

    assert [r.copy_status for r in picky.progress("account")] == [1, 1, 1, 1, 1, 2]


def test_without_room_no_row_is_set_aside(picky: Export) -> None:
    configure(picky, max_bad_rows=0)
    put(picky, bad_line(1))
    picky.close_folder()

    picky.sync()

    assert only_failure(picky, "account").error_code == "too_many_bad_rows"
    assert quarantined(picky, "account") == []


@pytest.mark.parametrize(
    "point", ["partition_copied", "rows_inserted", "progress_written"]
)
def test_a_load_that_is_rolled_back_sets_no_row_aside(
    picky: Export, point: str
) -> None:
    history(picky)
    picky.poll()

    with faultpoints.armed(point, action=crash), pytest.raises(CrashError):
        sync_table(picky.entity("account"))
    assert quarantined(picky, "account") == []

    picky.load("account")
    assert len(quarantined(picky, "account")) == 9


def test_a_batch_whose_last_folder_fails_sets_no_row_aside_twice(
    picky: Export,
) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    put(picky, bad_line(2))
    picky.raw("account", FILE, b'00000000-0000-0000-0000-000000000009,"')
    picky.close_folder()
    configure(picky, max_bad_rows=2)

    picky.sync()

    assert [r.copy_status for r in picky.progress("account")] == [1, 2]
    assert len(quarantined(picky, "account")) == 1


def test_a_locked_table_is_no_bad_row(
    picky: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    picky.upsert("account", 1, name="a")
    picky.close_folder()
    picky.load("account")
    picky.upsert("account", 1, name="a2")
    picky.close_folder()
    picky.poll()
    relation = picky.entity("account").target().relation.as_string(None)
    monkeypatch.setattr("sync.engine.schema.DDL_LOCK_TIMEOUT", "50ms")
    table = picky.entity("account")
    statuses: list[str] = []

    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"LOCK TABLE {relation} IN SHARE MODE")
        in_thread(lambda: statuses.append(sync_table(table).status))
        cursor.execute("ROLLBACK")

    assert statuses == ["failed"]
    assert only_failure(picky, "account").error_code == "table_locked"
    assert quarantined(picky, "account") == []
    assert sync_table(picky.entity("account")).status == "success"


def test_a_broken_connection_is_no_bad_row(picky: Export) -> None:
    history(picky)
    picky.poll()

    with faultpoints.armed(
        "block_copied", action=lambda: connection.connection.close()
    ):
        result = sync_table(picky.entity("account"))

    assert result.error is not None
    assert result.error.code == "database_unavailable"
    assert quarantined(picky, "account") == []


# Dismissing


def test_a_dismissed_row_stays_counted_as_rejected(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    [row] = open_rows(picky)

    assert dismiss(row).done == "dismissed"

    assert open_rows(picky) == []
    assert totals(picky)["rejected"] == 1
    row.refresh_from_db()
    assert (row.state, row.decided_at is not None) == ("dismissed", True)
    assert Event.objects.filter(config=picky.config, kind="row_dismissed").count() == 1


# Re-processing


def test_a_row_that_is_still_bad_stays_set_aside(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    [row] = open_rows(picky)

    outcome = reprocess(row)

    assert outcome.error is not None
    assert outcome.error.code == "bad_value"
    assert "line 1" in outcome.error.where
    assert [r.pk for r in open_rows(picky)] == [row.pk]
    assert outcome.row.state == "open"
    assert totals(picky)["rejected"] == 1
    assert picky.rows("account", "id") == []


@pytest.mark.parametrize(
    ("stored", "own", "done"),
    [
        (None, 100, "inserted"),
        (99, 100, "updated"),
        (100, 100, "unchanged: what is there is as new"),
        (101, 100, "unchanged: what is there is as new"),
        (99, "", "unchanged: what is there is as new"),
        ("", 100, "updated"),
        ("", "", "unchanged: what is there is as new"),
    ],
)
def test_a_row_is_applied_if_it_is_newer_than_the_live_one(
    picky: Export, stored: int | str | None, own: int | str, done: str
) -> None:
    put(picky, bad_line(1, own))
    picky.close_folder()
    if stored is not None:
        # The same SinkModifiedOn as that of the bad row.
        put(picky, line(1, '"live"', "1", version=stored) + LF)
        picky.close_folder()
    picky.load("account")
    widen(picky)
    before = counted(picky, "account")
    [row] = open_rows(picky)

    outcome = reprocess(row)

    assert (outcome.done, outcome.error) == (done, None)
    applied = done in {"inserted", "updated"}
    name, amount = ("set aside", BAD) if applied else ("live", "1")
    assert picky.rows("account", "name", "amount")[0] == (name, amount)
    assert open_rows(picky) == []
    assert counted(picky, "account") == before
    found = totals(picky)
    assert found["rejected"] == 0
    assert found["inserted"] - found["deleted"] == len(picky.rows("account", "id"))


@pytest.mark.parametrize(
    ("deleted_at", "comes"), [(99, True), (100, False), (101, False), (None, True)]
)
def test_a_row_is_applied_if_it_is_newer_than_the_tombstone(
    picky: Export, deleted_at: int | None, comes: bool
) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.delete("account", 1, version=deleted_at)
    picky.close_folder()
    picky.load("account")
    widen(picky)
    before = counted(picky, "account")

    outcome = reprocess(open_rows(picky)[0])

    assert outcome.done.partition(":")[0] == ("inserted" if comes else "unchanged")
    assert (str(guid(1)) in {str(i) for (i,) in picky.rows("account", "id")}) is comes
    left = Tombstone.objects.filter(table=picky.entity("account")).exists()
    assert left is not comes
    assert counted(picky, "account") == before


@pytest.mark.parametrize(("version", "gone"), [(99, False), (100, False), (101, True)])
def test_a_delete_is_applied_if_it_is_newer(
    picky: Export, version: int, gone: bool
) -> None:
    put(picky, line(1, '"live"', "1", version=100) + LF)
    put(picky, bad_line(1, version, delete="True"), file="1.csv")
    picky.close_folder()
    picky.load("account")
    widen(picky)

    outcome = reprocess(open_rows(picky)[0])

    assert outcome.done.partition(":")[0] == ("deleted" if gone else "unchanged")
    names = [name for (name,) in picky.rows("account", "name")]
    assert names == (["other"] if gone else ["live", "other"])
    assert totals(picky)["rejected"] == 0


def test_of_two_rows_of_a_key_the_newer_one_stays_in_either_order(
    make_export: Any,
) -> None:
    for order in (slice(None), slice(None, None, -1)):
        export = make_export()
        configure(export, bad_rows="quarantine")
        export.table("account", ["name", "amount:decimal"])
        for version in (5, 7):
            put(export, line(1, f'"v{version}"', BAD, version=version) + LF)
        export.close_folder()
        export.load("account")
        widen(export)

        for row in open_rows(export)[order]:
            assert reprocess(row).error is None

        assert export.rows("account", "name")[0] == ("v7",)


def test_a_narrow_row_may_be_as_narrow_as_it_was_when_it_came(picky: Export) -> None:
    picky.upsert("account", 1, name="a")
    picky.close_folder()
    picky.load("account")
    put(picky, bad_line(2))
    picky.add_column("account", "colour")
    picky.upsert("account", 3, name="c", colour="red")
    picky.close_folder()
    picky.load("account")
    picky.table("account", ["name", "amount:string"])
    picky.add_column("account", "colour")
    picky.upsert("account", 4, name="d", amount="text")
    picky.close_folder()
    picky.load("account")

    assert reprocess(open_rows(picky)[0]).done == "inserted"

    assert picky.rows("account", "name", "colour")[1] == ("set aside", None)


def test_a_row_can_be_decided_only_once(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    widen(picky)
    [mine] = open_rows(picky)
    [yours] = open_rows(picky)
    assert reprocess(mine).done == "inserted"
    before = totals(picky)

    for outcome in (reprocess(yours), dismiss(yours)):
        assert outcome.error is not None
        assert outcome.error.code == "row_decided"

    mine.refresh_from_db()
    assert mine.state == "applied"
    assert totals(picky) == before


def test_a_row_that_is_gone_cannot_be_decided(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    [row] = open_rows(picky)
    QuarantinedRow.objects.all().delete()

    for outcome in (reprocess(row), dismiss(row)):
        assert outcome.error is not None
        assert outcome.error.code == "row_decided"


def test_a_row_is_not_applied_while_its_table_is_loaded(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    [row] = open_rows(picky)

    def locked() -> None:
        with pytest.raises(BusyError):
            reprocess(row)

    with connection.cursor() as cursor:
        lock = [Namespace.TABLE, row.table_id]
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", lock)
        in_thread(locked)
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    assert len(open_rows(picky)) == 1


def test_a_column_that_a_user_dropped_is_named(picky: Export) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    relation = picky.entity("account").target().relation.as_string(None)
    run_sql(f"ALTER TABLE {relation} DROP COLUMN amount")

    outcome = reprocess(open_rows(picky)[0])

    assert outcome.error is not None
    assert outcome.error.code == "target_altered"
    assert len(open_rows(picky)) == 1


@pytest.mark.parametrize("point", ["winners_chosen", "tombstones_written"])
def test_a_crash_leaves_the_row_set_aside(picky: Export, point: str) -> None:
    put(picky, bad_line(1))
    picky.close_folder()
    picky.load("account")
    widen(picky)
    before = totals(picky)

    with faultpoints.armed(point, action=crash), pytest.raises(CrashError):
        reprocess(open_rows(picky)[0])

    assert len(open_rows(picky)) == 1
    assert totals(picky) == before
    assert reprocess(open_rows(picky)[0]).done == "inserted"

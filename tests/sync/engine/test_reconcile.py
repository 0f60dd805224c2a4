"""Reconcile finds what is different, says no false word, and writes nothing."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from psycopg import sql

from sync import faultpoints
from sync.engine import rebuild
from sync.engine.decisions import accept_loss
from sync.engine.load import sync_table
from sync.engine.quarantine import dismiss, reprocess
from sync.engine.reconcile import reconcile_table
from sync.engine.refresh import refresh_table
from sync.errors import SyncError
from sync.target.rebuilt import Comparison
from tests.catalogue.steps import (
    FILE,
    LF,
    configure,
    line,
    quarantined,
    say_full_copy,
)
from tests.exports import guid
from tests.sync.conftest import Export, run_sql
from tests.sync.engine.test_refresh import in_thread

EQUAL = Comparison(0, 0, 0, 0, ())


def reconcile(export: Export, entity: str = "account") -> Comparison:
    return reconcile_table(export.entity(entity))


def change(export: Export, statement: str) -> None:
    relation = export.entity("account").target().relation
    run_sql(sql.SQL(statement).format(t=relation))


def purge(export: Export, index: int) -> None:
    shutil.rmtree(export.root / export.folders[index].name)


def everything() -> dict[str, list[Any]]:
    """Return the content of every table of the database."""
    names = run_sql(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    return {
        f"{schema}.{name}": run_sql(
            sql.SQL("SELECT t::text, xmin::text, ctid::text FROM {} AS t").format(
                sql.Identifier(schema, name)
            )
        )
        for schema, name in names
    }


@pytest.fixture
def loaded(export: Export) -> Export:
    """Return an export of three folders: a, b2 and e are left."""
    for key, name in enumerate("abcd", 1):
        export.upsert("account", key, name=name, amount=key)
    export.close_folder()
    export.upsert("account", 2, name="b2")
    export.delete("account", 3)
    export.close_folder()
    export.upsert("account", 5, name="e")
    export.delete("account", 4, version=100)
    export.close_folder()
    export.load("account")
    return export


def test_a_table_as_loaded_is_equal(loaded: Export) -> None:
    assert reconcile(loaded) == EQUAL


@pytest.mark.parametrize(
    ("statement", "counts", "keys"),
    [
        ("DELETE FROM {t} WHERE name = 'a'", (1, 0, 0), [1]),
        ("TRUNCATE {t}", (3, 0, 0), [1, 2, 5]),
        ("UPDATE {t} SET name = 'mine' WHERE name = 'b2'", (0, 0, 1), [2]),
        ("UPDATE {t} SET amount = 1.0 WHERE name = 'a'", (0, 0, 1), [1]),
        ("UPDATE {t} SET versionnumber = NULL", (0, 0, 3), [1, 2, 5]),
        ("UPDATE {t} SET versionnumber = 10000", (0, 0, 3), [1, 2, 5]),
        (
            "INSERT INTO {t} (id) VALUES ('00000000-0000-0000-0000-000000000003')",
            (0, 1, 0),
            [3],
        ),
        (
            "INSERT INTO {t} (id) VALUES ('00000000-0000-0000-0000-000000000007')",
            (0, 1, 0),
            [7],
        ),
    ],
)
def test_what_was_done_by_hand_is_found(
    loaded: Export, statement: str, counts: tuple[int, int, int], keys: list[int]
) -> None:
    change(loaded, statement)

    found = reconcile(loaded)

    assert (found.missing, found.extra, found.stale) == counts
    assert found.unverifiable == 0
    assert sorted(found.keys) == [str(guid(key)) for key in keys]


def test_a_column_of_a_users_own_is_no_difference(loaded: Export) -> None:
    change(loaded, "ALTER TABLE {t} ADD COLUMN note text DEFAULT 'x'")

    assert reconcile(loaded) == EQUAL


def test_the_first_hundred_keys_are_listed(loaded: Export) -> None:
    change(
        loaded,
        "INSERT INTO {t} (id) SELECT gen_random_uuid() FROM generate_series(1, 130)",
    )

    found = reconcile(loaded)

    assert found.extra == 130
    assert len(set(found.keys)) == 100


def test_nothing_is_written(loaded: Export) -> None:
    change(loaded, "DELETE FROM {t} WHERE name = 'a'")
    loaded.upsert("account", 9, name="new")
    loaded.close_folder()
    before = everything()

    assert reconcile(loaded).missing == 1

    assert everything() == before
    assert run_sql("SELECT relname FROM pg_class WHERE relname LIKE 'dvsync_%'") == []


def test_folders_that_are_not_applied_are_no_difference(loaded: Export) -> None:
    loaded.upsert("account", 1, name="pending")
    loaded.close_folder()
    assert reconcile(loaded) == EQUAL
    loaded.poll()
    assert reconcile(loaded) == EQUAL


@pytest.mark.parametrize(
    "point", ["load_started", "partition_copied", "winners_chosen"]
)
def test_loads_go_on_meanwhile_and_are_no_difference(
    loaded: Export, point: str
) -> None:
    loaded.add_column("account", "colour")
    loaded.upsert("account", 1, name="a2", colour="red")
    loaded.delete("account", 5)
    loaded.close_folder()
    loaded.poll()
    table = loaded.entity("account")
    statuses: list[str] = []

    def meanwhile() -> None:
        in_thread(lambda: statuses.append(sync_table(table).status))

    if point == "load_started":  # which a replay does not reach
        meanwhile()
        assert reconcile(loaded) == EQUAL
    else:
        with faultpoints.armed(point, action=meanwhile):
            assert reconcile(loaded) == EQUAL

    assert statuses == ["success"]
    assert loaded.rows("account", "name") == [("a2",), ("b2",)]


def test_a_table_that_is_widened_meanwhile_raises_no_false_alarm(
    loaded: Export,
) -> None:
    loaded.table("account", ["name:string", "amount:string"])
    loaded.upsert("account", 1, name="a2", amount="no number")
    loaded.close_folder()
    loaded.poll()
    table = loaded.entity("account")

    def meanwhile() -> None:
        in_thread(lambda: sync_table(table))

    with faultpoints.armed("winners_chosen", action=meanwhile):
        assert reconcile(loaded) == EQUAL
    assert reconcile(loaded) == EQUAL


def test_a_table_without_columns_or_rows_is_equal(export: Export) -> None:
    export.table("account")
    export.close_folder()
    export.poll()

    assert reconcile(export) == EQUAL


def test_rows_of_a_table_that_never_got_any_are_extra(export: Export) -> None:
    export.table("account")
    export.close_folder()
    export.poll()
    change(
        export, "INSERT INTO {t} (id) VALUES ('00000000-0000-0000-0000-000000000001')"
    )

    assert reconcile(export) == Comparison(0, 1, 0, 0, (str(guid(1)),))


@pytest.mark.parametrize("statement", ["DROP TABLE {t}", "ALTER TABLE {t} DROP name"])
def test_an_altered_table_is_refused(loaded: Export, statement: str) -> None:
    change(loaded, statement)

    with pytest.raises(SyncError) as caught:
        reconcile(loaded)

    assert caught.value.code == "target_altered"


def test_a_column_that_left_and_came_back_is_equal(loaded: Export) -> None:
    loaded.remove_column("account", "amount")
    loaded.upsert("account", 1, name="a2")
    loaded.close_folder()
    loaded.add_column("account", "amount:decimal")
    loaded.upsert("account", 8, name="h", amount=8)
    loaded.close_folder()
    loaded.load("account")

    assert reconcile(loaded) == EQUAL


@pytest.mark.parametrize(
    ("types", "values"),
    [
        (("int32", "int64", "decimal"), (7, 2**40, "1.50")),
        (("int64", "string"), (7, "x")),
        (("decimal", "string"), ("1E-05", "x")),
        (("double", "string"), ("1.0", "x")),
        (("decimal", "int64"), ("1.50", 7)),
    ],
)
def test_a_table_whose_type_was_widened_is_equal(
    export: Export, types: tuple[str, ...], values: tuple[object, ...]
) -> None:
    for key, (type_, value) in enumerate(zip(types, values, strict=True), 1):
        export.table("account", ["name", f"amount:{type_}"])
        export.upsert("account", key, name="x", amount=value)
        export.close_folder()
        export.load("account")

    assert reconcile(export) == EQUAL
    refresh_table(export.entity("account"))
    assert reconcile(export) == EQUAL


# Folders that are gone


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_a_right_table_is_never_called_wrong_when_folders_are_gone(
    loaded: Export, gone: list[int]
) -> None:
    for index in gone:
        purge(loaded, index)

    found = reconcile(loaded)

    assert (found.missing, found.extra, found.stale) == (0, 0, 0)


def test_rows_that_only_a_gone_folder_had_are_unverifiable(loaded: Export) -> None:
    purge(loaded, 0)

    found = reconcile(loaded)

    # b2 and e are in the other folders; a is not.
    assert found == Comparison(0, 0, 0, 1, (str(guid(1)),))


def test_rows_are_unverifiable_when_every_folder_is_gone(loaded: Export) -> None:
    for index in range(3):
        purge(loaded, index)

    found = reconcile(loaded)

    assert (found.missing, found.extra, found.stale) == (0, 0, 0)
    assert found.unverifiable == 3
    assert sorted(found.keys) == [str(guid(key)) for key in (1, 2, 5)]


def test_differences_are_found_although_folders_are_gone(loaded: Export) -> None:
    purge(loaded, 0)
    change(loaded, "DELETE FROM {t} WHERE name = 'e'")
    change(loaded, "UPDATE {t} SET name = 'mine' WHERE name = 'b2'")

    found = reconcile(loaded)

    assert (found.missing, found.extra, found.stale, found.unverifiable) == (1, 0, 1, 1)
    # What is surely wrong comes first.
    assert set(found.keys[:2]) == {str(guid(2)), str(guid(5))}


def test_a_deleted_row_that_is_back_is_found_although_folders_are_gone(
    loaded: Export,
) -> None:
    purge(loaded, 0)
    change(
        loaded,
        "INSERT INTO {t} (id, versionnumber) "
        "VALUES ('00000000-0000-0000-0000-000000000004', 50)",
    )

    assert reconcile(loaded).extra == 1


def test_a_value_kept_from_a_gone_folder_is_no_difference(loaded: Export) -> None:
    loaded.upsert("account", 8, name="h", amount=8)
    loaded.close_folder()
    loaded.remove_column("account", "amount")
    loaded.upsert("account", 1, name="a2")
    loaded.close_folder()
    loaded.load("account")
    assert loaded.rows("account", "amount")[0] == (1,)
    purge(loaded, 0)

    found = reconcile(loaded)

    assert (found.missing, found.extra, found.stale) == (0, 0, 0)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_row_sent_again_in_a_gone_folder_is_no_difference(
    export: Export, gone: int
) -> None:
    sent = export.upsert("account", 1, name="a")
    export.close_folder()
    export.resend(sent, sink=900)
    export.close_folder()
    export.load("account")
    purge(export, gone)

    found = reconcile(export)

    assert (found.missing, found.extra, found.stale) == (0, 0, 0)


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize("versioned", [True, False], ids=["empty", "none"])
def test_rows_without_versions_are_no_difference_when_folders_are_gone(
    export: Export, versioned: bool, gone: int
) -> None:
    export.table("account", ["name"], versioned=versioned)
    export.upsert("account", 1, name="a", version=None)
    export.upsert("account", 2, name="b", version=None)
    export.close_folder()
    export.upsert("account", 1, name="a2", version=None)
    export.delete("account", 2)
    export.close_folder()
    export.upsert("account", 2, name="b3", version=None)
    export.delete("account", 1)
    export.close_folder()
    export.load("account")
    purge(export, gone)

    found = reconcile(export)

    assert (found.missing, found.extra, found.stale) == (0, 0, 0)


def test_what_a_person_gave_up_is_no_difference(loaded: Export) -> None:
    loaded.upsert("account", 6, name="lost")
    loaded.close_folder()
    loaded.poll()
    purge(loaded, 3)
    loaded.upsert("account", 7, name="g")
    loaded.close_folder()
    loaded.sync()
    assert accept_loss(loaded.config) == ["account"]
    loaded.load("account")

    assert reconcile(loaded) == EQUAL


def test_rows_from_before_the_new_full_copy_are_extra_until_the_refresh(
    loaded: Export,
) -> None:
    loaded.upsert("account", 1, name="new")
    copy = loaded.close_folder()
    say_full_copy(loaded, copy, "account", "3/1/2026 9:00:00 AM")
    loaded.load("account")

    found = reconcile(loaded)
    assert (found.extra, found.missing, found.stale) == (2, 0, 0)
    refresh_table(loaded.entity("account"))
    assert reconcile(loaded) == EQUAL


# Rows that were set aside


@pytest.fixture
def picky(export: Export) -> Export:
    """Return an export with a row whose amount is no number."""
    configure(export, bad_rows="quarantine")
    export.upsert("account", 1, name="a")
    bad = line(8, '"h"', "no number", version=100)
    export.raw("account", FILE, bad + LF)
    export.close_folder()
    export.load("account")
    return export


@pytest.mark.parametrize("policy", ["stop", "quarantine"])
@pytest.mark.parametrize("dismissed", [False, True])
def test_a_row_that_is_set_aside_is_no_difference(
    picky: Export, policy: str, dismissed: bool
) -> None:
    configure(picky, bad_rows=policy)
    if dismissed:
        dismiss(quarantined(picky, "account")[0])

    assert reconcile(picky) == EQUAL


def test_a_row_that_could_be_read_by_now_is_no_difference(picky: Export) -> None:
    picky.table("account", ["name", "amount:string"])
    picky.upsert("account", 2, name="b", amount="text")
    picky.close_folder()
    picky.load("account")
    assert reconcile(picky) == EQUAL

    assert reprocess(quarantined(picky, "account")[0]).done == "inserted"

    assert reconcile(picky) == EQUAL


def test_a_replay_in_batches_finds_the_same(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(loaded, "UPDATE {t} SET name = 'mine' WHERE name = 'a'")
    whole = reconcile(loaded)
    monkeypatch.setattr(rebuild, "BATCH_BYTES", 1)

    assert reconcile(loaded) == whole
    assert whole.stale == 1

"""Tables that grow: new columns that block no reader, and wider types."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection

from sync.engine import schema
from sync.engine.load import sync_table
from sync.engine.refresh import refresh_table
from sync.models import Event
from tests.catalogue.steps import only_failure, sync_until_parked
from tests.exports import guid
from tests.processes import database_url
from tests.sync.conftest import Export, run_sql
from tests.sync.engine.test_refresh import in_thread


def grow(export: Export, *cells: tuple[str, object]) -> None:
    """Load folder after folder, each with a type of ``value`` and one value."""
    for type_, value in cells:
        export.table("probe", [f"value:{type_}"])
        export.upsert("probe", len(export.folders), value=value)
        export.close_folder()
        export.load("probe")


def types(export: Export) -> dict[str, str]:
    return {c.attribute: c.type for c in export.entity("probe").target().columns}


def values(export: Export) -> list[Any]:
    return [value for (value,) in export.rows("probe", "value")]


def relation(export: Export, entity: str = "probe") -> str:
    return export.entity(entity).target().relation.as_string(None)


@contextmanager
def session() -> Iterator[psycopg.Connection[Any]]:
    """Open a connection as another program's."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        yield other


# Wider types


@pytest.mark.parametrize(
    ("cells", "type_", "expected"),
    [
        ([("int32", 7), ("int64", 2**40)], "bigint", [7, 2**40]),
        (
            [("int32", 7), ("int64", 2**40), ("decimal", "1.50")],
            "numeric",
            [7, 2**40, Decimal("1.50")],
        ),
        (
            [("int32", 7), ("int64", 2**40), ("decimal", "1.50"), ("string", "x")],
            "text",
            ["7", str(2**40), "1.50", "x"],
        ),
        ([("int32", 7), ("string", "x")], "text", ["7", "x"]),
        ([("double", "0.5"), ("string", "x")], "text", ["0.5", "x"]),
        # Narrower ones stay as wide as they were.
        ([("int64", 2**40), ("int32", 7)], "bigint", [2**40, 7]),
        ([("string", "x"), ("int64", 7)], "text", ["x", "7"]),
        ([("string", "x"), ("double", "0.5")], "text", ["x", "0.5"]),
        (
            [("decimal", "1.50"), ("int64", 7)],
            "numeric",
            [Decimal("1.50"), Decimal(7)],
        ),
    ],
)
def test_a_column_holds_the_values_of_its_old_type_and_its_new_one(
    export: Export, cells: list[tuple[str, object]], type_: str, expected: list[object]
) -> None:
    grow(export, *cells)

    assert types(export)["value"] == type_
    assert values(export) == expected


def test_a_widening_is_told_once(export: Export) -> None:
    grow(export, ("int32", 7), ("int64", 2**40), ("int64", 1), ("int32", 2))

    found = Event.objects.filter(config=export.config, kind="columns_widened")
    assert ["value bigint" in event.message for event in found] == [True]


def test_folders_before_and_after_a_wider_type_may_wait_together(
    export: Export,
) -> None:
    for type_, value in (("int32", 7), ("int64", 2**40), ("string", "x")):
        export.table("probe", [f"value:{type_}"])
        export.upsert("probe", len(export.folders), value=value)
        export.close_folder()

    export.load("probe")

    assert values(export) == ["7", str(2**40), "x"]


FRAME = ["SinkModifiedOn:dateTime", "name", "versionnumber:int64", "IsDelete:boolean"]


def keyed(export: Export, type_: str, key: int, version: int, **row: object) -> None:
    export.table("probe", [f"Id:{type_}", *FRAME])
    export.write("probe", {"Id": key, "versionnumber": version, **row})
    export.close_folder()
    export.load("probe")


def test_the_key_may_get_a_wider_type_and_its_tombstones_hold(export: Export) -> None:
    keyed(export, "int32", 1, 5, name="one")
    keyed(export, "int32", 2, 6, IsDelete=True)
    keyed(export, "int64", 2**40, 7, name="large")
    keyed(export, "int64", 2, 4, name="stale")
    keyed(export, "int64", 1, 8, name="one again")

    assert export.rows("probe", "id", "name") == [(1, "one again"), (2**40, "large")]


@pytest.mark.parametrize("type_", ["decimal", "string"])
def test_the_version_cannot_become_what_does_not_order(
    export: Export, type_: str
) -> None:
    export.table("probe", ["Id:guid", *FRAME])
    export.write("probe", {"Id": guid(1), "versionnumber": 5, "name": "a"})
    export.close_folder()
    export.load("probe")
    export.table("probe", [c.replace("int64", type_) for c in ["Id:guid", *FRAME]])
    export.write("probe", {"Id": guid(1), "versionnumber": 6, "name": "b"})
    export.close_folder()

    assert sync_until_parked(export, "probe") == "parked"

    assert only_failure(export, "probe").error_code == "unsupported_entity"
    assert export.rows("probe", "name") == [("a",)]


INCOMPATIBLE = [
    ("string", "text stays", "boolean"),
    ("int64", 7, "boolean"),
    ("guid", str(guid(7)), "int64"),
    ("boolean", "True", "string"),
    ("int64", 7, "double"),
    ("dateTime", "2026-06-25T16:21:12Z", "string"),
]


@pytest.mark.parametrize(("before", "value", "now"), INCOMPATIBLE)
def test_an_incompatible_change_parks_the_table_and_names_the_statement(
    export: Export, before: str, value: object, now: str
) -> None:
    grow(export, (before, value))
    kept = values(export)
    export.table("probe", [f"value:{now}"])
    export.upsert("probe", 9, value=None)
    export.close_folder()

    assert sync_until_parked(export, "probe") == "parked"

    row = only_failure(export, "probe")
    assert row.error_code == "type_changed"
    assert "ALTER TABLE" in row.error_message
    assert "probe.value" in row.error_where
    assert values(export) == kept


def test_the_statement_that_is_named_does_what_is_needed(export: Export) -> None:
    grow(export, ("boolean", "True"))
    export.table("probe", ["value:string"])
    export.upsert("probe", 9, value="x")
    export.close_folder()
    sync_until_parked(export, "probe")
    said = only_failure(export, "probe").error_message

    run_sql(said.partition("It would need: ")[2])
    sync_table(export.entity("probe"))

    assert values(export) == ["true", "x"]
    assert export.entity("probe").state == "active"


def test_a_table_that_is_too_large_waits_for_its_refresh(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "REWRITTEN_BYTES", 0)
    grow(export, ("int32", 7))
    export.table("probe", ["value:int64"])
    export.upsert("probe", 2, value=2**40)
    export.close_folder()

    assert sync_until_parked(export, "probe") == "parked"
    assert only_failure(export, "probe").error_code == "type_widened"
    assert types(export)["value"] == "integer"
    refresh_table(export.entity("probe"))

    assert values(export) == [7, 2**40]


def test_a_view_in_the_way_is_named_until_it_is_gone(export: Export) -> None:
    grow(export, ("int32", 7))
    view = f"{export.config.schema_name}.seen"
    run_sql(f"CREATE VIEW {view} AS SELECT value FROM {relation(export)}")
    export.table("probe", ["value:int64"])
    export.upsert("probe", 2, value=2**40)
    export.close_folder()

    assert sync_until_parked(export, "probe") == "parked"
    row = only_failure(export, "probe")
    assert (row.error_code, view in row.error_message) == ("column_in_use", True)
    run_sql(f"DROP VIEW {view}")
    sync_table(export.entity("probe"))

    assert values(export) == [7, 2**40]


def test_a_view_on_other_columns_is_in_nobodys_way(export: Export) -> None:
    grow(export, ("int32", 7))
    view = f"{export.config.schema_name}.seen"
    run_sql(f"CREATE VIEW {view} AS SELECT id FROM {relation(export)}")

    grow(export, ("int64", 2**40))

    assert values(export) == [7, 2**40]
    assert len(run_sql(f"SELECT * FROM {view}")) == 2


# Readers

# The lock is waited for a second at a time; a reader behind it waits no longer.
PATIENCE = "5s"


def hold(reader: psycopg.Connection[Any], table: str) -> None:
    """Let a reader begin a long transaction."""
    reader.execute("BEGIN")
    reader.execute(f"SELECT count(*) FROM {table}")


def waits_for_a_lock() -> bool:
    with session() as other:
        found = other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database() AND query LIKE 'ALTER TABLE%'"
        ).fetchone()
    return bool(found and found[0])


@pytest.mark.parametrize("by", ["load", "refresh"])
def test_readers_get_through_while_a_new_column_waits_for_a_long_one(
    export: Export, by: str
) -> None:
    grow(export, ("string", "a"))
    export.table("probe", ["value", "colour"])
    export.upsert("probe", 2, value="b", colour="red")
    export.close_folder()
    export.poll()
    table, place = export.entity("probe"), relation(export)
    results: list[object] = []

    def work() -> None:
        if by == "load":
            results.append(sync_table(table).error)
            return
        try:
            refresh_table(table)
        except Exception as error:  # noqa: BLE001 - looked at below
            results.append(error)

    with session() as long, session() as short:
        hold(long, place)
        worker = threading.Thread(target=in_thread, args=[work])
        worker.start()
        while worker.is_alive() and not waits_for_a_lock():
            time.sleep(0.02)
        waited = worker.is_alive()
        short.execute(f"SET statement_timeout = '{PATIENCE}'")
        while worker.is_alive():
            assert short.execute(f"SELECT count(*) FROM {place}").fetchone() == (1,)
        worker.join()
        long.execute("ROLLBACK")

    assert waited
    [error] = results
    assert getattr(error, "code", "") == "table_locked"
    assert not getattr(error, "permanent", True)
    assert values(export) == ["a"]
    assert connection.in_atomic_block is False
    export.load("probe")
    assert export.rows("probe", "value", "colour") == [("a", None), ("b", "red")]


def test_a_new_column_does_not_wait_for_the_end_of_a_refresh(export: Export) -> None:
    from sync import faultpoints

    grow(export, ("string", "a"))
    export.table("probe", ["value", "colour"])
    export.upsert("probe", 2, value="b", colour="red")
    export.close_folder()
    place = relation(export)
    seen: list[Any] = []

    def look() -> None:
        with session() as other:
            other.execute(f"SET statement_timeout = '{PATIENCE}'")
            seen.append(other.execute(f"SELECT value FROM {place}").fetchall())

    with faultpoints.armed("progress_written", action=look):
        refresh_table(export.entity("probe"))

    assert seen == [[("a",)]]

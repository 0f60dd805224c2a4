"""The copy beside a live table: its difference, and what a comparison may say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from psycopg import Cursor, sql

from sync.target.rebuilt import TOMBSTONES, Comparison, Difference, Rebuilt
from sync.target.tables import Column, Table, create_table

SCHEMA = "rebuilt_test"
COLUMNS = (
    Column("Id", "id", "text"),
    Column("name", "name", "text"),
    Column("versionnumber", "versionnumber", "bigint"),
    Column("SinkModifiedOn", "sinkmodifiedon", "timestamp with time zone"),
    Column("left", "left", "text"),
)
LIVE = Table(SCHEMA, "t", COLUMNS)
DELETES = sql.Identifier(SCHEMA, "deletes")
COMPARED = {"Id", "name", "versionnumber", "SinkModifiedOn"}
EARLY, LATE = "2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z"

# Version and time of a row; None is no row.
Standing = tuple[int | None, str, str] | None


@pytest.fixture
def cursor(transactional_db: None) -> Iterator[Cursor[Any]]:
    connection.ensure_connection()
    raw = connection.connection.cursor()
    raw.execute(f"CREATE SCHEMA {SCHEMA}")
    raw.execute(
        f"CREATE TABLE {SCHEMA}.t (id text PRIMARY KEY, name text, versionnumber "
        'bigint, sinkmodifiedon timestamptz, "left" text, own text)'
    )
    raw.execute(
        f"CREATE TABLE {SCHEMA}.deletes (table_id bigint, key text[], version bigint, "
        "PRIMARY KEY (table_id, key))"
    )
    with transaction.atomic():
        yield raw
    raw.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.fixture
def copy(cursor: Cursor[Any]) -> Rebuilt:
    rebuilt = Rebuilt(cursor, LIVE, COLUMNS, ["id"], COMPARED)
    rebuilt.create()
    return rebuilt


def put(
    cursor: Cursor[Any],
    where: sql.Identifier,
    key: str,
    name: str | None,
    version: int | None = 1,
    sink: str = EARLY,
) -> None:
    cursor.execute(
        sql.SQL(
            "INSERT INTO {} (id, name, versionnumber, sinkmodifiedon) "
            "VALUES (%s, %s, %s, %s)"
        ).format(where),
        [key, name, version, sink],
    )


def forget(
    cursor: Cursor[Any], where: sql.Identifier, key: str, version: int, table: int = 7
) -> None:
    cursor.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, ARRAY[%s], %s)").format(where),
        [table, key, version],
    )


def test_the_live_table_becomes_the_copy(cursor: Cursor[Any], copy: Rebuilt) -> None:
    for key, name in (("same", "x"), ("other", "x"), ("extra", "x")):
        put(cursor, LIVE.relation, key, name)
    cursor.execute(f"UPDATE {SCHEMA}.t SET \"left\" = 'kept', own = 'mine'")
    put(cursor, copy.table.relation, "other", None)
    for key, name in (("same", "x"), ("missing", "x")):
        put(cursor, copy.table.relation, key, name)
    forget(cursor, DELETES, "old", 1)
    forget(cursor, DELETES, "of another table", 1, table=8)
    forget(cursor, TOMBSTONES, "new", 2)

    assert copy.apply(DELETES, 7) == Difference(1, 1, 1)

    cursor.execute(f'SELECT id, name, "left", own FROM {SCHEMA}.t ORDER BY id')
    assert cursor.fetchall() == [
        ("missing", "x", None, None),
        ("other", None, "kept", "mine"),
        ("same", "x", "kept", "mine"),
    ]
    cursor.execute(f"SELECT * FROM {SCHEMA}.deletes ORDER BY table_id")
    assert cursor.fetchall() == [(7, ["new"], 2), (8, ["of another table"], 1)]


def test_what_is_equal_is_not_written(cursor: Cursor[Any], copy: Rebuilt) -> None:
    put(cursor, LIVE.relation, "1", "x")
    put(cursor, copy.table.relation, "1", "x")
    cursor.execute(f"SELECT ctid::text FROM {SCHEMA}.t")
    before = cursor.fetchall()

    assert copy.apply(DELETES, 7) == Difference(0, 0, 0)

    cursor.execute(f"SELECT ctid::text FROM {SCHEMA}.t")
    assert cursor.fetchall() == before


def test_a_table_with_a_key_alone_is_rebuilt(cursor: Cursor[Any]) -> None:
    copy = Rebuilt(cursor, LIVE, COLUMNS[:1], ["id"], {"Id"})
    copy.create()
    put(cursor, LIVE.relation, "1", "x")
    cursor.execute(sql.SQL("INSERT INTO {} VALUES ('2')").format(copy.table.relation))

    assert copy.compare(9) == Comparison(1, 1, 0, 0, ("1", "2"))
    assert copy.apply(DELETES, 7) == Difference(1, 0, 1)


def test_null_and_the_empty_text_differ(cursor: Cursor[Any], copy: Rebuilt) -> None:
    put(cursor, LIVE.relation, "1", "")
    put(cursor, copy.table.relation, "1", None)

    assert copy.compare(9).stale == 1


def verdict(found: Comparison) -> str:
    """Return the one word that a comparison of one key says; equal without one."""
    words = [
        w for w in ("missing", "extra", "stale", "unverifiable") if getattr(found, w)
    ]
    return words[0] if words else "equal"


STANDINGS: tuple[Standing, ...] = (
    None,
    *itertools.product((None, 4, 5, 6), (EARLY, LATE), ("x", "y")),
)


@pytest.mark.parametrize("live", STANDINGS)
def test_all_partitions_at_hand_everything_is_said(
    cursor: Cursor[Any], copy: Rebuilt, live: Standing
) -> None:
    put(cursor, copy.table.relation, "1", "x", 5, EARLY)
    if live is not None:
        put(cursor, LIVE.relation, "1", live[2], live[0], live[1])

    expected = "missing" if live is None else "stale"
    if live == (5, EARLY, "x"):
        expected = "equal"
    assert verdict(copy.compare(9)) == expected


@pytest.mark.parametrize("live", STANDINGS)
def test_some_partitions_gone_what_is_newer_is_unverifiable(
    cursor: Cursor[Any], copy: Rebuilt, live: Standing
) -> None:
    put(cursor, copy.table.relation, "1", "x", 5, EARLY)
    expected = "missing"
    if live is not None:
        version, sink, name = live
        put(cursor, LIVE.relation, "1", name, version, sink)
        # A row without a version never takes the place of one that has it.
        order = (-1 if version is None else version, sink)
        expected = "unverifiable" if order > (5, EARLY) else "stale"
        if live == (5, EARLY, "x"):
            expected = "equal"

    found = copy.compare_partly("versionnumber", "sinkmodifiedon", DELETES, 7, 9)

    assert verdict(found) == expected
    assert found.keys == (() if expected == "equal" else ("1",))


@pytest.mark.parametrize(
    ("remembered", "expected"),
    [(None, "missing"), (4, "missing"), (5, "unverifiable"), (6, "unverifiable")],
)
def test_a_row_that_a_gone_partition_may_have_deleted_is_unverifiable(
    cursor: Cursor[Any], copy: Rebuilt, remembered: int | None, expected: str
) -> None:
    put(cursor, copy.table.relation, "1", "x", 5)
    forget(cursor, DELETES, "1", 99, table=8)
    if remembered is not None:
        forget(cursor, DELETES, "1", remembered)

    found = copy.compare_partly("versionnumber", "sinkmodifiedon", DELETES, 7, 9)

    assert verdict(found) == expected


@pytest.mark.parametrize(
    ("version", "deleted_at", "expected"),
    [
        (5, None, "unverifiable"),
        (5, 4, "unverifiable"),
        (5, 5, "extra"),
        (5, 6, "extra"),
        (None, -1, "unverifiable"),
        (None, None, "unverifiable"),
    ],
)
def test_a_row_is_extra_only_if_its_delete_is_at_hand(
    cursor: Cursor[Any],
    copy: Rebuilt,
    version: int | None,
    deleted_at: int | None,
    expected: str,
) -> None:
    put(cursor, LIVE.relation, "1", "x", version)
    if deleted_at is not None:
        forget(cursor, TOMBSTONES, "1", deleted_at)

    found = copy.compare_partly("versionnumber", "sinkmodifiedon", DELETES, 7, 9)

    assert verdict(found) == expected


def test_without_versions_every_difference_is_unverifiable(
    cursor: Cursor[Any], copy: Rebuilt
) -> None:
    put(cursor, LIVE.relation, "extra", "x")
    put(cursor, LIVE.relation, "other", "x")
    put(cursor, LIVE.relation, "same", "x")
    for key, name in (("missing", "x"), ("other", "y"), ("same", "x")):
        put(cursor, copy.table.relation, key, name)

    found = copy.compare_partly(None, None, DELETES, 7, 9)

    assert found == Comparison(0, 0, 0, 3, ("extra", "missing", "other"))


def test_sure_differences_are_listed_before_unverifiable_ones(
    cursor: Cursor[Any], copy: Rebuilt
) -> None:
    put(cursor, LIVE.relation, "a", "x", 5)
    put(cursor, copy.table.relation, "z", "x", 5)

    found = copy.compare_partly("versionnumber", "sinkmodifiedon", DELETES, 7, 1)

    assert (found.missing, found.unverifiable, found.keys) == (1, 1, ("z",))


LINES = Table(
    SCHEMA,
    "lines",
    (
        Column("text", "text", "text"),
        Column("invoice", "invoice", "text"),
        Column("number", "number", "bigint"),
    ),
)


def put_line(
    cursor: Cursor[Any], where: sql.Identifier, invoice: str, number: int, text: str
) -> None:
    statement = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(where)
    cursor.execute(statement, [text, invoice, number])


def test_rows_are_told_apart_by_all_columns_of_their_key(cursor: Cursor[Any]) -> None:
    key = ("number", "invoice")
    copy = Rebuilt(cursor, LINES, LINES.columns, key, {"text", "invoice", "number"})
    copy.create()
    cursor.execute(create_table(LINES, key))
    for invoice, number in (("same", 1), ("same", 2), ("other", 1), ("extra", 1)):
        put_line(cursor, LINES.relation, invoice, number, "x")
    for invoice, number in (("same", 1), ("same", 2), ("other", 2)):
        put_line(cursor, copy.table.relation, invoice, number, "x")
    put_line(cursor, copy.table.relation, "other", 1, "y")

    found = copy.compare(9)

    assert found == Comparison(1, 1, 1, 0, ("1, extra", "1, other", "2, other"))
    assert copy.apply(DELETES, 7) == Difference(1, 1, 1)
    cursor.execute(f"SELECT invoice, number, text FROM {SCHEMA}.lines ORDER BY 1, 2")
    assert cursor.fetchall() == [
        ("other", 1, "y"),
        ("other", 2, "x"),
        ("same", 1, "x"),
        ("same", 2, "x"),
    ]


def test_a_table_whose_columns_are_all_of_its_key_is_rebuilt(
    cursor: Cursor[Any],
) -> None:
    pair = Table(SCHEMA, "lines", LINES.columns[1:])
    key = ("invoice", "number")
    cursor.execute(create_table(pair, key))
    copy = Rebuilt(cursor, pair, pair.columns, key, {*key})
    copy.create()
    rows = sql.SQL("INSERT INTO {} VALUES ('a', 1), ('a', {})")
    cursor.execute(rows.format(pair.relation, sql.Literal(2)))
    cursor.execute(rows.format(copy.table.relation, sql.Literal(3)))

    assert copy.compare(9) == Comparison(1, 1, 0, 0, ("a, 2", "a, 3"))
    assert copy.apply(DELETES, 7) == Difference(1, 0, 1)

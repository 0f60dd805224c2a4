from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.db import connection, connections

from sync import faultpoints
from sync.engine import load
from sync.engine.control import Control
from sync.engine.load import sync_table
from sync.errors import Cancelled
from sync.models import (
    DataSyncProgress,
    Event,
    ProgressQuerySet,
    SyncTable,
    Tombstone,
)
from tests.exports import guid
from tests.sync.conftest import Export, run_sql

SAMPLE = Path(__file__).parents[2] / "data" / "fno-export"


class CrashError(Exception):
    """The loader dies here."""


def crash() -> None:
    raise CrashError


def counts(row: DataSyncProgress) -> tuple[int, int, int, int, int]:
    return (
        row.rows_inserted,
        row.rows_updated,
        row.rows_deleted,
        row.rows_unchanged,
        row.rows_missing,
    )


@pytest.fixture
def one_by_one() -> object:
    """Let every load take one partition."""
    with mock.patch.object(load, "BATCH_BYTES", 0) as patched:
        yield patched


# What is applied.


def test_the_public_sample_ends_with_its_six_rows(export: Export) -> None:
    export.config.location = str(SAMPLE)
    export.config.save(update_fields=["location"])

    result = export.load("dimensionattributelevelvalue")

    assert result.partitions == 3
    rows = dict(export.rows("dimensionattributelevelvalue", "id", "versionnumber"))
    assert len(rows) == 6
    assert guid("50bff458-d47a-4924-804b-31c0a83108e6") not in rows
    assert rows[guid("5b4bc74e-2132-4d8e-8572-48ce4260f182")] == 2111000012
    assert export.rows("currency", "id") == []
    assert export.rows("dimensionattributelevel", "id") == []


def test_values_arrive_as_they_were_written(export: Export) -> None:
    export.table(
        "account",
        [
            "s:string",
            "empty:string",
            "n:int64",
            "d:decimal",
            "f:double",
            "b:boolean",
            "t:dateTime",
            "o:dateTimeOffset",
            "partition:int64",
            "Order:string",
        ],
    )
    text = 'a "quoted", \n comma\t🦊 \\" שלום '
    export.upsert(
        "account",
        1,
        s=text,
        empty="",
        n=-(2**63),
        d=Decimal("1E-05"),
        f=0.1,
        b=True,
        t="9999-12-31T23:59:59.9999999Z",
        o="2026-05-25T16:21:09.1234567+02:00",
        partition=5637144576,
        Order="by",
    )
    export.close_folder()
    export.load("account")

    columns = ("s", "empty", "n", "d", "f", "b", "o", "partition", "order")
    assert export.rows("account", *columns) == [
        (
            text,
            "",
            -(2**63),
            Decimal("0.00001"),
            0.1,
            True,
            datetime(2026, 5, 25, 14, 21, 9, 123457, tzinfo=UTC),
            5637144576,
            "by",
        )
    ]
    assert export.rows("account", "t")[0][0] == datetime(
        9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC
    )


def test_every_row_read_is_counted_once(export: Export) -> None:
    export.upsert("account", 1, version=1, name="a")
    export.upsert("account", 2, version=1, name="b")
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, version=2, name="newer")
    export.upsert("account", 1, version=1, name="a stale one")
    export.delete("account", 2)
    export.delete("account", 3)
    export.upsert("account", 4, version=2, name="c")
    export.close_folder()

    export.load("account")

    assert counts(export.progress("account")[1]) == (1, 1, 1, 2, 1)
    assert export.rows("account", "name") == [("newer",), ("c",)]


def test_equal_content_is_not_written_again(export: Export) -> None:
    change = export.upsert("account", 1, version=1, name="a")
    export.close_folder()
    export.load("account")
    [(before,)] = export.rows("account", "xmin")
    export.resend(change)
    export.close_folder()

    export.load("account")

    assert counts(export.progress("account")[1]) == (0, 0, 0, 1, 0)
    assert export.rows("account", "xmin") == [(before,)]


def test_a_number_with_other_digits_after_the_point_is_other_content(
    export: Export,
) -> None:
    for version, amount in ((1, "1.0"), (2, "1.00")):
        export.upsert("account", 1, version=version, amount=Decimal(amount))
        export.close_folder()
    with mock.patch.object(load, "BATCH_BYTES", 0):
        export.load("account")

    assert str(export.rows("account", "amount")[0][0]) == "1.00"


def test_a_delete_leaves_a_tombstone_that_stops_a_stale_row(
    export: Export, one_by_one: object
) -> None:
    stale = export.upsert("account", 1, version=3, name="old")
    export.close_folder()
    export.delete("account", 1)
    export.close_folder()
    export.resend(stale)
    export.close_folder()

    export.load("account")

    assert export.rows("account", "id") == []
    [tombstone] = Tombstone.objects.all()
    assert (tombstone.key, tombstone.version) == ([str(guid(1))], 3)

    export.upsert("account", 1, version=4, name="again")
    export.close_folder()
    export.load("account")
    assert export.rows("account", "name") == [("again",)]
    assert not Tombstone.objects.exists()


def test_narrow_rows_of_a_growing_table_are_padded(export: Export) -> None:
    export.upsert("account", 1, name="before")
    export.add_column("account", "colour:string")
    export.upsert("account", 2, name="after", colour="red")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name", "colour") == [
        ("before", None),
        ("after", "red"),
    ]


def test_narrow_rows_are_padded_also_after_another_column_left(
    export: Export,
) -> None:
    export.table("account")
    export.add_column("account", "gone:string")
    export.upsert("account", 1, name="a", gone="x")
    export.close_folder()
    export.remove_column("account", "gone")
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.upsert("account", 3, name="narrow")
    export.add_column("account", "colour:string")
    export.upsert("account", 4, name="full", colour="red")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name", "gone", "colour") == [
        ("a", "x", None),
        ("b", None, None),
        ("narrow", None, None),
        ("full", None, "red"),
    ]


def test_narrow_rows_are_refused_when_a_column_was_put_in_before(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    columns = export.tables["account"].columns
    columns.insert(4, type(columns[0])("between", "string"))
    export.raw("account", "2026.csv", ID + b',,,"n",1,3,,\n')
    export.close_folder()

    result = export.sync()["account"]

    assert result.error is not None
    assert result.error.code == "bad_row"
    assert result.error.where.endswith("line 1")


def test_a_column_that_left_keeps_its_last_value_in_rows_that_live_on(
    export: Export,
) -> None:
    for key in (1, 2):
        export.upsert("account", key, version=1, name="n", amount=Decimal(key))
    export.close_folder()
    export.remove_column("account", "amount")
    export.upsert("account", 1, version=2, name="m")
    export.delete("account", 2)
    export.close_folder()
    export.upsert("account", 2, version=2, name="again")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name", "amount") == [("m", 1), ("again", None)]


def test_a_table_with_a_key_alone_is_kept(export: Export) -> None:
    export.table("account", ["Id:guid"])
    for _ in range(2):
        export.write("account", {"Id": guid(1)})
        export.close_folder()
        export.load("account")
    assert export.rows("account", "id") == [(guid(1),)]


def test_a_version_that_left_the_model_is_still_known(export: Export) -> None:
    export.upsert("account", 1, version=10, name="a")
    export.close_folder()
    export.load("account")
    export.remove_column("account", "versionnumber")
    export.delete("account", 1)
    export.close_folder()
    export.load("account")
    export.add_column("account", "versionnumber:int64")
    export.upsert("account", 1, version=9, name="stale")
    export.close_folder()
    export.load("account")

    assert export.rows("account", "id") == []
    assert Tombstone.objects.get().version == 10


@pytest.mark.parametrize("width", [1599, 1600])
def test_a_table_may_be_as_wide_as_postgresql_allows(
    export: Export, width: int
) -> None:
    export.table("account", ["Id:guid", *(f"c{n}:boolean" for n in range(width - 1))])
    for key in (1, 2):
        export.write("account", {"Id": guid(key), "c7": True})
        export.close_folder()
    export.load("account")
    assert export.rows("account", "c7") == [(True,), (True,)]


def test_a_byte_order_mark_and_an_empty_file_do_no_harm(export: Export) -> None:
    export.raw("account", "2025.csv", b"\xef\xbb\xbf")
    export.upsert("account", 1, name="a", file="2025.csv")
    export.raw("account", "2024.csv", b"")
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",)]


def test_the_last_row_may_lack_its_newline(export: Export) -> None:
    export.upsert("account", 1, name="a")
    path = export.root / export.folder.name / "account" / "2026.csv"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    export.close_folder()

    export.load("account")

    assert export.rows("account", "name") == [("a",)]


# What is refused.


def bad(export: Export, data: bytes, file: str = "2026.csv") -> DataSyncProgress:
    """Load a folder in which the third line of a file is ``data``."""
    export.upsert("account", 1, name="one,\nof two lines", file=file)
    export.raw("account", file, data)
    export.upsert("account", 2, name="b", file=file)
    export.upsert("contact", 1, name="c")
    export.close_folder()
    results = export.sync()
    assert results["contact"].status == "success"
    assert results["account"].status == "failed"
    assert export.rows("account", "id") == []
    [row] = export.progress("account")
    assert (row.copy_status, row.attempts) == (2, 1)
    assert row.error_remedy
    assert row.next_attempt_at is not None
    return row


ID = b"00000000-0000-0000-0000-000000000009"


def test_a_value_that_does_not_convert_is_named_with_its_place(export: Export) -> None:
    row = bad(export, ID + b',,,"n",12x4,3,,\n')
    assert row.error_code == "bad_value"
    assert "'12x4'" in row.error_message
    assert "decimal" in row.error_message
    assert row.error_where.endswith("account/2026.csv, line 3, column amount")


def test_a_cut_row_is_named_with_its_line(export: Export) -> None:
    row = bad(export, ID + b',,,"n"\n')
    assert row.error_code == "bad_row"
    assert "4 cells" in row.error_message
    assert "8 columns" in row.error_message
    assert row.error_where.endswith("account/2026.csv, line 3")


def test_a_wide_row_is_refused(export: Export) -> None:
    row = bad(export, ID + b',,,"n",1,3,,,5\n')
    assert (row.error_code, "9 cells" in row.error_message) == ("bad_row", True)


def test_a_quote_without_end_is_refused(export: Export) -> None:
    row = bad(export, ID + b',,,"n,1,3,,\n')
    assert row.error_code == "bad_row"


@pytest.mark.parametrize(("cell", "said"), [(b"\xff\xfe", "UTF-8"), (b"a\0b", "NUL")])
def test_bytes_that_are_no_text_are_refused(
    export: Export, cell: bytes, said: str
) -> None:
    row = bad(export, ID + b',,,"' + cell + b'",1,3,,\n')
    assert row.error_code == "bad_encoding"
    assert said in row.error_message
    assert row.error_where.endswith("account/2026.csv, line 3, column name")


def test_a_row_without_key_is_refused(export: Export) -> None:
    row = bad(export, b',,,"n",1,3,,\n')
    assert row.error_code == "bad_row"
    assert "key" in row.error_message
    assert row.error_where.endswith("line 3, column Id")


def test_a_line_that_ends_copy_early_loses_nothing(export: Export) -> None:
    """PostgreSQL before 18 stops reading there and reports success."""
    export.table("account", ["Id:string"])
    export.raw("account", "2026.csv", b"a\n\\.\nb\n")
    export.close_folder()

    export.sync()

    rows = export.rows("account", "id")
    [row] = export.progress("account")
    complete = (row.copy_status, rows) == (1, [("\\.",), ("a",), ("b",)])
    refused = (row.copy_status, rows) == (2, [])
    assert complete or refused


def test_a_file_that_changed_since_it_was_found_is_taken_next_time(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    folder = export.close_folder()
    export.poll()
    path = export.root / folder / "account" / "2026.csv"
    path.write_bytes(path.read_bytes() * 2)

    assert export.sync()["account"].error.code == "file_changed"  # type: ignore[union-attr]
    assert export.sync()["account"].status == "success"


def test_a_file_that_grows_while_it_is_read_is_not_applied(export: Export) -> None:
    export.upsert("account", 1, name="a")
    path = export.root / export.folder.name / "account" / "2026.csv"
    export.close_folder()
    export.poll()

    def grow() -> None:
        path.write_bytes(path.read_bytes() * 2)

    with faultpoints.armed("block_copied", action=grow):
        result = sync_table(export.entity("account"))

    assert result.error is not None
    assert result.error.code == "file_changed"
    assert export.rows("account", "id") == []


def test_a_listed_file_that_is_gone_fails_its_table(export: Export) -> None:
    export.upsert("account", 1, name="a", file="2025.csv")
    folder = export.close_folder()
    (export.root / folder / "account" / "2025.csv").unlink()

    results = export.sync()

    assert results["account"].error is not None
    assert results["account"].error.code == "file_missing"
    [row] = export.progress("account")
    assert "2025.csv" in row.error_where
    assert (row.copy_status, row.attempts) == (2, 1)
    assert Event.objects.filter(kind="load_failed").count() == 1
    for _ in range(2):
        export.sync()
    assert export.entity("account").state == SyncTable.State.PARKED


def test_a_malformed_model_fails_the_tables_with_files(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.table("lead", ["topic:string"])
    folder = export.close_folder()
    (export.root / folder / "model.json").write_text('{"entities": [')

    results = export.sync()

    assert set(results) == {"account"}
    [row] = export.progress("account")
    assert (row.copy_status, row.error_code) == (2, "model_malformed")
    assert folder in row.error_where

    (export.root / folder / "model.json").write_text(export.find(folder).model)
    assert export.sync()["account"].status == "success"


def test_a_table_that_the_model_lacks_fails_alone(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.raw("stranger", "2026.csv", b"1\n")
    export.close_folder()

    results = export.sync()

    assert results["account"].status == "success"
    assert results["stranger"].error is not None
    assert results["stranger"].error.code == "entity_missing"


def test_a_symbolic_link_is_not_followed(export: Export, tmp_path: Path) -> None:
    export.upsert("account", 1, name="a")
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n")
    folder = export.folder.name
    (export.root / folder / "account" / "2027.csv").symlink_to(secret)
    export.close_folder()

    result = export.sync()["account"]

    assert result.error is not None
    assert result.error.code == "unsafe_path"
    assert "secret\n" not in str(result.error)


def test_a_changed_type_is_refused(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    export.remove_column("account", "amount")
    export.tables["account"].columns.insert(
        4, type(export.tables["account"].columns[0])("amount", "boolean")
    )
    export.upsert("account", 2, amount=True)
    export.close_folder()

    result = export.sync()["account"]

    assert result.error is not None
    assert result.error.code == "type_changed"
    assert "numeric" in result.error.message


# The target in the hands of others.


@pytest.fixture
def loaded(export: Export) -> Export:
    """Return an export with one row loaded and a second folder due."""
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="a")
    export.close_folder()
    export.sync()
    export.upsert("account", 2, name="b")
    export.upsert("contact", 2, name="b")
    export.close_folder()
    return export


def relation(export: Export) -> str:
    return f'"{export.config.schema_name}"."account"'


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DROP TABLE {}", "target_altered"),
        ("ALTER TABLE {} DROP COLUMN name", "target_altered"),
        ("ALTER TABLE {} ALTER COLUMN name TYPE varchar(3)", "target_altered"),
        ("ALTER TABLE {} RENAME TO elsewhere", "target_altered"),
        (
            "TRUNCATE {0}; ALTER TABLE {0} ADD COLUMN mine text NOT NULL",
            "target_altered",
        ),
        ("ALTER TABLE {} ADD CHECK (name <> 'b')", "target_altered"),
    ],
)
def test_an_altered_table_stops_with_the_difference(
    loaded: Export, statement: str, code: str
) -> None:
    run_sql(statement.format(relation(loaded)))

    results = loaded.sync()

    assert results["contact"].status == "success"
    assert results["account"].error is not None
    assert results["account"].error.code == code
    assert loaded.progress("account")[1].copy_status == 2


def test_a_users_own_nullable_column_is_left_alone(loaded: Export) -> None:
    run_sql(f"ALTER TABLE {relation(loaded)} ADD COLUMN mine text")
    run_sql(f"UPDATE {relation(loaded)} SET mine = 'kept'")
    loaded.load("account")
    assert loaded.rows("account", "mine") == [("kept",), (None,)]


def test_a_locked_table_fails_for_now_and_others_go_on(loaded: Export) -> None:
    info = connection.connection.info
    with psycopg.connect(info.dsn, password=info.password or None) as other:
        other.execute(f"LOCK TABLE {relation(loaded)}")
        results = loaded.sync()

    assert results["contact"].status == "success"
    assert results["account"].error is not None
    assert results["account"].error.code == "table_locked"
    assert not results["account"].error.permanent
    assert loaded.sync()["account"].status == "success"


def test_missing_privileges_are_named(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    name = connection.settings_dict["NAME"]
    run_sql(f'REVOKE CREATE ON DATABASE "{name}" FROM CURRENT_USER, PUBLIC')
    try:
        result = export.sync()["account"]
    finally:
        run_sql(f'GRANT CREATE ON DATABASE "{name}" TO CURRENT_USER')
    assert result.error is not None
    assert result.error.code == "permission_denied"
    assert export.progress("account")[0].error_code == "permission_denied"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE RULE r AS ON INSERT TO {0} DO INSTEAD NOTHING", "a rule"),
        (
            "CREATE TRIGGER t BEFORE INSERT ON {0} FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "a trigger before each row",
        ),
        (
            "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            "row security",
        ),
        ("CREATE TABLE {0}_child () INHERITS ({1})", "child tables"),
    ],
)
def test_what_could_turn_a_write_into_another_is_refused(
    loaded: Export, statement: str, said: str
) -> None:
    name = relation(loaded)
    first = name.replace("account", "account_child") if "_child" in statement else name
    run_sql(statement.replace("{0}_child", first).format(name, name))

    result = loaded.sync()["account"]

    assert result.error is not None
    assert result.error.code == "target_altered"
    assert said in result.error.message


def test_rows_that_vanish_on_their_way_are_noticed(loaded: Export) -> None:
    """By whatever means: here a trigger that comes while the load runs."""

    def meddle() -> None:
        run_sql(
            "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN NULL; END'"
        )
        run_sql(
            f"CREATE TRIGGER eat BEFORE INSERT ON {relation(loaded)} "
            "FOR EACH ROW EXECUTE FUNCTION eat()"
        )

    loaded.poll()
    with faultpoints.armed("winners_chosen", action=meddle):
        result = sync_table(loaded.entity("account"))

    assert result.error is not None
    assert "0 of 1 rows insert" in result.error.message
    assert loaded.progress("account")[1].copy_status == 2


# Batches, attempts and parking.


def folders(export: Export, number: int, *, bad: int | None = None) -> None:
    for index in range(1, number + 1):
        export.upsert("account", index, name=f"row {index}")
        if index == bad:
            export.raw("account", "2026.csv", b"no row\n")
        export.close_folder()


def test_a_backlog_is_drained_within_the_byte_budget(export: Export) -> None:
    folders(export, 5)
    with mock.patch.object(load, "BATCH_BYTES", 0):
        assert export.load("account").partitions == 5
    assert len(export.rows("account", "id")) == 5
    assert [row.copy_status for row in export.progress("account")] == [1] * 5


def test_a_table_stands_at_the_last_partition_before_the_bad_one(
    export: Export,
) -> None:
    folders(export, 4, bad=3)

    result = export.sync()["account"]

    assert (result.status, result.partitions) == ("failed", 2)
    statuses = [(row.copy_status, row.attempts) for row in export.progress("account")]
    assert statuses == [(1, 1), (1, 1), (2, 1), (0, 0)]
    assert export.rows("account", "name") == [("row 1",), ("row 2",)]
    assert export.entity("account").last_partition == export.folders[1].name


def test_the_partition_at_fault_is_found_when_the_merge_is_refused(
    export: Export,
) -> None:
    export.upsert("account", 100, name="row 5")
    export.close_folder()
    export.load("account")
    run_sql(f"CREATE UNIQUE INDEX ON {relation(export)} (name)")
    folders(export, 7)  # the fifth has a name that is taken

    result = export.sync()["account"]

    assert (result.status, result.partitions) == ("failed", 4)
    assert result.error is not None
    assert result.error.code == "target_altered"
    assert "row 5" in result.error.message
    rows = export.progress("account")
    assert [r.copy_status for r in rows] == [1, 1, 1, 1, 1, 2, 0, 0]
    assert [r.attempts for r in rows] == [1, 1, 1, 1, 1, 1, 0, 0]


def test_a_row_that_is_too_large_is_laid_on_its_own_partition(export: Export) -> None:
    export.table("account", [f"c{n}:string" for n in range(600)])
    export.upsert("account", 1, c0="small")
    export.close_folder()
    wide: dict[str, Any] = {f"c{n}": "x" * 30 for n in range(600)}
    export.upsert("account", 2, **wide)
    export.close_folder()

    result = export.sync()["account"]

    assert (result.status, result.partitions) == ("failed", 1)
    assert result.error is not None
    assert result.error.code == "target_limit"
    assert result.error.where.endswith("account/2026.csv")


def test_a_permanent_failure_parks_the_table_and_a_success_wakes_it(
    export: Export,
) -> None:
    folders(export, 2, bad=1)
    export.poll()
    for attempt in (1, 2, 3):
        assert export.entity("account").state == SyncTable.State.ACTIVE
        export.sync()
        assert export.progress("account")[0].attempts == attempt
    assert export.entity("account").state == SyncTable.State.PARKED
    assert export.progress("account")[0].next_attempt_at is None

    path = export.root / export.folders[0].name / "account" / "2026.csv"
    path.write_bytes(path.read_bytes().replace(b"no row\n", b""))
    export.sync()  # the changed size is noticed
    export.load("account")
    assert export.entity("account").state == SyncTable.State.ACTIVE
    [row, _] = export.progress("account")
    assert (row.copy_status, row.error_code, row.error_message) == (1, "", "")


def test_a_transient_failure_never_parks(loaded: Export) -> None:
    loaded.poll()
    path = loaded.root / loaded.folders[1].name / "account" / "2026.csv"
    original = path.read_bytes()
    for times in range(2, 7):
        path.write_bytes(original * times)
        assert loaded.sync()["account"].error.code == "file_changed"  # type: ignore[union-attr]
    assert loaded.entity("account").state == SyncTable.State.ACTIVE
    assert loaded.progress("account")[1].next_attempt_at is not None


def test_after_a_kill_partitions_are_loaded_one_by_one(export: Export) -> None:
    folders(export, 3)
    export.poll()
    with (
        faultpoints.armed("load_started", action=crash),
        pytest.raises(CrashError),
    ):
        sync_table(export.entity("account"))
    assert [row.attempts for row in export.progress("account")] == [1, 1, 1]
    assert all(row.was_killed for row in export.progress("account"))

    with mock.patch.object(load, "initiate_load", wraps=load.initiate_load) as initiate:
        export.load("account")
    assert initiate.call_count == 4
    assert len(export.rows("account", "id")) == 3


def test_a_loader_that_is_killed_again_and_again_parks_its_partition(
    export: Export,
) -> None:
    folders(export, 2)
    export.poll()
    for _ in range(3):
        with (
            faultpoints.armed("load_started", action=crash),
            pytest.raises(CrashError),
        ):
            sync_table(export.entity("account"))

    result = sync_table(export.entity("account"))

    assert result.error is not None
    assert result.error.code == "loader_killed"
    assert "3 times" in result.error.message
    assert export.entity("account").state == SyncTable.State.PARKED
    assert sync_table(export.entity("account"), insist=True).status == "success"
    assert export.entity("account").state == SyncTable.State.ACTIVE


@pytest.mark.parametrize(
    "point",
    [
        name
        for name in faultpoints.POINTS
        if name not in {"discovered", "discovery_recorded", "failure_recorded"}
    ],
)
def test_a_crash_at_any_point_of_a_load_changes_nothing(
    export: Export, point: str
) -> None:
    export.upsert("account", 1, version=1, name="a")
    export.upsert("account", 2, version=1, name="b")
    export.upsert("account", 3, version=1, name="c")
    export.close_folder()
    export.load("account")
    export.upsert("account", 1, version=2, name="a2")
    export.delete("account", 2)
    export.upsert("account", 4, version=2, name="d")
    export.close_folder()
    export.upsert("account", 3, version=3, name="c2")
    export.close_folder()
    export.poll()

    with faultpoints.armed(point, action=crash), pytest.raises(CrashError):
        sync_table(export.entity("account"))
    if point == "committed":
        assert len(export.rows("account", "id")) == 3
    else:
        assert export.rows("account", "name") == [("a",), ("b",), ("c",)]
        assert not Tombstone.objects.exists()
    export.sync()

    assert export.rows("account", "name") == [("a2",), ("c2",), ("d",)]
    total = [sum(n) for n in zip(*map(counts, export.progress("account")), strict=True)]
    assert total == [4, 2, 1, 0, 0]
    assert [row.copy_status for row in export.progress("account")] == [1, 1, 1]


def test_a_broken_connection_leaves_the_backlog_for_the_next_run(
    export: Export,
) -> None:
    folders(export, 1)
    export.poll()
    with faultpoints.armed(
        "progress_written", action=lambda: connection.connection.close()
    ):
        first = sync_table(export.entity("account"))

    assert first.error is not None
    assert first.error.code == "database_unavailable"
    assert sync_table(export.entity("account")).status == "success"
    assert export.rows("account", "name") == [("row 1",)]


def test_a_lost_answer_to_commit_is_a_success(export: Export) -> None:
    folders(export, 2)
    export.poll()
    wrapper: Any = connection
    commit = wrapper._commit

    def commit_and_lose() -> None:
        commit()
        connection.connection.close()
        with connection.wrap_database_errors:
            raise psycopg.OperationalError("the connection broke")

    def arm() -> None:
        patch.start()

    patch = mock.patch.object(wrapper, "_commit", commit_and_lose)
    with (
        faultpoints.armed("progress_written", action=arm),
        mock.patch.object(
            ProgressQuerySet,
            "take_back_attempt",
            autospec=True,
            side_effect=lambda rows: patch.stop(),
        ),
    ):
        result = sync_table(export.entity("account"))

    assert (result.status, result.error) == ("success", None)
    assert (result.partitions, result.rows.inserted) == (2, 2)
    rows = export.progress("account")
    assert [(row.copy_status, row.error_code) for row in rows] == [(1, ""), (1, "")]


# Two at once, and stopping.


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_second_load_of_a_table_finds_it_busy(export: Export) -> None:
    folders(export, 1)
    export.poll()
    table = export.entity("account")
    results: list[str] = []

    def meanwhile() -> None:
        other = in_thread(lambda: results.append(sync_table(table).status))
        other.join()

    with faultpoints.armed("staging_created", action=meanwhile):
        assert sync_table(export.entity("account")).status == "success"

    assert results == ["busy"]
    assert [row.attempts for row in export.progress("account")] == [1]


def test_a_load_that_is_outrun_applies_nothing_twice(export: Export) -> None:
    folders(export, 3)
    export.poll()
    table = export.entity("account")

    def outrun() -> None:
        in_thread(lambda: sync_table(table)).join()

    with faultpoints.armed("attempt_counted", action=outrun):
        result = sync_table(export.entity("account"))

    assert result.status == "unchanged"
    rows = export.progress("account")
    assert [row.rows_inserted for row in rows] == [1, 1, 1]


def test_many_loads_at_once_apply_everything_once(export: Export) -> None:
    folders(export, 6)
    export.poll()
    table = export.entity("account")

    def drain() -> None:
        while sync_table(table).status == "busy":
            pass

    with mock.patch.object(load, "BATCH_BYTES", 0):
        threads = [in_thread(drain) for _ in range(6)]
        for thread in threads:
            thread.join()

    assert len(export.rows("account", "id")) == 6
    assert [row.rows_inserted for row in export.progress("account")] == [1] * 6
    assert [row.attempts for row in export.progress("account")] == [1] * 6


@pytest.mark.parametrize("point", ["block_copied", "winners_chosen"])
def test_a_cancelled_load_leaves_no_trace(export: Export, point: str) -> None:
    folders(export, 2)
    export.poll()
    control = Control()
    with (
        faultpoints.armed(point, action=control.cancel),
        pytest.raises(Cancelled),
    ):
        sync_table(export.entity("account"), control=control)

    assert export.rows("account", "id") == []
    assert [(r.copy_status, r.attempts) for r in export.progress("account")] == [
        (0, 0),
        (0, 0),
    ]
    assert export.sync()["account"].status == "success"


def test_readers_see_whole_loads_only(export: Export) -> None:
    folders(export, 4)
    export.poll()
    table = export.entity("account")
    seen: set[int] = set()

    def look() -> None:
        def read() -> None:
            from django.db import connection as other

            with other.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {relation(export)}")
                seen.add(cursor.fetchone()[0])

        in_thread(read).join()

    with faultpoints.armed("progress_written", action=look):
        sync_table(table)
    look()

    assert seen == {0, 4}


def test_the_session_says_what_it_does(export: Export) -> None:
    folders(export, 1)
    export.poll()
    said: list[str] = []

    def listen() -> None:
        said.append(run_sql("SELECT current_setting('application_name')")[0][0])

    with faultpoints.armed("winners_chosen", action=listen):
        sync_table(export.entity("account"))

    table = export.entity("account").pk
    [text] = said
    assert text.startswith(f"dvsync table={table} phase=merge bytes=")
    assert "dvsync" not in run_sql("SELECT current_setting('application_name')")[0][0]


def test_nothing_is_left_behind(export: Export) -> None:
    folders(export, 3, bad=2)
    export.sync()
    locks = run_sql(
        "SELECT * FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )
    assert locks == []
    assert run_sql("SELECT relname FROM pg_class WHERE relname LIKE 'dvsync_%'") == []
    assert Event.objects.filter(kind="load_failed").count() == 1


def test_the_fault_points_do_not_hide_in_the_environment() -> None:
    assert "DVSYNC_FAULTPOINT" not in os.environ

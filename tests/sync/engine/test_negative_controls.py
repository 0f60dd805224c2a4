"""Every check must go red: a fault planted in the engine, and what finds it.

Each control plays a small history twice: as the engine is, which is green, and with
one fault planted at the narrowest place, which must raise the invariant named.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections
from psycopg import sql

from sync import faultpoints
from sync.engine import load
from sync.engine.batch import Step
from sync.engine.transfer import Moved, move
from sync.models import DataSyncProgress, ProgressQuerySet, SyncTable
from sync.sources.csv_rows import RecordCounter
from sync.target.changes import Changes
from sync.target.merge import Merge
from sync.target.staging import Staging
from sync.target.winners import RowCounts
from tests import invariants
from tests.invariants import Observation, check_invariants
from tests.onlooker import Onlooker
from tests.sync.conftest import Export, run_sql

History = Callable[[Export], None]


class Crash(BaseException):
    """The loader dies here; nothing may catch it."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for what is left behind on purpose."""
    monkeypatch.setattr(invariants, "PATIENCE_SECONDS", 0.2)


def settled(export: Export, before: Observation | None = None) -> Observation:
    return check_invariants(export, export.config.pk, before=before)


def unsettled(export: Export, before: Observation | None = None) -> Observation:
    return check_invariants(export, export.config.pk, before=before, settled=False)


def load_each(export: Export, *folders: Callable[[], object]) -> None:
    """Write the folders, load each when it is closed, and check at every turn."""
    seen: Observation | None = None
    for write in folders:
        write()
        export.close_folder()
        export.sync()
        seen = settled(export, seen)


def rewriting(old: str, new: str) -> Any:
    """Plant another statement in the merge; the place must be met."""
    execute = Changes.execute

    def rewritten(self: Changes, statement: str, **parts: sql.Composable) -> None:
        execute(self, statement.replace(old, new), **parts)

    return mock.patch.object(Changes, "execute", rewritten)


@contextmanager
def other_session(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a session of its own, to its end, before the block."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    yield


# The version guard.


def stale_row(export: Export) -> None:
    load_each(
        export,
        lambda: export.upsert("account", 1, version=5, name="new"),
        lambda: export.upsert("account", 1, version=3, name="stale"),
    )


@pytest.mark.fault(
    "F45", injected="an older version in a later folder", outcome="ignored"
)
def test_a_stale_row_is_stopped_by_the_version_guard(export: Export) -> None:
    stale_row(export)


@pytest.mark.parametrize("invariant", ["I1", "I3"])
def test_a_merge_without_the_version_guard_is_found(
    export: Export, invariant: str
) -> None:
    with (
        mock.patch.object(Changes, "live_version", return_value=sql.SQL("-1")),
        pytest.raises(AssertionError, match=rf"(?m)^{invariant} "),
    ):
        stale_row(export)


# Tombstones.


def deleted_row_sent_again(export: Export) -> None:
    load_each(
        export,
        lambda: export.upsert("account", 1, version=3, name="a"),
        lambda: export.delete("account", 1, version=4),
        lambda: export.upsert("account", 1, version=3, name="a"),
    )


@pytest.mark.fault("S9", injected="a deleted row sent again", outcome="it stays away")
def test_a_deleted_row_that_is_sent_again_stays_away(export: Export) -> None:
    deleted_row_sent_again(export)


def test_forgotten_deletes_are_found(export: Export) -> None:
    with (
        mock.patch.object(Merge, "_remember_deletes"),
        pytest.raises(AssertionError, match=r"(?m)^I1 tombstones are missing"),
    ):
        deleted_row_sent_again(export)


def test_deletes_that_are_forgotten_later_are_found(export: Export) -> None:
    export.upsert("account", 1, version=3, name="a")
    export.close_folder()
    export.sync()
    export.delete("account", 1, version=4)
    export.close_folder()
    export.sync()
    seen = settled(export)
    run_sql("DELETE FROM sync_tombstone")
    export.upsert("account", 1, version=3, name="a")
    export.close_folder()
    export.sync()
    with pytest.raises(AssertionError, match=r"(?m)^I3 .* is back with 3"):
        settled(export, seen)


# The ledger and the data in one transaction.


def crash_in_a_load(export: Export, point: str) -> None:
    def die() -> None:
        raise Crash

    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    export.upsert("account", 2, name="b")
    export.close_folder()
    with pytest.raises(Crash), faultpoints.armed(point, action=die):
        export.sync()
    unsettled(export)


@pytest.mark.parametrize("point", ["winners_chosen", "progress_written"])
def test_a_crashed_load_leaves_ledger_and_data_alike(
    export: Export, point: str
) -> None:
    crash_in_a_load(export, point)


def test_a_ledger_that_is_written_before_the_data_is_found(export: Export) -> None:
    def ledger_first(
        table: SyncTable, steps: list[Step], *rest: Any, **options: Any
    ) -> list[Moved]:
        def write() -> None:
            for step in steps:
                row = DataSyncProgress.objects.get(pk=step.progress.pk)
                row.record_success(RowCounts(inserted=1), step.size)
            SyncTable.objects.filter(pk=table.pk).update(
                last_partition=steps[-1].progress.partition
            )

        with other_session(write):
            return move(table, steps, *rest, **options)

    with (
        mock.patch.object(load, "move", ledger_first),
        pytest.raises(AssertionError, match=r"(?m)^I2 1 partitions are held"),
    ):
        crash_in_a_load(export, "winners_chosen")


def test_data_that_are_committed_before_the_ledger_are_found(export: Export) -> None:
    def data_first(*arguments: Any, **options: Any) -> list[Moved]:
        counts = move(*arguments, **options)
        connection.connection.commit()
        return counts

    with (
        mock.patch.object(load, "move", data_first),
        pytest.raises(AssertionError, match=r"(?m)^I2 2 partitions are held"),
    ):
        crash_in_a_load(export, "progress_written")


# The comparison of counts.


def loses_rows_unsaid() -> bool:
    """Say whether this server ends COPY at a line of backslash and dot, unsaid."""
    run_sql("CREATE TEMPORARY TABLE probe (line text)")
    try:
        with connection.connection.cursor() as cursor:
            with cursor.copy("COPY probe FROM STDIN (FORMAT csv)") as copy:
                copy.write(b"a\n\\.\nb\n")
            return bool(cursor.rowcount == 1)
    finally:
        run_sql("DROP TABLE probe")


def lose_the_last_row() -> Any:
    copy = Staging.copy

    def losing(self: Staging, *arguments: Any) -> int:
        rows = copy(self, *arguments)
        run_sql(
            "DELETE FROM pg_temp.dvsync_staging WHERE ctid = "
            "(SELECT max(ctid) FROM pg_temp.dvsync_staging)"
        )
        return rows - 1

    return mock.patch.object(Staging, "copy", losing)


@contextmanager
def losing_rows(export: Export, *, by_itself: bool = False) -> Iterator[None]:
    """Write a folder of which the server by itself or a planted fault loses a row."""
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="c")
    if by_itself:
        export.raw("account", "2026.csv", b"\\.\n")
    export.upsert("account", 2, name="b")
    export.close_folder()
    with nullcontext() if by_itself else lose_the_last_row():
        yield


@pytest.mark.fault(
    "F50",
    injected="rows that COPY loses, by \\. on a server that does so, else planted",
    outcome="a failure with code row_count, nothing applied",
)
@pytest.mark.fault(
    "S11", injected="rows that COPY loses", outcome="a failure, no success"
)
def test_rows_that_copy_loses_make_a_failure_and_no_success(export: Export) -> None:
    with losing_rows(export):
        results = export.sync()
    assert results["account"].error is not None
    assert results["account"].error.code == "row_count"
    failed = {name for name, result in results.items() if result.status == "failed"}
    check_invariants(export, export.config.pk, failed=failed)


def test_without_the_comparison_of_counts_lost_rows_are_found(export: Export) -> None:
    with (
        # Whatever PostgreSQL took is then as much as was counted.
        mock.patch.object(RecordCounter, "total", mock.ANY),
        losing_rows(export, by_itself=loses_rows_unsaid()),
    ):
        assert export.sync()["account"].status == "success"
    with pytest.raises(AssertionError, match=r"(?m)^I4 .* records, counted are"):
        settled(export)


# One winning change for each key.


def several_changes_of_a_key(export: Export) -> None:
    export.upsert("account", 1, version=1, name="first")
    export.upsert("account", 1, version=3, name="highest")
    export.upsert("account", 1, version=2, name="last")
    export.close_folder()
    export.sync()
    settled(export)


@pytest.mark.fault(
    "C7",
    injected="three versions of a key in a file, the highest not last",
    outcome="the highest wins",
)
def test_the_highest_change_of_a_key_wins(export: Export) -> None:
    several_changes_of_a_key(export)


def test_a_wrong_winner_is_found(export: Export) -> None:
    with (
        rewriting("ORDER BY key, version DESC", "ORDER BY key, version"),
        pytest.raises(AssertionError, match=r"(?m)^I1 row .* is .*first.* not .*high"),
    ):
        several_changes_of_a_key(export)


def test_several_winners_are_a_failure_and_no_success(export: Export) -> None:
    """The target's primary key is the second line of defence."""
    with rewriting("SELECT DISTINCT ON (key) *", "SELECT *"):
        export.upsert("account", 1, version=1, name="first")
        export.upsert("account", 1, version=2, name="second")
        export.close_folder()
        assert export.sync()["account"].status == "failed"
    check_invariants(export, export.config.pk, failed=["account"])


# Readers.


def read_while_loading(export: Export, *, cut: bool) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    export.delete("account", 1, version=9)
    export.upsert("account", 2, name="b")
    export.close_folder()

    with Onlooker(export.config.schema_name, "account") as onlooker:

        def pause() -> None:
            if cut:
                connection.connection.commit()
            onlooker.look()
            if cut:
                raise Crash

        with suppress(Crash), faultpoints.armed("rows_deleted", action=pause):
            export.sync()
        onlooker.look()
    assert len(onlooker.seen["account"]) == 2
    onlooker.check(export)


def test_a_reader_sees_whole_loads(export: Export) -> None:
    read_while_loading(export, cut=False)


def test_a_transaction_in_two_pieces_is_found(export: Export) -> None:
    with pytest.raises(AssertionError, match=r"^I5 account was seen with 0 rows"):
        read_while_loading(export, cut=True)


# Batches.


def load_as_twins(export: Export, make: Callable[..., Export]) -> None:
    """Load one export by two syncs: folder by folder, and all together."""
    for version in (5, 3):
        export.upsert("account", 1, version=version, name=f"v{version}")
        export.close_folder()
    twin = make()
    type(twin.config).objects.filter(pk=twin.config.pk).update(location=export.root)
    twin.config.refresh_from_db()
    with mock.patch.object(load, "BATCH_BYTES", 0):
        export.sync()
    twin.sync()
    check_invariants(export, export.config.pk, twins=[twin.config.pk])


def test_batches_make_no_difference(make_export: Callable[..., Export]) -> None:
    load_as_twins(make_export(), make_export)


def test_batches_that_make_a_difference_are_found(
    make_export: Callable[..., Export],
) -> None:
    with (
        mock.patch.object(Changes, "live_version", return_value=sql.SQL("-1")),
        pytest.raises(AssertionError, match=r"(?m)^I7 account"),
    ):
        load_as_twins(make_export(), make_export)


# What is left behind, told, or falsely called a success.


@pytest.fixture
def sound(export: Export) -> Export:
    """Return an export whose second folder has a bad row, and which is green."""
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    settled(export)
    export.upsert("account", 2, name="b")
    export.raw("account", "2026.csv", b"no row\n")
    export.close_folder()
    export.upsert("account", 3, name="c")
    export.close_folder()
    export.sync()
    check_invariants(export, export.config.pk, failed=["account"])
    return export


@pytest.mark.parametrize(
    ("residue", "said"),
    [
        ("CREATE TABLE {schema}.account_new ()", "unknown relation account_new"),
        ("CREATE TEMPORARY TABLE dvsync_staging ()", "relation dvsync_staging"),
        ("SELECT pg_advisory_lock(1685484399, 1)", "advisory lock 1685484399, 1"),
        ("BEGIN", "is idle in transaction"),
        ("SET application_name = 'dvsync table=1'", "as dvsync table=1"),
    ],
)
def test_residue_is_found(sound: Export, residue: str, said: str) -> None:
    run_sql(residue.format(schema=sound.config.schema_name))
    try:
        with pytest.raises(AssertionError, match=rf"(?m)^I9 .*{said}"):
            unsettled(sound)
    finally:
        connection.close()


def test_a_secret_in_a_text_or_in_the_ledger_is_found(sound: Export) -> None:
    def check(text: str) -> None:
        check_invariants(
            sound,
            sound.config.pk,
            failed=["account"],
            secrets=["canary-41"],
            texts=["all is well", text],
        )

    check("and nothing is told")
    with pytest.raises(AssertionError, match=r"^I11 a secret is told"):
        check("password=canary-41")
    sound.config.events.filter(kind="load_failed").update(message="by canary-41")
    with pytest.raises(AssertionError, match=r"^I11 a secret is in sync_event$"):
        check("and nothing is told")


def test_a_failure_that_is_called_a_success_is_found(sound: Export) -> None:
    record_failure = ProgressQuerySet.record_failure

    def falsely(self: ProgressQuerySet, *arguments: Any) -> bool:
        recorded = record_failure(self, *arguments)
        self.filter(copy_status=2).update(
            copy_status=1, error_code="", error_message=""
        )
        return recorded

    with mock.patch.object(ProgressQuerySet, "record_failure", falsely):
        sound.sync()
    with pytest.raises(AssertionError, match=r"(?m)^I1 row .* is None, not"):
        unsettled(sound)


def test_a_partition_that_is_skipped_is_found(sound: Export) -> None:
    """The table must stand still where it failed, and not go on behind it."""
    unapplied = ProgressQuerySet.unapplied

    def without_failed(self: ProgressQuerySet) -> ProgressQuerySet:
        return unapplied(self).exclude(copy_status=2)

    with mock.patch.object(ProgressQuerySet, "unapplied", without_failed):
        sound.sync()
    with pytest.raises(AssertionError, match=r"(?m)^I13 .* before it is not"):
        unsettled(sound)


def test_a_partition_that_is_never_tried_is_found(sound: Export) -> None:
    with pytest.raises(AssertionError, match=r"^I1 account is not done"):
        settled(sound)

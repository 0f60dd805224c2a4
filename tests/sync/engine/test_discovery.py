from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sync.engine.configs import edit_config
from sync.engine.discovery import look_once, poll_once
from sync.engine.locks import Namespace
from sync.errors import SourceError, TargetError
from sync.models import DataSyncProgress, Event, SyncPartition, SyncTable
from tests import snapshot
from tests.sync.conftest import Export, run_sql


def minutes_ago(minutes: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes)


def partitions(export: Export) -> dict[str, str]:
    found = SyncPartition.objects.filter(config=export.config)
    return dict(found.values_list("name", "state"))


@pytest.mark.fault(
    "S1",
    injected="an open folder beside a closed one",
    outcome="only the closed one is taken",
)
def test_a_closed_folder_is_ready_and_the_open_one_is_not_seen(export: Export) -> None:
    export.upsert("account", 1, name="Anna")
    closed = export.close_folder()
    export.upsert("account", 2, name="Bert")

    poll = export.poll()

    assert [table.entity for table in poll.due] == ["account"]
    assert partitions(export) == {closed: "ready"}
    [row] = export.progress("account")
    assert (row.partition, row.copy_status, row.attempts) == (closed, 0, 0)
    assert row.bytes > 0


def test_polling_again_changes_nothing(export: Export) -> None:
    export.upsert("account", 1, name="Anna")
    export.close_folder()
    export.poll()
    before = list(SyncPartition.objects.values())

    export.poll()

    assert list(SyncPartition.objects.values()) == before
    assert DataSyncProgress.objects.count() == 1


def test_a_table_without_rows_gets_its_table(export: Export) -> None:
    export.table("lead", ["topic:string"])
    export.close_folder()

    poll = export.poll()

    assert poll.due == []
    assert export.rows("lead", "topic") == []


def test_a_column_added_without_rows_reaches_the_table(export: Export) -> None:
    export.table("lead", ["topic:string"])
    export.close_folder()
    export.poll()
    export.add_column("lead", "new_score:int64")
    export.close_folder()

    export.poll()

    assert export.rows("lead", "new_score") == []


def test_only_selected_tables_are_made(export: Export) -> None:
    export.config.include = ["ACC*", "lead"]
    export.config.exclude = ["account2"]
    export.config.save(update_fields=["include", "exclude"])
    for name in ("account", "account2", "contact", "lead"):
        export.upsert(name, 1, name="x")
    export.close_folder()

    poll = export.poll()

    assert [table.entity for table in poll.due] == ["account", "lead"]
    made = SyncTable.objects.exclude(columns=[])
    assert set(made.values_list("entity", flat=True)) == {"account", "lead"}
    followed = SyncTable.objects.filter(followed=True)
    assert set(followed.values_list("entity", flat=True)) == {"account", "lead"}


@pytest.mark.fault(
    "S2",
    injected="a closed folder without model.json",
    outcome="it waits, and nothing overtakes it",
)
@pytest.mark.parametrize("model", ["missing", "empty"])
def test_a_folder_without_a_model_waits_and_holds_back_later_ones(
    make_export: Callable[..., Export], model: str
) -> None:
    export = make_export(start=minutes_ago(30))
    export.upsert("account", 1, name="Anna")
    first = export.close_folder(model=model)  # type: ignore[arg-type]
    export.upsert("account", 1, name="Berta")
    second = export.close_folder()

    poll = export.poll()

    assert poll.due == []
    assert [name for name, _ in poll.waiting] == [first, second]
    assert "model.json" in poll.waiting[0][1]
    assert partitions(export) == {first: "waiting", second: "waiting"}

    export.deliver_model()
    poll = export.poll()
    assert poll.waiting == []
    assert partitions(export) == {first: "ready", second: "ready"}


@pytest.mark.fault(
    "S8", injected="an old empty folder", outcome="skipped, with the reason"
)
@pytest.mark.fault(
    "C4", injected="an old empty folder", outcome="skipped, with the reason"
)
def test_an_old_empty_folder_is_skipped_with_its_reason(export: Export) -> None:
    name = export.close_folder(model="missing")
    (export.root / name).mkdir(exist_ok=True)

    export.poll()

    partition = SyncPartition.objects.get(name=name)
    assert partition.state == "skipped"
    assert "retry" in partition.reason
    event = Event.objects.get(kind="partition_skipped")
    assert (event.partition, event.level) == (name, "warning")


@pytest.mark.fault("C4", injected="a young empty folder", outcome="waits")
def test_a_young_empty_folder_waits(make_export: Callable[..., Export]) -> None:
    export = make_export(start=minutes_ago(10))
    name = export.close_folder(model="missing")
    (export.root / name).mkdir(exist_ok=True)

    assert [waiting for waiting, _ in export.poll().waiting] == [name]


@pytest.mark.fault(
    "S1", injected="the marker goes back", outcome="refused, with a remedy"
)
def test_a_marker_that_goes_back_is_refused(export: Export) -> None:
    export.upsert("account", 1, name="Anna")
    first = export.close_folder()
    export.close_folder()
    export.poll()
    (export.root / "Changelog" / "changelog.info").write_text(first)

    with pytest.raises(SourceError, match="went back") as caught:
        export.poll()
    assert caught.value.code == "marker_unusable"


@pytest.mark.fault(
    "S1", injected="the marker is absent, empty or no folder", outcome="refused"
)
@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "not_an_export"), ("", "marker_unusable"), ("soon", "marker_unusable")],
)
def test_an_unusable_marker_is_refused(
    export: Export, content: str | None, code: str
) -> None:
    marker = export.root / "Changelog" / "changelog.info"
    marker.unlink()
    if content is not None:
        marker.write_text(content)

    with pytest.raises(SourceError) as caught:
        export.poll()
    assert caught.value.code == code


@pytest.mark.fault(
    "F56",
    injected="the export's directory is gone",
    outcome="the whole sync fails for now",
)
def test_a_location_that_is_gone_is_unreadable(export: Export) -> None:
    shutil.rmtree(export.root)
    with pytest.raises(SourceError) as caught:
        export.poll()
    assert caught.value.code == "source_unreadable"
    assert str(export.root) in str(caught.value)


@pytest.mark.fault(
    "F45",
    injected="a folder that appears after later ones were applied",
    outcome="applied; newer rows stay; said in an event",
)
def test_a_late_folder_is_applied_and_said(make_export: Callable[..., Export]) -> None:
    export = make_export(synapse_log=False)  # else the folder counts as lost till then
    export.upsert("account", 1, name="new", version=5)
    export.close_folder()
    older = export.folder.name
    export.upsert("account", 1, name="newer", version=6)
    export.upsert("account", 2, name="only here", version=6)
    export.close_folder()
    export.upsert("account", 1, name="newest", version=7)
    export.close_folder()
    hidden = export.root.parent / older
    (export.root / older).rename(hidden)
    export.load("account")
    hidden.rename(export.root / older)

    export.load("account")

    assert export.rows("account", "name") == [("newest",), ("only here",)]
    assert Event.objects.filter(kind="partition_late", partition=older).exists()


def test_a_relation_in_the_way_is_not_touched(export: Export) -> None:
    run_sql(f'CREATE SCHEMA "{export.config.schema_name}"')
    run_sql(f'CREATE TABLE "{export.config.schema_name}".lead (mine text)')
    export.table("lead", ["topic:string"])
    export.close_folder()

    poll = export.poll()

    [(table, error)] = poll.failures
    assert (table.entity, error.code) == ("lead", "name_taken")
    assert isinstance(error, TargetError)


@pytest.mark.fault(
    "F53",
    injected="tables named alike but for case, or in the first 63 bytes",
    outcome="distinct, stable names",
)
@pytest.mark.fault(
    "C22", injected="tables that differ in case only", outcome="distinct, stable names"
)
def test_colliding_names_get_distinct_stable_tables(export: Export) -> None:
    long = "new_" + "x" * 80
    for name in ("Account", "account", long + "a", long + "b"):
        export.upsert(name, 1, name=name)
    export.close_folder()
    export.sync()
    names = dict(SyncTable.objects.values_list("entity", "target_name"))
    assert len(set(names.values())) == 4
    assert all(len(name.encode()) <= 63 for name in names.values())

    for name in names:
        export.upsert(name, 2, name=name)
    export.close_folder()
    export.sync()

    assert dict(SyncTable.objects.values_list("entity", "target_name")) == names
    for name in names:
        assert export.rows(name, "name") == [(name,), (name,)]


def test_an_entity_without_a_key_is_refused_by_name(export: Export) -> None:
    export.table("lead", ["topic:string", "ID2:guid", "id3:guid"])
    export.tables["lead"].columns = export.tables["lead"].columns[1:]
    export.close_folder()

    [(_, error)] = export.poll().failures

    assert error.code == "unsupported_entity"
    assert "lead" in error.message


@pytest.mark.fault(
    "F70", injected="four polls at once", outcome="everything recorded once"
)
def test_simultaneous_polls_record_everything_once(export: Export) -> None:
    from threading import Barrier, Thread

    from django.db import connections

    for number in range(3):
        export.upsert("account", number, name="x")
        export.upsert("contact", number, name="x")
        export.close_folder()
    barrier = Barrier(4)
    failures: list[BaseException] = []

    def poll() -> None:
        try:
            barrier.wait()
            poll_once(export.config)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert DataSyncProgress.objects.count() == 6
    assert SyncPartition.objects.count() == 3
    assert Event.objects.filter(kind="table_created").count() == 2


@pytest.mark.parametrize("path", [b"contact/2026\xff.csv", b"tab\xff/1.csv"])
def test_a_name_that_is_no_text_harms_its_own_table_only(
    export: Export, path: bytes
) -> None:
    export.upsert("account", 1, name="a")
    export.upsert("contact", 1, name="a")
    odd = os.fsencode(export.root / export.folder.name) + b"/" + path
    Path(os.fsdecode(odd)).parent.mkdir(exist_ok=True)
    Path(os.fsdecode(odd)).write_bytes(b"x")
    export.close_folder()

    results = export.sync()

    assert results["account"].status == "success"
    if path.startswith(b"contact"):
        assert results["contact"].error is not None
        assert results["contact"].error.code == "unsafe_path"
    else:
        assert Event.objects.filter(kind="source_note", message__contains="tab")


@pytest.mark.fault(
    "F19",
    injected="a lock time-out of 1 ms and other defaults of the role",
    outcome="no influence",
)
@pytest.mark.parametrize(
    "setting",
    [
        "datestyle = 'german'",
        "array_nulls = off",
        "default_transaction_isolation = 'repeatable read'",
        "timezone = 'Asia/Kathmandu'",
        "standard_conforming_strings = off",
        "lock_timeout = '1ms'",
    ],
)
def test_defaults_of_the_role_do_not_matter(export: Export, setting: str) -> None:
    export.upsert("account", 1, name="a\\b", createdon="2026-05-25T16:21:09Z")
    export.close_folder()
    with role_default(setting):
        assert export.sync()["account"].status == "success"
        [(name, createdon)] = export.rows("account", "name", "createdon")
    assert name == "a\\b"
    assert createdon == datetime(2026, 5, 25, 16, 21, 9, tzinfo=UTC)


@pytest.mark.fault(
    "F19",
    injected="a lock time-out of 1 ms, and another session with dvsync's own lock",
    outcome="the lock is waited for",
)
def test_a_lock_of_dvsync_is_waited_for_whatever_the_role_says(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    with role_default("lock_timeout = '1ms'"), snapshot.connect() as other:
        other.autocommit = False
        lock = "SELECT pg_advisory_xact_lock(%s, %s)"
        other.execute(lock, [Namespace.CONFIG, export.config.pk])
        release = threading.Timer(0.5, other.rollback)
        release.start()
        try:
            results = export.sync()
        finally:
            release.join()
    assert results["account"].status == "success"


@pytest.mark.parametrize("name", ["idle_session_timeout", "lock_timeout"])
def test_no_default_of_the_role_ends_what_takes_its_time(
    transactional_db: None, name: str
) -> None:
    with role_default(f"{name} = '1min'"):
        assert run_sql(f"SHOW {name}") == [("0",)]


@contextmanager
def role_default(setting: str) -> Iterator[None]:
    """Give the tests' role a default, in this test's database alone."""
    [(name,)] = run_sql("SELECT current_database()")
    role = f'ALTER ROLE CURRENT_USER IN DATABASE "{name}"'
    run_sql(f"{role} SET {setting}")
    connection.close()
    try:
        yield
    finally:
        run_sql(f"{role} RESET ALL")
        connection.close()


def test_an_entity_named_by_digits_has_its_sizes_watched(export: Export) -> None:
    export.upsert("2026", 1, name="a")
    folder = export.close_folder()
    export.poll()
    path = export.root / folder / "2026" / "2026.csv"
    path.write_bytes(path.read_bytes() * 2)
    result = export.sync()["2026"]
    assert result.error is not None
    assert result.error.code == "file_changed"


# The quiet look.


def quiet(export: Export) -> bool:
    """Look at the export and say whether it was the cheap look."""
    with CaptureQueriesContext(connection) as queries:
        look_once(export.config)
    return len(queries) == 1


def test_an_export_in_which_nothing_happened_costs_one_query(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    assert not quiet(export)
    assert quiet(export)
    before = export.config.checked_at
    assert quiet(export)
    assert export.config.checked_at is not None
    assert before is not None
    assert export.config.checked_at > before


def test_a_new_folder_ends_the_quiet(export: Export) -> None:
    export.poll()
    assert quiet(export)
    export.upsert("account", 1)
    export.close_folder()
    assert not quiet(export)
    assert len(export.progress("account")) == 1


def test_a_folder_that_is_gone_ends_the_quiet(export: Export) -> None:
    export.upsert("account", 1)
    name = export.close_folder()
    export.poll()
    assert quiet(export)
    shutil.rmtree(export.root / name)
    assert not quiet(export)
    assert export.entity("account").state == SyncTable.State.PARKED


def test_a_folder_that_waits_is_looked_at_every_time(export: Export) -> None:
    export.upsert("account", 1)
    began = export.opened_at
    export.close_folder(model="missing", gap=minutes_ago(1) - began)
    assert not quiet(export)
    assert not quiet(export)
    assert list(partitions(export).values()) == ["waiting"]


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_another_selection_ends_the_quiet(export: Export, field: str) -> None:
    export.upsert("account", 1)
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    assert quiet(export)
    setattr(export.config, field, ["account"])
    export.config.save()
    assert not quiet(export)
    assert quiet(export)


def test_a_new_table_that_is_wanted_ends_the_quiet(export: Export) -> None:
    export.config.new_tables = "ask"
    export.config.save()
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    export.upsert("contact", 1)
    export.close_folder()
    export.poll()
    assert quiet(export)
    edit_config(export.config, {}, accept=[export.entity("contact")])
    export.config.refresh_from_db()
    assert not quiet(export)
    assert len(export.progress("contact")) == 1


def test_all_is_looked_at_again_after_ten_minutes(export: Export) -> None:
    export.poll()
    assert quiet(export)
    with time_machine.travel(timezone.now() + timedelta(minutes=11), tick=True):
        assert not quiet(export)


def test_an_export_that_failed_is_not_quiet(export: Export) -> None:
    export.poll()
    export.config.record_problem(SourceError("source_unreadable", "for a moment"))
    assert not quiet(export)
    assert export.config.error_code == ""


def test_a_look_without_time_takes_one_folder_and_the_next_goes_on(
    export: Export,
) -> None:
    for number in range(4):
        export.upsert("account", number)
        export.close_folder()
    for known in range(1, 5):
        look_once(export.config, seconds=0)
        names = [row.partition for row in export.progress("account")]
        assert names == sorted(partitions(export))
        assert len(names) == known
    assert not export.config.partitions.exclude(state="ready").exists()
    export.sync()
    assert len(export.rows("account", "id")) == 4

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from sync import faultpoints
from sync.engine.backlogs import _TABLES
from sync.engine.decisions import approve_deletes
from sync.engine.load import sync_table
from sync.engine.overview import Overview, SyncStatus, TableStatus, overview
from sync.engine.states import (
    Clock,
    State,
    SyncFacts,
    TableFacts,
    Trouble,
    Unapplied,
    Verdict,
    judge_sync,
    judge_table,
)
from sync.engine.switches import explain_pause, pause, resume
from sync.errors import PROBLEMS, SourceError, TargetError
from sync.models import (
    DataSyncProgress,
    SyncConfig,
    SyncPartition,
    SyncTable,
)
from tests.catalogue.steps import FILE, ago, configure, line
from tests.elsewhere import elsewhere
from tests.sync.conftest import Export, run_sql

MakeExport = Callable[..., Export]
HUGE = timedelta(days=1)


@pytest.fixture
def export(make_export: MakeExport) -> Export:
    """Return an export whose folders were closed just now."""
    return make_export(start=ago(seconds=100), step=timedelta(seconds=10))


def status(export: Export) -> SyncStatus:
    [found] = overview([export.config.name]).syncs
    return found


def of(export: Export, entity: str = "account") -> TableStatus:
    return next(t for t in status(export).tables if t.table.entity == entity)


def write(export: Export, key: int = 1, entity: str = "account") -> str:
    export.upsert(entity, key, name="a")
    return export.close_folder()


def loaded(export: Export, entity: str = "account") -> None:
    write(export, entity=entity)
    export.load(entity)


def spoil(export: Export, entity: str = "account") -> str:
    """Close a folder with a row that cannot be read."""
    export.table(entity)
    export.raw(entity, FILE, line(1, '"x"', "no number") + b"\n")
    return export.close_folder()


def keep(export: Export, **values: Any) -> None:
    SyncTable.objects.filter(config=export.config).update(**values)


# Each word, by what really happens


def test_an_empty_export_waits_for_its_first_folder(export: Export) -> None:
    export.poll()
    found = status(export)
    assert found.state == "waiting for the first data"
    assert found.tables == []
    assert found.applied_through == ""


def test_a_loaded_sync_is_healthy_and_says_through_which_folder(
    export: Export,
) -> None:
    loaded(export)
    last = write(export, 2, "contact")
    export.load("contact")

    found = status(export)

    assert (found.state, found.counts) == ("healthy", {"healthy": 2})
    assert found.applied_through == last
    assert found.config.checked_at is not None
    assert (found.lag, found.backlog_partitions) == (timedelta(), 0)
    assert of(export).verdict == Verdict(State.HEALTHY)


def test_a_backlog_has_a_lag_and_is_not_late_at_once(export: Export) -> None:
    loaded(export)
    write(export, 2)
    write(export, 3)
    export.poll()

    found = of(export)

    assert found.state == "healthy"
    assert found.backlog.partitions == 2
    assert found.backlog.bytes > 0
    assert found.lag > timedelta(seconds=50)


def test_a_table_is_late_when_a_folder_stays_too_long(export: Export) -> None:
    loaded(export)
    folder = write(export, 2)
    export.poll()
    with time_machine.travel(timezone.now() + timedelta(minutes=12)):
        export.poll()
        found = of(export)
        assert found.state == "late"
        assert f"{folder} is not applied, 1" in found.verdict.reason
        assert status(export).state == "late"


def test_a_folder_that_waits_is_shown_with_its_reason(export: Export) -> None:
    loaded(export)
    export.upsert("account", 2, name="b")
    folder = export.close_folder(model="missing")
    export.poll()

    found = status(export)

    [(name, reason)] = found.waiting
    assert (name, found.waiting_folders) == (folder, 1)
    assert reason
    assert found.state == "healthy"


def test_a_table_that_is_loaded_for_the_first_time_is_not_late(
    make_export: MakeExport,
) -> None:
    old = make_export()  # its folders are months old
    old.upsert("account", 1, name="a")
    old.close_folder()
    old.poll()
    assert of(old).state == "syncing"  # dvsync itself came late
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert of(old).state == "late"
    looks: list[TableStatus] = []
    with faultpoints.armed(
        "staging_created", action=lambda: looks.append(elsewhere(lambda: of(old)))
    ):
        old.load("account")

    [found] = looks
    assert found.state == "syncing"
    assert found.running is not None
    assert found.running.table_id == found.table.pk
    assert of(old).state == "healthy"


def test_a_late_table_stays_late_while_it_is_loaded(make_export: MakeExport) -> None:
    old = make_export()
    loaded(old)
    write(old, 2)
    old.poll()
    looks: list[TableStatus] = []
    with faultpoints.armed(
        "staging_created", action=lambda: looks.append(elsewhere(lambda: of(old)))
    ):
        sync_table(old.entity("account"))
    assert [found.state for found in looks] == ["late"]


def test_a_sync_is_syncing_while_one_of_its_tables_is(export: Export) -> None:
    loaded(export)
    write(export, 2)
    export.poll()
    looks: list[SyncStatus] = []
    with faultpoints.armed(
        "rows_inserted", action=lambda: looks.append(elsewhere(lambda: status(export)))
    ):
        sync_table(export.entity("account"))
    [found] = looks
    assert found.state == "syncing"
    assert found.tables[0].running is not None
    assert found.tables[0].running.phase == "merge"


def test_a_table_whose_load_is_tried_again_is_failing(export: Export) -> None:
    folder = spoil(export)
    export.sync()

    found = of(export)

    assert found.state == "failing"
    assert f"attempt 1 of {folder} failed; the next one is in" in found.verdict.reason
    assert found.verdict.error is not None
    assert found.verdict.error.code == "bad_value"
    assert found.verdict.remedy == PROBLEMS["bad_value"].remedy
    assert status(export).state == "failing"


def test_a_parked_table_needs_action_and_names_the_command(export: Export) -> None:
    configure(export, name="sales o'neill")
    folder = spoil(export)
    for _ in range(3):
        export.sync()

    found = of(export)

    assert found.table.state == "parked"
    assert found.state == "action required"
    assert found.verdict.reason == f"waits for a person, at {folder}"
    assert found.verdict.error is not None
    assert found.verdict.remedy.endswith(
        """manage.py retrysync 'sales o'"'"'neill' account"""
    )
    assert found.backlog.given_up is not None
    assert found.backlog.given_up.attempts == 3


def test_one_parked_table_makes_its_sync_need_action(export: Export) -> None:
    loaded(export, "contact")
    spoil(export)
    for _ in range(3):
        export.sync()

    found = status(export)

    assert found.counts == {"action required": 1, "healthy": 1}
    assert [t.table.entity for t in found.tables] == ["account", "contact"]
    assert found.state == "action required"
    assert found.verdict.reason == "a table needs a person"


def test_a_held_table_needs_an_approval_and_then_only_time(export: Export) -> None:
    export.table("account", ["name"])
    keys = range(1, 1101)
    rows = [line(key, '"x"') for key in keys]
    export.raw("account", FILE, b"\n".join([*rows, b""]))
    export.close_folder()
    export.load("account")
    rows = [line(key, '"x"', version=2, delete="True") for key in keys]
    export.raw("account", FILE, b"\n".join([*rows, b""]))
    export.close_folder()
    export.sync()

    assert of(export).state == "action required"
    approve = f"manage.py approvedeletes {export.config.name} account"
    assert of(export).verdict.remedy.endswith(approve)
    approve_deletes(export.entity("account"))
    assert of(export).state == "healthy"


def test_a_lost_folder_needs_a_decision(export: Export) -> None:
    loaded(export)
    folder = write(export, 2)
    write(export, 3)
    export.poll()
    for path in sorted((export.root / folder).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (export.root / folder).rmdir()
    export.poll()

    found = of(export)

    assert found.state == "action required"
    assert found.verdict.error is not None
    assert found.verdict.error.code == "history_lost"
    name = export.config.name
    assert f"manage.py acceptloss {name} --table account" in found.verdict.remedy
    assert f"manage.py refreshtable {name} account" in found.verdict.remedy


def test_a_new_table_waits_for_a_yes(export: Export) -> None:
    loaded(export)
    configure(export, new_tables="ask")
    write(export, entity="contact")
    export.sync()

    found = of(export, "contact")

    assert found.state == "action required"
    add = f"manage.py editsync {export.config.name} --add-table contact"
    assert found.verdict.remedy == add


def test_a_table_that_needs_a_refresh_says_why(export: Export) -> None:
    loaded(export)
    export.entity("account").need_refresh("the source copied it anew")
    found = of(export)
    assert found.verdict.reason == "the source copied it anew"
    refresh = f"manage.py refreshtable {export.config.name} account"
    assert (found.state, found.verdict.remedy) == ("action required", refresh)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("name_taken", "action required"),
        ("table_locked", "failing"),
        ("of a later version", "failing"),
    ],
)
def test_a_table_that_cannot_be_made_says_so(
    export: Export, code: str, state: str
) -> None:
    loaded(export)
    keep(export, error_code=code, error_message="is a view", error_remedy="Drop it.")
    found = of(export)
    assert found.state == state
    assert found.verdict.error is not None
    assert found.verdict.error.message == "is a view"
    assert found.verdict.remedy.startswith("Drop it.")


def test_a_paused_table_is_paused_whatever_else_is_wrong(export: Export) -> None:
    spoil(export)
    loaded(export, "contact")
    export.sync()
    SyncTable.objects.filter(entity="account").update(state="paused")
    found = of(export)
    resume = f"manage.py resumesync {export.config.name} account"
    assert (found.state, found.verdict.remedy) == ("paused", resume)
    assert status(export).state == "healthy"


def test_a_sync_of_which_all_tables_are_paused_is_paused(export: Export) -> None:
    loaded(export)
    keep(export, state="paused")
    assert status(export).state == "paused"


def test_a_paused_sync_says_since_when_and_by_whom(export: Export) -> None:
    for minutes, by in ((9, "anna"), (5, "ben")):
        resume(export.config, by=by)
        with time_machine.travel(timezone.now() - timedelta(minutes=minutes)):
            pause(export.config, by=by)
    assert status(export).verdict.reason == "paused 5 min ago by ben"
    export.config.events.all().delete()
    assert status(export).verdict.reason == "somebody paused it"


def test_a_paused_sync_says_why(export: Export) -> None:
    pause(export.config, by="ben", reason="upgrade of Dataverse")
    said = "paused 0 s ago by ben: upgrade of Dataverse"
    assert status(export).verdict.reason == said
    explain_pause(export.config, "a move", by="eve")
    assert status(export).verdict.reason == "paused 0 s ago by ben; eve says: a move"


def test_a_paused_sync_and_its_tables_are_paused(export: Export) -> None:
    loaded(export)
    configure(export, paused=True)
    with time_machine.travel(timezone.now() + HUGE):
        found = status(export)
    assert found.state == "paused"
    assert found.verdict.remedy == f"manage.py resumesync {export.config.name}"
    assert found.counts == {"paused": 1}


@pytest.mark.parametrize("ever", [True, False], ids=["once", "never"])
def test_a_sync_that_nobody_looks_at_is_late(export: Export, ever: bool) -> None:
    if ever:
        loaded(export)
    with time_machine.travel(timezone.now() + timedelta(minutes=12)):
        found = status(export)
    assert found.state == "late"
    assert (
        found.verdict.reason == "not checked for 12 min: is the poll cluster running?"
    )


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SourceError("source_unreadable", "no such directory"), "failing"),
        (SourceError("not_an_export", "no marker"), "action required"),
        (TargetError("database_conflict", "again"), "failing"),
    ],
    ids=str,
)
def test_an_export_that_cannot_be_read_concerns_the_sync(
    export: Export, error: SourceError | TargetError, state: str
) -> None:
    loaded(export)
    export.config.record_problem(error)
    found = status(export)
    assert found.state == state
    assert found.verdict.error is not None
    assert found.verdict.error.code == error.code
    assert found.counts == {"healthy": 1}
    export.config.record_problem(None)
    assert status(export).state == "healthy"


def test_rows_set_aside_are_counted_and_are_no_state(export: Export) -> None:
    configure(export, bad_rows="quarantine")
    loaded(export)
    spoil(export)
    export.sync()
    found = of(export)
    assert (found.state, found.quarantined) == ("healthy", 1)


def test_tables_that_are_not_selected_are_not_told(export: Export) -> None:
    loaded(export)
    write(export, entity="contact")
    export.poll()
    configure(export, exclude=["CONT*"])
    found = status(export)
    assert [t.table.entity for t in found.tables] == ["account"]
    assert found.backlog_partitions == 0


def test_the_worst_sync_comes_first(make_export: MakeExport) -> None:
    good, bad = (make_export(start=ago(seconds=60)) for _ in range(2))
    good.poll()
    bad.poll()
    bad.config.record_problem(SourceError("source_unreadable", "gone"))
    names = [sync.config.name for sync in overview().syncs]
    assert names == [bad.config.name, good.config.name]


def test_after_a_failure_further_on_the_first_folder_counts(export: Export) -> None:
    """The table stands before the folder that failed, and shows that error."""
    write(export)
    bad = spoil(export)
    write(export, 3)
    export.sync()
    found = of(export)
    assert found.backlog.partitions == 2
    assert found.backlog.first is not None
    assert found.backlog.first.partition == bad
    assert found.state == "failing"


# The cost


def grown(tables: int, partitions: int) -> SyncConfig:
    """Return a sync of so many tables with as many partitions, half of them pending."""
    config = SyncConfig.objects.create(
        name="grown", location="/", schema_name="grown", checked_at=timezone.now()
    )
    start = datetime(2026, 3, 1, tzinfo=UTC)
    moments = [start + timedelta(minutes=n) for n in range(partitions)]
    SyncPartition.objects.bulk_create(
        SyncPartition(
            config=config,
            name=f"{moment:%Y-%m-%dT%H.%M.%SZ}",
            opened_at=moment,
            closed_at=moment + timedelta(minutes=1),
            state="ready",
        )
        for moment in moments
    )
    SyncTable.objects.bulk_create(
        SyncTable(config=config, entity=f"t{n}", target_name=f"t{n}")
        for n in range(tables)
    )
    DataSyncProgress.objects.bulk_create(
        DataSyncProgress(
            config=config,
            partition=f"{moment:%Y-%m-%dT%H.%M.%SZ}",
            table_name=f"t{n}",
            copy_status=int(number < partitions // 2),
            bytes=10,
        )
        for n in range(tables)
        for number, moment in enumerate(moments)
    )
    return config


def queries(tables: int) -> tuple[int, Overview]:
    config = grown(tables, 6)
    with CaptureQueriesContext(connection) as captured:
        found = overview()
    config.delete()
    return len(captured), found


@pytest.mark.django_db(transaction=True)
def test_the_number_of_queries_does_not_grow() -> None:
    one, _ = queries(1)
    fifty, found = queries(50)
    assert one == fifty <= 3
    assert found.syncs[0].backlog_partitions == 150
    assert {t.backlog.bytes for t in found.syncs[0].tables} == {30}


@pytest.mark.django_db(transaction=True)
def test_the_backlog_is_read_through_its_own_index() -> None:
    config = grown(2, 600)
    DataSyncProgress.objects.filter(partition__lt="2026-03-01T09.55").update(
        copy_status=1
    )
    run_sql("ANALYZE data_sync_progress")
    with connection.cursor() as cursor:
        wanted = {"configs": [config.pk], "running": [], "table": None, "sized": False}
        cursor.execute(f"EXPLAIN {_TABLES}", wanted)
        plan = str(cursor.fetchall())
    assert "progress_backlog" in plan


# The order of the rules

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOCK = Clock(NOW, timedelta(minutes=5))
TROUBLES = st.builds(
    Trouble, st.sampled_from([*PROBLEMS, "later"]), st.text(), st.text(), st.text()
)
UNAPPLIED = st.builds(
    Unapplied,
    st.sampled_from(["p1", "p2"]),
    st.sampled_from([NOW - HUGE, NOW - timedelta(seconds=10), NOW + HUGE]),
    st.integers(0, 5),
    st.none() | st.sampled_from([NOW - HUGE, NOW + HUGE]),
    st.none() | TROUBLES,
)
TABLE_FACTS = st.builds(
    TableFacts,
    sync=st.text(),
    entity=st.text(),
    kept=st.sampled_from(SyncTable.State),
    sync_paused=st.booleans(),
    ever_loaded=st.booleans(),
    refresh_reason=st.sampled_from(["", "why"]),
    approved_partition=st.sampled_from(["", "p1"]),
    error=st.none() | TROUBLES,
    first=st.none() | UNAPPLIED,
    given_up=st.none() | UNAPPLIED.filter(lambda row: row.given_up),
    running=st.booleans(),
)


def expected(facts: TableFacts) -> str:
    """Return the word as docs/states.md orders them."""
    first, waits = facts.first, facts.given_up
    error, tried_again = facts.error, first and first.error and first.next_attempt_at
    late = first and NOW - first.closed_at > CLOCK.late_after
    order: list[tuple[str, object]] = [
        ("paused", facts.sync_paused or facts.kept == "paused"),
        ("action required", facts.kept in {"parked", "held", "new"}),
        ("action required", facts.refresh_reason),
        ("action required", error and error.permanent),
        ("action required", waits and waits.partition != facts.approved_partition),
        ("failing", error or tried_again),
        ("late", late and (facts.ever_loaded or not facts.running)),
        ("syncing", facts.running),
    ]
    return next((word for word, holds in order if holds), "healthy")


@given(TABLE_FACTS)
def test_every_table_has_a_state_by_the_order_of_the_rules(facts: TableFacts) -> None:
    verdict = judge_table(facts, CLOCK)
    assert verdict.state == expected(facts)
    if verdict.state in {"action required", "paused"}:
        assert "manage.py " in verdict.remedy
    if verdict.state not in {"healthy", "syncing"}:
        assert verdict.reason


@given(
    st.builds(
        SyncFacts,
        sync=st.text(),
        paused=st.booleans(),
        created_at=st.none() | st.sampled_from([NOW, NOW - HUGE]),
        checked_at=st.none() | st.sampled_from([NOW, NOW - HUGE, NOW + HUGE]),
        any_ready=st.booleans(),
        error=st.none() | TROUBLES,
    ),
    st.lists(st.sampled_from(State)),
)
def test_every_sync_has_a_state_no_better_than_its_worst_table(
    facts: SyncFacts, tables: list[State]
) -> None:
    verdict = judge_sync(facts, tables, CLOCK)
    order = list(State)
    if facts.paused:
        assert verdict.state is State.PAUSED
        return
    active = [state for state in tables if state is not State.PAUSED]
    assert all(order.index(verdict.state) <= order.index(state) for state in active)
    if verdict.state is State.PAUSED:
        assert tables
        assert not active
    if facts.error:
        assert verdict.state in {State.ACTION_REQUIRED, State.FAILING}


def test_names_that_a_shell_would_take_apart_are_quoted() -> None:
    facts = TableFacts("a b", "x'y", kept="new")
    remedy = judge_table(facts, CLOCK).remedy
    assert remedy == """manage.py editsync 'a b' --add-table 'x'"'"'y'"""

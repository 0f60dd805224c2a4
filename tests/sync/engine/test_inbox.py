"""One cause is one group; what somebody has seen reminds nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import product
from typing import Any
from unittest import mock

import pytest
import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from sync.engine import alerts, inbox, switches
from sync.engine.alarms import look_after_alerts
from sync.engine.alerts import Alarm, deliver, review
from sync.engine.configs import edit_config
from sync.engine.inbox import Group
from sync.engine.overview import overview
from sync.engine.states import State
from sync.models import (
    DataSyncProgress,
    Event,
    Incident,
    SyncConfig,
    SyncPartition,
    SyncTable,
)
from tests import receivers
from tests.sync.conftest import Export

pytestmark = pytest.mark.django_db(transaction=True)


def make_sync(name: str, tables: Iterable[str]) -> SyncConfig:
    config = SyncConfig.objects.create(
        name=name, location="/x", schema_name=name, checked_at=timezone.now()
    )
    now = timezone.now()
    config.partitions.create(name="f", opened_at=now, closed_at=now, state="ready")
    for entity in tables:
        SyncTable.objects.create(config=config, entity=entity, target_name=entity)
    return config


@pytest.fixture
def sales() -> SyncConfig:
    return make_sync("sales", ["account", "contact", "lead"])


def spoil(config: SyncConfig, table: str, column: str = "name", **values: Any) -> None:
    """Let a table be as after a load that was given up, or ``values`` say else."""
    wanted = {
        "copy_status": 2,
        "attempts": 3,
        "finished_at": timezone.now(),
        "error_code": "bad_row",
        "error_message": f"{table} has a bad row",
        "error_where": f"f/{table}/2026.csv, line 3, column {column}",
    } | values
    DataSyncProgress.objects.update_or_create(
        config=config, partition="f", table_name=table, defaults=wanted
    )
    if "next_attempt_at" not in values:
        config.tables.get(entity=table).park()


def soon() -> dict[str, Any]:
    return {"next_attempt_at": timezone.now() + timedelta(minutes=1)}


def groups() -> list[Group]:
    return inbox.groups(overview())


def entities() -> list[list[str]]:
    """Return the tables of each group; "" is the sync itself."""
    return [
        [item.table.entity if item.table else "" for item in group.items]
        for group in groups()
    ]


def incident(table: str) -> Incident:
    return Incident.objects.get(table_name=table, closed_at=None)


def acknowledge(*incidents: Incident, by: str = "bob") -> int:
    first = incidents[0]
    numbers = [one.pk for one in incidents]
    return inbox.acknowledge(numbers, first.kind, first.code, by=by)


def test_tables_with_the_same_error_in_the_same_column_are_one_group(
    sales: SyncConfig,
) -> None:
    service = make_sync("service", ["account"])
    for config, table in ((service, "account"), (sales, "contact"), (sales, "account")):
        spoil(config, table)
    look_after_alerts()
    [group] = groups()
    found = [(item.config.name, item.table) for item in group.items]
    assert [(name, table and table.entity) for name, table in found] == [
        ("sales", "account"),
        ("sales", "contact"),
        ("service", "account"),
    ]
    assert (group.syncs, group.kind) == (2, "action_required")
    assert group.card.place.column == "name"
    assert group.card.title == "A row does not fit its table"
    assert [table.entity for table in group.retriable] == [
        "account",
        "contact",
        "account",
    ]
    assert len(group.unseen) == 3


@pytest.mark.parametrize("other", ["column", "code", "state"])
def test_another_column_error_or_state_is_another_group(
    sales: SyncConfig, other: str
) -> None:
    differences: dict[str, dict[str, Any]] = {
        "column": {"column": "city"},
        "code": {"error_code": "bad_value"},
        "state": soon(),
    }
    spoil(sales, "account")
    spoil(sales, "contact", **differences[other])
    assert sorted(entities()) == [["account"], ["contact"]]


def test_the_gravest_comes_first_then_what_most_tables_have(sales: SyncConfig) -> None:
    service = make_sync("service", ["a", "b", "c"])
    spoil(service, "a", **soon())
    spoil(sales, "account", error_code="disk_full", **soon())
    spoil(sales, "contact", error_code="disk_full", **soon())
    spoil(sales, "lead")
    assert entities() == [["lead"], ["account", "contact"], ["a"]]


def test_the_first_of_a_cause_comes_before_the_last(sales: SyncConfig) -> None:
    spoil(sales, "contact")
    look_after_alerts()
    with time_machine.travel(timezone.now() + timedelta(minutes=2), tick=False):
        spoil(sales, "account")
        look_after_alerts()
        assert entities() == [["contact", "account"]]
        [group] = groups()
    times = sorted(Incident.objects.values_list("opened_at", flat=True))
    assert [one.opened_at for one in group.incidents] == times


def test_a_new_table_waits_for_a_word_and_for_no_retry(sales: SyncConfig) -> None:
    sales.tables.filter(entity="lead").update(state="new")
    look_after_alerts()
    [group] = groups()
    assert group.card.title == "A new table waits for a yes"
    assert group.retriable == []
    assert group.unseen == [incident("lead")]

    sales.tables.filter(entity="lead").update(state="active")
    spoil(sales, "lead", copy_status=0, error_code="", **soon())
    look_after_alerts()
    assert not incident("lead").closed_at, "it lasts until the table was loaded"
    assert groups() == []


def test_a_group_with_very_many_tables_is_done_in_parts(sales: SyncConfig) -> None:
    for table in ("account", "contact", "lead"):
        spoil(sales, table)
    look_after_alerts()
    with mock.patch.object(inbox, "MOST_AT_ONCE", 2):
        [group] = groups()
        assert (len(group.retriable), len(group.unseen)) == (2, 2)
        assert acknowledge(*group.unseen) == 2
        [group] = groups()
        assert [one.table_name for one in group.unseen] == ["lead"]


# The sync itself


def test_a_sync_that_cannot_be_read_is_told_beside_its_parked_table(
    sales: SyncConfig,
) -> None:
    spoil(sales, "account")
    SyncConfig.objects.update(
        error_code="source_unreadable", error_message="/x cannot be read"
    )
    found = {group.card.code: group for group in groups()}
    assert set(found) == {"bad_row", "source_unreadable"}
    [item] = found["source_unreadable"].items
    assert (item.table, item.config) == (None, sales)
    assert item.card.message == "/x cannot be read"
    assert not item.retriable


def test_a_sync_at_which_nobody_looks_is_told(sales: SyncConfig) -> None:
    long_ago = timezone.now() - timedelta(hours=2)
    SyncConfig.objects.update(checked_at=long_ago, created_at=long_ago)
    [group] = groups()
    assert (group.card.state, entities()) == (State.LATE, [[""]])
    assert "not checked for 2 h" in group.card.message
    SyncConfig.objects.update(paused=True)
    assert groups() == []


# Of real loads


def fail(export: Export) -> SyncTable:
    export.upsert("account", 1, name="good")
    export.raw("account", "2026.csv", b'"no guid","1/1/2026 1:00:00 AM"\n')
    export.close_folder()
    export.sync()
    return export.entity("account")


def test_a_first_failure_is_shown_before_anybody_is_told_of_it(export: Export) -> None:
    table = fail(export)
    look_after_alerts()
    [group] = groups()
    assert not Incident.objects.exists()
    [item] = group.items
    assert (item.table, item.incident) == (table, None)
    assert item.card.place.line == "2"
    assert item.card.next_attempt_at
    assert group.retriable == [table]
    assert not group.acknowledged
    assert not group.unseen


def test_its_incident_joins_it_and_lasts_until_the_table_was_loaded(
    export: Export,
) -> None:
    table = fail(export)
    DataSyncProgress.objects.update(attempts=3)
    look_after_alerts()
    [[item]] = [group.items for group in groups()]
    assert item.incident == incident("account")

    switches.retry(table, by="bob")
    for _ in range(2):
        [group] = groups()
        [item] = group.items
        assert (item.incident, item.table) == (incident("account"), table)
        assert item.card.state is State.SYNCING
        assert (group.kind, group.retriable, group.unseen) == ("", [], [])
        look_after_alerts()


@pytest.mark.parametrize("how", ["pause", "pause the sync", "leave out"])
def test_what_nobody_wants_to_be_loaded_is_not_wrong_at_once(
    export: Export, how: str
) -> None:
    table = fail(export)
    DataSyncProgress.objects.update(attempts=3)
    look_after_alerts()
    if how == "leave out":
        edit_config(export.config, {"exclude": ["account"]}, by="bob")
    else:
        switches.pause(table if how == "pause" else export.config, by="bob")
    assert groups() == []
    look_after_alerts()
    assert groups() == []
    assert [one.table_name for one, _ in inbox.ended()] == ["account"]


# Acknowledging


def test_an_acknowledged_error_is_no_news_and_stands_below(sales: SyncConfig) -> None:
    spoil(sales, "account")
    spoil(sales, "contact", **soon())
    look_after_alerts()
    assert inbox.count_unseen() == 2
    assert entities() == [["account"], ["contact"]]

    assert acknowledge(incident("account")) == 1

    assert inbox.count_unseen() == 1
    assert entities() == [["contact"], ["account"]]
    [event] = Event.objects.filter(kind="acknowledged")
    assert (event.config, event.table_name, event.message) == (
        sales,
        "account",
        "by bob",
    )
    seen = incident("account")
    assert (seen.acknowledged, seen.acknowledged_by) == (True, "bob")


def bad(config: SyncConfig, table: str = "account", **values: str) -> Alarm:
    wanted = {"kind": "failing", "code": "bad_row", "message": "m"} | values
    return Alarm(config.pk, table, **wanted)


def test_what_ended_or_was_seen_before_is_not_acknowledged(sales: SyncConfig) -> None:
    review([bad(sales), bad(sales, "contact")])
    both = list(Incident.objects.all())
    review([bad(sales, "contact")])
    assert acknowledge(*both) == 1
    assert acknowledge(*both, by="eve") == 0
    found = Incident.objects.values_list("table_name", "acknowledged_by")
    assert dict(found) == {"account": "", "contact": "bob"}


@pytest.mark.parametrize(
    "became", [{"code": "history_lost"}, {"kind": "action_required"}]
)
def test_what_became_another_error_is_not_acknowledged_as_the_old_one(
    sales: SyncConfig, became: dict[str, str]
) -> None:
    review([bad(sales)])
    as_shown = incident("account")
    review([bad(sales, **became)])
    assert acknowledge(as_shown) == 0
    assert inbox.count_unseen() == 1
    assert incident("account").acknowledged_by == ""
    assert not Event.objects.filter(kind="acknowledged")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ([{"message": "another text", "where": "elsewhere"}], True),
        ([{"kind": "late", "code": ""}], True),
        ([{"kind": "late", "code": ""}, {}], True),
        ([{"kind": "action_required"}], False),
        ([{"code": "disk_full"}], False),
        ([{"kind": "late", "code": ""}, {"code": "disk_full"}], False),
    ],
)
def test_only_what_gets_graver_or_has_another_cause_is_news_again(
    sales: SyncConfig, changes: list[dict[str, str]], kept: bool
) -> None:
    review([bad(sales)])
    acknowledge(incident("account"))
    for change in changes:
        review([bad(sales, **change)])
    assert (inbox.count_unseen() == 0) is kept
    assert incident("account").acknowledged is kept


def test_the_database_is_asked_for_the_same_as_the_model_says(
    sales: SyncConfig,
) -> None:
    kinds, codes = Incident.Kind.values, ("", "bad_row", "disk_full")
    for number, (kind, code, seen_kind, seen_code, at) in enumerate(
        product(kinds, codes, kinds, codes, (None, timezone.now()))
    ):
        Incident.objects.create(
            config=sales,
            table_name=str(number),
            kind=kind,
            code=code,
            acknowledged_at=at,
            acknowledged_kind=seen_kind if at else "",
            acknowledged_code=seen_code if at else "",
        )
    said = {one.pk for one in Incident.objects.all() if not one.acknowledged}
    assert set(Incident.objects.unseen().values_list("pk", flat=True)) == said
    assert 0 < len(said) < Incident.objects.count()


def test_a_poll_at_the_same_time_does_not_undo_it(sales: SyncConfig) -> None:
    review([bad(sales)])
    gravest = alerts._gravest

    def meanwhile(found: Iterable[Alarm]) -> Any:
        assert acknowledge(incident("account")) == 1
        return gravest(found)

    with mock.patch.object(alerts, "_gravest", meanwhile):
        review([bad(sales, message="another text")])
    seen = incident("account")
    assert (seen.acknowledged_by, seen.message) == ("bob", "another text")


def told(hook: receivers.Webhook) -> list[tuple[str, str]]:
    return [
        (one["event"], one["table"])
        for document in hook.documents
        for one in document["incidents"]
    ]


def test_no_reminder_is_sent_of_what_somebody_has_seen(
    sales: SyncConfig, hook: receivers.Webhook
) -> None:
    both = [bad(sales), bad(sales, "contact")]
    review(both)
    deliver()
    acknowledge(incident("account"))
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=True):
        review(both)
        deliver()
        review([])
        deliver()
    assert told(hook) == [
        ("opened", "account"),
        ("opened", "contact"),
        ("reminder", "contact"),
        ("recovered", "account"),
        ("recovered", "contact"),
    ]


def test_one_that_gets_graver_is_told_and_reminded_of_although_it_was_seen(
    sales: SyncConfig, hook: receivers.Webhook
) -> None:
    review([bad(sales)])
    deliver()
    acknowledge(incident("account"))
    review([bad(sales, kind="action_required")])
    deliver()
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=True):
        deliver()
    assert [event for event, _ in told(hook)] == ["opened", "opened", "reminder"]


def test_what_ended_lately_is_told_the_latest_first(sales: SyncConfig) -> None:
    now = timezone.now()
    for table, days in (("account", 1), ("contact", 0.5), ("lead", 8)):
        Incident.objects.create(
            config=sales,
            table_name=table,
            kind="failing",
            opened_at=now - timedelta(days=days, hours=3),
            closed_at=now - timedelta(days=days),
        )
    ended = inbox.ended()
    assert [table and table.entity for _, table in ended] == ["contact", "account"]
    assert [one.lasted for one, _ in ended] == [timedelta(hours=3)] * 2


def test_the_queries_do_not_grow_with_the_tables(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    names = [f"t{number}" for number in range(60)]
    service = make_sync("service", names)
    for name in names:
        spoil(service, name)
    look_after_alerts()
    seen = overview()
    with django_assert_num_queries(1):
        [group] = inbox.groups(seen)
        assert {item.table.label for item in group.items if item.table} == {
            f"service.{name}" for name in names
        }
        numbers = [one.pk for one in group.unseen]
    # Begin, read and lock, two writes, end.
    with django_assert_num_queries(5):
        assert inbox.acknowledge(numbers, "action_required", "bad_row", by="bob") == 60
    assert SyncPartition.objects.count() == 1

"""One cause is one group; what somebody has seen reminds nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from sync.engine import inbox, switches
from sync.engine.alarms import look_after_alerts
from sync.engine.alerts import Alarm, deliver, review
from sync.engine.inbox import Group
from sync.engine.overview import overview
from sync.errors import SourceError
from sync.models import (
    DataSyncProgress,
    Event,
    Incident,
    Notice,
    Receiver,
    SyncConfig,
    SyncTable,
)
from tests import receivers
from tests.sync.conftest import Export

pytestmark = pytest.mark.django_db(transaction=True)


def make_sync(name: str, tables: Iterable[str]) -> SyncConfig:
    config = SyncConfig.objects.create(name=name, location="/x", schema_name=name)
    for entity in tables:
        SyncTable.objects.create(config=config, entity=entity, target_name=entity)
    return config


@pytest.fixture
def sales() -> SyncConfig:
    return make_sync("sales", ["account", "contact", "lead"])


def bad(config: SyncConfig, table: str, **values: str) -> Alarm:
    wanted = {
        "kind": "action_required",
        "code": "bad_row",
        "message": f"{table} has a bad row",
        "where": f"2026-03-01T08.15.01Z/{table}/2026.csv, line 3, column name",
    }
    return Alarm(config.pk, table, **(wanted | values))


def groups() -> list[Group]:
    return inbox.groups(overview())


def seen_tables() -> list[list[str]]:
    return [[one.table_name for one in group.incidents] for group in groups()]


def test_tables_with_the_same_error_in_the_same_column_are_one_group(
    sales: SyncConfig,
) -> None:
    service = make_sync("service", ["account"])
    review([bad(sales, "account"), bad(sales, "contact"), bad(service, "account")])
    [group] = groups()
    places = [(item.config.name, item.table) for item in group.items]
    assert [(name, table and table.entity) for name, table in places] == [
        ("sales", "account"),
        ("sales", "contact"),
        ("service", "account"),
    ]
    assert group.syncs == 2
    assert group.card.place.column == "name"
    assert group.card.title == "A row does not fit its table"


@pytest.mark.parametrize(
    "other",
    [
        {"where": "f/contact/2026.csv, line 3, column city"},
        {"code": "disk_full", "where": ""},
        {"kind": "failing"},
    ],
)
def test_another_column_error_or_gravity_is_another_group(
    sales: SyncConfig, other: dict[str, str]
) -> None:
    review([bad(sales, "account"), bad(sales, "contact", **other)])
    assert sorted(seen_tables()) == [["account"], ["contact"]]


def test_the_gravest_comes_first_then_what_most_tables_have(sales: SyncConfig) -> None:
    late = {"kind": "late", "code": "", "where": ""}
    failing = {"kind": "failing", "code": "disk_full", "where": ""}
    more = make_sync("service", ["a", "b", "c", "d"])
    review(
        [
            *(bad(more, table, **late) for table in "abc"),
            bad(sales, "account", **failing),
            *(bad(sales, table, **failing, message="x") for table in ("contact",)),
            bad(more, "d", kind="failing", code="bad_row"),
            bad(sales, "lead"),
        ]
    )
    assert seen_tables() == [["lead"], ["account", "contact"], ["d"], ["a", "b", "c"]]


def test_the_first_of_a_cause_comes_before_the_last(sales: SyncConfig) -> None:
    review([bad(sales, "account")])
    with time_machine.travel(timezone.now() + timedelta(hours=2), tick=False):
        review([bad(sales, "account"), bad(sales, "contact")])
    [group] = groups()
    times = sorted(Incident.objects.values_list("opened_at", flat=True))
    assert [incident.opened_at for incident in group.incidents] == times


def test_what_waits_without_an_error_is_told_in_words(sales: SyncConfig) -> None:
    sales.tables.filter(entity="lead").update(state="new")
    waits = {"code": "", "where": "", "message": "waits"}
    review(
        [
            bad(sales, "account", kind="late", **waits),
            bad(sales, "lead", **waits),
        ]
    )
    titles = [group.card.title for group in groups()]
    assert titles == [
        "A new table waits for a yes",
        "Changes wait longer than they should",
    ]
    assert not any(group.retriable for group in groups())


def test_an_incident_of_the_sync_itself_or_of_a_table_that_is_gone(
    sales: SyncConfig,
) -> None:
    review([bad(sales, "", code="export_missing", where=""), bad(sales, "gone")])
    assert [[item.table for item in group.items] for group in groups()] == [
        [None],
        [None],
    ]
    assert not any(group.retriable for group in groups())


def test_an_acknowledged_error_is_no_news_and_stands_below(sales: SyncConfig) -> None:
    failing = {"kind": "failing", "code": "disk_full", "where": ""}
    review([bad(sales, "account"), bad(sales, "contact", **failing)])
    assert inbox.count_unseen() == 2
    grave = Incident.objects.get(table_name="account")

    assert inbox.acknowledge([grave.pk], by="bob") == [grave]

    assert inbox.count_unseen() == 1
    assert seen_tables() == [["contact"], ["account"]]
    [event] = Event.objects.filter(kind="acknowledged")
    assert (event.table_name, event.message) == ("account", "by bob")
    grave.refresh_from_db()
    assert grave.acknowledged_by == "bob"
    assert grave.acknowledged_at is not None


def test_what_ended_or_was_seen_before_is_not_acknowledged(sales: SyncConfig) -> None:
    review([bad(sales, "account"), bad(sales, "contact")])
    numbers = list(Incident.objects.values_list("pk", flat=True))
    review([bad(sales, "contact")])
    inbox.acknowledge(numbers, by="bob")
    assert inbox.acknowledge(numbers, by="eve") == []
    acknowledged = Incident.objects.values_list("table_name", "acknowledged_by")
    assert dict(acknowledged) == {"account": "", "contact": "bob"}


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({}, {"message": "another text", "where": "elsewhere"}, True),
        ({"kind": "action_required"}, {"kind": "failing"}, True),
        ({"kind": "failing"}, {"kind": "action_required"}, False),
        ({}, {"code": "disk_full"}, False),
    ],
)
def test_what_gets_graver_or_has_another_cause_is_news_again(
    sales: SyncConfig, before: dict[str, str], after: dict[str, str], kept: bool
) -> None:
    review([bad(sales, "account", **before)])
    inbox.acknowledge([Incident.objects.get().pk], by="bob")
    review([bad(sales, "account", **(before | after))])
    assert (inbox.count_unseen() == 0) is kept
    assert (Incident.objects.get().acknowledged_by == "bob") is kept


def test_no_reminder_is_sent_of_what_somebody_has_seen(
    sales: SyncConfig, settings: Settings
) -> None:
    settings.ALERT_EMAILS = []
    settings.WEBHOOK_SECRET = "canary-of-the-secret"
    both = [bad(sales, "account"), bad(sales, "contact")]
    with receivers.webhook() as hook:
        settings.WEBHOOK_URL = hook.url
        review(both)
        deliver()
        inbox.acknowledge([Incident.objects.get(table_name="account").pk], by="bob")
        with time_machine.travel(timezone.now() + timedelta(hours=25), tick=True):
            review(both)
            deliver()
            review([])
            deliver()
    events = [
        (incident["event"], incident["table"])
        for document in hook.documents
        for incident in document["incidents"]
    ]
    assert events == [
        ("opened", "account"),
        ("opened", "contact"),
        ("reminder", "contact"),
        ("recovered", "account"),
        ("recovered", "contact"),
    ]


def test_one_that_gets_graver_is_told_although_it_was_seen(
    sales: SyncConfig, settings: Settings
) -> None:
    incident = Incident.objects.create(config=sales, kind="failing")
    receiver = Receiver.objects.create(name="webhook")
    Notice.objects.create(
        incident=incident, receiver=receiver, kind="late", sent_at=timezone.now()
    )
    inbox.acknowledge([incident.pk], by="bob")
    settings.ALERT_EMAILS = []
    with receivers.webhook() as hook:
        settings.WEBHOOK_URL = hook.url
        deliver()
    [document] = hook.documents
    assert [told["event"] for told in document["incidents"]] == ["opened"]


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
    assert [incident.lasted for incident, _ in ended] == [timedelta(hours=3)] * 2


def test_the_queries_do_not_grow_with_the_incidents(
    sales: SyncConfig, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    many = make_sync("service", [f"t{number}" for number in range(60)])
    review(bad(many, f"t{number}") for number in range(60))
    seen = overview()
    with django_assert_num_queries(1):
        [group] = inbox.groups(seen)
        for item in group.items:
            assert item.table
            assert item.incident
            assert item.table.label == f"service.{item.incident.table_name}"
            assert item.incident.config.name == "service"
    assert len(group.items) == 60


# Of real loads.


def fail(export: Export) -> None:
    export.upsert("account", 1, name="good")
    export.raw("account", "2026.csv", b'"no guid","1/1/2026 1:00:00 AM"\n')
    export.close_folder()
    export.sync()


def test_a_first_failure_is_shown_before_anybody_is_told_of_it(export: Export) -> None:
    fail(export)
    look_after_alerts()
    [group] = groups()
    assert not Incident.objects.exists()
    [item] = group.items
    assert (item.table, item.incident, item.over) == (
        export.entity("account"),
        None,
        False,
    )
    assert item.card.place.line == "2"
    assert item.card.next_attempt_at
    assert group.retriable == [item.table]
    assert not group.acknowledged
    assert not group.unseen


def test_its_incident_joins_it_and_lasts_until_the_table_was_loaded(
    export: Export,
) -> None:
    fail(export)
    DataSyncProgress.objects.update(attempts=3)
    look_after_alerts()
    [[item]] = [group.items for group in groups()]
    incident = Incident.objects.get()
    assert (item.incident, item.over) == (incident, False)

    switches.retry(export.entity("account"), by="bob")
    look_after_alerts()
    [[item]] = [group.items for group in groups()]
    assert (item.incident, item.over) == (incident, True)
    assert item.table == export.entity("account")

    switches.pause(export.entity("account"), by="bob")
    look_after_alerts()
    assert groups() == []
    assert [found for found, _ in inbox.ended()] == [incident]


def test_a_sync_that_cannot_be_read_is_shown_without_a_table(export: Export) -> None:
    fail(export)
    export.config.location = "/nowhere"
    export.config.save()
    with pytest.raises(SourceError):
        export.poll()
    found = {group.card.code: group for group in groups()}
    [item] = found["source_unreadable"].items
    assert (item.table, item.config) == (None, export.config)
    assert not found["source_unreadable"].retriable

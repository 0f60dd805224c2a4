"""The page of errors: one panel for each cause, its buttons, and what they did."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sync.engine.alarms import look_after_alerts
from sync.engine.alerts import Alarm, review
from sync.engine.inbox import MOST_AT_ONCE
from sync.models import (
    Cluster,
    DataSyncProgress,
    Heartbeat,
    Incident,
    SyncConfig,
    SyncTable,
    Worker,
)
from sync.views import errors
from tests.people import signed_in
from tests.sync.conftest import Export

pytestmark = pytest.mark.django_db(transaction=True)
WILD = "<script>alert(1)</script>\u202e{{ 7 }}"


@pytest.fixture
def parked(export: Export) -> Export:
    """Return an export of which two tables are parked for a bad row each."""
    for table in ("account", "contact"):
        export.upsert(table, 1, name="good")
        export.raw(table, "2026.csv", b'"no guid","1/1/2026 1:00:00 AM"\n')
    export.close_folder()
    for _ in range(3):
        export.poll()
        export.config.tables.update(state="active")
        DataSyncProgress.objects.update(next_attempt_at=None)
        export.sync()
    look_after_alerts()
    return export


def get(client: Client) -> str:
    page = client.get(reverse("errors"))
    assert page.status_code == 200
    text: str = page.content.decode()
    return text


def post(client: Client, **fields: object) -> str:
    answer = client.post(reverse("errors-do"), fields)
    assert answer.status_code == 302
    *_, message = get_messages(answer.wsgi_request)
    return str(message)


def frozen(page: str) -> dict[str, str]:
    """Return what the one form of the page would post."""
    found = re.findall(r'name="(tables|incidents|kind|code)" value="([^"]*)"', page)
    assert len(found) == 4
    return dict(found)


def test_one_cause_of_two_tables_is_one_panel(parked: Export) -> None:
    page = get(signed_in("operator"))
    assert page.count("cause-1") == 2
    assert "cause-2" not in page
    assert "2 times" in page
    for table in parked.config.tables.all():
        assert reverse("table", args=[table.pk]) in page
    assert 'Errors <span class="count">2</span>' in page


def test_the_page_is_reached_from_every_page_of_ours(parked: Export) -> None:
    page = signed_in("viewer").get(reverse("overview")).content.decode()
    assert f'<a href="{reverse("errors")}">Errors <span class="count">2</span></a>' in (
        page
    )


def test_they_are_retried_together_and_only_those_listed(parked: Export) -> None:
    client = signed_in("operator")
    numbers = frozen(get(client))
    assert post(client, **numbers, deed="retry").startswith(
        "Tried again: account, contact."
    )
    states = set(parked.config.tables.values_list("state", flat=True))
    assert states == {SyncTable.State.ACTIVE}
    assert "has nothing to retry" in post(client, **numbers, deed="retry")


def test_acknowledging_says_so_and_offers_it_no_more(parked: Export) -> None:
    client = signed_in("operator")
    numbers = frozen(get(client))
    said = post(client, **numbers, deed="acknowledge")
    assert said.startswith("2 errors acknowledged: no reminder")
    page = get(client)
    assert 'value="acknowledge"' not in page
    assert "acknowledged" in page
    assert "by <bdi>operator</bdi>" in page
    assert 'class="count"' not in page
    said = post(client, **numbers, deed="acknowledge")
    assert said == ("They have ended, are others by now, or were acknowledged before.")


def test_tables_that_are_gone_meanwhile_are_left_alone(parked: Export) -> None:
    client = signed_in("operator")
    numbers = frozen(get(client))
    parked.config.tables.all().delete()
    assert post(client, **numbers, deed="retry") == "Nothing is left to retry."


def test_what_failed_just_now_is_there_without_being_counted(export: Export) -> None:
    export.upsert("account", 1, name="good")
    export.raw("account", "2026.csv", b'"no guid","1/1/2026 1:00:00 AM"\n')
    export.close_folder()
    export.sync()
    page = get(signed_in("operator"))
    assert "A row does not fit its table" in page
    assert "tried again by itself" in page
    assert 'value="acknowledge"' not in page
    assert 'class="count"' not in page


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"incidents": "1", "tables": "1"},
        {"incidents": "1", "tables": "1", "deed": "delete"},
        {"tables": "1,x", "deed": "retry"},
        {"tables": "1,,2", "deed": "retry"},
        {"incidents": "1", "tables": "", "deed": "retry"},
        {"incidents": "-1", "deed": "acknowledge"},
        {"incidents": "9" * 30, "deed": "acknowledge"},
        {"incidents": "٣", "deed": "acknowledge"},
        {"incidents": "1", "deed": "acknowledge", "kind": "grave"},
        {"tables": ",".join(["1"] * (MOST_AT_ONCE + 1)), "deed": "retry"},
    ],
)
def test_nonsense_does_nothing(parked: Export, fields: dict[str, str]) -> None:
    said = post(signed_in("operator"), **fields)
    assert said == "Nothing was asked for: press one of the buttons."
    assert not Incident.objects.exclude(acknowledged_at=None)


def test_a_viewer_sees_it_without_buttons_and_may_press_none(parked: Export) -> None:
    client = signed_in("viewer")
    page = get(client)
    assert "cause-1" in page
    assert reverse("errors-do") not in page
    answer = client.post(reverse("errors-do"), {"tables": "1", "deed": "retry"})
    assert answer.status_code == 403


def test_without_errors_it_says_so_unless_nobody_looks(parked: Export) -> None:
    for table in parked.config.tables.all():
        table.pause()
    look_after_alerts()
    assert "Nothing was wrong at the last look" in get(signed_in("viewer"))
    now = timezone.now()
    Heartbeat.objects.create(name=Heartbeat.POLL, beat_at=now, slot=now)
    Worker.objects.create(cluster=Cluster.objects.create(queue="sync", pid=1), pid=2)
    assert "Nothing is wrong" in get(signed_in("viewer"))


def test_what_ended_is_listed(parked: Export) -> None:
    for table in parked.config.tables.all():
        table.pause()
    look_after_alerts()
    page = get(signed_in("viewer"))
    assert "cause-1" not in page
    assert "paused or left out" in page
    assert "Ended in the last 7 days" in page
    assert page.count("<bdi>contact</bdi>") == 1


def test_many_tables_of_one_cause_fold(transactional_db: None) -> None:
    config = SyncConfig.objects.create(name="s", location="/x", schema_name="s")
    names = [f"t{number}" for number in range(errors.FIRST + 3)]
    for name in names:
        new_table(config, name)
    page = get(signed_in("viewer"))
    assert "<summary>3 more</summary>" in page
    assert all(f"<bdi>{name}</bdi>" in page for name in names)


def new_table(config: SyncConfig, name: str) -> None:
    SyncTable.objects.create(config=config, entity=name, target_name=name, state="new")


def test_many_tables_are_retried_in_few_queries(
    parked: Export, django_assert_max_num_queries: Any
) -> None:
    client = signed_in("operator")
    names = [f"t{number}" for number in range(30)]
    for name in names:
        new_table(parked.config, name)
    tables = parked.config.tables.filter(entity__in=names)
    tables.update(state="parked", error_code="bad_row")
    numbers = ",".join(str(table.pk) for table in tables)
    # Of each table: begin, has it failed, four writes, end; and a few for all.
    with django_assert_max_num_queries(7 * len(names) + 25):
        said = post(client, tables=numbers, deed="retry")
    assert said.startswith("Tried again: t0, t1, t10, t11, t12 and 25 more.")


def test_texts_of_strangers_are_shown_as_text(transactional_db: None) -> None:
    config = SyncConfig.objects.create(name=WILD, location="/x", schema_name="s")
    where = f"f/{WILD}/x.csv, line 1, column {WILD}"
    texts = {f"error_{name}": WILD for name in ("message", "remedy")}
    SyncTable.objects.create(
        config=config, entity=WILD, target_name="t", error_code="bad_row", **texts
    )
    SyncConfig.objects.update(error_code=WILD, error_where=where, **texts)
    page = get(signed_in("operator"))
    assert page.count('aria-labelledby="cause-') == 2
    told = ("action_required", "bad_row", WILD, where, WILD)
    review([Alarm(config.pk, WILD, *told), Alarm(config.pk, "", *told)])
    review([])
    SyncConfig.objects.update(paused=True)
    for text in (page, get(signed_in("operator"))):
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e{{ 7 }}" in text

"""dvsync makes its schedule, and mends it whatever somebody did to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib import admin
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from sync.tasks.broker import ServiceBroker
from sync.tasks.schedule import NAME, keep_schedule

pytestmark = pytest.mark.django_db


def only() -> Schedule:
    return Schedule.objects.get(name=NAME)


def test_the_schedule_is_made_once() -> None:
    keep_schedule()
    keep_schedule()
    assert only().cron == "* * * * * */20"


def test_another_interval_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_schedule()
    monkeypatch.setattr(settings, "POLL_SECONDS", 10)
    keep_schedule()
    assert only().cron == "* * * * * */10"


@pytest.mark.parametrize(
    "damage",
    [
        {"func": "os.getcwd"},
        {"args": "hello world"},
        {"kwargs": "x=1"},
        {"repeats": 0},
        {"cluster": "elsewhere"},
        {"schedule_type": Schedule.ONCE},
        {"cron": "0 0 * * *"},
        {"intended_date_kwarg": None},
        {"next_run": None},
    ],
)
def test_a_damaged_schedule_is_mended(damage: dict[str, object]) -> None:
    keep_schedule()
    Schedule.objects.filter(name=NAME).update(**damage)
    keep_schedule()
    mended = only()
    assert mended.func == "sync.tasks.jobs.poll"
    assert (mended.args, mended.kwargs, mended.cluster) == (None, None, None)
    assert (mended.repeats, mended.schedule_type) == (-1, Schedule.CRON)
    assert mended.cron == "* * * * * */20"
    assert mended.intended_date_kwarg == "slot"
    assert mended.next_run is not None


def test_a_deleted_or_doubled_schedule_is_one_again() -> None:
    keep_schedule()
    Schedule.objects.all().delete()
    keep_schedule()
    Schedule.objects.create(name=NAME, func="sync.tasks.jobs.poll")
    keep_schedule()
    assert only().cron


def test_a_next_run_from_a_wrong_clock_is_brought_back() -> None:
    keep_schedule()
    tomorrow = timezone.now() + timedelta(days=1)
    Schedule.objects.filter(name=NAME).update(next_run=tomorrow)
    keep_schedule()
    assert only().next_run <= timezone.now()


@pytest.mark.django_db(transaction=True)
def test_django_q2_understands_the_schedule() -> None:
    keep_schedule()
    past = timezone.now() - timedelta(seconds=1)
    Schedule.objects.filter(name=NAME).update(next_run=past)
    scheduler(broker=ServiceBroker("poll"))
    [row] = OrmQ.objects.all()
    assert row.key == "poll"
    assert row.task["func"] == "sync.tasks.jobs.poll"
    assert row.task["kwargs"] == {"slot": past.isoformat()}
    assert timezone.now() < only().next_run
    assert only().next_run <= timezone.now() + timedelta(seconds=20)
    assert only().next_run.second % 20 == 0


def test_schedules_are_not_in_the_admin() -> None:
    assert not admin.site.is_registered(Schedule)

"""The one schedule, a poll every so many seconds: dvsync makes and repairs it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django_q.models import Schedule

NAME = "dvsync poll"


def keep_schedule() -> None:
    """Make the schedule, or mend what is wrong with it.

    A time far ahead comes from a clock that was wrong: polls would rest until then.
    """
    wanted = {
        "func": "sync.tasks.jobs.poll",
        "schedule_type": Schedule.CRON,
        # The sixth field is the seconds'.
        "cron": f"* * * * * */{settings.POLL_SECONDS}",
        "intended_date_kwarg": "slot",
        "repeats": -1,
        "args": None,
        "kwargs": None,
        "hook": None,
        "cluster": None,
    }
    rows = list(Schedule.objects.filter(name=NAME).order_by("pk"))
    if not rows:
        Schedule.objects.create(name=NAME, **wanted)
        return
    row, *others = rows
    far = timezone.now() + timedelta(seconds=2 * settings.POLL_SECONDS)
    if row.next_run is None or row.next_run > far:
        wanted["next_run"] = timezone.now()
    if any(getattr(row, name) != value for name, value in wanted.items()):
        Schedule.objects.filter(pk=row.pk).update(**wanted)
    if others:
        Schedule.objects.filter(pk__in=[other.pk for other in others]).delete()

"""Telling people of incidents: once, daily while they last, and when they end.

What was told is remembered per receiver, after it answered: a message may come twice
when its answer was lost, and is never lost itself. A receiver that cannot be reached
is tried again after a minute, then after twice as long, up to an hour.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from sync.engine.channels import Channel, UndeliveredError, configured
from sync.engine.letters import MOST, OPENED, RECOVERED, REMINDER, News
from sync.models import Incident, Notice, Receiver

REMIND_AFTER = timedelta(days=1)
# What ended so long ago is not told any more.
OLD_NEWS_AFTER = timedelta(days=7)
# So long deliver() waits for all receivers together; a slower one goes on meanwhile
# and is asked the next time.
PATIENCE_SECONDS = 8.0
GIVEN_UP_SECONDS = 120.0

logger = logging.getLogger(__name__)
_underway: dict[str, _Errand] = {}


def deliver() -> None:
    """Send what is due, in one message for each receiver; within some ten seconds.

    To be called when the incidents are committed. Receivers that fail raise nothing:
    they are tried again later.
    """
    now = timezone.now()
    channels = configured()
    receivers = _receivers(channel.name for channel in channels)
    errands = [
        errand
        for channel in channels
        if (errand := _errand_of(channel, receivers[channel.name], now))
    ]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for errand in errands:
        errand.join(max(0.0, deadline - time.monotonic()))
        if errand.is_alive() and not errand.is_hopeless:
            _underway[errand.receiver.pk] = errand
        else:
            _record(errand, now)


def _receivers(names: Iterable[str]) -> dict[str, Receiver]:
    """Return what is remembered of the configured channels."""
    wanted = set(names)
    known = Receiver.objects.in_bulk(wanted)
    for name in wanted - known.keys():
        known[name], _ = Receiver.objects.get_or_create(name=name)
    return known


def _errand_of(channel: Channel, receiver: Receiver, now: datetime) -> _Errand | None:
    """Return the errand that is underway already, or begin one if news are due."""
    if errand := _underway.pop(receiver.pk, None):
        return errand
    if receiver.next_attempt_at and receiver.next_attempt_at > now:
        return None
    news = _due(receiver, now)
    if not news:
        return None
    errand = _Errand(channel, receiver, news[:MOST])
    errand.start()
    return errand


def _due(receiver: Receiver, now: datetime) -> list[News]:
    """Return what the receiver must be told, the gravest first."""
    since = max(receiver.since, now - OLD_NEWS_AFTER)
    ended = Q(closed_at__gte=since, muted=False)
    incidents = Incident.objects.filter(Q(closed_at=None) | ended)
    finished = receiver.notice_set.filter(ended=True).values("incident")
    others = receiver.notice_set.filter(ended=False)
    told = {notice.incident_id: notice for notice in others}
    news = [
        News(incident, event)
        for incident in incidents.exclude(pk__in=finished)
        .select_related("config")
        .order_by("opened_at", "pk")
        if (event := _event(incident, told.get(incident.pk), now))
    ]
    return sorted(news, key=lambda item: -item.incident.weight)


def _event(incident: Incident, told: Notice | None, now: datetime) -> str:
    if incident.closed_at is not None:
        return RECOVERED
    if told is None or incident.weight > Incident.Kind(told.kind).weight:
        return OPENED
    if incident.acknowledged:
        return ""
    return REMINDER if now - told.sent_at >= REMIND_AFTER else ""


class _Errand(threading.Thread):
    """One message on its way, in a thread that asks no database."""

    def __init__(
        self, channel: Channel, receiver: Receiver, news: Sequence[News]
    ) -> None:
        super().__init__(daemon=True, name=f"alerts by {channel.name}")
        self.receiver = receiver
        self.news = news
        self.problem = "no end is in sight"
        self._channel = channel
        self._began = time.monotonic()

    @property
    def is_hopeless(self) -> bool:
        """Whether it takes too long to be waited for."""
        return time.monotonic() - self._began > GIVEN_UP_SECONDS

    def run(self) -> None:
        """Send it; ``problem`` is empty only when it arrived."""
        try:
            self._channel.send(self.news)
        except UndeliveredError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 - it must not be told as a success
            self.problem = type(error).__name__
        else:
            self.problem = ""


def _record(errand: _Errand, now: datetime) -> None:
    """Remember what became of a message."""
    receiver = errand.receiver
    if errand.problem:
        receiver.record_failure(errand.problem, now)
        logger.warning(
            "Alerts were not delivered by %s: %s", receiver.pk, errand.problem
        )
        return
    with transaction.atomic():
        receiver.record_success()
        # Deleted meanwhile, a sync takes its incidents along.
        told = [item.incident.pk for item in errand.news]
        there = Incident.objects.filter(pk__in=told).select_for_update()
        existing = set(there.values_list("pk", flat=True))
        Notice.objects.bulk_create(
            (
                Notice(
                    incident=item.incident,
                    receiver=receiver,
                    kind=item.incident.kind,
                    ended=item.event == RECOVERED,
                    sent_at=now,
                )
                for item in errand.news
                if item.incident.pk in existing
            ),
            batch_size=500,
            update_conflicts=True,
            unique_fields=["incident", "receiver"],
            update_fields=["kind", "ended", "sent_at"],
        )

"""The service's own signs of life: its polls, its clusters and their workers."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

# A cluster that was not heard of for so long is dead, or its host is.
CLUSTER_DEAD_AFTER = timedelta(seconds=30)
FAR_AHEAD = timedelta(minutes=2)


class Heartbeat(models.Model):
    """The one row that every poll writes; no row means that none ever ran."""

    name = models.CharField(max_length=20, primary_key=True)
    beat_at = models.DateTimeField(help_text="When the last poll began.")
    slot = models.DateTimeField(help_text="The time for which it was planned.")
    finished_at = models.DateTimeField(
        null=True, help_text="When the last one that came to its end did so."
    )
    polls = models.BigIntegerField(default=0, help_text="How many there were.")

    POLL: ClassVar = "poll"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def begin(cls, slot: datetime) -> bool:
        """Begin the poll of a slot; False when it, or a later one, had its poll."""
        now = timezone.now()
        _, made = cls.objects.get_or_create(
            name=cls.POLL, defaults={"beat_at": now, "slot": slot, "polls": 1}
        )
        if made:
            return True
        # One far ahead was written when the clock was wrong.
        far = now + FAR_AHEAD
        earlier = cls.objects.filter(Q(slot__lt=slot) | Q(slot__gt=far), name=cls.POLL)
        changes = {"beat_at": now, "slot": slot}
        return bool(earlier.update(polls=F("polls") + 1, **changes))

    @classmethod
    def end(cls) -> None:
        """Take note that the poll came to its end."""
        cls.objects.filter(name=cls.POLL).update(finished_at=timezone.now())

    @classmethod
    def age(cls) -> timedelta | None:
        """Return how long ago a poll came to its end, None when none ever did.

        Of the very first one its beginning counts.
        """
        row = cls.objects.filter(name=cls.POLL).first()
        return timezone.now() - row.seen_at if row else None

    @property
    def seen_at(self) -> datetime:
        """When the service last did its work."""
        return self.finished_at or self.beat_at


class Cluster(models.Model):
    """A running ``qcluster``, which says every few seconds that it is there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    queue = models.CharField(max_length=20, help_text="poll or sync")
    host = models.CharField(max_length=255)
    pid = models.IntegerField(help_text="The main process on its host.")
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["queue", "host", "started_at"]

    def __str__(self) -> str:
        return f"{self.queue} on {self.host} [{self.pid}]"


class Worker(models.Model):
    """One worker process of a cluster, and what it does."""

    cluster = models.ForeignKey(
        Cluster, on_delete=models.CASCADE, related_name="workers"
    )
    pid = models.IntegerField()
    queue_row = models.BigIntegerField(
        null=True, help_text="The row of the queue that it works on; empty: idle."
    )
    doing = models.TextField(blank=True)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["cluster", "pid"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster", "pid"], name="worker_once_per_cluster"
            )
        ]

    def __str__(self) -> str:
        return f"{self.cluster} worker {self.pid}"

    @classmethod
    def seen(cls, queue: str) -> int:
        """Return how many workers of living clusters serve a queue."""
        heard = timezone.now() - CLUSTER_DEAD_AFTER
        return cls.objects.filter(
            cluster__queue=queue, cluster__beat_at__gt=heard
        ).count()

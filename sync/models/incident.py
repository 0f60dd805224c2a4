"""What is wrong with a sync or a table, and whom that was told already."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from sync.models.config import SyncConfig
from sync.models.text import clean

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=1)


class Incident(models.Model):
    """Something that is wrong with a table, from its first sign to its end.

    ``table_name`` is empty for the sync itself. A table has one open incident at the
    most, whatever becomes of its kind. A ``muted`` one ended because nobody wants to
    hear of it any more: its table was paused, or is not replicated. Of an acknowledged
    one no reminders are sent.
    """

    class Kind(models.TextChoices):
        """In the order of their weight."""

        LATE = "late"
        FAILING = "failing"
        ACTION_REQUIRED = "action_required"

        @property
        def weight(self) -> int:
            """How grave it is: more is graver."""
            return list(type(self)).index(self)

    config = models.ForeignKey(
        SyncConfig, on_delete=models.CASCADE, related_name="incidents"
    )
    table_name = models.TextField(blank=True)
    kind = models.CharField(max_length=20, choices=Kind)
    code = models.TextField(blank=True)
    message = models.TextField(blank=True)
    where = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)
    muted = models.BooleanField(default=False)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.TextField(blank=True, db_default="")

    class Meta:
        ordering: ClassVar = ["-opened_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["config", "table_name"],
                condition=Q(closed_at=None),
                name="incident_once_while_open",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["closed_at"],
                condition=Q(closed_at__isnull=False),
                name="incident_closed",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.table_name}".strip()

    @property
    def weight(self) -> int:
        """How grave it is: more is graver."""
        return self.Kind(self.kind).weight

    @property
    def lasted(self) -> timedelta | None:
        """How long it lasted; None while it lasts."""
        return self.closed_at - self.opened_at if self.closed_at else None

    def acknowledge(self, by: str, now: datetime) -> None:
        """Note who has seen it; to be saved by the caller."""
        self.acknowledged_at, self.acknowledged_by = now, clean(by)

    def forget_acknowledgement(self) -> None:
        """Let it be as if nobody had seen it; to be saved by the caller."""
        self.acknowledged_at, self.acknowledged_by = None, ""


class Receiver(models.Model):
    """A channel that is told of incidents: when it is tried again, if it failed."""

    name = models.CharField(max_length=20, primary_key=True)
    since = models.DateTimeField(
        default=timezone.now, help_text="What ended before then is not told."
    )
    failures = models.IntegerField(
        default=0, help_text="Attempts in a row that failed."
    )
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name

    def record_failure(self, problem: str, now: datetime) -> None:
        """Remember that it could not be reached; the next attempt waits longer."""
        doubled: timedelta = FIRST_RETRY * 2 ** min(self.failures, 10)
        wait = min(doubled, LAST_RETRY) * random.uniform(0.9, 1.0)  # noqa: S311
        self.failures += 1
        self.next_attempt_at = now + wait
        self.problem = clean(problem)
        self.save(update_fields=["failures", "next_attempt_at", "problem"])

    def record_success(self) -> None:
        """Remember that it was reached."""
        if self.failures:
            self.failures, self.next_attempt_at, self.problem = 0, None, ""
            self.save(update_fields=["failures", "next_attempt_at", "problem"])


class Notice(models.Model):
    """What a receiver was told of an incident last."""

    incident = models.ForeignKey(
        Incident, on_delete=models.CASCADE, related_name="notices"
    )
    receiver = models.ForeignKey(Receiver, on_delete=models.CASCADE)
    kind = models.CharField(
        max_length=20, choices=Incident.Kind, help_text="What it was then."
    )
    ended = models.BooleanField(default=False, help_text="Its end was told.")
    sent_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["incident", "receiver"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["incident", "receiver"], name="notice_once_per_receiver"
            )
        ]

    def __str__(self) -> str:
        return f"{self.receiver_id}: {self.incident}"

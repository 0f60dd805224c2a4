"""What is wrong with a sync or a table, and whom that was told already."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from sync.models.config import SyncConfig
from sync.models.text import clean

FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=1)


class IncidentQuerySet(models.QuerySet["Incident"]):
    """Incidents, by whether they are still of interest."""

    def open(self) -> Self:
        """Return those that last, the oldest first."""
        rows = self.filter(closed_at=None)
        return rows.order_by("opened_at", "config__name", "table_name")

    def unseen(self) -> Self:
        """Return those that nobody has acknowledged as they are."""
        kinds = Incident.Kind.values
        graver = (
            Q(kind=kind, acknowledged_kind__in=kinds[:weight])
            for weight, kind in enumerate(kinds)
        )
        another = ~Q(code="") & ~Q(code=F("acknowledged_code"))
        return self.filter(reduce(or_, graver, another | Q(acknowledged_at=None)))


class Incident(models.Model):
    """Something that is wrong with a table, from its first sign to its end.

    ``table_name`` is empty for the sync itself. A table has one open incident at the
    most, whatever becomes of its kind. A ``muted`` one ended because nobody wants to
    hear of it any more: its table was paused, or is not replicated.

    What somebody has acknowledged is kept beside it: its kind and code as they were
    seen. No reminders are sent of it, until it is graver or of another cause.
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
    acknowledged_kind = models.CharField(
        max_length=20, choices=Kind, blank=True, db_default=""
    )
    acknowledged_code = models.TextField(blank=True, db_default="")

    objects = IncidentQuerySet.as_manager()

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

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has seen it as it is: as ``unseen`` asks the database.

        One without a code only waits: it is no other cause.
        """
        if self.acknowledged_at is None:
            return False
        graver = self.weight > self.Kind(self.acknowledged_kind).weight
        return not graver and self.code in {"", self.acknowledged_code}

    def acknowledge(self, kind: str, code: str, *, by: str, now: datetime) -> None:
        """Note who has seen it, and as what; to be saved by the caller."""
        self.acknowledged_at, self.acknowledged_by = now, clean(by)
        self.acknowledged_kind, self.acknowledged_code = kind, clean(code)


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

"""The ledger: what became of each partition of each table."""

from __future__ import annotations

import random
from dataclasses import fields
from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from sync.errors import SyncError
from sync.models.config import SyncConfig
from sync.models.partition import SyncPartition
from sync.models.text import clean
from sync.target.winners import RowCounts

# A permanent error is tried this often before the table waits for a person.
ATTEMPTS_BEFORE_PARKING = 3
FIRST_RETRY = timedelta(seconds=20)
LAST_RETRY = timedelta(minutes=10)
RECENT = timedelta(hours=1)


class ProgressQuerySet(models.QuerySet["DataSyncProgress"]):
    """The transitions of progress rows, by conditional updates."""

    def unapplied(self) -> Self:
        """Return the backlog, in the order in which it must be applied."""
        opened = SyncPartition.objects.filter(
            config_id=models.OuterRef("config_id"), name=models.OuterRef("partition")
        ).values("opened_at")
        return (
            self.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
            .annotate(opened_at=models.Subquery(opened))
            .order_by("opened_at", "partition")
        )

    def begin_attempt(self) -> int:
        """Count an attempt on every row; it counts also if the loader is killed."""
        return self.update(
            attempts=F("attempts") + 1,
            started_at=timezone.now(),
            finished_at=None,
        )

    def take_back_attempt(self) -> int:
        """Undo ``begin_attempt`` for rows whose load did not come to them.

        Another load may have applied them meanwhile: its attempt stays.
        """
        applied = Q(copy_status=DataSyncProgress.Status.SUCCESS)
        # One statement: between two of them that load could end.
        return self.update(
            attempts=Case(
                When(applied, then=Greatest(F("attempts") - 1, 1)),
                default=Greatest(F("attempts") - 1, 0),
            ),
            started_at=Case(When(applied, then=F("started_at")), default=None),
        )

    def reset(self) -> int:
        """Make rows that are not applied as new: they are tried again at once."""
        return self.exclude(copy_status=DataSyncProgress.Status.SUCCESS).update(
            copy_status=DataSyncProgress.Status.PENDING,
            attempts=0,
            next_attempt_at=None,
            error_code="",
            error_message="",
            error_where="",
            error_remedy="",
        )

    def grow(self, extent: int, size: int) -> int:
        """Let rows of a file that grew wait for ``size`` bytes more, up to ``extent``.

        What failed before keeps its failure. One statement says both: a load that ends
        meanwhile makes a row that waits an applied one.
        """
        applied = Q(copy_status=DataSyncProgress.Status.SUCCESS)
        again = Value(DataSyncProgress.Status.PENDING, models.SmallIntegerField())
        nothing = Value(0, models.BigIntegerField())
        return self.update(
            end_offset=extent,
            bytes=Case(When(applied, then=nothing), default=F("bytes")) + size,
            attempts=Case(When(applied, then=0), default=F("attempts")),
            copy_status=Case(When(applied, then=again), default=F("copy_status")),
        )

    def record_failure(self, error: SyncError, end: int = 0) -> bool:
        """Record a failed attempt unless it succeeded; say whether it failed.

        ``end`` is where the load ended in a file that grows: the file may wait again,
        for what came after it. Permanent errors are tried a few times before there is
        no next attempt.
        """
        rows = self.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
        if end:
            rows = rows.filter(applied_offset__lt=end)
        row = rows.first()
        if row is None:
            return False
        enough = row.attempts >= ATTEMPTS_BEFORE_PARKING or error.needs_decision
        last = error.permanent and enough
        next_attempt_at = None if last else timezone.now() + retry_delay(row.attempts)
        return bool(
            rows.update(
                copy_status=DataSyncProgress.Status.FAILURE,
                finished_at=timezone.now(),
                next_attempt_at=next_attempt_at,
                error_code=error.code,
                error_message=clean(error.message),
                error_where=clean(error.where),
                error_remedy=clean(error.remedy),
            )
        )


def retry_delay(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: doubling, with jitter."""
    doubled: timedelta = FIRST_RETRY * 2 ** min(max(attempts - 1, 0), 10)
    return min(doubled, LAST_RETRY) * random.uniform(0.8, 1.2)  # noqa: S311


class DataSyncProgress(models.Model):
    """What became of one partition of one table."""

    class Status(models.IntegerChoices):
        PENDING = 0
        SUCCESS = 1
        FAILURE = 2

    config = models.ForeignKey(
        SyncConfig, on_delete=models.CASCADE, related_name="progress"
    )
    partition = models.TextField()
    table_name = models.TextField(help_text="The entity's name in model.json.")
    copy_status = models.SmallIntegerField(choices=Status, default=Status.PENDING)
    rows_inserted = models.BigIntegerField(default=0)
    rows_updated = models.BigIntegerField(default=0)
    rows_deleted = models.BigIntegerField(default=0)
    rows_unchanged = models.BigIntegerField(default=0)
    rows_rejected = models.BigIntegerField(default=0)
    rows_missing = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(
        default=0, help_text="What its last load read, or the next one will."
    )
    # The defaults of the database serve workers that are not upgraded yet.
    applied_offset = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="Up to where a log file is applied, in bytes.",
    )
    end_offset = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="Up to where a log file is to be applied; 0 for a folder.",
    )
    recent = models.JSONField(
        default=dict,
        db_default={},
        help_text="Rows applied of a log file, by minute of the hour before its last "
        "load.",
    )
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.TextField(blank=True)
    error_message = models.TextField(blank=True)
    error_where = models.TextField(blank=True)
    error_remedy = models.TextField(blank=True)

    objects: ClassVar[models.Manager[DataSyncProgress]] = ProgressQuerySet.as_manager()

    class Meta:
        db_table = "data_sync_progress"
        ordering: ClassVar = ["config", "partition", "table_name"]
        verbose_name = "progress"
        verbose_name_plural = "progress"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["config", "table_name", "partition"],
                name="progress_once_per_partition",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["config", "table_name"],
                condition=~Q(copy_status=1),
                name="progress_backlog",
            ),
            # What was applied to a sync lately.
            models.Index(
                fields=["config", "finished_at"],
                condition=Q(copy_status=1),
                name="progress_finished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.partition} {self.table_name}"

    @property
    def was_killed(self) -> bool:
        """Whether an attempt was begun and neither succeeded nor failed."""
        return self.copy_status == self.Status.PENDING and self.attempts > 0

    def counts(self) -> RowCounts:
        """Return what its rows did so far."""
        names = [field.name for field in fields(RowCounts)]
        return RowCounts(**{name: getattr(self, f"rows_{name}") for name in names})

    def _count_recent(self, counts: RowCounts, at: datetime) -> None:
        minute = at.replace(second=0, microsecond=0)
        first = (minute - RECENT).isoformat()
        self.recent = {m: rows for m, rows in self.recent.items() if m > first}
        rows = counts.inserted + counts.updated + counts.deleted
        name = minute.isoformat()
        self.recent[name] = self.recent.get(name, 0) + rows

    def record_success(
        self,
        counts: RowCounts,
        size: int,
        at: datetime | None = None,
        *,
        start: int = 0,
        end: int = 0,
    ) -> None:
        """Record that the partition is applied; part of the load's transaction.

        What one load applied has one time ``at``, by which it is known to belong
        together. Of a file that grows it applied what lies from ``start`` to ``end``:
        the counts of what was before it stay, and what came meanwhile still waits.
        """
        waits = 0
        if end:  # locked, so that it does not grow meanwhile
            rows = DataSyncProgress.objects.select_for_update(no_key=True)
            now = rows.get(pk=self.pk)
            self.partition = now.partition  # it may have been rotated meanwhile
            waits = max(now.bytes - size, 1) if now.end_offset > end else 0
            # A refresh reads what is known by now, with or without lines of the table.
            self.end_offset = max(now.end_offset, end)
        before = self.counts() if start else RowCounts()
        for field in fields(RowCounts):
            total = getattr(before, field.name) + getattr(counts, field.name)
            setattr(self, f"rows_{field.name}", total)
        self.copy_status = self.Status.PENDING if waits else self.Status.SUCCESS
        self.applied_offset = end
        self.bytes = waits or size
        self.finished_at = at or timezone.now()
        if end:
            self._count_recent(counts, self.finished_at)
        self.next_attempt_at = None
        self.error_code = self.error_message = ""
        self.error_where = self.error_remedy = ""
        self.save(
            update_fields=[
                "copy_status",
                "rows_inserted",
                "rows_updated",
                "rows_deleted",
                "rows_unchanged",
                "rows_rejected",
                "rows_missing",
                "bytes",
                "applied_offset",
                "end_offset",
                "recent",
                "finished_at",
                "next_attempt_at",
                "error_code",
                "error_message",
                "error_where",
                "error_remedy",
            ]
        )
        if waits:  # that attempt is over; the next one begins anew
            DataSyncProgress.objects.filter(pk=self.pk).update(attempts=0)

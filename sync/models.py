"""REMEMBERING: what is synchronised, what came, and what became of it.

Every write names its fields: several processes write to the same rows.
"""

from __future__ import annotations

import random
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from sync.errors import SyncError
from sync.sources.base import PartitionState
from sync.target.merge import RowCounts
from sync.target.tables import Column, Table

# A permanent error is tried this often before the table waits for a person.
ATTEMPTS_BEFORE_PARKING = 3
FIRST_RETRY = timedelta(seconds=20)
LAST_RETRY = timedelta(minutes=10)


class BadRowPolicy(models.TextChoices):
    """What becomes of rows that cannot be applied."""

    STOP = "stop"
    QUARANTINE = "quarantine"


class EmptyText(models.TextChoices):
    """What an empty cell of a text column is; a quoted empty one is always empty."""

    NULL = "null"
    EMPTY = "empty"


class NewTables(models.TextChoices):
    """What becomes of tables that appear in an export later."""

    INCLUDE = "include"
    ASK = "ask"


class SyncConfig(models.Model):
    """One export and the PostgreSQL schema that replicates it."""

    name = models.CharField(max_length=100, unique=True)
    location = models.TextField(help_text="The directory that holds the export.")
    schema_name = models.CharField("schema", max_length=63, unique=True)
    include = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Globs of the tables to replicate; empty means all.",
    )
    exclude = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Globs of the tables to leave out; they win.",
    )
    model_json = models.JSONField(
        null=True,
        blank=True,
        help_text="An uploaded model.json, to choose tables before the first folder.",
    )
    bad_rows = models.CharField(
        max_length=10,
        choices=BadRowPolicy,
        default=BadRowPolicy.STOP,
        help_text="A row that cannot be applied stops its table, or is set aside.",
    )
    max_bad_rows = models.PositiveIntegerField(
        default=100, help_text="A table stops when so many rows are set aside."
    )
    empty_text = models.CharField(
        max_length=10,
        choices=EmptyText,
        default=EmptyText.NULL,
        help_text="What an empty cell of a text column is.",
    )
    new_tables = models.CharField(
        max_length=10,
        choices=NewTables,
        default=NewTables.INCLUDE,
        help_text="Tables that appear later come along, or wait for a yes.",
    )
    max_delete_share = models.PositiveSmallIntegerField(
        default=50,
        help_text="Per cent of a table that one load may delete unasked; 100 is all.",
    )
    paused = models.BooleanField(default=False)
    marker = models.TextField(
        blank=True, help_text="The open folder at the last look at the export."
    )
    checked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "sync"

    def __str__(self) -> str:
        return self.name

    def selects(self, entity: str) -> bool:
        """Say whether the table is to be replicated; case does not matter."""

        def matches(globs: list[str]) -> bool:
            return any(fnmatchcase(entity.lower(), glob.lower()) for glob in globs)

        return (not self.include or matches(self.include)) and not matches(self.exclude)

    def record_check(self, marker: str) -> None:
        """Remember that the export was looked at just now."""
        self.marker = marker
        self.checked_at = timezone.now()
        self.save(update_fields=["marker", "checked_at"])


class SyncPartition(models.Model):
    """One change folder of an export, as it was found."""

    class State(models.TextChoices):
        WAITING = PartitionState.WAITING.value
        READY = PartitionState.READY.value
        SKIPPED = PartitionState.SKIPPED.value
        LOST = PartitionState.LOST.value

    config = models.ForeignKey(
        SyncConfig, on_delete=models.CASCADE, related_name="partitions"
    )
    name = models.TextField()
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State)
    reason = models.TextField(blank=True)
    sizes = models.JSONField(
        default=dict, help_text="Bytes of every file, by table and file name."
    )
    found_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["config", "opened_at", "name"]
        verbose_name = "partition"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["config", "name"], name="partition_once_per_config"
            )
        ]

    def __str__(self) -> str:
        return self.name


class SyncTable(models.Model):
    """One entity of an export and its table in the target."""

    class State(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        PARKED = "parked"
        HELD = "held"
        NEW = "new"

    config = models.ForeignKey(
        SyncConfig, on_delete=models.CASCADE, related_name="tables"
    )
    entity = models.TextField()
    target_name = models.CharField("table", max_length=63)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    last_partition = models.TextField(blank=True)
    columns = models.JSONField(
        default=list,
        help_text="Attribute, column and type of every column that dvsync made.",
    )
    attributes = models.JSONField(
        default=list, help_text="Name and data type of the newest model's attributes."
    )
    followed = models.BooleanField(
        default=True, help_text="Its partitions are recorded, to be applied."
    )
    base_partition = models.TextField(
        blank=True, help_text="The partition in which the newest full copy begins."
    )
    initial_sync = models.TextField(
        blank=True, help_text="When the source says that the full copy was complete."
    )
    absent = models.BooleanField(
        default=False, help_text="The newest model no longer has the table."
    )
    refresh_reason = models.TextField(
        blank=True, help_text="Why the table needs to be refreshed, if it does."
    )
    approved_partition = models.TextField(
        blank=True, help_text="The partition that may delete as much as it likes."
    )
    filled_from = models.TextField(
        blank=True, help_text="The partition from which a refresh filled the table."
    )

    class Meta:
        ordering: ClassVar = ["config", "entity"]
        verbose_name = "table"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["config", "entity"], name="table_once_per_config"
            ),
            models.UniqueConstraint(
                fields=["config", "target_name"], name="target_name_once_per_config"
            ),
        ]

    def __str__(self) -> str:
        return self.entity

    @property
    def progress(self) -> ProgressQuerySet:
        """Return the progress rows of this table."""
        return DataSyncProgress.objects.filter(
            config_id=self.config_id, table_name=self.entity
        )

    @property
    def label(self) -> str:
        """Return schema and name of the target, for people."""
        return f"{self.config.schema_name}.{self.target_name}"

    def target(self) -> Table:
        """Return the target table as dvsync last made it."""
        columns = tuple(Column(*column) for column in self.columns)
        return Table(self.config.schema_name, self.target_name, columns)

    def room_for_bad_rows(self) -> int | None:
        """Return how many rows more may be set aside; None when none ever is."""
        if self.config.bad_rows == BadRowPolicy.STOP:
            return None
        taken = self.quarantined.filter(state=QuarantinedRow.State.OPEN).count()
        return max(0, self.config.max_bad_rows - taken)

    def record_columns(self, columns: tuple[Column, ...]) -> None:
        """Remember the columns that the target table has from now on."""
        self.columns = [[c.attribute, c.name, c.type] for c in columns]
        self.save(update_fields=["columns"])

    def record_load(self, partition: str) -> None:
        """Remember the newest applied partition.

        A parked table is active again, unless one of its partitions still waits for a
        person.
        """
        names = [partition, self.last_partition, self.approved_partition]
        opened = dict(
            self.config.partitions.filter(name__in=names).values_list(
                "name", "opened_at"
            )
        )
        if opened.get(self.last_partition, opened[partition]) <= opened[partition]:
            self.last_partition = partition
        approved = opened.get(self.approved_partition, opened[partition])
        if approved <= opened[partition]:
            self.approved_partition = ""
        self.save(update_fields=["last_partition", "approved_partition"])
        given_up = self.progress.filter(
            copy_status=DataSyncProgress.Status.FAILURE, next_attempt_at=None
        )
        if not given_up.exists():
            self._move_state(self.State.PARKED, self.State.ACTIVE)

    def record_refresh(self, first: str, last: str) -> None:
        """Remember that the table was filled anew from one partition to another.

        A table that was parked or held goes on.
        """
        self.filled_from, self.last_partition = first, last
        self.refresh_reason = self.approved_partition = ""
        self.save(
            update_fields=[
                "filled_from",
                "last_partition",
                "refresh_reason",
                "approved_partition",
            ]
        )
        self._move_state(self.State.PARKED, self.State.ACTIVE)
        self._move_state(self.State.HELD, self.State.ACTIVE)

    def park(self) -> None:
        """Let the table wait for a person, unless it is paused or held."""
        self._move_state(self.State.ACTIVE, self.State.PARKED)

    def hold(self) -> None:
        """Let the table wait until a person approves its deletes."""
        self._move_state(self.State.ACTIVE, self.State.HELD)
        self._move_state(self.State.PARKED, self.State.HELD)

    def approve(self, partition: str) -> None:
        """Let a held table go on; this partition may delete what it wants to."""
        self.approved_partition = partition
        self.save(update_fields=["approved_partition"])
        self._move_state(self.State.HELD, self.State.ACTIVE)

    def accept(self) -> None:
        """Replicate a table that the policy asked about."""
        self._move_state(self.State.NEW, self.State.ACTIVE)

    def resume(self) -> None:
        """Let a parked table go on."""
        self._move_state(self.State.PARKED, self.State.ACTIVE)

    def need_refresh(self, reason: str) -> None:
        """Remember that the table is not sure to be right without a refresh."""
        self.refresh_reason = clean(reason)
        self.save(update_fields=["refresh_reason"])

    def _move_state(self, old: State, new: State) -> None:
        if SyncTable.objects.filter(pk=self.pk, state=old).update(state=new):
            self.state = new


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
        """Undo ``begin_attempt`` for rows whose load did not come to them."""
        return self.filter(~Q(copy_status=DataSyncProgress.Status.SUCCESS)).update(
            attempts=Greatest(F("attempts") - 1, 0), started_at=None
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

    def record_failure(self, error: SyncError) -> bool:
        """Record a failed attempt unless the row is a success; say whether it was.

        Permanent errors are tried a few times before there is no next attempt.
        """
        row = self.exclude(copy_status=DataSyncProgress.Status.SUCCESS).first()
        if row is None:
            return False
        enough = row.attempts >= ATTEMPTS_BEFORE_PARKING or error.needs_decision
        last = error.permanent and enough
        next_attempt_at = None if last else timezone.now() + retry_delay(row.attempts)
        return bool(
            self.exclude(copy_status=DataSyncProgress.Status.SUCCESS).update(
                copy_status=DataSyncProgress.Status.FAILURE,
                finished_at=timezone.now(),
                next_attempt_at=next_attempt_at,
                error_code=error.code,
                error_message=clean(error.message),
                error_where=clean(error.where),
                error_remedy=clean(error.remedy),
            )
        )


def clean(text: str) -> str:
    """Return a text that PostgreSQL stores: no NUL, no lone surrogate, not endless."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:4000]


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
    bytes = models.BigIntegerField(default=0)
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
            )
        ]

    def __str__(self) -> str:
        return f"{self.partition} {self.table_name}"

    @property
    def was_killed(self) -> bool:
        """Whether an attempt was begun and neither succeeded nor failed."""
        return self.copy_status == self.Status.PENDING and self.attempts > 0

    def record_success(self, counts: RowCounts, size: int) -> None:
        """Record that the partition is applied; part of the load's transaction."""
        self.copy_status = self.Status.SUCCESS
        self.rows_inserted = counts.inserted
        self.rows_updated = counts.updated
        self.rows_deleted = counts.deleted
        self.rows_unchanged = counts.unchanged
        self.rows_rejected = counts.rejected
        self.rows_missing = counts.missing
        self.bytes = size
        self.finished_at = timezone.now()
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
                "finished_at",
                "next_attempt_at",
                "error_code",
                "error_message",
                "error_where",
                "error_remedy",
            ]
        )


class Tombstone(models.Model):
    """The remembered key and version of a deleted row; written by the merge alone.

    ``version`` is -1 when none was known.
    """

    pk = models.CompositePrimaryKey("table_id", "key")
    # No constraint: it would cost time on every delete, and lock the table's row.
    table = models.ForeignKey(SyncTable, on_delete=models.CASCADE, db_constraint=False)
    key = ArrayField(models.TextField())
    version = models.BigIntegerField()

    def __str__(self) -> str:
        return ", ".join(self.key)


class QuarantinedRow(models.Model):
    """A row that could not be applied and was set aside, as the file has it."""

    class State(models.TextChoices):
        OPEN = "open"
        APPLIED = "applied"
        DISMISSED = "dismissed"

    table = models.ForeignKey(
        SyncTable, on_delete=models.CASCADE, related_name="quarantined"
    )
    partition = models.TextField()
    file = models.TextField()
    line = models.BigIntegerField()
    column = models.TextField(blank=True, help_text="The attribute at fault, if known.")
    raw = models.BinaryField(help_text="The row's bytes, without its line end.")
    code = models.TextField()
    reason = models.TextField()
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    attributes = models.JSONField(
        default=list, help_text="Name and data type of the columns it is read with."
    )
    least_width = models.IntegerField(
        help_text="How many cells the row must have at the least."
    )
    found_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["table", "partition", "file", "line"]
        verbose_name = "quarantined row"
        indexes: ClassVar = [
            models.Index(
                fields=["table"], condition=Q(state="open"), name="quarantine_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.partition}/{self.table.entity}/{self.file}, line {self.line}"


class Event(models.Model):
    """Something that happened to a sync or to one of its tables."""

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    config = models.ForeignKey(
        SyncConfig, on_delete=models.CASCADE, related_name="events"
    )
    table_name = models.TextField(blank=True)
    partition = models.TextField(blank=True)
    kind = models.CharField(max_length=40)
    level = models.CharField(max_length=10, choices=Level, default=Level.INFO)
    message = models.TextField(blank=True)
    happened_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering: ClassVar = ["-happened_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.message}"

    @classmethod
    def record(
        cls,
        config: SyncConfig,
        kind: str,
        message: str = "",
        *,
        level: str = Level.INFO,
        **place: Any,
    ) -> None:
        """Record an event of now; ``place`` is table_name and partition."""
        cls.objects.create(
            config=config, kind=kind, message=clean(message), level=level, **place
        )

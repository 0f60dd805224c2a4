"""What a table remembers of single rows: those deleted, and those set aside."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from sync.models.config import BadRowPolicy
from sync.models.table import SyncTable


class Tombstone(models.Model):
    """The remembered key and version of a deleted row; written by the merge alone.

    ``version`` is -1 when none was known.
    """

    pk = models.CompositePrimaryKey("table_id", "key")
    # No constraint: it would cost time on every delete, and lock the table's row.
    table = models.ForeignKey(SyncTable, on_delete=models.CASCADE, db_constraint=False)
    key = ArrayField(models.TextField())
    version = models.BigIntegerField()
    deleted_at = models.DateTimeField(
        db_default=Now(), help_text="When the delete was applied."
    )

    class Meta:
        # It costs a load nothing, unlike an index of each entry.
        indexes: ClassVar = [BrinIndex(fields=["deleted_at"], name="tombstone_age")]

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
        return f"{self.path}, line {self.line}"

    @property
    def path(self) -> str:
        """Return the path of its file in the source; a log file is its partition."""
        return path_of(self.partition, self.table.entity, self.file)

    def name_partition(self, name: str) -> None:
        """Give its partition the name that it has by now; a log file has the same."""
        if self.file == self.partition:
            self.file = name
        self.partition = name

    @classmethod
    def room_in(cls, table: SyncTable) -> int | None:
        """Return how many rows more may be set aside; None when none ever is."""
        if table.config.bad_rows == BadRowPolicy.STOP:
            return None
        taken = cls.objects.filter(table=table, state=cls.State.OPEN).count()
        return max(0, table.config.max_bad_rows - taken)


def path_of(partition: str, entity: str, file: str) -> str:
    """Return the path in the source of a file with rows of a table."""
    return partition if file == partition else f"{partition}/{entity}/{file}"

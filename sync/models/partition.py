"""The partitions of an export, as they were found."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from sync.models.config import SyncConfig
from sync.sources.base import PartitionState


class SyncPartition(models.Model):
    """One change folder of an export, or log file of a change feed, as it was found."""

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
    pruned_tables = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Tables that applied it long ago: their progress rows were pruned.",
    )

    extent = models.BigIntegerField(
        default=0, db_default=0, help_text="Up to where a log file is known, in bytes."
    )
    mark = models.TextField(
        blank=True, db_default="", help_text="How the source knows a log file again."
    )

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

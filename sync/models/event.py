"""What happened to a sync or to one of its tables."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from sync.models.config import SyncConfig
from sync.models.text import clean


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
        indexes: ClassVar = [
            models.Index(fields=["config", "happened_at"], name="event_of_sync")
        ]

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

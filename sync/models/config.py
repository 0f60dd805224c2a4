"""A sync: one source, one schema, and what is done in cases of doubt."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from fnmatch import translate
from functools import lru_cache
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from sync.errors import SyncError
from sync.models.text import clean

# A folder that was given up is looked at again so often.
LOOK_AGAIN = timedelta(minutes=10)


class SourceKind(models.TextChoices):
    """What the location holds."""

    SYNAPSE_LINK = "synapse-link", "Synapse Link export"
    CHANGE_FEED = "change-feed", "change feed of log files"


class MissingKeys(models.TextChoices):
    """What becomes of an update, in a change feed, of a row that is not there."""

    IGNORE = "ignore"
    INSERT = "insert"


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
    """One export or change feed, and the PostgreSQL schema that replicates it."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(
        max_length=20,
        choices=SourceKind,
        default=SourceKind.SYNAPSE_LINK,
        db_default=SourceKind.SYNAPSE_LINK.value,
    )
    location = models.TextField(
        help_text="The directory of the export or of the log files, or one log file."
    )
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
        help_text="What was uploaded: the tables of an export without a folder yet, or "
        "the model.json of a change feed whose directory has none.",
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
    missing_keys = models.CharField(
        max_length=10,
        choices=MissingKeys,
        default=MissingKeys.IGNORE,
        db_default=MissingKeys.IGNORE.value,
        help_text="In a change feed, an update of a row that is not there is counted "
        "and ignored, or makes a row of what it tells.",
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
    settled_state = models.CharField(
        max_length=64,
        blank=True,
        help_text="What the export listed when everything in it was taken note of.",
    )
    settled_at = models.DateTimeField(null=True, blank=True)
    error_code = models.TextField(blank=True)
    error_message = models.TextField(blank=True)
    error_where = models.TextField(blank=True)
    error_remedy = models.TextField(blank=True)
    failing_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when the export cannot be read."
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "sync"
        permissions: ClassVar = [
            (
                "operate_syncconfig",
                "Can sync now, pause, resume, retry, refresh and decide",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_feed(self) -> bool:
        """Whether it reads log files of changes, not an export."""
        return self.kind == SourceKind.CHANGE_FEED

    @property
    def unit(self) -> str:
        """The word for a partition of its source."""
        return "log file" if self.is_feed else "folder"

    def selects(self, entity: str) -> bool:
        """Say whether the table is to be replicated; case does not matter."""
        name = entity.lower()
        included = not self.include or _matches(tuple(self.include), name)
        return included and not _matches(tuple(self.exclude), name)

    def pause(self) -> bool:
        """Let the export not even be looked at; False when it was paused."""
        return self._switch(paused=True)

    def resume(self) -> bool:
        """End a pause; False when there was none."""
        return self._switch(paused=False)

    def _switch(self, *, paused: bool) -> bool:
        others = SyncConfig.objects.filter(pk=self.pk).exclude(paused=paused)
        switched = bool(others.update(paused=paused))
        self.paused = paused
        return switched

    def record_check(self, marker: str) -> None:
        """Remember that the export was looked at just now."""
        self.marker = marker
        self.checked_at = timezone.now()
        self.save(update_fields=["marker", "checked_at"])

    def record_settled(self, state: str) -> None:
        """Remember that all that was listed is taken note of; "" when it is not."""
        if state or self.settled_state:
            self.settled_state = self._digest(state) if state else ""
            self.settled_at = timezone.now()
            self.save(update_fields=["settled_state", "settled_at"])

    def _digest(self, listed: str) -> str:
        """Return what was listed together with what is selected of it."""
        parts = [listed, self.location, self.include, self.exclude, self.new_tables]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def is_settled(self, state: str) -> bool:
        """Say whether nothing happened to the export since, as far as is listed.

        Not for long: now and then all is looked at again.
        """
        recent = self.settled_at and timezone.now() - self.settled_at < LOOK_AGAIN
        return bool(recent and self._digest(state) == self.settled_state)

    def record_problem(self, error: SyncError | None) -> None:
        """Remember what is wrong with the export as a whole, None: nothing."""
        if error is None and not self.error_code:
            return
        self.error_code = error.code if error else ""
        self.error_message = clean(error.message) if error else ""
        self.error_where = clean(error.where) if error else ""
        self.error_remedy = clean(error.remedy) if error else ""
        self.failing_since = (self.failing_since or timezone.now()) if error else None
        self.save(
            update_fields=[
                "error_code",
                "error_message",
                "error_where",
                "error_remedy",
                "failing_since",
            ]
        )


def _matches(globs: tuple[str, ...], name: str) -> bool:
    names, others = _sorted_out(globs)
    return name in names or (others is not None and others.match(name) is not None)


@lru_cache(maxsize=128)
def _sorted_out(
    globs: tuple[str, ...],
) -> tuple[frozenset[str], re.Pattern[str] | None]:
    """Return the globs that are plain names, and one expression for all others.

    The set-up makes a glob for each table, and pages that are polled ask for each
    table: to try all globs on all tables would take seconds.
    """
    folded = [glob.lower() for glob in globs]
    names = frozenset(glob for glob in folded if not set(glob) & set("*?["))
    others = [translate(glob) for glob in folded if glob not in names]
    return names, re.compile("|".join(others)) if others else None

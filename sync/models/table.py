"""The tables of an export: their state, their place in the history, their totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F
from django.utils import timezone

from sync.errors import SyncError
from sync.models.config import SyncConfig
from sync.models.progress import DataSyncProgress, ProgressQuerySet
from sync.models.text import clean
from sync.target.tables import Column, Table


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
    key = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        blank=True,
        help_text="The attributes that are its key; empty for the Id of an export.",
    )
    interleaved = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Lines of a log file were applied after those of a later one.",
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
    pruned_growth = models.BigIntegerField(
        default=0,
        help_text="Rows inserted less deleted by partitions whose progress was pruned.",
    )
    forgotten_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Deletes are not remembered well enough for older partitions.",
    )
    error_code = models.TextField(
        blank=True, help_text="Why its target could not be made, without a backlog."
    )
    error_message = models.TextField(blank=True)
    error_remedy = models.TextField(blank=True)
    last_loaded_at = models.DateTimeField(null=True, blank=True)
    loads_total = models.BigIntegerField(default=0)
    failures_total = models.BigIntegerField(default=0)
    inserted_total = models.BigIntegerField(default=0)
    updated_total = models.BigIntegerField(default=0)
    deleted_total = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    seconds_total = models.FloatField(default=0.0)
    last_inserted = models.BigIntegerField(
        default=0, help_text="Rows of the last load; so are the next two."
    )
    last_updated = models.BigIntegerField(default=0)
    last_deleted = models.BigIntegerField(default=0)

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

    def note_order(self, partitions: Sequence[str]) -> None:
        """Remember if one of these files came before one that was applied earlier."""
        if self.interleaved or not self.last_partition:
            return
        found = self.config.partitions.filter(
            name__in=[*partitions, self.last_partition]
        )
        opened = dict(found.values_list("name", "opened_at"))
        newest = opened.get(self.last_partition)
        if newest and any(opened[name] < newest for name in partitions):
            self.interleaved = True
            self.save(update_fields=["interleaved"])

    def add_totals(self, **counts: float) -> None:
        """Add to the totals, by their names without ``_total``.

        Those of a load are also remembered as the last load's.
        """
        changes: dict[str, object] = {
            f"{name}_total": F(f"{name}_total") + count
            for name, count in counts.items()
        }
        if "loads" in counts:
            changes["last_loaded_at"] = timezone.now()
            rows = ("inserted", "updated", "deleted")
            changes |= {f"last_{name}": counts.get(name, 0) for name in rows}
        SyncTable.objects.filter(pk=self.pk).update(**changes)

    def record_refresh(self, first: str, last: str) -> None:
        """Remember that the table was filled anew from one partition to another.

        A table that was parked or held goes on.
        """
        self.filled_from, self.last_partition = first, last
        self.refresh_reason = self.approved_partition = ""
        self.pruned_growth = 0
        self.interleaved = False
        if self.forgotten_until is not None:
            # From there on all deletes are known again.
            begin = self.config.partitions.get(name=first).opened_at
            self.forgotten_until = min(self.forgotten_until, begin)
        self.save(
            update_fields=[
                "filled_from",
                "last_partition",
                "refresh_reason",
                "approved_partition",
                "pruned_growth",
                "interleaved",
                "forgotten_until",
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
        self.config.record_settled("")

    def unpark(self) -> None:
        """Let a parked table go on."""
        self._move_state(self.State.PARKED, self.State.ACTIVE)

    @property
    def paused(self) -> bool:
        """Whether somebody paused the table or its sync."""
        return self.config.paused or self.state == self.State.PAUSED

    @property
    def halted(self) -> bool:
        """Whether the table is not to be loaded before a person has said so."""
        return self.paused or self.state != self.State.ACTIVE

    def pause(self) -> bool:
        """Let nothing be loaded until ``resume``; False when it was paused."""
        return any(
            self._move_state(state, self.State.PAUSED)
            for state in (self.State.ACTIVE, self.State.PARKED, self.State.HELD)
        )

    def resume(self) -> bool:
        """End a pause; False when there was none. What waited for a person does so."""
        given_up = self.progress.filter(
            copy_status=DataSyncProgress.Status.FAILURE, next_attempt_at=None
        )
        state = self.State.ACTIVE
        if given_up.exists():
            held = given_up.filter(error_code="mass_delete").exists()
            state = self.State.HELD if held else self.State.PARKED
        return self._move_state(self.State.PAUSED, state)

    def record_problem(self, error: SyncError | None) -> None:
        """Remember why the target could not be made, None: it could."""
        if error is None and not self.error_code:
            return
        self.error_code = error.code if error else ""
        self.error_message = clean(str(error)) if error else ""
        self.error_remedy = clean(error.remedy) if error else ""
        self.save(update_fields=["error_code", "error_message", "error_remedy"])

    def need_refresh(self, reason: str) -> None:
        """Remember that the table is not sure to be right without a refresh."""
        self.refresh_reason = clean(reason)
        self.save(update_fields=["refresh_reason"])

    def _move_state(self, old: State, new: State) -> bool:
        moved = SyncTable.objects.filter(pk=self.pk, state=old).update(state=new)
        if moved:
            self.state = new
        return bool(moved)

"""The tables of an export: which there are, since when, and which are followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from django.db.models import F, Func, JSONField, TextField, Value

from sync.model_json import Entity
from sync.models import (
    DataSyncProgress,
    Event,
    NewTables,
    SyncConfig,
    SyncPartition,
    SyncTable,
)
from sync.sources.base import Partition
from sync.sources.folder_names import folder_time_or_first
from sync.target.tables import choose_name

_SETTLED = [state for state in SyncTable.State if state != SyncTable.State.NEW]


def selected_tables(config: SyncConfig) -> list[SyncTable]:
    """Return the tables to replicate: its globs select them, and nobody is asked."""
    tables = SyncTable.objects.filter(config=config).select_related("config")
    return [table for table in tables if is_wanted(table)]


def undecided_tables(config: SyncConfig) -> list[SyncTable]:
    """Return the tables that wait for a yes, or that need a refresh."""
    tables = SyncTable.objects.filter(config=config).select_related("config")
    return [
        table
        for table in tables.exclude(refresh_reason="", state__in=_SETTLED)
        if config.selects(table.entity)
    ]


def record_tables(config: SyncConfig, partitions: Sequence[Partition]) -> None:
    """Take note of the tables in new partitions, in time order.

    A table that is first seen after a lost partition of unknown content may have
    begun in that one.
    """
    if not partitions:
        return
    newest = config.partitions.filter(state=SyncPartition.State.READY)
    names = [partition.name for partition in partitions]
    before = newest.exclude(name__in=names).order_by("opened_at").last()
    unknown = config.partitions.filter(state=SyncPartition.State.LOST, sizes={})
    purged = unknown.values_list("name", flat=True)
    book = _Book(config, purged, before.name if before else "")
    for partition in partitions:
        book.read(partition)
    book.save()


def follow(config: SyncConfig) -> list[SyncTable]:
    """Record all partitions of tables that are replicated from now on; return these."""
    new = []
    for table in SyncTable.objects.filter(config=config).select_related("config"):
        wanted = is_wanted(table)
        if wanted == table.followed:
            continue
        table.followed = wanted
        table.save(update_fields=["followed"])
        if wanted:
            _record_history(table)
            new.append(table)
    return new


def is_wanted(table: SyncTable) -> bool:
    """Say whether a table is to be replicated."""
    return table.state != SyncTable.State.NEW and table.config.selects(table.entity)


def sizes_of(entity: str) -> Func:
    """Return the sizes of a table's files in a partition, as an expression."""
    # Not KeyTransform, which takes a name of digits for an index.
    return Func(
        F("sizes"),
        Value(entity, output_field=TextField()),
        function="jsonb_extract_path",
        output_field=JSONField(),
    )


def _record_history(table: SyncTable) -> None:
    ready = table.config.partitions.filter(
        state=SyncPartition.State.READY, sizes__has_key=table.entity
    ).exclude(pruned_tables__contains=[table.entity])
    DataSyncProgress.objects.bulk_create(
        (
            DataSyncProgress(
                config_id=table.config_id,
                partition=name,
                table_name=table.entity,
                bytes=sum(sizes.values()),
                end_offset=extent,
            )
            for name, extent, sizes in ready.values_list(
                "name", "extent", sizes_of(table.entity)
            )
        ),
        ignore_conflicts=True,
        batch_size=1000,
    )


class _Book:
    """The tables of a config while partitions are read, saved at the end."""

    def __init__(self, config: SyncConfig, purged: Iterable[str], before: str) -> None:
        self._config = config
        self._tables = {
            table.entity: table for table in SyncTable.objects.filter(config=config)
        }
        self._taken = {table.target_name for table in self._tables.values()}
        self._changed: set[str] = set()
        self._purged = sorted(purged, key=folder_time_or_first)
        self._before = before

    def read(self, partition: Partition) -> None:
        """Take note of a partition's tables; one out of turn only names new ones."""
        late = folder_time_or_first(partition.name) < folder_time_or_first(self._before)
        base = partition.name if late else self._gap_before(partition.name)
        entities: Mapping[str, Entity] = {}
        if partition.model:
            entities = {entity.name: entity for entity in partition.model.entities}
        for name in (*sorted(entities), *sorted(partition.files.keys() - entities)):
            if name not in self._tables:
                self._create(name, base)
            if not late:
                self._update(self._tables[name], entities.get(name), base)
        if late:
            return
        if partition.model:
            gone = self._tables.keys() - entities.keys() - partition.files.keys()
            for name in gone:
                self._set(self._tables[name], absent=True)
        self._before = partition.name

    def save(self) -> None:
        """Write what changed."""
        for name in sorted(self._changed):
            self._tables[name].save(
                update_fields=[
                    "attributes",
                    "key",
                    "base_partition",
                    "initial_sync",
                    "absent",
                    "refresh_reason",
                ]
            )

    def _gap_before(self, name: str) -> str:
        """Return the last purged partition since the one before, else the name."""
        low, high = map(folder_time_or_first, (self._before, name))
        gap = [p for p in self._purged if low < folder_time_or_first(p) < high]
        return gap[-1] if gap else name

    def _create(self, name: str, base: str) -> None:
        target = choose_name(name, self._taken)
        self._taken.add(target)
        asks = self._config.new_tables == NewTables.ASK and self._config.checked_at
        new = bool(asks) and self._config.selects(name)
        table = SyncTable.objects.create(
            config=self._config,
            entity=name,
            target_name=target,
            base_partition=base,
            state=SyncTable.State.NEW if new else SyncTable.State.ACTIVE,
            followed=False,
        )
        self._tables[name] = table
        if new:
            self._tell(table, "table_waits", "Nobody has said yet whether it is wanted")

    def _update(self, table: SyncTable, entity: Entity | None, base: str) -> None:
        if entity is None:
            return
        attributes = [[a.name, a.data_type] for a in entity.attributes]
        completed = entity.initial_sync_completed
        copied_anew = completed and table.initial_sync not in {"", completed}
        if table.absent or copied_anew:
            reason = (
                f"{table.entity} was gone from the source and came back"
                if table.absent
                else f"The source copied {table.entity} anew, complete at {completed}"
            )
            self._set(table, base_partition=base, refresh_reason=reason)
            self._tell(table, "table_reinitialised", reason)
        self._set(
            table,
            attributes=attributes,
            # What the target was made with stays.
            key=table.key if table.columns else list(entity.key),
            absent=False,
            initial_sync=completed or table.initial_sync,
        )

    def _set(self, table: SyncTable, **values: object) -> None:
        for name, value in values.items():
            if getattr(table, name) != value:
                setattr(table, name, value)
                self._changed.add(table.entity)

    def _tell(self, table: SyncTable, kind: str, message: str) -> None:
        Event.record(
            self._config,
            kind,
            message,
            level=Event.Level.WARNING,
            table_name=table.entity,
        )

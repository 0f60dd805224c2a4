"""The state of everything, read in a fixed number of queries.

The cost grows with the number of tables and with the backlog, not with the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone

from sync.engine.backlogs import Backlog, backlogs, waiting_folders
from sync.engine.locks import Namespace
from sync.engine.service import ServiceStatus, service_status
from sync.engine.session import database_errors, raw_cursor
from sync.engine.states import (
    WORST_FIRST,
    Clock,
    State,
    SyncFacts,
    TableFacts,
    Trouble,
    Verdict,
    judge_sync,
    judge_table,
)
from sync.models import QuarantinedRow, SyncConfig, SyncPartition, SyncTable
from sync.target.activity import Running, running

# What is told of a table; its columns and attributes are long.
_FIELDS = (
    "config_id",
    "entity",
    "target_name",
    "state",
    "last_partition",
    "refresh_reason",
    "approved_partition",
    "error_code",
    "error_message",
    "error_remedy",
    "last_loaded_at",
    "loads_total",
    "failures_total",
    "inserted_total",
    "updated_total",
    "deleted_total",
    "bytes_total",
    "seconds_total",
)


@dataclass(frozen=True)
class TableStatus:
    """A table: its state, its backlog, and what runs on it.

    ``lag`` is 0 with an empty backlog; ``quarantined`` are open rows set aside.
    """

    table: SyncTable
    verdict: Verdict
    lag: timedelta
    backlog: Backlog
    running: Running | None
    quarantined: int

    @property
    def state(self) -> State:
        """The word for its state."""
        return self.verdict.state


@dataclass(frozen=True)
class SyncStatus:
    """A sync: its state, its tables the worst first, and its two clocks.

    ``applied_through`` is the newest partition that any of its tables applied, closed
    at ``applied_closed_at``. Of its ``waiting`` folders, closed but not complete, the
    oldest are given with the reason.
    """

    config: SyncConfig
    verdict: Verdict
    tables: list[TableStatus]
    applied_through: str
    applied_closed_at: datetime | None
    waiting: list[tuple[str, str]]
    waiting_folders: int

    @property
    def state(self) -> State:
        """The word for its state."""
        return self.verdict.state

    @property
    def counts(self) -> dict[State, int]:
        """How many tables are in which state, the worst first."""
        found = Counter(table.state for table in self.tables)
        return {state: found[state] for state in WORST_FIRST if found[state]}

    @property
    def lag(self) -> timedelta:
        """The worst lag of its tables."""
        return max((table.lag for table in self.tables), default=timedelta())

    @property
    def backlog_partitions(self) -> int:
        """How many partitions its tables lack, each table's counted."""
        return sum(table.backlog.partitions for table in self.tables)

    @property
    def backlog_bytes(self) -> int:
        """The bytes of these."""
        return sum(table.backlog.bytes for table in self.tables)


@dataclass(frozen=True)
class Overview:
    """The service and all syncs, the worst first, at one time."""

    at: datetime
    service: ServiceStatus
    syncs: list[SyncStatus]


def overview(names: Sequence[str] = ()) -> Overview:
    """Read the state of these syncs, or of all. Raises ``TargetError``."""
    with database_errors():
        # Before the rest: the first query may open a connection that went away.
        service = service_status()
        # Before the backlog: a load that ends in between is then seen as running and
        # done, and not as one that nobody does.
        active = running(raw_cursor(), Namespace.TABLE)
        configs = _configs(names)
        ids = [config.pk for config in configs]
        clock = Clock(timezone.now(), timedelta(seconds=settings.LATE_SECONDS))
        tables = _tables(configs, backlogs(ids), active, _quarantined(ids), clock)
        waiting = waiting_folders(ids)
    syncs = [
        _sync_status(config, tables[config.pk], waiting.get(config.pk, []), clock)
        for config in configs
    ]
    syncs.sort(key=lambda sync: WORST_FIRST.index(sync.state))
    return Overview(clock.now, service, syncs)


# Reading


def _configs(names: Sequence[str]) -> list[SyncConfig]:
    ready = SyncPartition.objects.filter(
        config=OuterRef("pk"), state=SyncPartition.State.READY
    )
    configs = SyncConfig.objects.defer("model_json").annotate(any_ready=Exists(ready))
    return list(configs.filter(name__in=names) if names else configs)


def _selected(ids: Sequence[int]) -> QuerySet[SyncTable]:
    applied = SyncPartition.objects.filter(
        config=OuterRef("config"), name=OuterRef("last_partition")
    )
    return (
        SyncTable.objects.filter(config__in=ids)
        .only(*_FIELDS)
        .annotate(
            applied_opened_at=Subquery(applied.values("opened_at")),
            applied_closed_at=Subquery(applied.values("closed_at")),
        )
    )


def _quarantined(ids: Sequence[int]) -> dict[int, int]:
    rows = QuarantinedRow.objects.filter(
        state=QuarantinedRow.State.OPEN, table__config__in=ids
    )
    counted = rows.order_by().values_list("table").annotate(n=Count("pk"))
    return dict(counted)


# Putting together


def _tables(
    configs: Iterable[SyncConfig],
    behind: dict[tuple[int, str], Backlog],
    active: dict[int, Running],
    quarantined: dict[int, int],
    clock: Clock,
) -> dict[int, list[TableStatus]]:
    """Return the selected tables of each config, the worst first."""
    known = {config.pk: config for config in configs}
    found: dict[int, list[TableStatus]] = {pk: [] for pk in known}
    for table in _selected(list(known)):
        table.config = known[table.config_id]
        if not table.config.selects(table.entity):
            continue
        backlog = behind.get((table.config_id, table.entity), Backlog())
        load = active.get(table.pk)
        facts = _facts(table, backlog, running=load is not None)
        status = TableStatus(
            table=table,
            verdict=judge_table(facts, clock),
            lag=clock.lag(backlog.first),
            backlog=backlog,
            running=load,
            quarantined=quarantined.get(table.pk, 0),
        )
        found[table.config_id].append(status)
    for tables in found.values():
        tables.sort(key=lambda t: (WORST_FIRST.index(t.state), t.table.entity))
    return found


def _facts(table: SyncTable, backlog: Backlog, *, running: bool) -> TableFacts:
    return TableFacts(
        sync=table.config.name,
        entity=table.entity,
        kept=table.state,
        sync_paused=table.config.paused,
        ever_loaded=bool(table.last_partition),
        refresh_reason=table.refresh_reason,
        approved_partition=table.approved_partition,
        error=_trouble(table, where=table.label),
        first=backlog.first,
        given_up=backlog.given_up,
        running=running,
    )


def _trouble(row: SyncTable | SyncConfig, where: str) -> Trouble | None:
    if not row.error_code:
        return None
    return Trouble(row.error_code, row.error_message, where, row.error_remedy)


def _sync_status(
    config: SyncConfig,
    tables: list[TableStatus],
    waiting: list[tuple[str, str, int]],
    clock: Clock,
) -> SyncStatus:
    facts = SyncFacts(
        sync=config.name,
        paused=config.paused,
        created_at=config.created_at,
        checked_at=config.checked_at,
        any_ready=_annotated(config, "any_ready"),
        error=_trouble(config, where=config.error_where),
    )
    newest = max(_applied(tables), default=(None, None, ""))
    return SyncStatus(
        config=config,
        verdict=judge_sync(facts, (table.state for table in tables), clock),
        tables=tables,
        applied_through=newest[2],
        applied_closed_at=newest[1],
        waiting=[(name, reason) for name, reason, _ in waiting],
        waiting_folders=waiting[0][2] if waiting else 0,
    )


def _applied(tables: Iterable[TableStatus]) -> Iterator[tuple[Any, Any, str]]:
    for status in tables:
        if opened_at := _annotated(status.table, "applied_opened_at"):
            closed_at = _annotated(status.table, "applied_closed_at")
            yield opened_at, closed_at, status.table.last_partition


def _annotated(row: SyncTable | SyncConfig, name: str) -> Any:
    return getattr(row, name)

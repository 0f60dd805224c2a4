"""The state of everything, read in a fixed number of queries.

The cost grows with the number of tables and with the backlog, not with the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, OuterRef, Subquery
from django.db.models.functions import Coalesce, JSONObject
from django.utils import timezone

from sync.engine.backlogs import Backlog, TableRow, table_rows
from sync.engine.locks import Namespace
from sync.engine.rates import bars, recent_rows, rows_by_minute
from sync.engine.service import (
    ServiceStatus,
    service_of,
    service_signs,
    service_status,
)
from sync.engine.session import database_errors, raw_cursor
from sync.engine.states import (
    WORST_FIRST,
    Clock,
    State,
    SyncFacts,
    TableFacts,
    Trouble,
    Verdict,
    judge_source,
    judge_sync,
    judge_table,
)
from sync.engine.switches import newest_pause, since_words
from sync.models import SyncConfig, SyncPartition, SyncTable
from sync.target.activity import Running, running

WAITING_SHOWN = 5


@dataclass(frozen=True)
class Scope:
    """What to look at: syncs by name or number, or one table; without any: all.

    The rows of the last hour and the sizes of targets are read only when asked for.
    """

    names: Sequence[str] = ()
    sync: int | None = None
    table: int | None = None
    rates: bool = False
    sizes: bool = False


@dataclass(frozen=True)
class TableStatus:
    """A table: its state, its backlog, and what runs on it.

    ``lag`` is 0 with an empty backlog; ``quarantined`` are open rows set aside.
    ``begun_bytes`` is what its load of now has taken, ``size`` the target's on disk,
    where they are known.
    """

    table: SyncTable
    verdict: Verdict
    lag: timedelta
    backlog: Backlog
    running: Running | None
    quarantined: int
    begun_bytes: int | None = None
    size: int | None = None

    @property
    def state(self) -> State:
        """The word for its state."""
        return self.verdict.state

    @property
    def retriable(self) -> bool:
        """Whether a person may let it be tried again: it failed, and is not held."""
        kept = {SyncTable.State.ACTIVE, SyncTable.State.PARKED}
        failed = self.table.error_code or self.backlog.failed
        return self.table.state in kept and bool(failed)


@dataclass(frozen=True)
class SyncStatus:
    """A sync: its state, its tables the worst first, and its two clocks.

    ``applied_through`` is the newest partition that any of its tables applied, closed
    at ``applied_closed_at``. Of its ``waiting`` folders, closed but not complete, the
    oldest are given with the reason. ``rates`` are the rows applied in each minute of
    the last hour, if they were asked for. ``own`` is its verdict beside its tables'.
    """

    config: SyncConfig
    verdict: Verdict
    own: Verdict | None
    tables: list[TableStatus]
    applied_through: str
    applied_closed_at: datetime | None
    waiting: list[tuple[str, str]]
    waiting_folders: int
    rates: tuple[int, ...] = ()

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
    return look(Scope(names=names))


def look(scope: Scope) -> Overview:
    """Read the state of what is asked for, in three queries. Raises ``TargetError``."""
    with database_errors():
        clock = Clock(timezone.now(), timedelta(seconds=settings.LATE_SECONDS))
        # Before the rest: the first query may open a connection that went away.
        configs = _configs(scope, clock.now)
        if not configs:
            return Overview(clock.now, service_status(), [])
        # Before the backlog: a load that ends in between is then seen as running and
        # done, and not as one that nobody does.
        active = running(raw_cursor(), Namespace.TABLE)
        tables = _tables(configs, active, scope, clock)
    syncs = [_sync_status(config, tables[config.pk], clock) for config in configs]
    syncs.sort(key=lambda sync: WORST_FIRST.index(sync.state))
    return Overview(clock.now, service_of(configs[0], clock.now), syncs)


# Reading


def _configs(scope: Scope, now: datetime) -> list[SyncConfig]:
    """Read the syncs with their folders, and the service's signs with each of them."""
    folders = SyncPartition.objects.filter(config=OuterRef("pk"))
    ready = folders.filter(state=SyncPartition.State.READY)
    waiting = folders.filter(state=SyncPartition.State.WAITING).order_by(
        "opened_at", "name"
    )
    counted = waiting.order_by().values("config").annotate(n=Count("pk")).values("n")
    told = waiting.values(json=JSONObject(name="name", reason="reason"))
    configs = SyncConfig.objects.defer("model_json").annotate(
        any_ready=Exists(ready),
        waiting=ArraySubquery(told[:WAITING_SHOWN]),
        waiting_folders=Coalesce(Subquery(counted), 0),
        newest_pause=newest_pause(),
        **service_signs(now),
    )
    if scope.rates:
        configs = configs.annotate(rates=rows_by_minute(now), recent=recent_rows(now))
    if scope.names:
        configs = configs.filter(name__in=scope.names)
    if scope.sync is not None:
        configs = configs.filter(pk=scope.sync)
    if scope.table is not None:
        configs = configs.filter(tables=scope.table)
    return list(configs)


# Putting together


def _tables(
    configs: Iterable[SyncConfig],
    active: Mapping[int, Running],
    scope: Scope,
    clock: Clock,
) -> dict[int, list[TableStatus]]:
    """Return the selected tables of each config, the worst first."""
    known = {config.pk: config for config in configs}
    found: dict[int, list[TableStatus]] = {pk: [] for pk in known}
    rows = table_rows(list(known), list(active), table=scope.table, sizes=scope.sizes)
    for row in rows:
        row.table.config = known[row.table.config_id]
        if row.table.config.selects(row.table.entity):
            status = _table_status(row, active.get(row.table.pk), clock)
            found[row.table.config_id].append(status)
    for tables in found.values():
        tables.sort(key=lambda t: (WORST_FIRST.index(t.state), t.table.entity))
    return found


def _table_status(row: TableRow, load: Running | None, clock: Clock) -> TableStatus:
    facts = _facts(row.table, row.backlog, running=load is not None)
    return TableStatus(
        table=row.table,
        verdict=judge_table(facts, clock),
        lag=clock.lag(row.backlog.first),
        backlog=row.backlog,
        running=load,
        quarantined=row.quarantined,
        begun_bytes=row.begun_bytes,
        size=row.size,
    )


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


def _sync_status(config: Any, tables: list[TableStatus], clock: Clock) -> SyncStatus:
    facts = SyncFacts(
        sync=config.name,
        feed=config.is_feed,
        paused=config.paused,
        paused_since=_paused_since(config, clock),
        created_at=config.created_at,
        checked_at=config.checked_at,
        any_ready=config.any_ready,
        error=_trouble(config, where=config.error_where),
    )
    newest = max(_applied(tables), default=(None, None, ""))
    return SyncStatus(
        config=config,
        verdict=judge_sync(facts, (table.state for table in tables), clock),
        own=judge_source(facts, clock),
        tables=tables,
        applied_through=newest[2],
        applied_closed_at=newest[1],
        waiting=[(folder["name"], folder["reason"]) for folder in config.waiting],
        waiting_folders=config.waiting_folders,
        rates=bars(config.rates, clock.now, config.recent)
        if hasattr(config, "rates")
        else (),
    )


def _paused_since(config: Any, clock: Clock) -> str:
    told = config.newest_pause
    if not told:
        return ""
    return since_words(datetime.fromisoformat(told["at"]), told["message"], clock.now)


def _applied(tables: Iterable[TableStatus]) -> Iterator[tuple[Any, Any, str]]:
    for status in tables:
        row: Any = status.table
        if row.applied_opened_at:
            yield row.applied_opened_at, row.applied_closed_at, row.last_partition

"""What /metrics tells Prometheus: the overview, read anew at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from sync.engine.overview import Overview, SyncStatus, TableStatus, overview
from sync.engine.states import State

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Family = GaugeMetricFamily | CounterMetricFamily


def exposition() -> bytes:
    """Return the metrics of now as Prometheus' text. Raises ``TargetError``."""
    registry = CollectorRegistry()  # of its own: nothing of the process is told
    registry.register(_Collector(overview()))
    return bytes(generate_latest(registry))


class _Collector(Collector):
    def __init__(self, seen: Overview) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Family]:
        """Return every family once, with a sample for each sync or table."""
        yield from _service(self._seen)
        yield from _syncs(self._seen)
        yield from _tables(
            [
                ((sync.config.name, table.table.entity), table)
                for sync in self._seen.syncs
                for table in sync.tables
            ]
        )


def _service(seen: Overview) -> Iterator[Family]:
    service = seen.service
    age = service.age.total_seconds() if service.age is not None else inf
    yield _gauge("heartbeat_age_seconds", "Time since the last poll began.", age)
    polls = CounterMetricFamily("dvsync_polls", "Polls that were begun.")
    polls.add_metric([], service.polls)
    yield polls
    yield _gauge("workers_seen", "Workers for loads, heard of lately.", service.workers)
    yield _gauge("workers_busy", "Workers that do a load now.", service.busy)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dvsync_{name}", text)
    family.add_metric([], value)
    return family


def _syncs(seen: Overview) -> Iterator[Family]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"dvsync_{name}", text, labels=["config", *labels])

    state = gauge("sync_state", "1 for the state of the sync, else 0.", "state")
    checked = gauge("last_check_age_seconds", "Time since the export was looked at.")
    parked = gauge("parked_tables", "Tables that wait for a person.")
    waiting = gauge(
        "waiting_folders", "Change folders that are closed but not complete."
    )
    for sync in seen.syncs:
        name = [sync.config.name]
        _add_state(state, name, sync.state)
        checked.add_metric(name, _check_age(sync, seen))
        parked.add_metric(name, sync.counts.get(State.ACTION_REQUIRED, 0))
        waiting.add_metric(name, sync.waiting_folders)
    yield from (state, checked, parked, waiting)


def _check_age(sync: SyncStatus, seen: Overview) -> float:
    checked_at = sync.config.checked_at
    return (seen.at - checked_at).total_seconds() if checked_at else inf


def _add_state(family: Family, labels: list[str], now: State) -> None:
    for state in State:
        family.add_metric([*labels, state.value], float(state is now))


def _tables(tables: Sequence[tuple[tuple[str, str], TableStatus]]) -> Iterator[Family]:
    state = GaugeMetricFamily(
        "dvsync_table_state",
        "1 for the state of the table, else 0.",
        labels=["config", "table", "state"],
    )
    rows = CounterMetricFamily(
        "dvsync_rows", "Rows applied.", labels=["config", "table", "kind"]
    )
    families = {
        name: kind(f"dvsync_{name}", text, labels=["config", "table"])
        for kind, name, text in _OF_TABLES
    }
    for label, status in tables:
        labels = list(label)
        _add_state(state, labels, status.state)
        for kind, number in _rows(status).items():
            rows.add_metric([*labels, kind], number)
        for name, value in _numbers(status).items():
            families[name].add_metric(labels, value)
    yield from (state, rows, *families.values())


_OF_TABLES: tuple[tuple[type[Family], str, str], ...] = (
    (
        GaugeMetricFamily,
        "lag_seconds",
        "0, or the time since the oldest data not yet applied was there.",
    ),
    (
        GaugeMetricFamily,
        "backlog_partitions",
        "Folders, or log files, with what is not applied.",
    ),
    (GaugeMetricFamily, "backlog_bytes", "Bytes of them that are not applied."),
    (GaugeMetricFamily, "quarantined_rows", "Rows set aside, not yet decided."),
    (GaugeMetricFamily, "load_running", "1 while a load holds the table, else 0."),
    (CounterMetricFamily, "bytes", "Bytes applied."),
    (CounterMetricFamily, "load_seconds", "Time that loads took."),
    (CounterMetricFamily, "loads", "Loads that were committed."),
    (CounterMetricFamily, "load_failures", "Loads that failed."),
)


def _numbers(status: TableStatus) -> dict[str, float]:
    return {
        "lag_seconds": status.lag.total_seconds(),
        "backlog_partitions": status.backlog.partitions,
        "backlog_bytes": status.backlog.bytes,
        "quarantined_rows": status.quarantined,
        "load_running": float(status.running is not None),
        "bytes": status.table.bytes_total,
        "load_seconds": status.table.seconds_total,
        "loads": status.table.loads_total,
        "load_failures": status.table.failures_total,
    }


def _rows(status: TableStatus) -> dict[str, int]:
    table = status.table
    return {
        "inserted": table.inserted_total,
        "updated": table.updated_total,
        "deleted": table.deleted_total,
    }

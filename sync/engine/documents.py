"""The state of everything as JSON has it: the same for commands and for the API.

Numbers are exact, texts are as they are stored, times are UTC in ISO 8601.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from sync.engine.overview import Overview, SyncStatus, TableStatus
from sync.engine.service import POLL, ServiceStatus
from sync.engine.states import Trouble, Verdict
from sync.target.activity import Running

SCHEMA_VERSION = 1


def document(seen: Overview) -> dict[str, object]:
    """Return the whole overview."""
    return {
        **frame(seen),
        "syncs": [sync_document(sync) for sync in seen.syncs],
    }


def frame(seen: Overview) -> dict[str, object]:
    """Return what every document of a state begins with: when, and the service."""
    return {
        "schema_version": SCHEMA_VERSION,
        "at": seen.at.isoformat(),
        "service": _service_document(seen.service),
    }


def _service_document(service: ServiceStatus) -> dict[str, object]:
    return {
        "polling": service.polling,
        "heartbeat_age_seconds": seconds(service.age),
        "polls": service.polls,
        "poll_clusters": sum(c.queue == POLL for c in service.clusters),
        "workers": service.workers,
        "busy": service.busy,
    }


def sync_document(sync: SyncStatus) -> dict[str, object]:
    """Return a sync with its tables, the worst first."""
    return {
        "id": sync.config.pk,
        "name": sync.config.name,
        "kind": sync.config.kind,
        "schema": sync.config.schema_name,
        **_verdict(sync.verdict),
        "counts": {state.value: number for state, number in sync.counts.items()},
        "checked_at": moment(sync.config.checked_at),
        "failing_since": moment(sync.config.failing_since),
        "applied_through": sync.applied_through or None,
        "lag_seconds": seconds(sync.lag),
        "backlog": {
            "partitions": sync.backlog_partitions,
            "bytes": sync.backlog_bytes,
        },
        "waiting_folders": sync.waiting_folders,
        "waiting": [
            {"folder": folder, "reason": reason} for folder, reason in sync.waiting
        ],
        "tables": [table_document(table) for table in sync.tables],
    }


def table_document(status: TableStatus) -> dict[str, object]:
    """Return a table."""
    table, first = status.table, status.backlog.given_up or status.backlog.first
    return {
        "id": table.pk,
        "table": table.entity,
        "target": table.label,
        **_verdict(status.verdict),
        "lag_seconds": seconds(status.lag),
        "backlog": {
            "partitions": status.backlog.partitions,
            "bytes": status.backlog.bytes,
        },
        "applied_through": table.last_partition or None,
        "last_loaded_at": moment(table.last_loaded_at),
        "attempts": first.attempts if first else 0,
        "next_attempt_at": moment(first.next_attempt_at if first else None),
        "quarantined": status.quarantined,
        "running": _running(status.running),
        "totals": {
            "loads": table.loads_total,
            "failures": table.failures_total,
            "inserted": table.inserted_total,
            "updated": table.updated_total,
            "deleted": table.deleted_total,
            "bytes": table.bytes_total,
            "seconds": table.seconds_total,
        },
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "state": verdict.state.value,
        "reason": verdict.reason or None,
        "remedy": verdict.remedy or None,
        "error": error_document(verdict.error),
    }


def error_document(error: Trouble | None) -> dict[str, str] | None:
    """Return an error, None for none."""
    return asdict(error) if error else None


def _running(running: Running | None) -> dict[str, object] | None:
    if running is None:
        return None
    return {**asdict(running), "since": moment(running.since)}


def moment(time: datetime | None) -> str | None:
    """Return a time, None for none."""
    return time.isoformat() if time else None


def seconds(time: timedelta | None) -> float | None:
    """Return a length of time to a tenth of a second."""
    return round(time.total_seconds(), 1) if time is not None else None

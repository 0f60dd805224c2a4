"""What the support bundle tells of the database: shapes, timings, errors, no rows."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

from django.db import connection

from sync.engine.discretion import TOLD_EVENTS, told
from sync.engine.documents import document, moment
from sync.engine.overview import SyncStatus, overview
from sync.engine.service import service_status
from sync.engine.source import source_of
from sync.engine.switches import without_reason
from sync.errors import SyncError
from sync.models import (
    DataSyncProgress,
    Event,
    Incident,
    QuarantinedRow,
    Receiver,
    SyncConfig,
    SyncTable,
)

ERRORS, EVENTS, INCIDENTS, LOADS, GAPS = 200, 300, 100, 10, 20
# A network drive that does not answer must not hold up the rest.
EXPORT_SECONDS = 10.0
_FOLDERS = """
    SELECT config_id, state, count(*), min(name), max(name)
    FROM sync_syncpartition GROUP BY config_id, state ORDER BY config_id, state
"""
_GAPS = """
    WITH gaps AS (
        SELECT config_id, name, extract(epoch FROM opened_at - lag(opened_at) OVER (
                   PARTITION BY config_id ORDER BY opened_at)) AS seconds
        FROM sync_syncpartition
    )
    SELECT config_id, min(seconds)::float,
           (percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds))::float,
           max(seconds)::float,
           (array_agg(name ORDER BY seconds DESC NULLS LAST, name))[1:%(shown)s],
           (array_agg(seconds::float ORDER BY seconds DESC NULLS LAST, name))
               [1:%(shown)s]
    FROM gaps WHERE seconds IS NOT NULL GROUP BY config_id
"""
_LOADS = """
    SELECT config_id, table_name, partition, started_at, finished_at, bytes, attempts,
           applied_offset, end_offset,
           rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected,
           rows_missing
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY config_id, table_name ORDER BY finished_at DESC, id DESC) AS n
        FROM data_sync_progress WHERE copy_status = 1
    ) newest WHERE n <= %(shown)s ORDER BY config_id, table_name, n
"""
_BYTES = """
    SELECT config_id, table_name, count(*), sum(bytes)::bigint, max(bytes)
    FROM data_sync_progress GROUP BY config_id, table_name
"""
# Not pg_total_relation_size(), which would wait for a table that is being rewritten.
_SIZES = """
    SELECT t.id, c.relpages::bigint * current_setting('block_size')::bigint,
           c.reltuples::float
    FROM sync_synctable t
    JOIN sync_syncconfig s ON s.id = t.config_id
    JOIN pg_namespace n ON n.nspname = s.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.target_name
"""
_POSTGRES = """
    SELECT name, setting || coalesce(' ' || unit, '') FROM pg_settings
    WHERE name = ANY(%(names)s) ORDER BY name
"""
_POSTGRES_SETTINGS = [
    *("autovacuum", "block_size", "checkpoint_timeout", "default_toast_compression"),
    *("effective_cache_size", "fsync", "lc_collate", "maintenance_work_mem"),
    *("max_connections", "max_wal_size", "server_encoding", "server_version"),
    *("shared_buffers", "synchronous_commit", "TimeZone", "wal_level", "work_mem"),
]


def postgres() -> dict[str, object]:
    """Return PostgreSQL's version and the settings that matter to loads."""
    found = dict(_rows(_POSTGRES, names=_POSTGRES_SETTINGS))
    [(said,)] = _rows("SELECT version()")
    return {"version": said, "settings": found}


def status() -> dict[str, object]:
    """Return the state of everything, without why something is paused."""
    seen = overview()
    return document(replace(seen, syncs=[_unexplained(sync) for sync in seen.syncs]))


def _unexplained(sync: SyncStatus) -> SyncStatus:
    if not sync.config.paused:
        return sync
    reason = without_reason(sync.verdict.reason)
    return replace(sync, verdict=replace(sync.verdict, reason=reason))


def service() -> dict[str, object]:
    """Return the signs of life of polls, clusters and receivers of alerts."""
    seen = service_status()
    return {
        "heartbeat_age_seconds": seen.age.total_seconds() if seen.age else None,
        "polls": seen.polls,
        "clusters": [
            {
                "queue": cluster.queue,
                "host": cluster.host,
                "pid": cluster.pid,
                "silent_seconds": cluster.age.total_seconds(),
                "workers": cluster.workers,
                "busy": cluster.busy,
            }
            for cluster in seen.clusters
        ],
        "receivers": [
            {
                "name": receiver.name,
                "failures": receiver.failures,
                "next_attempt_at": moment(receiver.next_attempt_at),
            }
            for receiver in Receiver.objects.all()
        ],
    }


def errors() -> dict[str, object]:
    """Return the last errors, incidents and events, without what quotes a row."""
    names = dict(SyncConfig.objects.values_list("pk", "name"))
    failed = DataSyncProgress.objects.exclude(copy_status=1).exclude(error_code="")
    return {
        "partitions": [
            {
                "sync": names.get(row.config_id),
                "table": row.table_name,
                "partition": row.partition,
                "attempts": row.attempts,
                "finished_at": moment(row.finished_at),
                "next_attempt_at": moment(row.next_attempt_at),
                "code": row.error_code,
                "message": row.error_message,
                "where": row.error_where,
            }
            for row in failed.order_by("-finished_at")[:ERRORS]
        ],
        "incidents": [
            {
                "sync": names.get(incident.config_id),
                "table": incident.table_name,
                "kind": incident.kind,
                "opened_at": moment(incident.opened_at),
                "closed_at": moment(incident.closed_at),
                "code": incident.code,
                "message": told(incident.code, incident.message),
                "where": incident.where,
            }
            for incident in Incident.objects.all()[:INCIDENTS]
        ],
        "events": [
            {
                "sync": names.get(event.config_id),
                "table": event.table_name,
                "partition": event.partition,
                "kind": event.kind,
                "level": event.level,
                "at": moment(event.happened_at),
                "said": _said(event),
            }
            for event in Event.objects.all()[:EVENTS]
        ],
    }


def _said(event: Event) -> str | None:
    if event.kind not in TOLD_EVENTS:
        return None
    return without_reason(event.message) if event.kind == "paused" else event.message


def loads() -> list[dict[str, object]]:
    """Return of every table the last partitions that it took, and how long each did."""
    names = dict(SyncConfig.objects.values_list("pk", "name"))
    return [
        {
            "sync": names.get(config),
            "table": table,
            "partition": partition,
            "finished_at": moment(end),
            "seconds": (end - begin).total_seconds() if begin and end else None,
            **dict(zip(_NUMBERS, numbers, strict=False)),
            "rows": dict(zip(_COUNTS, numbers[len(_NUMBERS) :], strict=True)),
        }
        for config, table, partition, begin, end, *numbers in _rows(_LOADS, shown=LOADS)
    ]


_NUMBERS = ("bytes", "attempts", "applied_offset", "end_offset")
_COUNTS = ("inserted", "updated", "deleted", "unchanged", "rejected", "missing")


def exports() -> list[dict[str, object]]:
    """Return of every sync its partitions, the gaps between them, and what is there."""
    folders: dict[int, dict[str, object]] = {}
    for config, state, number, first, last in _rows(_FOLDERS):
        told = {"number": number, "first": first, "last": last}
        folders.setdefault(config, {})[state] = told
    gaps = {config: found for config, *found in _rows(_GAPS, shown=GAPS)}
    return [
        {
            "sync": config.name,
            "kind": config.kind,
            "location": config.location,
            "marker": config.marker,
            "checked_at": moment(config.checked_at),
            "partitions": folders.get(config.pk, {}),
            "gaps_seconds": _gaps(gaps.get(config.pk)),
            "now": _look(config),
        }
        for config in SyncConfig.objects.defer("model_json")
    ]


def _gaps(found: list[Any] | None) -> dict[str, object] | None:
    if found is None:
        return None
    least, median, most, names, seconds = found
    largest = [
        {"before": name, "seconds": length}
        for name, length in zip(names, seconds, strict=True)
    ]
    return {"min": least, "median": median, "max": most, "largest": largest}


def _look(config: SyncConfig) -> dict[str, object]:
    """List the source as it is now; say so when that does not work, or not soon."""
    found: dict[str, object] = {}
    config.refresh_from_db(fields=["model_json"])  # not by the thread

    def work() -> None:
        try:
            listing = source_of(config).listing()
        except SyncError as error:
            found.update(code=error.code, message=error.message)
        except Exception as error:  # noqa: BLE001  the rest of the bundle matters more
            found.update(problem=type(error).__name__)
        else:
            names = [name for _, name in listing.partitions]
            found.update(marker=listing.marker, partitions=len(names))
            found.update(first=names[:3], last=names[-3:])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(EXPORT_SECONDS)
    if thread.is_alive():
        return {"problem": f"no answer within {EXPORT_SECONDS:.0f} s"}
    return dict(found)


def tables() -> list[dict[str, object]]:
    """Return the widths, types and sizes of every table, and its rows set aside."""
    sizes = {pk: found for pk, *found in _rows(_SIZES)}
    behind = {(config, name): found for config, name, *found in _rows(_BYTES)}
    aside: dict[int, Counter[str]] = {}
    rows = QuarantinedRow.objects.order_by().values_list("table", "state", "code")
    for table, state, code in rows.iterator():
        aside.setdefault(table, Counter())[f"{state} {code}"] += 1
    return [
        _table(
            table,
            sizes.get(table.pk, [None, None]),
            behind.get((table.config_id, table.entity), [0, 0, 0]),
            aside.get(table.pk, Counter()),
        )
        for table in SyncTable.objects.select_related("config").defer(
            "config__model_json"
        )
    ]


def _table(
    table: SyncTable, size: list[Any], files: list[Any], aside: Counter[str]
) -> dict[str, object]:
    now: dict[str, str] = dict(table.attributes)
    return {
        "sync": table.config.name,
        "table": table.entity,
        "target": table.label,
        "state": table.state,
        "selected": table.config.selects(table.entity),
        "absent": table.absent,
        "refresh_reason": table.refresh_reason,
        "base_partition": table.base_partition,
        "last_partition": table.last_partition,
        "attributes": len(now),
        "types": dict(Counter(now.values()).most_common()),
        "columns": len(table.columns),
        "column_types": dict(Counter(type_ for _, _, type_ in table.columns)),
        "columns_that_left": sum(name not in now for name, _, _ in table.columns),
        "target_bytes": size[0],
        "target_rows_estimated": size[1],
        "partitions": files[0],
        "source_bytes": files[1],
        "largest_partition_bytes": files[2],
        "rows_set_aside": dict(aside),
        "error": {"code": table.error_code, "message": table.error_message}
        if table.error_code
        else None,
    }


def _rows(query: str, **parameters: int | list[str]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())

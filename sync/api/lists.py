"""Lists that grow: page by page from the newest on, each with the way to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from sync.api.answers import Answer, Refusal, not_found
from sync.api.asking import LARGEST, parameters, whole
from sync.engine import set_aside
from sync.engine.documents import error_document, moment
from sync.engine.states import Trouble
from sync.models import DataSyncProgress, QuarantinedRow, SyncConfig, SyncTable

MOST, USUAL = 1000, 100
_PAGE = ("before", "limit")
_STATUS = {status.name.lower(): status for status in DataSyncProgress.Status}
_STATES = {**{state: state for state in QuarantinedRow.State.values}, "all": ""}

Row = TypeVar("Row", bound=Model)


def progress(request: HttpRequest) -> Answer:
    """List what became of partitions of tables."""
    given = parameters(request, "sync", "table", "partition", "status", *_PAGE)
    rows = DataSyncProgress.objects.select_related("config").defer("config__model_json")
    if "sync" in given:
        rows = rows.filter(config=_sync_id(given["sync"]))
    if "table" in given:
        rows = rows.filter(table_name=given["table"])
    if "partition" in given:
        rows = rows.filter(partition=given["partition"])
    if "status" in given:
        rows = rows.filter(copy_status=_one_of(_STATUS, "status", given))
    return _page(request, given, "progress", rows, _progress)


def quarantine(request: HttpRequest) -> Answer:
    """List the rows that were set aside; those that are open unless others are named.

    ``raw`` is the begin of the row as it is in the file.
    """
    names = ("sync", "table", "code", "state", "text")
    given = parameters(request, *names, *_PAGE)
    sync = _sync_id(given["sync"]) if "sync" in given else None
    wanted = set_aside.Wanted(
        sync=sync,
        code=given.get("code", ""),
        state=_one_of(_STATES, "state", {"state": "open", **given}),
        text=given.get("text", ""),
    )
    rows = set_aside.listed(wanted)
    if "table" in given:
        tables = SyncTable.objects.filter(entity=given["table"])
        rows = rows.filter(table__in=tables.values("pk"))
    return _page(request, given, "rows", rows, _row)


def _page(
    request: HttpRequest,
    given: Mapping[str, str],
    name: str,
    rows: QuerySet[Row],
    show: Callable[[Row], dict[str, object]],
) -> Answer:
    limit = whole(given, "limit", USUAL, MOST)
    before = whole(given, "before", LARGEST, LARGEST)
    # By the key alone: pages neither skip nor repeat what comes meanwhile.
    found = list(rows.filter(pk__lt=before).order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    following = None
    if more:
        query = request.GET.copy()
        query["before"] = str(found[-1].pk)
        following = f"{request.path}?{query.urlencode()}"
    return Answer({name: [show(row) for row in found], "next": following})


def _sync_id(name: str) -> int:
    found = SyncConfig.objects.filter(name=name).values_list("pk", flat=True).first()
    if found is None:
        raise not_found(f"There is no sync named {name!r}")
    return found


def _one_of(known: Mapping[str, Any], name: str, given: Mapping[str, str]) -> Any:
    if given[name] not in known:
        allowed = ", ".join(known)
        raise Refusal(
            400, "bad_request", f"{name} must be one of {allowed}", where=name
        )
    return known[given[name]]


def _progress(row: DataSyncProgress) -> dict[str, object]:
    counts = ("inserted", "updated", "deleted", "unchanged", "rejected", "missing")
    feed = row.config.is_feed
    error = None
    if row.error_code:
        error = Trouble(
            row.error_code, row.error_message, row.error_where, row.error_remedy
        )
    return {
        "id": row.pk,
        "sync": row.config.name,
        "table": row.table_name,
        "partition": row.partition,
        "status": DataSyncProgress.Status(row.copy_status).name.lower(),
        "rows": {name: getattr(row, f"rows_{name}") for name in counts},
        "bytes": row.bytes,
        "applied_offset": row.applied_offset if feed else None,
        "end_offset": row.end_offset if feed else None,
        "attempts": row.attempts,
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "next_attempt_at": moment(row.next_attempt_at),
        "error": error_document(error),
    }


def _row(row: QuarantinedRow) -> dict[str, object]:
    raw = set_aside.shown_raw(row)
    return {
        "id": row.pk,
        "sync": row.table.config.name,
        "table": row.table.entity,
        "table_id": row.table_id,
        "partition": row.partition,
        "file": row.file,
        "line": row.line,
        "column": row.column or None,
        "code": row.code,
        "reason": row.reason,
        "raw": raw.text,
        "raw_bytes": raw.bytes,
        "state": row.state,
        "found_at": moment(row.found_at),
        "decided_at": moment(row.decided_at),
    }

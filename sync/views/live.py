"""What the regions of pages have in common that ask for themselves again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from sync.engine.overview import Overview, SyncStatus, TableStatus
from sync.engine.progress import WATCH, LoadProgress
from sync.engine.service import ServiceStatus
from sync.engine.states import State

BUSY_SECONDS, IDLE_SECONDS = 2, 15
_IN_TROUBLE = {State.ACTION_REQUIRED, State.FAILING}


@dataclass(frozen=True)
class Load:
    """A table that is loaded now, and how far that is."""

    table: TableStatus
    progress: LoadProgress


@dataclass(frozen=True)
class Troubles:
    """What waits for a person or failed: how much, and where to look first.

    ``table`` is None when the first of it is the sync's own.
    """

    number: int
    table: TableStatus | None


def loads(seen: Overview) -> list[Load]:
    """Return the loads of now, those that began first before the others."""
    found = [
        Load(table, progress)
        for table in tables_of(seen)
        if (progress := WATCH.look(table, seen.at))
    ]
    return sorted(found, key=lambda load: load.progress.elapsed or 0, reverse=True)


def tables_of(seen: Overview) -> Iterable[TableStatus]:
    """Return the tables of all syncs."""
    return (table for sync in seen.syncs for table in sync.tables)


def troubles(sync: SyncStatus) -> Troubles:
    """Return what is wrong with a sync and its tables."""
    tables = [table for table in sync.tables if table.state in _IN_TROUBLE]
    own = bool(sync.config.error_code) and not sync.config.paused
    first = tables[0] if tables and not own else None
    return Troubles(len(tables) + own, first)


def seconds(seen: Overview, *, page: bool) -> int:
    """Return after how long a region looks again; soon after the page was opened.

    Who has just pressed *Sync now* sees the load begin.
    """
    busy = page or any(
        table.running or table.state is State.SYNCING for table in tables_of(seen)
    )
    return BUSY_SECONDS if busy else IDLE_SECONDS


def start_command(service: ServiceStatus) -> str:
    """Return the command that brings back what is missing; "" when nothing is."""
    if service.polling:
        return "" if service.workers else "Q_CLUSTER_NAME=sync manage.py qcluster"
    return "manage.py qcluster" if service.workers else "manage.py up"


def gone(request: HttpRequest, what: str) -> HttpResponse:
    """Tell in the place of a region that its object was deleted; it asks no more."""
    if not getattr(request, "htmx", False):
        raise Http404
    return render(request, "dvsync/gone.html", {"what": what})

"""The overview of all syncs, the worst first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from sync.engine.overview import Scope, SyncStatus, look
from sync.engine.states import WORST_FIRST
from sync.views import live
from sync.views.access import VIEW, needs
from sync.views.pages import page


@dataclass(frozen=True)
class Line:
    """What the page shows of one sync."""

    sync: SyncStatus
    troubles: live.Troubles
    loads: list[live.Load]


@require_safe
@needs(VIEW)
def overview(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    context = _context(page=True)
    return page(request, "dvsync/overview.html", context, title="Overview")


@require_safe
@needs(VIEW)
def overview_live(request: HttpRequest) -> HttpResponse:
    """Show the part of the page that asks for itself."""
    return render(request, "dvsync/overview_live.html", _context(page=False))


def _context(*, page: bool) -> dict[str, Any]:
    seen = look(Scope(rates=True))
    running = live.loads(seen)
    lines = [
        Line(
            sync,
            live.troubles(sync),
            [load for load in running if load.table.table.config_id == sync.config.pk],
        )
        for sync in seen.syncs
    ]
    counts = Counter(sync.state for sync in seen.syncs)
    return {
        "seen": seen,
        "lines": lines,
        "counts": [(state, counts[state]) for state in WORST_FIRST if counts[state]],
        "failing": sum(line.troubles.number for line in lines),
        "start": live.start_command(seen.service),
        "every": live.seconds(seen, page=page),
    }

"""Two tabs of a sync: its timeline, and the shapes of its tables."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from sync.engine.happenings import CATEGORIES
from sync.engine.shapes import Group, schema_events, shapes
from sync.engine.switches import pause_of
from sync.engine.timeline import LEVELS, Entry, Place, Wanted, timeline
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.views.access import VIEW, needs
from sync.views.pages import page

PAGE = 100
MAX_TEXT = 200
FILTERS = ("kind", "level", "table", "q")
LINES = 10_000
COUNTS = ("inserted", "updated", "deleted", "unchanged", "rejected")


def sync_of(pk: int) -> SyncConfig:
    """Return the sync of an address, else there is no such page."""
    return get_object_or_404(SyncConfig.objects.defer("model_json"), pk=pk)


def asked(request: HttpRequest, name: str) -> str:
    """Return what the address says, as PostgreSQL can be asked for it."""
    return request.GET.get(name, "").replace("\0", "")[:MAX_TEXT]


def tab(
    request: HttpRequest,
    config: SyncConfig,
    name: str,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    """Render a tab of a sync's page by its name."""
    frame = {"sync": config, "tab": name, "pause": pause_of(config)}
    template = f"dvsync/sync_{name}.html"
    title = f"{name.capitalize()} of {printable(config.name)}"
    return page(request, template, frame | context, title=title, status=status)


# Timeline


@require_safe
@needs(VIEW)
def sync_timeline(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what happened to a sync, newest first."""
    config = sync_of(pk)
    wanted = _wanted(request)
    before = Place.parse(asked(request, "before"))
    query = request.GET.copy()
    query.pop("before", None)
    found = timeline(config, wanted, before)
    if found.older:
        query["before"] = str(found.older)
    tables = SyncTable.objects.filter(config=config).order_by("entity")
    return tab(
        request,
        config,
        "timeline",
        found=found,
        wanted=wanted,
        later=before is not None,
        older=query.urlencode() if found.older else "",
        categories=CATEGORIES,
        tables=tables.values_list("entity", flat=True),
        filtered=wanted != Wanted(),
        filters=urlencode({name: request.GET.get(name, "") for name in FILTERS}),
    )


def _wanted(request: HttpRequest) -> Wanted:
    category, level = asked(request, "kind"), asked(request, "level")
    return Wanted(
        category if category in CATEGORIES else "",
        asked(request, "table"),
        asked(request, "q"),
        level if level in LEVELS else "",
    )


@require_safe
@needs(VIEW)
def sync_timeline_download(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the newest entries of a timeline as a file, a line each."""
    config = sync_of(pk)
    found = timeline(config, _wanted(request), size=LINES)
    lines = [_line(entry) for entry in found.entries]
    if found.older:
        lines.append(f"# Only the newest {LINES:,} are here.\n")
    return HttpResponse(
        "".join(lines),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="timeline-{pk}.tsv"'},
    )


def _line(entry: Entry) -> str:
    load = entry.load or {}
    counts = ", ".join(f"{load[name]} {name}" for name in COUNTS if name in load)
    by = f"by {entry.by}" if entry.by else ""
    said = " ".join(filter(None, (counts, entry.message, by)))
    at = entry.at.astimezone(UTC).isoformat(timespec="seconds")
    texts = (entry.level, entry.title, entry.table, entry.partition, said)
    return "\t".join((at, *map(printable, texts))) + "\n"


# Schema


@require_safe
@needs(VIEW)
def sync_schema(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what becomes of each table of the export, and its shape."""
    config = sync_of(pk)
    text, group = asked(request, "q").lower(), asked(request, "show")
    found = shapes(config)
    groups = [(g, sum(1 for s in found if s.group is g)) for g in Group]
    shown = [
        shape
        for shape in found
        if (not group or shape.group.slug == group)
        and (text in shape.table.entity.lower() or text in shape.table.target_name)
    ]
    paginator = Paginator(shown, PAGE)
    query = request.GET.copy()
    query.pop("page", None)
    return tab(
        request,
        config,
        "schema",
        groups=[(g, count) for g, count in groups if count],
        show=group,
        q=asked(request, "q"),
        total=len(found),
        shapes=paginator.get_page(request.GET.get("page")),
        query=query.urlencode(),
        events=schema_events(config),
    )

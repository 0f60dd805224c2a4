"""Two tabs of a sync: its timeline, and the shapes of its tables."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from sync.engine.happenings import CATEGORIES
from sync.engine.shapes import Group, schema_events, shapes
from sync.engine.timeline import Place, Wanted, timeline
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.views.access import VIEW, needs
from sync.views.pages import page

PAGE = 100
MAX_TEXT = 200


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
    frame = {"sync": config, "tab": name}
    template = f"dvsync/sync_{name}.html"
    title = f"{name.capitalize()} of {printable(config.name)}"
    return page(request, template, frame | context, title=title, status=status)


# Timeline


@require_safe
@needs(VIEW)
def sync_timeline(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what happened to a sync, newest first."""
    config = sync_of(pk)
    category = asked(request, "kind")
    wanted = Wanted(
        category if category in CATEGORIES else "",
        asked(request, "table"),
        asked(request, "q"),
    )
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
    )


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

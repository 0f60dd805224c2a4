"""Step 3: where the data is, or step 1 when its model.json is read from there."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse

from sync.engine import drafts, places
from sync.engine.kinds import UnclearKindError
from sync.engine.places import Folder, Place
from sync.errors import ConfigError, SyncError
from sync.models import SetupDraft, SourceKind, SyncConfig
from sync.views.setup.frame import Mistake, mistake_of, to_step, user_of
from sync.views.setup.frame import show as show_step

PER_PAGE = 100
# So many places are offered at once; one may browse to the others.
OFFERED = 50


def reads_model(request: HttpRequest, draft: SetupDraft) -> bool:
    """Say whether the model.json is to be read from the location, not an upload."""
    given = request.POST if request.method == "POST" else request.GET
    source = draft.answers.get("model", {}).get("source")
    return source != drafts.UPLOAD or given.get("read") == "model"


def show(
    request: HttpRequest,
    draft: SetupDraft,
    mistakes: tuple[Mistake, ...] = (),
    *,
    unclear: bool = False,
) -> HttpResponse:
    """Show the places that were found, and the folder that one browses."""
    chosen = draft.answers.get("location", {}).get("path", "")
    kind = places.KINDS[places.DIRECTORY.name]
    search = kind.sources()
    offered = list(search.places[:OFFERED])
    folder: Folder | None = None
    if wanted := request.GET.get("in", ""):
        try:
            folder = kind.browse(wanted)
        except ConfigError as error:
            mistakes = (*mistakes, mistake_of(error, "browse"))
    here = [folder.place] if folder else []
    offered = [*here, *(place for place in offered if place not in here)]
    if chosen and chosen not in {place.path for place in offered}:
        offered[:0] = _still_there(chosen)
    context: dict[str, Any] = {
        "kind": kind,
        "offered": offered,
        "ticked": _ticked(offered, chosen, folder),
        "used": _used(offered),
        "cut_short": search.cut_short or len(search.places) > OFFERED,
        "folder": folder,
        "folders": Paginator(folder.folders if folder else (), PER_PAGE).get_page(
            request.GET.get("page")
        ),
        "roots": places.roots(),
        "reads_model": reads_model(request, draft),
        "unclear": unclear,
        "holds": draft.answers.get("location", {}).get("holds", ""),
        "kinds": SourceKind.choices,
    }
    known = draft if draft.pk else None
    return show_step(request, "location", known, context, mistakes)


def save(request: HttpRequest, draft: SetupDraft) -> HttpResponse:
    """Remember the location; read the model from it when there is none yet."""
    path, holds = request.POST.get("path", ""), request.POST.get("holds", "")
    kind = places.KINDS.get(request.POST.get("kind", ""), places.DIRECTORY)
    try:
        if not path:
            raise ConfigError("Choose a directory first")
        holds = holds if holds in SourceKind.values else ""
        if reads_model(request, draft):
            drafts.begin_from_export(user_of(request), path, kind.name, holds)
            return to_step("tables")
        draft = drafts.answer_location(
            user_of(request), kind.checked(path), kind.name, holds
        )
    except UnclearKindError as error:
        said = Mistake(error.message, "holds", remedy="Say below what it is.")
        return show(request, draft, (said,), unclear=True)
    except SyncError as error:
        return show(request, draft, (mistake_of(error, "offered"),))
    return to_step(drafts.next_step(draft, "location"))


def _still_there(path: str) -> list[Place]:
    try:
        return [places.look(path)]
    except ConfigError:
        return []


def _ticked(offered: list[Place], chosen: str, folder: Folder | None) -> str:
    """Return the path that is ticked at first."""
    if folder and (folder.place.seen.is_source or not offered[1:]):
        return folder.place.path
    if chosen:
        return chosen
    exports = [place.path for place in offered if place.seen.is_source]
    return exports[0] if len(exports) == 1 else ""


def _used(offered: list[Place]) -> dict[str, str]:
    """Return which of the places are synced already, and by what."""
    paths = [place.path for place in offered]
    configs = SyncConfig.objects.filter(location__in=paths)
    return dict(configs.values_list("location", "name"))

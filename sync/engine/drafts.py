"""A sync that is being set up, step by step, and what was answered so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from sync.engine import first_model, places
from sync.engine.configs import NewSync, create_config, unasked
from sync.engine.kinds import detected_kind, is_of_feed
from sync.engine.outline import TableOutline, outline
from sync.engine.selection import globs_for
from sync.errors import ConfigError, ModelError
from sync.model_json import MAX_BYTES, Model, parse_model
from sync.models import SetupDraft, SourceKind, SyncConfig
from sync.sources.browsing import Glance
from sync.sources.folder_models import MODEL
from sync.sources.storage import Directory

# In the order in which they are asked.
STEPS = ("model", "tables", "location", "target", "checks", "start")
UPLOAD, EXPORT = "upload", "export"


class GoneError(Exception):
    """There is no set-up of this user any more: it was finished, or begun anew."""


def find_draft(user: User) -> SetupDraft | None:
    """Return what a user has begun, without the bytes of its model."""
    return SetupDraft.objects.filter(user=user).defer("model_json").first()


def begin(user: User, data: bytes, file_name: str) -> SetupDraft:
    """Begin with an uploaded model.json, or replace the one of a set-up.

    What else was answered is kept. Raises ``ModelError``.
    """
    return _with_model(user, data, {"source": UPLOAD, "file": file_name[:255]})


def begin_from_export(
    user: User, location: str, kind: str = places.DIRECTORY.name, holds: str = ""
) -> SetupDraft:
    """Begin with the model.json of an export or a feed, or with this one instead.

    ``holds`` is which of both it is, "" if that is to be told by what is there. Raises
    ``ConfigError`` and ``SourceError``.
    """
    path = places.KINDS[kind].checked(location)
    data = Directory(path).read(MODEL, MAX_BYTES + 1)
    if not data:
        raise ConfigError(
            f"{path} holds no model.json yet",
            where=path,
            remedy="Upload the model.json, or wait until it is there.",
        )
    with transaction.atomic():
        _with_model(user, data, {"source": EXPORT, "file": f"{path}/model.json"})
        return answer_location(user, path, kind, holds)


def answer_location(user: User, path: str, kind: str, holds: str = "") -> SetupDraft:
    """Remember where the data is, as ``checked`` by its kind, and what it holds.

    Raises ``ConfigError`` when that is not told and cannot be seen.
    """
    with transaction.atomic():
        draft = _locked(user, with_model=True)
        found = holds or detected_kind(path, model_of(draft))
        told = {"kind": kind, "path": path, "holds": str(found), "said": bool(holds)}
        draft.answers = {**draft.answers, "location": told}
        _outline_again(draft)
        draft.save(update_fields=["answers", "updated_at"])
    return draft


def begin_anew_from_export(user: User, location: str) -> SetupDraft:
    """Begin as ``begin_from_export`` does, and forget what was answered before."""
    with transaction.atomic():
        give_up(user)
        return begin_from_export(user, location)


def answer(user: User, step: str, values: dict[str, Any]) -> SetupDraft:
    """Remember what was answered in a step; ``GoneError`` when nothing was begun."""
    return change(user, step, lambda _: values)


def change(
    user: User, step: str, work: Callable[[SetupDraft], dict[str, Any]]
) -> SetupDraft:
    """Remember a step's answer that depends on the others; one change at a time."""
    with transaction.atomic():
        draft = _locked(user)
        draft.answers = {**draft.answers, step: work(draft)}
        draft.save(update_fields=["answers", "updated_at"])
    return draft


def give_up(user: User) -> None:
    """Forget what a user has begun."""
    SetupDraft.objects.filter(user=user).delete()


def tables_of(draft: SetupDraft) -> list[TableOutline]:
    """Return the tables of its model."""
    rows = draft.answers.get("model", {}).get("tables", [])
    return [
        TableOutline(entity, name, columns, key, widest, tuple(warnings), problem)
        for entity, name, columns, key, widest, warnings, problem in rows
    ]


def is_feed(draft: SetupDraft) -> bool:
    """Say whether it is of a change feed, as far as is known."""
    said = draft.answers.get("location", {}).get("holds")
    return bool(
        said == SourceKind.CHANGE_FEED
        if said
        else draft.answers.get("model", {}).get("feed")
    )


def left_out(draft: SetupDraft) -> set[str]:
    """Return the tables that shall not come along; at first those that cannot."""
    given = draft.answers.get("tables", {}).get("left_out")
    if given is None:
        return {table.entity for table in tables_of(draft) if table.problem}
    return set(given)


def model_of(draft: SetupDraft) -> Model:
    """Parse its model.json."""
    return parse_model(bytes(draft.model_json or b""))


def is_answered(draft: SetupDraft, step: str) -> bool:
    """Say whether a step is done; checks are of the answers that they were made for."""
    if step == "checks":
        said = draft.answers.get("checks", {})
        return said.get("of") == fingerprint(draft) and bool(said.get("passed"))
    return step in draft.answers


def first_open(draft: SetupDraft | None) -> str:
    """Return the first step that is not done."""
    if draft is None:
        return STEPS[0]
    return next((s for s in STEPS if not is_answered(draft, s)), STEPS[-1])


def next_step(draft: SetupDraft, step: str) -> str:
    """Return where one goes on after a step: the first later one that is not done."""
    later = STEPS[STEPS.index(step) + 1 :]
    return next((s for s in later if not is_answered(draft, s)), STEPS[-1])


def fingerprint(draft: SetupDraft) -> str:
    """Return what is equal as long as nothing is answered in another way."""
    parts = [
        draft.answers.get("model", {}).get("digest"),
        sorted(left_out(draft)),
        *(draft.answers.get(step) for step in ("location", "target")),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def planned(draft: SetupDraft) -> SyncConfig:
    """Return the sync that the answers describe, not saved and not checked."""
    location, target = draft.answers["location"], draft.answers["target"]
    entities = [table.entity for table in tables_of(draft)]
    include, exclude = globs_for(entities, left_out(draft))
    feed = is_feed(draft)
    config = SyncConfig(
        name=target["name"],
        schema_name=target["schema"],
        kind=SourceKind.CHANGE_FEED if feed else SourceKind.SYNAPSE_LINK,
        location=location["path"],
        include=include,
        exclude=exclude,
        **policies_of(draft),
    )
    if feed and is_uploaded(draft) and draft.model_json:
        config.model_json = first_model.document(bytes(draft.model_json))
    return config


def policies_of(draft: SetupDraft) -> dict[str, Any]:
    """Return what was answered for cases of doubt, as far as its kind has them."""
    given: dict[str, Any] = draft.answers["target"]["policies"]
    out = unasked(feed=is_feed(draft))
    return {name: value for name, value in given.items() if name not in out}


def is_uploaded(draft: SetupDraft) -> bool:
    """Say whether its model was uploaded, not read from the location."""
    return bool(draft.answers["model"]["source"] == UPLOAD)


def suggested_name(draft: SetupDraft) -> str:
    """Return a free name for the sync, from that of its location."""
    path = draft.answers.get("location", {}).get("path", "")
    base = path.rstrip("/").rpartition("/")[2].removeprefix("dataverse-")
    base = "".join(c if c.isalnum() else "_" for c in base.lower()).strip("_")
    base = base[:40] or "dataverse"
    taken = set(SyncConfig.objects.values_list("name", flat=True))
    taken |= set(SyncConfig.objects.values_list("schema_name", flat=True))
    names = (base, *(f"{base}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def start(user: User) -> NewSync:
    """Create the sync and forget the set-up, both or neither.

    Raises ``ConfigError`` with what is wrong by now, and ``GoneError``.
    """
    with transaction.atomic():
        draft = _locked(user, with_model=True)
        if first_open(draft) != "start":
            raise ConfigError(
                "Something changed since the checks", remedy="Run the checks again."
            )
        config = planned(draft)
        path = places.KINDS[draft.answers["location"]["kind"]].checked(config.location)
        created = create_config(
            config.name,
            path,
            schema=config.schema_name,
            kind=config.kind,
            model_json=bytes(draft.model_json or b"") if is_uploaded(draft) else None,
            include=config.include,
            exclude=config.exclude,
            policies=policies_of(draft),
            by=user.get_username(),
        )
        draft.delete()
    return created


def seen_of(draft: SetupDraft) -> Glance | None:
    """Return what its location looks like now, None when it cannot be looked at."""
    try:
        return places.look(draft.answers["location"]["path"]).seen
    except ConfigError:
        return None


def _locked(user: User, *, with_model: bool = False) -> SetupDraft:
    drafts = SetupDraft.objects.select_for_update().filter(user=user)
    draft = (drafts if with_model else drafts.defer("model_json")).first()
    if draft is None:
        raise GoneError
    return draft


def _with_model(user: User, data: bytes, told: dict[str, Any]) -> SetupDraft:
    model = parse_model(data)
    if not model.entities:
        raise ModelError("model.json describes no table", where="entities")
    told |= {
        "digest": hashlib.sha256(data).hexdigest(),
        "feed": is_of_feed(model),
        "tables": _outlined(model, feed=is_of_feed(model)),
        "notes": [note for note in model.warnings if note.endswith("is left out")],
    }
    with transaction.atomic():
        # Made first, so that two tabs that begin together agree on one.
        SetupDraft.objects.get_or_create(user=user)
        draft = _locked(user)
        draft.model_json, draft.file_name = data, told["file"]
        answers = {**draft.answers, "model": told}
        if draft.answers.get("model", {}).get("digest") != told["digest"]:
            answers.pop("tables", None)
        draft.answers = answers
        _look_again(draft)
        draft.save()
    return draft


def _look_again(draft: SetupDraft) -> None:
    """Tell anew what the location holds, with another model; else it is asked again."""
    location = draft.answers.get("location")
    if location is None:
        return
    try:
        if not location.get("said"):
            found = detected_kind(location["path"], model_of(draft))
            location = {**location, "holds": str(found)}
        draft.answers = {**draft.answers, "location": location}
        _outline_again(draft)
    except ConfigError:
        draft.answers.pop("location")


def _outline_again(draft: SetupDraft) -> None:
    """Describe the tables as those of a feed, or of an export."""
    model = {**draft.answers["model"]}
    model["tables"] = _outlined(model_of(draft), feed=is_feed(draft))
    draft.answers = {**draft.answers, "model": model}


def _outlined(model: Model, *, feed: bool) -> list[Any]:
    return [astuple(table) for table in outline(model, feed=feed)]

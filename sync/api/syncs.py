"""Creating a sync and editing its settings, by the rules of the command line."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from sync.api.access import by
from sync.api.answers import Answer
from sync.api.asking import (
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    choice,
    fields,
    number,
    parameters,
)
from sync.api.status import find_sync, settings_of
from sync.engine import places
from sync.engine.configs import create_config, edit_config
from sync.model_json import MAX_BYTES
from sync.models import (
    BadRowPolicy,
    EmptyText,
    MissingKeys,
    NewTables,
    SourceKind,
    SyncConfig,
)

POLICIES: dict[str, Field] = {
    "bad_rows": choice(BadRowPolicy.values),
    "max_bad_rows": number(0, 2**31 - 1),
    "empty_text": choice(EmptyText.values),
    "new_tables": choice(NewTables.values),
    "missing_keys": choice(MissingKeys.values),
    "max_delete_share": number(0, 100),
}
EDITABLE: dict[str, Field] = {"include": TEXTS, "exclude": TEXTS, **POLICIES}
NEW: dict[str, Field] = {
    "name": TEXT,
    "location": TEXT,
    "kind": choice(SourceKind.values),
    "schema": TEXT,
    "model_json": OBJECT,
    **EDITABLE,
}


def listing(request: HttpRequest) -> Answer:
    """Tell all syncs and their settings."""
    parameters(request)
    configs = SyncConfig.objects.defer("model_json")
    return Answer({"syncs": [_told(config) for config in configs]})


def create(request: HttpRequest) -> Answer:
    """Create a sync; its source is below one of the roots that pages offer, too."""
    parameters(request)
    given = fields(request, NEW, required=("name", "location"), limit=MAX_BYTES + 2**16)
    model = given.get("model_json")
    created = create_config(
        given["name"],
        places.checked(given["location"], file=True),
        schema=given.get("schema", ""),
        kind=given.get("kind", ""),
        model_json=json.dumps(model).encode() if model is not None else None,
        include=given.get("include", []),
        exclude=given.get("exclude", []),
        policies={name: given[name] for name in POLICIES if name in given},
        by=by(request),
    )
    config = created.config
    document = {
        "sync": _told(config),
        "tables": list(created.tables),
        "warnings": list(created.warnings),
    }
    place = reverse("api-sync", args=[config.pk])
    return Answer(document, 201, {"Location": place})


def edit(request: HttpRequest, pk: int) -> Answer:
    """Change settings; those that are not given stay."""
    parameters(request)
    config = find_sync(pk)
    changed = edit_config(config, fields(request, EDITABLE), by=by(request))
    return Answer({"sync": _told(config), "changed": changed})


def _told(config: SyncConfig) -> dict[str, Any]:
    return {
        "id": config.pk,
        "name": config.name,
        "kind": config.kind,
        "schema": config.schema_name,
        "settings": settings_of(config),
    }

"""What may be told outside: errors without values of rows, texts without secrets.

An error's message is told only if its code is known never to quote what is in a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings

HIDDEN = "***"
# A shorter one is no secret, and hiding it would make texts unreadable.
SHORTEST_SECRET = 4
# What their messages hold: names, places and numbers.
TOLD = frozenset(
    (
        *("bad_config", "source_unreadable", "not_an_export", "marker_unusable"),
        *("model_malformed", "entity_missing", "file_missing", "file_unreadable"),
        *("file_changed", "unsafe_path", "row_count", "late_partition", "row_decided"),
        *("history_lost", "versions_went_back", "mass_delete", "refresh_refused"),
        *("unsupported_entity", "type_changed", "type_widened", "column_in_use"),
        *("name_taken", "target_altered", "target_limit", "database_unavailable"),
        *("permission_denied", "read_only", "table_locked", "load_stalled"),
        *("disk_full", "database_conflict", "loader_killed"),
        *("line_malformed", "key_changed", "out_of_order", "line_out_of_turn"),
    )
)
# What theirs may hold: a cell, a line, or what a trigger or a library says of one.
WITHHELD = frozenset(
    (
        *("bad_row", "bad_value", "bad_encoding", "too_many_bad_rows"),
        *("database_refused", "internal_error"),
    )
)
# Of events, those whose messages are made of names and numbers; of a pause without why.
TOLD_EVENTS = frozenset(
    (
        *("columns_added", "columns_widened", "deletes_approved", "history_lost"),
        *("loss_accepted", "partition_late", "partitions_lost", "paused", "resumed"),
        *("retried", "refreshed", "refresh_asked", "refresh_begun", "source_recovered"),
        *(
            "partition_changed",
            "partition_renamed",
            "sync_created",
            "sync_edited",
            "table_reinitialised",
            "table_waits",
        ),
    )
)
_EXCEPTION = re.compile(r"Unexpected \w+")
WITHOUT = "(its text may quote a row and is left out)"


def told(code: str, message: str) -> str:
    """Return an error's message, or as much of it as may be told."""
    if code in TOLD:
        # In brackets is PostgreSQL's detail, which may be a key.
        said_by_postgres = message.startswith("PostgreSQL says: ")
        return message.partition(" (")[0] if said_by_postgres else message
    found = _EXCEPTION.match(message)
    return f"{found[0] if found else code} {WITHOUT}"


def discreetly(document: Any) -> Any:
    """Return a document in which every error's message is only what may be told."""
    if isinstance(document, dict):
        found = {name: discreetly(value) for name, value in document.items()}
        if isinstance(found.get("code"), str) and isinstance(found.get("message"), str):
            found["message"] = told(found["code"], found["message"])
        return found
    if isinstance(document, list | tuple):
        return [discreetly(value) for value in document]
    return document


def without_secrets(text: str) -> str:
    """Return a text in which no secret of the settings is, however it is written."""
    forms = {
        form
        for secret in _secrets()
        if len(secret) >= SHORTEST_SECRET
        for form in (
            *(secret, json.dumps(secret)[1:-1]),
            *(quote(secret), quote(secret, safe="")),
        )
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _secrets() -> Iterable[str]:
    database: dict[str, Any] = settings.DATABASES["default"]
    yield str(database.get("PASSWORD") or "")
    for name in ("SECRET_KEY", "METRICS_TOKEN", "WEBHOOK_SECRET"):
        yield str(getattr(settings, name, "") or "")
    yield str(settings.EMAIL_HOST_PASSWORD or "")
    for name in ("WEBHOOK_URL", "LOAD_WEBHOOK_URL"):
        parts = urlsplit(getattr(settings, name, "") or "")
        # The address of a webhook is a key to it.
        yield parts.password or ""
        yield parts.path.strip("/")
        yield parts.query


def host_of(url: str) -> str | None:
    """Return scheme and host of an address: no user, no password, no path."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/…"
    except ValueError:
        return HIDDEN

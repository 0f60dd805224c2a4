"""What each kind of event is called, and to which part of the story it belongs."""

from __future__ import annotations

CATEGORIES = {
    "loads": "Loads",
    "problems": "Problems",
    "schema": "Schema changes",
    "people": "What people did",
    "settings": "Settings",
    "alerts": "Alerts",
    "folders": "Folders and log files",
}
_TITLES = {
    "problems": {
        "load_failed": "Load failed",
        "source_failed": "Source cannot be read",
        "source_recovered": "Source can be read again",
        "history_lost": "History lost",
        "refresh_failed": "Refresh failed",
        "rows_quarantined": "Bad rows set aside",
        "rows_trimmed": "Rows mended",
    },
    "schema": {
        "table_created": "Table created",
        "columns_added": "Columns added",
        "columns_widened": "Columns widened",
        "table_waits": "New table waits for a yes",
        "table_reinitialised": "Table copied anew by the source",
        "schema_borrowed": "Columns taken from another place",
    },
    "people": {
        "paused": "Paused",
        "resumed": "Resumed",
        "retried": "Retried",
        "acknowledged": "Alert acknowledged",
        "sync_asked": "Sync now",
        "refresh_asked": "Refresh asked for",
        "refresh_begun": "Refresh begun",
        "table_refreshed": "Table refreshed",
        "deletes_approved": "Deletes approved",
        "loss_accepted": "Loss accepted",
        "row_applied": "Bad row applied",
        "row_dismissed": "Bad row dismissed",
    },
    "settings": {
        "sync_created": "Sync created",
        "sync_edited": "Settings changed",
    },
    "folders": {
        "partition_waits": "Folder not complete yet",
        "partition_skipped": "Folder given up",
        "partition_late": "Folder came late",
        "partition_returned": "What was lost is back",
        "partition_changed": "Log file changed in place",
        "partition_renamed": "Log file renamed or replaced",
        "partitions_lost": "Folders or log files lost",
        "model_unreadable": "model.json unreadable",
        "source_note": "Note about the source",
    },
}
_BY_KIND = {
    kind: (category, title)
    for category, titles in _TITLES.items()
    for kind, title in titles.items()
}
SCHEMA_KINDS = frozenset(_TITLES["schema"])


def title_of(kind: str) -> tuple[str, str]:
    """Return the category of a kind of event, and its title; new ones have some too."""
    return _BY_KIND.get(kind, ("folders", kind.replace("_", " ").capitalize()))


def kinds_of(category: str) -> list[str]:
    """Return the kinds of event that belong to a category."""
    return list(_TITLES.get(category, ()))

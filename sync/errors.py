"""The errors of dvsync: what happened, where, and what to do about it.

Every error has a *code* of the catalogue ``PROBLEMS``. The code decides whether
the error is permanent, so that trying again changes nothing by itself, and
which remedy is shown when the place that raised it knew no better one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is always true of an error code."""

    permanent: bool
    remedy: str
    # Trying again is of no use at all before a person has decided something.
    decision: bool = False


PROBLEMS: dict[str, Problem] = {
    # The configuration.
    "bad_config": Problem(True, "Correct the command and run it again."),
    # The source as a whole.
    "source_unreadable": Problem(
        False, "Check that the location exists and that dvsync may read it."
    ),
    "not_an_export": Problem(
        True,
        "Give the directory that holds Changelog/changelog.info and the change "
        "folders.",
    ),
    "marker_unusable": Problem(
        False,
        "Check Changelog/changelog.info: it must hold the name of the open folder. "
        "A mirror copies it last.",
    ),
    # Files of one table.
    "model_malformed": Problem(
        True, "Copy the folder's model.json again; Synapse Link never rewrites it."
    ),
    "entity_missing": Problem(
        True,
        "The folder's model.json does not describe this table. Copy model.json again.",
    ),
    "file_missing": Problem(
        True, "Copy the file again from the export, then run the sync again."
    ),
    "file_unreadable": Problem(
        False, "Check the permissions of the file and of its folder."
    ),
    "file_changed": Problem(
        False, "Wait until the copy of the export is finished, then sync again."
    ),
    "unsafe_path": Problem(
        True,
        "Replace the symbolic link by the file or directory itself: dvsync follows "
        "no link inside an export.",
    ),
    # Rows.
    "bad_row": Problem(
        True, "Compare the row with model.json and copy the file again if it was cut."
    ),
    "bad_value": Problem(
        True, "Compare the value with the column's type in model.json."
    ),
    "bad_encoding": Problem(
        True, "The file must be UTF-8 without NUL characters. Copy the file again."
    ),
    "row_count": Problem(
        True,
        "PostgreSQL took another number of rows than the file holds; nothing was "
        'applied. Look for a line that is only "\\." or for carriage returns.',
    ),
    "late_partition": Problem(
        True,
        "The folder came after newer ones were applied, and the table has no "
        "versionnumber to order them by. Run manage.py refreshtable.",
    ),
    "too_many_bad_rows": Problem(
        True,
        "Look at the rows (manage.py quarantine), then dismiss or re-process them, or "
        "raise the limit (manage.py editsync --max-bad-rows).",
    ),
    "row_decided": Problem(
        True, "Somebody was faster: look at the rows again with manage.py quarantine."
    ),
    # The history.
    "history_lost": Problem(
        True,
        "Bring the folder back; or add the table again in Synapse Link and run "
        "manage.py refreshtable; or go on without it: manage.py acceptloss.",
        decision=True,
    ),
    "versions_went_back": Problem(
        True,
        "The source was restored, it seems. Add the table again in Synapse Link, then "
        "run manage.py refreshtable.",
        decision=True,
    ),
    "mass_delete": Problem(
        True,
        "If the rows are meant to go, run manage.py approvedeletes NAME TABLE.",
        decision=True,
    ),
    "refresh_refused": Problem(
        True,
        "Bring the folder back, or add the table again in Synapse Link and refresh it "
        "from the new full copy.",
    ),
    # The schema.
    "unsupported_entity": Problem(
        True, "Exclude the table: createsync --exclude NAME."
    ),
    "type_changed": Problem(
        True,
        "Run the statement yourself if the values allow it, then syncnow; or exclude "
        "the table.",
    ),
    "type_widened": Problem(
        True,
        "Run manage.py refreshtable: the table is too large to be rewritten unasked.",
    ),
    "column_in_use": Problem(
        True, "Drop the view, run the sync, and create the view again."
    ),
    "name_taken": Problem(
        True, "Rename or drop the relation that is in the way, or use another schema."
    ),
    "target_altered": Problem(
        True,
        "Undo the change to the table, then run the sync again; or let manage.py "
        "refreshtable make it anew.",
    ),
    "target_limit": Problem(
        True, "Exclude the table: PostgreSQL cannot hold a row or a table of that size."
    ),
    # PostgreSQL.
    "database_unavailable": Problem(
        False,
        "Check that PostgreSQL runs, that DATABASE_URL is right, and that connections "
        "are left (fewer --jobs need fewer).",
    ),
    "permission_denied": Problem(
        True, "Grant dvsync's role the privilege that the message names."
    ),
    "read_only": Problem(
        False, "The database takes no writes now: a standby, or set read-only."
    ),
    "table_locked": Problem(
        False, "Another session holds a lock on the table; end it or wait."
    ),
    "load_stalled": Problem(
        False,
        "Check the network to PostgreSQL and the storage of the export; dvsync tries "
        "again.",
    ),
    "disk_full": Problem(
        False, "Free disk space or memory for PostgreSQL; dvsync then goes on."
    ),
    "database_conflict": Problem(False, "Nothing: dvsync tries again by itself."),
    "database_refused": Problem(
        True, "Read PostgreSQL's message; the table kept its last good content."
    ),
    "internal_error": Problem(
        False, "This is a fault of dvsync: please report it with the log's traceback."
    ),
    "loader_killed": Problem(
        True,
        "A load of this folder was killed again and again. Check memory and the "
        "system's log, then run syncnow.",
    ),
}


# Their messages quote what is in a row.
_QUOTING = frozenset({"bad_row", "bad_value", "bad_encoding"})


class SyncError(Exception):
    """An error with a code of the catalogue, a message, a place and a remedy.

    ``where`` names folder, file, line and column as far as they are known.
    """

    def __init__(
        self, code: str, message: str, *, where: str = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.remedy = remedy or PROBLEMS[code].remedy

    @property
    def permanent(self) -> bool:
        """Whether trying again changes nothing by itself."""
        return PROBLEMS[self.code].permanent

    @property
    def needs_decision(self) -> bool:
        """Whether a person must decide something before it is tried again."""
        return PROBLEMS[self.code].decision

    def __str__(self) -> str:
        """Return one line: the message and its place, unless it names that itself."""
        told = not self.where or self.where in self.message
        return self.message if told else f"{self.message} ({self.where})"


class ConfigError(SyncError):
    """A configuration is refused before anything is stored."""

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__("bad_config", message, where=where, remedy=remedy)


class SourceError(SyncError):
    """The export or a file of it cannot be read as what it should be."""


class ModelError(SourceError):
    """A model.json is not what the format says; ``where`` is the path in it."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__("model_malformed", message, where=where)


class RowError(SyncError):
    """A record of a file does not fit; ``where`` names file, line and column."""


class TargetError(SyncError):
    """PostgreSQL, or the state of the target table, refuses the work."""


class Cancelled(Exception):
    """The work was given up on request; everything of it was rolled back."""


def discreet(error: SyncError) -> str:
    """Return an error for a log, which shall hold no value of a row."""
    message = error.message
    if error.code in _QUOTING:
        message = f"A row does not fit: {error.code}"
    elif error.code == "target_altered":
        # In brackets is PostgreSQL's detail: the key that breaks a constraint.
        message = message.partition(" (")[0]
    return str(SyncError(error.code, message, where=error.where))

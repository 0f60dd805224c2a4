"""The catalogue of what can go wrong: every error code, in words for people.

``docs/errors.md`` has a section for each of them; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

# What may help, by the names of what a person may do to a table.
RETRY, REFRESH, APPROVE, ACCEPT = "retry", "refresh", "approve-deletes", "accept-loss"

_FOLDER = "The table kept its last good content; nothing of this load was applied."
_TABLE = "The table kept its last good content; the other tables go on."
_WAITS = "The table kept its content; what waits is applied in its order."
_SYNC = "All tables kept their content; what is new waits."
_NOTHING = "Nothing was stored or changed."


@dataclass(frozen=True)
class Problem:
    """What is always true of an error code.

    ``kept`` is what is safe all the same, ``page`` the remedy without commands where
    the remedy names some, ``deeds`` what may be done to the table after it.
    """

    permanent: bool
    title: str
    kept: str
    remedy: str
    page: str = ""
    # Trying again is of no use at all before a person has decided something.
    decision: bool = False
    deeds: tuple[str, ...] = (RETRY,)
    # It answers what a person just asked for: nothing goes on in the background.
    answer: bool = False

    @property
    def again(self) -> str:
        """Say whether it is tried again: one of the words of docs/errors.md."""
        if self.answer:
            return "no"
        if self.decision:
            return "decision"
        # Every poll looks at the export as a whole, whatever was wrong with it before.
        return "three times" if self.permanent and self.kept != _SYNC else "by itself"


PROBLEMS: dict[str, Problem] = {
    # The configuration.
    "bad_config": Problem(
        True,
        "A setting is not possible",
        _NOTHING,
        "Correct the command and run it again.",
        "Correct what was entered and send it again.",
        deeds=(),
        answer=True,
    ),
    # The source as a whole.
    "source_unreadable": Problem(
        False,
        "The source cannot be read",
        _SYNC,
        "Check that the location exists and that dvsync may read it.",
        deeds=(),
    ),
    "not_an_export": Problem(
        True,
        "The location holds no export and no change feed",
        _SYNC,
        "Give the directory that holds Changelog/changelog.info and the change "
        "folders, or that of the log files of a change feed.",
        deeds=(),
    ),
    "marker_unusable": Problem(
        False,
        "The export does not say which folder is open",
        _SYNC,
        "Check Changelog/changelog.info: it must hold the name of the open folder. "
        "A mirror copies it last.",
        deeds=(),
    ),
    "line_malformed": Problem(
        True,
        "A line of a log file names no table",
        _SYNC,
        "Mend the line, which must be: time | VERB | table | JSON object. It may not "
        "become shorter: replace the rest by blanks. What comes after it is then read.",
        deeds=(),
    ),
    # Files of one table.
    "model_malformed": Problem(
        True,
        "A model.json cannot be understood",
        _FOLDER,
        "Copy the model.json again; Synapse Link never rewrites that of a folder.",
    ),
    "entity_missing": Problem(
        True,
        "model.json does not describe the table",
        _FOLDER,
        "Copy the folder's model.json again; in that of a change feed, describe the "
        "table.",
    ),
    "file_missing": Problem(
        True,
        "A file is missing",
        _FOLDER,
        "Bring the file back, then run the sync again.",
    ),
    "file_unreadable": Problem(
        False,
        "A file cannot be read",
        _FOLDER,
        "Check the permissions of the file and of its folder.",
    ),
    "file_changed": Problem(
        False,
        "A file changed while it was read",
        _FOLDER,
        "Wait until the copy is finished, then sync again.",
    ),
    "unsafe_path": Problem(
        True,
        "A path leads out of the source",
        _FOLDER,
        "Replace the symbolic link by the file or directory itself: dvsync follows "
        "no link inside an export or a feed.",
    ),
    # Rows.
    "bad_row": Problem(
        True,
        "A row does not fit its table",
        _FOLDER,
        "Compare the row with model.json. Copy the file again if it was cut, or mend "
        "the line of a log file.",
    ),
    "bad_value": Problem(
        True,
        "A value does not fit its column",
        _FOLDER,
        "Compare the value with the column's type in model.json.",
        "Copy the file again if it was damaged, then retry. If the source is wrong, "
        "let bad rows be set aside in the settings of the sync, then retry.",
    ),
    "bad_encoding": Problem(
        True,
        "A file is not the text that it should be",
        _FOLDER,
        "The file must be UTF-8 without NUL characters. Copy the file again.",
    ),
    "row_count": Problem(
        True,
        "The rows do not add up",
        _FOLDER,
        "PostgreSQL took another number of rows than the file holds; nothing was "
        'applied. Look for a line that is only "\\." or for carriage returns.',
    ),
    "late_partition": Problem(
        True,
        "A folder came too late to be put in order",
        _FOLDER,
        "The folder came after newer ones were applied, and the table has no "
        "versionnumber to order them by. Run manage.py refreshtable.",
        "The folder came after newer ones were applied, and nothing tells which of "
        "their rows are newer. Refresh the table: it is rebuilt from its full copy.",
        deeds=(REFRESH,),
    ),
    "too_many_bad_rows": Problem(
        True,
        "More rows are bad than may be set aside",
        _FOLDER,
        "Look at the rows (manage.py quarantine), then decide about them, or raise the "
        "limit (manage.py editsync --max-bad-rows).",
        "Look at the rows that were set aside, then decide about them; or raise the "
        "limit in the settings.",
    ),
    "row_decided": Problem(
        True,
        "Somebody has decided about the row already",
        _NOTHING,
        "Somebody was faster: look at the rows again with manage.py quarantine.",
        "Somebody was faster: look at the rows again.",
        deeds=(),
        answer=True,
    ),
    # The history.
    "history_lost": Problem(
        True,
        "Something is gone before it was applied",
        "The table kept its content of before the gap; what came later waits.",
        "Bring the folder or log file back; or add the table again in Synapse Link and "
        "run manage.py refreshtable; or go on without it: manage.py acceptloss.",
        "Bring the folder or log file back; or add the table again in Synapse Link and "
        "refresh it here; or go on without what is lost.",
        decision=True,
        deeds=(REFRESH, ACCEPT),
    ),
    "versions_went_back": Problem(
        True,
        "The rows are older than those that are there",
        _FOLDER,
        "The source was restored, it seems. Add the table again in Synapse Link, then "
        "run manage.py refreshtable.",
        "The source was restored, it seems. Add the table again in Synapse Link, then "
        "refresh it here.",
        decision=True,
        deeds=(REFRESH,),
    ),
    "mass_delete": Problem(
        True,
        "Very many rows would be deleted",
        "No row was deleted; the table kept its last good content.",
        "If the rows are meant to go, run manage.py approvedeletes NAME TABLE.",
        "If the rows are meant to go, approve the deletes.",
        decision=True,
        deeds=(APPROVE,),
    ),
    "refresh_refused": Problem(
        True,
        "The table cannot be rebuilt",
        "The table is as it was before the refresh.",
        "Bring back what is gone; or, of an export, add the table again in Synapse "
        "Link and refresh it from the new full copy.",
        deeds=(REFRESH,),
        answer=True,
    ),
    # The schema.
    "unsupported_entity": Problem(
        True,
        "A table of this shape cannot be replicated",
        "No table was made for it; the other tables go on.",
        "Exclude the table: createsync --exclude NAME.",
        "Exclude the table in the settings.",
    ),
    "key_changed": Problem(
        True,
        "The key of a table changed",
        _TABLE,
        "Give the table its old key in model.json; or delete the sync with its tables "
        "and create it anew.",
    ),
    "out_of_order": Problem(
        True,
        "Lines were applied in another order than the files have",
        _NOTHING,
        "Run manage.py refreshtable, which applies all files in their order; then "
        "compare again.",
        "Refresh the table, which applies all files in their order; then compare "
        "again.",
        deeds=(REFRESH,),
        answer=True,
    ),
    "line_out_of_turn": Problem(
        True,
        "A line cannot be applied out of turn",
        _NOTHING,
        "Run manage.py refreshtable: it reads every line again in its place. Or "
        "dismiss it, and let the source tell the change again.",
        "Refresh the table, which reads every line again in its place. Or dismiss the "
        "line, and let the source tell the change again.",
        deeds=(REFRESH,),
        answer=True,
    ),
    "type_changed": Problem(
        True,
        "The type of a column changed",
        _TABLE,
        "Run the statement yourself if the values allow it, then syncnow; or exclude "
        "the table.",
        "Run the statement that the message names if the values allow it, then retry; "
        "or exclude the table in the settings.",
    ),
    "type_widened": Problem(
        True,
        "A column needs a wider type",
        _TABLE,
        "Run manage.py refreshtable: the table is too large to be rewritten unasked.",
        "Refresh the table: it is too large to be rewritten unasked.",
        deeds=(REFRESH,),
    ),
    "column_in_use": Problem(
        True,
        "A view uses what must change",
        _TABLE,
        "Drop the view, run the sync, and create the view again.",
        "Drop the view, retry, and create the view again.",
    ),
    "name_taken": Problem(
        True,
        "The name of the table is taken",
        "What has the name was not touched; the other tables go on.",
        "Rename or drop the relation that is in the way, or use another schema.",
    ),
    "target_altered": Problem(
        True,
        "The table in PostgreSQL was changed by somebody",
        _TABLE,
        "Undo the change to the table, then run the sync again; or let manage.py "
        "refreshtable make it anew, which alone brings back what a dropped column "
        "held.",
        "Undo the change to the table, then retry. Or refresh it: that alone brings "
        "back what a dropped column held.",
        deeds=(RETRY, REFRESH),
    ),
    "target_limit": Problem(
        True,
        "The table is too large for PostgreSQL",
        _TABLE,
        "Exclude the table: PostgreSQL cannot hold a row or a table of that size.",
    ),
    # PostgreSQL.
    "database_unavailable": Problem(
        False,
        "PostgreSQL cannot be reached",
        _WAITS,
        "Check that PostgreSQL runs, that DATABASE_URL is right, and that connections "
        "are left (fewer --jobs need fewer).",
        "Check that PostgreSQL runs, that DATABASE_URL is right, and that connections "
        "are left.",
    ),
    "permission_denied": Problem(
        True,
        "PostgreSQL does not allow it",
        _TABLE,
        "Grant dvsync's role the privilege that the message names.",
    ),
    "read_only": Problem(
        False,
        "PostgreSQL takes no writes now",
        _WAITS,
        "The database takes no writes now: a standby, or set read-only.",
    ),
    "table_locked": Problem(
        False,
        "Somebody holds a lock on the table",
        _WAITS,
        "Another session holds a lock on the table; end it or wait.",
    ),
    "load_stalled": Problem(
        False,
        "A load stood still and was ended",
        _FOLDER,
        "Check the network to PostgreSQL and the storage of the source; dvsync tries "
        "again.",
    ),
    "disk_full": Problem(
        False,
        "PostgreSQL has no room left",
        _FOLDER,
        "Free disk space or memory for PostgreSQL; dvsync then goes on.",
    ),
    "database_conflict": Problem(
        False,
        "PostgreSQL ended the load in favour of another session",
        _FOLDER,
        "Nothing: dvsync tries again by itself.",
    ),
    "database_refused": Problem(
        True,
        "PostgreSQL refused the load",
        _FOLDER,
        "Read PostgreSQL's message; the table kept its last good content.",
    ),
    "internal_error": Problem(
        False,
        "dvsync made a mistake",
        _FOLDER,
        "This is a fault of dvsync: please report it with the log's traceback.",
    ),
    "loader_killed": Problem(
        True,
        "The load was killed again and again",
        _FOLDER,
        "A load was killed again and again, each time here. Check memory and the "
        "system's log, then run syncnow.",
        "A load was killed again and again, each time here. Check memory and the "
        "system's log, then retry.",
    ),
}

"""PostgreSQL's errors as errors of dvsync, by SQLSTATE and never by their text."""

from __future__ import annotations

import psycopg

from sync.errors import TargetError

# The longest matching prefix of the SQLSTATE decides.
_CODES = {
    "08": "database_unavailable",
    "57": "database_unavailable",
    "53300": "database_unavailable",
    "53": "disk_full",
    "58": "disk_full",
    "40": "database_conflict",
    "57014": "database_conflict",
    "55": "table_locked",
    "25006": "read_only",
    "25P03": "database_conflict",
    "25P04": "database_conflict",
    "42501": "permission_denied",
    "54": "target_limit",
    "23": "target_altered",
    "42P01": "target_altered",
    "42703": "target_altered",
    "42804": "target_altered",
    "0A000": "column_in_use",
    "2BP01": "column_in_use",
    "42P07": "name_taken",
    "42P06": "name_taken",
}
# A check or NOT NULL that somebody added is broken. Of other constraints the detail is
# the key at fault, without which nobody finds the row.
_WHOLE_ROW = {"23502", "23514"}


def from_postgres(error: psycopg.Error, where: str = "") -> TargetError:
    """Return the ``TargetError`` for an error of psycopg."""
    state = error.sqlstate
    if state is None:
        # libpq's own errors have no SQLSTATE: the connection failed or broke.
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        code = "database_unavailable" if lost else "database_refused"
    else:
        prefixes = (state[:length] for length in range(5, 1, -1))
        code = next((_CODES[p] for p in prefixes if p in _CODES), "database_refused")
    # libpq writes several lines.
    said = error.diag.message_primary or " ".join(str(error).split())
    said = said or type(error).__name__
    # Their detail is the whole row; the message names the constraint.
    if error.diag.message_detail and state not in _WHOLE_ROW:
        said = f"{said} ({error.diag.message_detail[:300]})"
    return TargetError(code, f"PostgreSQL says: {said}", where=where)

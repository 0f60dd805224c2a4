"""The faults that are known: what can happen to a sync, by id.

``F``: faults of processes, PostgreSQL, source files and of several at once. ``S``: what
the same kind of source did to other products. ``C``: the cases of the export's format,
from the last table but one of docs/synapse-link-format.md.
"""

from __future__ import annotations

import re
from pathlib import Path

FORMAT = Path(__file__).resolve().parent.parent / "docs" / "synapse-link-format.md"

PROCESSES = {
    "F01": "The loader is killed at any step",
    "F02": "SIGINT or SIGTERM, once and twice",
    "F03": "The loader is stopped for a while and goes on later",
    "F04": "The loader runs out of memory",
    "F05": "The worker never starts, or stays dead",
    "F06": "The clock is wrong or jumps",
    "F07": "A failure in logging, or of our own tables alone",
    "F08": "An upgrade with a backlog, a downgrade",
}
POSTGRESQL = {
    "F10": "PostgreSQL restarts, or a backend is killed",
    "F11": "The answer to COMMIT is lost",
    "F12": "Failover to a standby that lacks the last commits",
    "F13": "The disk of the data is full",
    "F14": "The disk of the WAL is full",
    "F15": "The disk of temporary files is full",
    "F16": "A long transaction of a reader while columns are added",
    "F17": "A user locks a target table",
    "F18": "A deadlock with a user's transaction",
    "F19": "Time-outs and defaults that an administrator set",
    "F20": "Too many connections",
    "F21": "Bloat after thousands of loads",
    "F22": "The database is read-only",
    "F23": "Privileges revoked; schema or table dropped, renamed or altered",
    "F24": "A connection pooler that pools transactions",
    "F25": "An encoding that is not UTF-8, an odd collation",
    "F26": "The limit of 1,600 columns, dropped ones included",
    "F27": "A row that is too big for a page",
    "F28": "Values beyond the limits of a type",
    "F29": "Two installations on one target",
    "F30": "A database restored from an old backup",
    "F31": "The network to PostgreSQL breaks or freezes",
}
FILES = {
    "F40": "A file cut in a cell, in quotes or between cells",
    "F41": "A file cut in the last cell of a row, or at the end of one",
    "F42": "A file that grows or changes while it is read",
    "F43": "What is no ordinary file: drafts, links, pipes, devices, folders",
    "F44": "A folder that appears again, with the same or other bytes",
    "F45": "Rows and folders sent twice, late, or out of order",
    "F46": "Delete and re-create, update after delete, rows of deletes alone",
    "F47": "Versions that tie, are missing, or are no versions",
    "F48": "Bad UTF-8, NUL, byte order marks, mixed newlines",
    "F49": "An empty cell beside a quoted empty cell",
    "F50": r"A line of \. between rows",
    "F51": "Huge cells, many rows, empty files",
    "F52": "Columns added, removed, reordered, renamed or of another type",
    "F53": "Names: long, colliding, reserved, of system columns, quotes, emoji",
    "F54": "model.json missing, cut, malformed, hostile or huge",
    "F55": "Paths and locations that lead out of the export",
    "F56": "The source is gone, slow, or refuses",
    "F57": "Listings of very many folders and files",
    "F58": "A folder was purged before it was applied",
    "F59": "Compressed files and bombs",
}
CONCURRENCY = {
    "F70": "Several syncs start at the same moment",
    "F71": "Pause, edit or delete while a load runs",
    "F72": "A retry is asked for twice",
    "F73": "A refresh while changes arrive",
    "F74": "Readers and dependent objects while a table is swapped",
    "F75": "A cycle that takes longer than the interval",
}
OTHERS = {
    "S1": "The open folder was taken as finished; the marker went back or was empty",
    "S2": "model.json is empty while its folder is written",
    "S3": "A folder that is never finalised",
    "S4": "model.json lacks a table that has its own model",
    "S5": "A column is added in mid-file: rows of two widths",
    "S6": "Rows of a wrong width were padded or cut in silence",
    "S7": "A listed folder or file is gone",
    "S8": "An empty folder that a retry left behind",
    "S9": "Deleted rows stayed in the target",
    "S10": "The same row twice with the same version",
    "S11": "The run was green but the target stale",
    "S12": "A run before the first full copy was complete",
    "S13": "model.json not updated when a table was removed or added",
    "S14": "Version numbers that go back after a restore",
}


def format_cases() -> dict[str, str]:
    """Return the cases of the format document."""
    section = FORMAT.read_text(encoding="utf-8").partition("\n## 13. ")[2]
    rows = re.findall(r"^\| (\d+) \| (.+?) \| ", section.partition("\n## ")[0], re.M)
    return {f"C{number}": case for number, case in rows}


SECTIONS = {
    "Processes and machine": PROCESSES,
    "PostgreSQL": POSTGRESQL,
    "Source files": FILES,
    "Several at once": CONCURRENCY,
    "What the same kind of source did to others": OTHERS,
    "Cases of the format": format_cases(),
}

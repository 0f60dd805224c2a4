"""What a page tells of trouble: what happened, where, what is safe, what to press."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.engine.overview import SyncStatus, TableStatus
from sync.engine.states import State, Trouble, Unapplied, Verdict
from sync.errors import PROBLEMS
from sync.models import DataSyncProgress, SyncTable

# As the readers of files name a place: folder/table/file, line 3, column name
_PLACE = re.compile(
    r"(?P<partition>[^/]+)/(?P<table>[^/]+)/(?P<file>[^/]+?)"
    r"(?:, line (?P<line>\d+))?(?:, column (?P<column>.+))?",
    re.DOTALL,
)
# As the reader of a log file does: file, line 3, column name
_LINE = re.compile(
    r"(?P<file>[^/]+?), line (?P<line>\d+)(?:, column (?P<column>.+))?", re.DOTALL
)
_NOTHING_LOST = "The table kept its last good content."
_COMMAND = re.compile(r"manage\.py|syncnow|createsync|--\w")


@dataclass(frozen=True)
class Deed:
    """What a person may press: its name in the address, and the words on the button.

    A ``careful`` one asks once more before it is done.
    """

    name: str
    label: str
    careful: bool = False


DEEDS = {
    deed.name: deed
    for deed in (
        Deed("retry", "Retry"),
        Deed("refresh", "Refresh the table…", careful=True),
        Deed("approve-deletes", "Approve the deletes…", careful=True),
        Deed("accept-loss", "Go on without what is lost…", careful=True),
        Deed("add", "Replicate this table"),
        Deed("resume", "Resume"),
    )
}


@dataclass(frozen=True)
class Place:
    """Where it happened, as far as it is known; ``text`` is what it is else."""

    partition: str = ""
    file: str = ""
    line: str = ""
    column: str = ""
    text: str = ""

    @classmethod
    def parse(cls, where: str, partition: str = "") -> Place:
        """Read the place of an error; the folder of its load may be known besides."""
        found = _PLACE.fullmatch(where)
        if found is None:
            return cls._in_log(where, partition)
        names = ("partition", "file", "line", "column")
        return cls(*(found[name] or "" for name in names))

    @classmethod
    def _in_log(cls, where: str, partition: str) -> Place:
        """Read a place in a log file, which is its partition; else keep the text."""
        found = _LINE.fullmatch(where)
        if found is None:
            return cls(partition=partition, text="" if where == partition else where)
        return cls("", found["file"], found["line"], found["column"] or "")

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        column = f"column {self.column}" if self.column else ""
        parts = (self.partition, self.file, line, column, self.text)
        return ", ".join(part for part in parts if part)

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.partition or self.file or self.text)


@dataclass(frozen=True)
class ErrorCard:
    """Trouble in plain words. ``command`` is what one would type instead.

    ``code`` is empty when no error is behind it: something waits for a word.
    """

    state: State
    title: str
    message: str
    kept: str
    remedy: str
    code: str = ""
    place: Place = Place()
    table: SyncTable | None = None
    deeds: Sequence[Deed] = ()
    command: str = ""
    attempts: int = 0
    next_attempt_at: datetime | None = None
    failed_at: datetime | None = None

    @property
    def known(self) -> bool:
        """Whether there is a page that explains the error."""
        return self.code in PROBLEMS

    @property
    def to_settings(self) -> bool:
        """Whether the settings of the sync are part of the remedy."""
        return "settings" in self.remedy

    @property
    def to_quarantine(self) -> bool:
        """Whether the rows that were set aside are part of the remedy."""
        return self.code == "too_many_bad_rows"


def card_of_table(status: TableStatus) -> ErrorCard | None:
    """Return what is wrong with a table, None when nothing is."""
    verdict, table = status.verdict, status.table
    if not verdict.state.needs_attention:
        return None
    if verdict.error is None:
        return _card_without_error(verdict, table)
    row = _row_behind(status)
    return card_of_error(
        verdict.error,
        state=verdict.state,
        table=table,
        partition=row.partition if row else "",
        attempts=row.attempts if row else 0,
        next_attempt_at=row.next_attempt_at if row else None,
        command=verdict.remedy,
    )


def card_of_sync(status: SyncStatus) -> ErrorCard | None:
    """Return what is wrong with a sync itself, None when nothing is."""
    own = status.own
    if own is None or not own.state.needs_attention:
        return None
    if own.error is None:
        return ErrorCard(
            state=own.state,
            title="The source is not looked at",
            message=own.reason,
            kept="The tables kept their last good content; what was exported waits.",
            remedy=own.remedy,
        )
    return card_of_error(
        own.error,
        state=own.state,
        failed_at=status.config.failing_since,
        command=own.remedy,
    )


def card_of_progress(row: DataSyncProgress, table: SyncTable) -> ErrorCard | None:
    """Return what the last attempt of a partition met, None when it met nothing."""
    if row.copy_status != DataSyncProgress.Status.FAILURE:
        return None
    error = Trouble(
        row.error_code, row.error_message, row.error_where, row.error_remedy
    )
    return card_of_error(
        error,
        state=State.FAILING if row.next_attempt_at else State.ACTION_REQUIRED,
        table=table,
        partition=row.partition,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        failed_at=row.finished_at,
    )


def card_of_error(
    error: Trouble,
    *,
    state: State = State.FAILING,
    table: SyncTable | None = None,
    partition: str = "",
    attempts: int = 0,
    next_attempt_at: datetime | None = None,
    failed_at: datetime | None = None,
    command: str = "",
) -> ErrorCard:
    """Return an error as it is remembered, in words."""
    problem = PROBLEMS.get(error.code)
    remedy, said = error.remedy, command or error.remedy
    if problem and (remedy in {"", problem.remedy} or _COMMAND.search(remedy)):
        remedy = problem.page or problem.remedy
    names = problem.deeds if problem else ("retry",)
    return ErrorCard(
        state=state,
        title=problem.title if problem else "Something went wrong",
        message=error.message,
        kept=problem.kept if problem else _NOTHING_LOST,
        remedy=remedy,
        code=error.code,
        place=Place.parse(error.where, partition),
        table=table,
        deeds=[DEEDS[name] for name in names] if table else (),
        command=said if said != remedy else "",
        attempts=attempts,
        next_attempt_at=next_attempt_at,
        failed_at=failed_at,
    )


def _row_behind(status: TableStatus) -> Unapplied | None:
    """Return the partition whose error the verdict tells."""
    rows = (status.backlog.given_up, status.backlog.first)
    return next((r for r in rows if r and r.error == status.verdict.error), None)


def _card_without_error(verdict: Verdict, table: SyncTable) -> ErrorCard:
    title, kept, remedy, names = _words(verdict, table)
    return ErrorCard(
        state=verdict.state,
        title=title,
        message=verdict.reason,
        kept=kept,
        remedy=remedy,
        table=table,
        deeds=[DEEDS[name] for name in names],
        command=verdict.remedy if names else "",
    )


def _words(verdict: Verdict, table: SyncTable) -> tuple[str, str, str, tuple[str, ...]]:
    if verdict.state is State.LATE:
        return "Changes wait longer than they should", _NOTHING_LOST, verdict.remedy, ()
    if table.state == SyncTable.State.NEW:
        return (
            "A new table waits for a yes",
            "Its rows stay where they are; none of them is lost.",
            "Replicate it: it is filled from the beginning on. Or exclude it in the "
            "settings.",
            ("add",),
        )
    if table.refresh_reason and table.state == SyncTable.State.ACTIVE:
        return (
            "The table needs a refresh",
            "The table goes on; what is missing in it is told above.",
            "Refresh it: it is rebuilt beside the present rows, and only the "
            "difference is applied.",
            ("refresh",),
        )
    return "The table waits for a person", _NOTHING_LOST, "Try it again.", ("retry",)

"""The errors of dvsync: what happened, where, and what to do about it.

Every error has a *code* of the catalogue ``sync.problems``. The code decides whether
the error is permanent, so that trying again changes nothing by itself, and which
remedy is shown when the place that raised it knew no better one.
"""

from __future__ import annotations

from sync.problems import PROBLEMS, Problem

__all__ = [
    "PROBLEMS",
    "Cancelled",
    "ConfigError",
    "ModelError",
    "Problem",
    "RowError",
    "SourceError",
    "SyncError",
    "TargetError",
    "discreet",
]

# Their messages quote what is in a row.
_QUOTING = frozenset({"bad_row", "bad_value", "bad_encoding", "too_many_bad_rows"})


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

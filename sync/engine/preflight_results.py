"""How the checks before a sync ended: in words, with a remedy and the time taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.db import DatabaseError

from sync.errors import PROBLEMS, SyncError


class State(StrEnum):
    """How a check ended; only a failed one is in the way."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """One check: what it found in words, what to do about it, and how long it took."""

    title: str
    state: State
    detail: str
    remedy: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All checks in their order, and the bytes that are to be loaded, if known."""

    results: tuple[Result, ...]
    bytes: int | None
    partial: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing is in the way."""
        return all(result.state is not State.FAILED for result in self.results)


class Remark(Exception):
    """A check ended neither well nor in failure."""

    def __init__(self, state: State, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.state, self.detail, self.remedy = state, detail, remedy


def timed(title: str, work: Callable[[], str]) -> Result:
    """Make one check; what it raises is its result."""
    began = time.monotonic()
    state, remedy = State.PASSED, ""
    try:
        detail = work()
    except Remark as remark:
        state, detail, remedy = remark.state, remark.detail, remark.remedy
    except SyncError as error:
        state, detail, remedy = State.FAILED, str(error), error.remedy
    except (DatabaseError, OSError) as error:
        state, detail = State.FAILED, str(error)
        remedy = PROBLEMS["internal_error"].remedy
    return Result(title, state, detail, remedy, round(time.monotonic() - began, 3))

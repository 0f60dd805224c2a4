"""How the checks before a sync ended: in words, with a remedy and the time taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.db import DatabaseError

from sync.engine.words import plural
from sync.errors import PROBLEMS, SyncError
from sync.model_json import Model
from sync.models import SyncConfig


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


@dataclass(frozen=True)
class Sizes:
    """The bytes that are to be loaded; perhaps not all of them."""

    bytes: int
    partial: bool


class Remark(Exception):
    """A check ended neither well nor in failure."""

    def __init__(self, state: State, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.state, self.detail, self.remedy = state, detail, remedy


def chosen_names(config: SyncConfig, model: Model) -> set[str]:
    """Return the tables of a model that a sync would replicate."""
    names = {entity.name for entity in model.entities}
    return {name for name in names if config.selects(name)}


def compare_models(chosen: set[str], there: Model) -> str:
    """Say what a source's own model.json describes; warn of chosen tables it lacks."""
    names = {entity.name for entity in there.entities}
    if missing := sorted(chosen - names):
        raise Remark(
            State.WARNING,
            f"Not in its model.json: {some_of(missing)}",
            "These tables wait until they appear. Is it the right location?",
        )
    return f"It describes {plural(len(names), 'table')}"


def some_of(names: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


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

"""The state of every table and sync, decided from facts: no other place decides it.

These are pure functions; ``sync.engine.overview`` reads the facts. A rule that comes
first hides those behind it: who paused a table need not hear that it failed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sync.engine.words import span
from sync.errors import PROBLEMS
from sync.models import SyncTable

Kept = SyncTable.State


class State(StrEnum):
    """The words for the state of a table or a sync, the worst first."""

    ACTION_REQUIRED = "action required"
    FAILING = "failing"
    LATE = "late"
    SYNCING = "syncing"
    WAITING = "waiting for the first data"
    HEALTHY = "healthy"
    PAUSED = "paused"

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look at it."""
        return self in {self.ACTION_REQUIRED, self.FAILING, self.LATE}


WORST_FIRST = list(State)


@dataclass(frozen=True)
class Trouble:
    """An error as it is remembered."""

    code: str
    message: str
    where: str
    remedy: str

    @property
    def permanent(self) -> bool:
        """Whether trying again changes nothing; of an unknown code nobody knows."""
        return self.code in PROBLEMS and PROBLEMS[self.code].permanent


@dataclass(frozen=True)
class Unapplied:
    """A partition that a table lacks; ``error`` is that of its last attempt.

    It is given up when it failed and has no next attempt.
    """

    partition: str
    closed_at: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None
    error: Trouble | None = None
    found_at: datetime | None = None

    @property
    def given_up(self) -> bool:
        """Whether nobody tries it again unasked."""
        return self.error is not None and self.next_attempt_at is None


@dataclass(frozen=True)
class TableFacts:
    """What is stored of a table, as far as its state depends on it.

    ``first`` is the oldest partition that it lacks, ``given_up`` the oldest of those
    that wait for a person.
    """

    sync: str
    entity: str
    kept: str = Kept.ACTIVE
    sync_paused: bool = False
    ever_loaded: bool = True
    refresh_reason: str = ""
    approved_partition: str = ""
    error: Trouble | None = None
    first: Unapplied | None = None
    given_up: Unapplied | None = None
    running: bool = False

    @property
    def halted_by(self) -> Unapplied | None:
        """The partition that waits for a person, unless one has decided by now."""
        row = self.given_up
        decided = row is not None and row.partition == self.approved_partition
        return None if decided else row


@dataclass(frozen=True)
class SyncFacts:
    """What is stored of a sync itself, as far as its state depends on it.

    ``paused_since`` says when and by whom, as far as that is known.
    """

    sync: str
    feed: bool = False
    paused: bool = False
    paused_since: str = ""
    created_at: datetime | None = None
    checked_at: datetime | None = None
    any_ready: bool = True
    error: Trouble | None = None


@dataclass(frozen=True)
class Clock:
    """The time of the look, and after how long something is late."""

    now: datetime
    late_after: timedelta

    def lag(self, first: Unapplied | None) -> timedelta:
        """Return the time since the oldest missing partition was closed, else 0."""
        since = self.now - first.closed_at if first else timedelta()
        return max(since, timedelta())


@dataclass(frozen=True)
class Verdict:
    """A state, why, and what to do; both are empty when all is well."""

    state: State
    reason: str = ""
    remedy: str = ""
    error: Trouble | None = None


def judge_table(facts: TableFacts, clock: Clock) -> Verdict:
    """Return the state of a table: that of the first rule that applies."""
    for rule in TABLE_RULES:
        if verdict := rule(facts, clock):
            return verdict
    return Verdict(State.HEALTHY)


def judge_source(facts: SyncFacts, clock: Clock) -> Verdict | None:
    """Return what is to be said of a sync beside its tables; None: nothing."""
    return None if facts.paused else _own(facts, clock)


def judge_sync(facts: SyncFacts, tables: Iterable[State], clock: Clock) -> Verdict:
    """Return the state of a sync: its own trouble, or its worst table's.

    Paused tables count only when all are.
    """
    if facts.paused:
        since = f"paused {facts.paused_since}" if facts.paused_since else ""
        return _paused_verdict(facts.sync, since)
    states = set(tables)
    own = judge_source(facts, clock)
    candidates = [own] if own else []
    candidates += [_of_tables(state) for state in states - {State.PAUSED}]
    if not candidates and states:
        return Verdict(State.PAUSED, "all of its tables are paused")
    candidates.append(Verdict(State.HEALTHY))
    return min(candidates, key=lambda verdict: WORST_FIRST.index(verdict.state))


def command(name: str, *words: str) -> str:
    """Return a command line that a shell takes as it is."""
    return shlex.join(["manage.py", name, *words])


# The rules of a table, in their order.


def _paused(facts: TableFacts, clock: Clock) -> Verdict | None:
    if facts.sync_paused:
        return _paused_verdict(facts.sync, "its sync is paused")
    if facts.kept == Kept.PAUSED:
        return _paused_verdict(facts.sync, "somebody paused it", facts.entity)
    return None


def _undecided(facts: TableFacts, clock: Clock) -> Verdict | None:
    """Tell of a table that waits for a word, without an error."""
    if facts.kept == Kept.NEW:
        return Verdict(
            State.ACTION_REQUIRED,
            "a new table: nobody has said yet whether it is wanted",
            command("editsync", facts.sync, "--add-table", facts.entity),
        )
    return None


def _halted(facts: TableFacts, clock: Clock) -> Verdict | None:
    row = facts.halted_by
    if row and row.error:
        return Verdict(
            State.ACTION_REQUIRED,
            f"waits for a person, at {row.partition}",
            _way_on(facts, row.error),
            row.error,
        )
    if facts.kept not in {Kept.PARKED, Kept.HELD}:
        return None
    retry = command("retrysync", facts.sync, facts.entity)
    return Verdict(State.ACTION_REQUIRED, f"is {facts.kept}", retry, facts.error)


def _in_need_of_refresh(facts: TableFacts, clock: Clock) -> Verdict | None:
    if not facts.refresh_reason:
        return None
    refresh = command("refreshtable", facts.sync, facts.entity)
    return Verdict(State.ACTION_REQUIRED, facts.refresh_reason, refresh)


def _without_target(facts: TableFacts, clock: Clock) -> Verdict | None:
    """Tell of a table that could not be made, for good or for now."""
    if facts.error is None:
        return None
    reason = "its table in PostgreSQL cannot be made"
    if facts.error.permanent:
        remedy = _way_on(facts, facts.error)
        return Verdict(State.ACTION_REQUIRED, reason, remedy, facts.error)
    return Verdict(State.FAILING, reason, facts.error.remedy, facts.error)


def _failing(facts: TableFacts, clock: Clock) -> Verdict | None:
    row = facts.first
    if row is None or row.error is None or row.next_attempt_at is None:
        return None
    if row.partition == facts.approved_partition:  # what it met is decided by now
        return None
    wait = row.next_attempt_at - clock.now
    when = f"in {span(wait)}" if wait > timedelta(seconds=1) else "now"
    reason = f"attempt {row.attempts} of {row.partition} failed; the next one is {when}"
    return Verdict(State.FAILING, reason, row.error.remedy, row.error)


def _late(facts: TableFacts, clock: Clock) -> Verdict | None:
    lag = clock.lag(facts.first)
    if facts.first is None or lag <= clock.late_after or _is_new(facts, clock):
        return None
    reason = f"{facts.first.partition} is not applied, {span(lag)} after it was there"
    remedy = (
        "Nothing, when this load catches up."
        if facts.running
        else "Check that the workers run and are enough: manage.py syncstatus."
    )
    return Verdict(State.LATE, reason, remedy)


def _is_new(facts: TableFacts, clock: Clock) -> bool:
    """Say whether a table waits for its first load, for which dvsync came late."""
    if facts.ever_loaded or facts.first is None:
        return False
    found = facts.first.found_at
    return facts.running or bool(found and clock.now - found <= clock.late_after)


def _syncing(facts: TableFacts, clock: Clock) -> Verdict | None:
    if facts.running:
        return Verdict(State.SYNCING)
    return (
        Verdict(State.SYNCING, "waits for its first load")
        if _is_new(facts, clock)
        else None
    )


TABLE_RULES: Sequence[Callable[[TableFacts, Clock], Verdict | None]] = (
    _paused,
    _undecided,
    _halted,
    _in_need_of_refresh,
    _without_target,
    _failing,
    _late,
    _syncing,
)


def _paused_verdict(sync: str, reason: str = "", *entity: str) -> Verdict:
    resume = command("resumesync", sync, *entity)
    return Verdict(State.PAUSED, reason or "somebody paused it", resume)


def _way_on(facts: TableFacts, error: Trouble) -> str:
    """Return the remedy of an error after which nothing goes on unasked."""
    names = (facts.sync, facts.entity)
    refresh = command("refreshtable", *names)
    accept = command("acceptloss", facts.sync, "--table", facts.entity)
    commands = {
        "history_lost": f"{accept}, or {refresh}",
        "versions_went_back": refresh,
        "late_partition": refresh,
        "type_widened": refresh,
        "mass_delete": command("approvedeletes", *names),
    }
    way = commands.get(error.code, command("retrysync", *names))
    return f"{error.remedy} Then: {way}".strip()


# A sync itself.


def _own(facts: SyncFacts, clock: Clock) -> Verdict | None:
    if facts.error:
        state = State.ACTION_REQUIRED if facts.error.permanent else State.FAILING
        reason = f"{_source(facts)} cannot be read"
        return Verdict(state, reason, facts.error.remedy, facts.error)
    seen = facts.checked_at or facts.created_at
    since = clock.now - seen if seen else timedelta()
    if since > clock.late_after:
        return Verdict(
            State.LATE,
            f"not checked for {span(since)}: is the poll cluster running?",
            "Start it: manage.py up, or manage.py qcluster.",
        )
    if facts.any_ready:
        return None
    if facts.checked_at is None:  # nobody knows yet what the export holds
        return Verdict(State.WAITING, f"{_source(facts)} has not been looked at yet")
    if facts.feed:
        return Verdict(State.WAITING, "no line of a log file is there yet")
    return Verdict(State.WAITING, "no change folder of the export is finished yet")


def _source(facts: SyncFacts) -> str:
    return "the change feed" if facts.feed else "the export"


def _of_tables(state: State) -> Verdict:
    if state is State.ACTION_REQUIRED:
        return Verdict(state, "a table needs a person")
    return Verdict(state, f"a table is {state}" if state.needs_attention else "")

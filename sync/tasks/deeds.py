"""What a person may do to a sync or a table: done, and said in a sentence.

The pages, the admin and the API do it through here. Doing something twice does no
harm: the second time says that there was nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from django.utils import timezone

from sync.engine import decisions, questions, switches
from sync.engine.configs import edit_config
from sync.engine.entities import is_wanted
from sync.engine.locks import Namespace
from sync.engine.questions import Question
from sync.engine.refresh import record_refresh_asked
from sync.engine.service import service_status
from sync.engine.session import raw_cursor
from sync.engine.words import sentence, span
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.target.activity import Running, running
from sync.tasks import queue

NAMES_SHOWN = 5


@dataclass(frozen=True)
class Said:
    """What came of a deed; ``done`` is False when nothing was to do, or refused.

    ``note`` is what is true of others as well: that no service runs.
    """

    done: bool
    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.note}".strip()


class TableWork(Protocol):
    """A deed to a table: ``only`` are the frozen facts of the answered question."""

    def __call__(self, table: SyncTable, by: str, only: str | None = None) -> Said:
        """Do it, and say what came of it."""


@dataclass(frozen=True)
class TableDeed:
    """A deed to a table, and the question before it, if there is one.

    The question may instead be answered already: that there is nothing to do.
    """

    do: TableWork
    ask: Callable[[SyncTable], Question | Said] | None = None


# A sync or a table


def explain_pause(what: SyncConfig | SyncTable, by: str, reason: str) -> Said:
    """Say why something is paused, in place of what was said; "" takes it away."""
    if switches.explain_pause(what, reason, by=by):
        return Said(True, _is_paused(what, remedy=""))
    name = printable(str(what))
    if switches.is_paused(what):
        return Said(False, f"{name} is paused, but no event tells of it any more.")
    return Said(False, f"{name} is not paused any more.")


def _paused_before(what: SyncConfig | SyncTable, by: str, reason: str) -> Said:
    """Tell of the pause that there was; a new reason is the one that counts."""
    if reason.strip():
        return explain_pause(what, by, reason)
    return Said(False, _is_paused(what, remedy=""))


# A sync


def sync_now(config: SyncConfig, by: str) -> Said:
    """Look at the export at once, and try once what failed or is parked."""
    name = printable(config.name)
    if config.paused:
        return Said(False, _is_paused(config))
    asked = queue.enqueue_look(config, insist=True)
    if asked:
        switches.record_wish(config, by)
    text = (
        f"{name} is looked at now, and what failed is tried again."
        if asked
        else f"{name} is about to be looked at: somebody asked for it just now."
    )
    return Said(asked, text + _loads_of(config), _without_service(queue.POLLS))


def pause_sync(config: SyncConfig, by: str, reason: str = "") -> Said:
    """Stop looking at the export and loading its tables."""
    if not switches.pause(config, by=by, reason=reason):
        return _paused_before(config, by, reason)
    return Said(
        True,
        f"{printable(config.name)} is paused. Loads that run are rolled back within "
        "seconds; nothing is lost.",
    )


def resume_sync(config: SyncConfig, by: str) -> Said:
    """Let a paused sync go on, at once."""
    name = printable(config.name)
    if not switches.resume(config, by=by):
        return Said(False, f"{name} is not paused.")
    queue.enqueue_look(config)
    return Said(True, f"{name} goes on.", _without_service(queue.POLLS))


def retry_sync(config: SyncConfig, by: str) -> Said:
    """Let all tables of a sync that failed or are parked be tried again."""
    name = printable(config.name)
    if config.paused:
        return Said(False, _is_paused(config))
    tables = switches.retry(config, by=by)
    if not tables:
        return Said(False, f"{name} has nothing to retry.")
    queue.enqueue_look(config)
    shown = _names(tables)
    return Said(True, f"Tried again: {shown}.", _without_service(queue.POLLS))


# A table


def retry(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Let a table that failed or is parked be tried again."""
    if why := _retried(table, by, _running(table)):
        return Said(False, why)
    queue.enqueue_look(table.config)
    text = f"{printable(table.entity)} is tried again."
    return Said(True, text, _without_service(queue.POLLS))


def retry_all(tables: Iterable[SyncTable], by: str) -> Said:
    """Let tables be tried again, each as ``retry`` does; say what came of it."""
    active = running(raw_cursor(), Namespace.TABLE)
    tried, refused = [], []
    for table in tables:
        if why := _retried(table, by, active.get(table.pk)):
            refused.append(why)
        else:
            tried.append(table)
    for config in {table.config_id: table.config for table in tried}.values():
        queue.enqueue_look(config)
    words = [f"Tried again: {_names(tried)}."] if tried else []
    words += refused[:NAMES_SHOWN]
    if more := len(refused[NAMES_SHOWN:]):
        words.append(f"Nor are {more:,} more to be tried now.")
    text = " ".join(words) or "Nothing is left to retry."
    return Said(bool(tried), text, _without_service(queue.POLLS) if tried else "")


def _retried(table: SyncTable, by: str, load: Running | None) -> str:
    """Let a table be tried again, or say why it is not."""
    name = printable(table.entity)
    if table.paused:
        return _table_is_paused(table)
    if load:
        return f"{name} is being loaded{_since(load)}."
    if switches.retry(table, by=by):
        return ""
    held = " It is held for its deletes: approve them first."
    why = held if table.state == SyncTable.State.HELD else ""
    return f"{name} has nothing to retry.{why}"


def pause(table: SyncTable, by: str, only: str | None = None, reason: str = "") -> Said:
    """Load nothing of a table until it is resumed."""
    name = printable(table.entity)
    if switches.pause(table, by=by, reason=reason):
        running = " Its load is rolled back within seconds." if _running(table) else ""
        return Said(True, f"{name} is paused.{running} Nothing is lost.")
    table.refresh_from_db()
    if table.state == SyncTable.State.NEW:
        return Said(False, f"{name} is not replicated yet.")
    return _paused_before(table, by, reason)


def resume(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Let a paused table go on, at once."""
    name = printable(table.entity)
    if not switches.resume(table, by=by):
        return Said(False, f"{name} is not paused." + _sync_is_paused(table))
    if table.config.paused:
        return Said(True, f"{name} is not paused any more." + _sync_is_paused(table))
    queue.enqueue_look(table.config)
    if table.state != SyncTable.State.ACTIVE:
        return Said(True, f"{name} is {table.state} again, as it was before.")
    return Said(True, f"{name} goes on.", _without_service(queue.POLLS))


def ask_refresh(table: SyncTable) -> Question | Said:
    """Ask before a refresh, or say why there can be none now."""
    if why := _why_no_refresh(table):
        return Said(False, why)
    return questions.before_refresh(table)


def refresh(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Rebuild a table from its full copy on, by the service."""
    name = printable(table.entity)
    if why := _why_no_refresh(table):
        return Said(False, why)
    if not queue.enqueue_refresh(table, timezone.now().isoformat()):
        return Said(False, f"{name} waits for a load or a refresh already.")
    record_refresh_asked(table, by)
    text = f"{name} is refreshed as soon as a worker is free."
    return Said(True, text, _without_service(queue.QUEUE))


def _why_no_refresh(table: SyncTable) -> str:
    name = printable(table.entity)
    if not is_wanted(table):
        return f"{name} is not replicated."
    if table.paused:
        return _table_is_paused(table)
    if load := _running(table):
        return f"{name} is being loaded{_since(load)}: refresh it afterwards."
    if table.pk in queue.queued_tables():
        return f"{name} waits for a load or a refresh already."
    return ""


def ask_approval(table: SyncTable) -> Question | Said:
    """Ask before deletes are approved."""
    nothing = f"{printable(table.entity)} is not held: no deletes wait for approval."
    return questions.before_approval(table) or Said(False, nothing)


def approve_deletes(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Let a held table delete what one partition wants to delete."""
    name = printable(table.entity)
    partition = decisions.approve_deletes(table, by=by, only=only)
    if partition is None:
        return Said(False, f"{name} is not held for that any more.")
    queue.enqueue_look(table.config)
    text = f"The deletes of {printable(partition)} are approved: {name} goes on."
    return Said(True, text + _sync_is_paused(table), _without_service(queue.POLLS))


def ask_acceptance(table: SyncTable) -> Question | Said:
    """Ask before a loss is accepted."""
    nothing = f"{printable(table.entity)} has lost nothing that it waits for."
    return questions.before_acceptance(table) or Said(False, nothing)


def accept_loss(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Let a table go on without the partitions that are gone."""
    name = printable(table.entity)
    partitions = None if only is None else only.split("\n")
    if not decisions.accept_loss(table.config, table.entity, by=by, only=partitions):
        return Said(
            False, f"{name} does not wait for just these {table.config.unit}s any more."
        )
    queue.enqueue_look(table.config)
    text = f"{name} goes on without the lost {table.config.unit}s."
    return Said(True, text + _sync_is_paused(table), _without_service(queue.POLLS))


def add(table: SyncTable, by: str, only: str | None = None) -> Said:
    """Replicate a new table that waited for a yes."""
    name = printable(table.entity)
    if not edit_config(table.config, {}, accept=[table], by=by):
        return Said(False, f"{name} is replicated already.")
    queue.enqueue_look(table.config)
    text = f"{name} is replicated from now on, with all of its history."
    return Said(True, text + _sync_is_paused(table), _without_service(queue.POLLS))


SYNC_DEEDS: dict[str, Callable[[SyncConfig, str], Said]] = {
    "sync-now": sync_now,
    "pause": pause_sync,
    "resume": resume_sync,
    "retry": retry_sync,
}
TABLE_DEEDS: dict[str, TableDeed] = {
    "retry": TableDeed(retry),
    "pause": TableDeed(pause),
    "resume": TableDeed(resume),
    "refresh": TableDeed(refresh, ask_refresh),
    "approve-deletes": TableDeed(approve_deletes, ask_approval),
    "accept-loss": TableDeed(accept_loss, ask_acceptance),
    "add": TableDeed(add),
}


# Words


def _is_paused(what: SyncConfig | SyncTable, remedy: str = "resume it first") -> str:
    """Say that something is paused, since when, by whom and why, and what to do."""
    pause = switches.pause_of(what)
    text = f"{printable(str(what))} " + (
        f"was paused {printable(str(pause))}" if pause else "is paused"
    )
    if not remedy:
        return sentence(text)
    if pause and pause.reason:
        return f"{sentence(text)} {remedy.capitalize()}."
    return f"{text}: {remedy}."


def _table_is_paused(table: SyncTable) -> str:
    """Say it of a table, or of its sync if that is paused: it would come next."""
    return _is_paused(table.config if table.config.paused else table)


def _sync_is_paused(table: SyncTable) -> str:
    if not table.config.paused:
        return ""
    return f" Its sync {printable(table.config.name)} is paused."


def _running(table: SyncTable) -> Running | None:
    return running(raw_cursor(), Namespace.TABLE).get(table.pk)


def _since(load: Running) -> str:
    return f" since {span(timezone.now() - load.since)}" if load.since else ""


def _loads_of(config: SyncConfig) -> str:
    """Say which tables are being loaded anyway."""
    active = running(raw_cursor(), Namespace.TABLE)
    tables = list(SyncTable.objects.filter(config=config, pk__in=active))
    if not tables:
        return ""
    if len(tables) == 1:
        load = _since(active[tables[0].pk])
        return f" {printable(tables[0].entity)} is being loaded already{load}."
    return f" Being loaded already: {_names(tables)}."


def _names(tables: Sequence[SyncTable]) -> str:
    shown = ", ".join(printable(table.entity) for table in tables[:NAMES_SHOWN])
    more = len(tables) - NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _without_service(queue: str) -> str:
    """Say that nothing happens by itself when no cluster of a queue is alive."""
    if any(cluster.queue == queue for cluster in service_status().clusters):
        return ""
    return (
        "But no service runs, so it waits until one is started: manage.py up, or "
        "manage.py qcluster."
    )

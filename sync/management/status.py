"""The state of everything for people, on 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sync.engine.overview import Overview, SyncStatus, TableStatus
from sync.engine.service import ServiceStatus
from sync.engine.states import State, Verdict
from sync.engine.words import plural, size, span
from sync.management.display import printable
from sync.target.activity import Running

Paint = Callable[[State, str], str]


def plainly(state: State, text: str) -> str:
    """Return the text without colour."""
    return text


def lines(seen: Overview, width: int = 80, paint: Paint = plainly) -> Iterator[str]:
    """Return the lines for people: the service, then each sync, the worst first."""
    yield service_line(seen.service)
    yield from (f"  {hint}" for hint in _service_hints(seen.service))
    for sync in seen.syncs:
        yield ""
        yield from _sync_lines(sync, seen.at, width, paint)


def service_line(service: ServiceStatus) -> str:
    """Return one line: whether there are polls, and how many workers."""
    if service.age is None:
        said = "nothing ever polled"
    elif service.polling:
        said = f"poll {span(service.age)} ago"
    else:
        said = f"nothing polls: the last poll was {span(service.age)} ago"
    return f"{said} · {plural(service.workers, 'worker')}, {service.busy} busy"


def _service_hints(service: ServiceStatus) -> Iterator[str]:
    if not service.polling:
        yield "start everything: manage.py up, or polls alone: manage.py qcluster"
    elif not service.workers:
        yield "start workers: Q_CLUSTER_NAME=sync manage.py qcluster"


# One sync


def _sync_lines(
    sync: SyncStatus, now: datetime, width: int, paint: Paint
) -> Iterator[str]:
    name = printable(sync.config.name)
    yield f"{name}  {paint(sync.state, sync.state.value)}"
    yield from _wrapped(_clocks(sync, now), width, "  ")
    yield from _wrapped(_sums(sync), width, "  ")
    # That a table is in trouble, the table says itself.
    if sync.verdict.error or sync.verdict.remedy:
        yield from _why(sync.verdict, width, "  ")
    for folder, reason in sync.waiting:
        waits = f"waits: {folder} {reason}"
        yield from _wrapped(printable(waits), width, "  ")
    names = [printable(table.table.entity) for table in sync.tables]
    column = min(max(map(len, names), default=0), 40)
    for table_name, table in zip(names, sync.tables, strict=True):
        yield from _table_lines(table_name.ljust(column), table, width, paint)


def _clocks(sync: SyncStatus, now: datetime) -> str:
    checked_at = sync.config.checked_at
    checked = f"checked {span(now - checked_at)} ago" if checked_at else "never checked"
    if not sync.applied_through:
        return f"{checked} · nothing applied yet"
    return f"{checked} · applied through {printable(sync.applied_through)}"


def _sums(sync: SyncStatus) -> str:
    parts = [f"{number} {state.value}" for state, number in sync.counts.items()]
    tables = plural(len(sync.tables), "table")
    said = f"{tables}: {', '.join(parts)}" if parts else tables
    return " · ".join([said, *_behind(sync.lag, *_backlog_of(sync), sync.config.unit)])


def _backlog_of(sync: SyncStatus) -> tuple[int, int]:
    return sync.backlog_partitions, sync.backlog_bytes


def _behind(lag: timedelta, partitions: int, number: int, unit: str) -> list[str]:
    if not partitions:
        return []
    backlog = f"backlog {plural(partitions, unit)}, {size(number)}"
    return [f"lag {span(lag)}", backlog]


# One table


def _table_lines(
    name: str, status: TableStatus, width: int, paint: Paint
) -> Iterator[str]:
    backlog = status.backlog
    unit = status.table.config.unit
    facts = _behind(status.lag, backlog.partitions, backlog.bytes, unit)
    if status.quarantined:
        facts.append(f"{plural(status.quarantined, 'row')} set aside")
    if not facts and status.table.last_partition:
        facts.append(f"through {printable(status.table.last_partition)}")
    # Padded before it is painted: colours have a width of their own.
    word = paint(status.state, status.state.value.ljust(15))
    yield f"  {name}  {word}  {' · '.join(facts)}".rstrip()
    if status.running:
        yield from _wrapped(_doing(status.running), width, "      ")
    yield from _why(status.verdict, width, "      ")


def _doing(running: Running) -> str:
    moved = max(running.bytes, running.copied or 0)
    parts = [f"{running.phase or 'at work'}, {size(moved)}"]
    for blocker in running.blockers:
        since = blocker.query_seconds
        age = f", for {span(timedelta(seconds=since))}" if since is not None else ""
        user = printable(blocker.user)
        parts.append(f"waits for the session {blocker.pid} of {user}{age}")
    return printable(" · ".join(parts))


def _why(verdict: Verdict, width: int, indent: str) -> Iterator[str]:
    error = verdict.error
    if verdict.reason:
        yield from _wrapped(printable(verdict.reason), width, indent)
    if error:
        place = f" ({error.where})" if error.where else ""
        said = f"{error.code}: {error.message}{place}"
        yield from _wrapped(printable(said), width, indent)
    # A command stays on one line, to be copied.
    text, then, way = printable(verdict.remedy).rpartition("Then: ")
    if not then and not way.startswith("manage.py "):
        text, way = way, ""
    yield from _wrapped(text, width, indent)
    if way:
        yield f"{indent}{then}{way}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    # A name or a command that is longer than the line stays whole.
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Running syncs from a command: discovery, then the tables in parallel."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from django.db import connections
from django.db.models import Sum

from sync.engine.discovery import Poll, poll_once
from sync.engine.entities import selected_tables
from sync.engine.load import LoadResult, sync_table
from sync.engine.preview import preview
from sync.engine.source import source_of
from sync.errors import Cancelled, SourceError, SyncError, TargetError
from sync.management.display import Display
from sync.models import SyncConfig, SyncTable
from sync.sources.base import Source

BUSY_AGAIN_SECONDS = 0.3

log = logging.getLogger(__name__)


@dataclass
class TableReport:
    """What became of a table; ``ddl`` is set by a dry run alone."""

    table: SyncTable
    result: LoadResult
    ddl: list[str] | None = None


@dataclass
class SyncReport:
    """What became of a sync; ``waiting`` are incomplete folders with reasons."""

    config: SyncConfig
    error: SyncError | None = None
    tables: list[TableReport] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)


def run(
    configs: Sequence[SyncConfig],
    globs: Sequence[str],
    jobs: int,
    display: Display,
    *,
    wait_for_others: bool,
) -> list[SyncReport]:
    """Discover and load everything that is pending.

    On KeyboardInterrupt the running loads are rolled back before it is raised
    again; a second one is raised at once.
    """
    reports: list[SyncReport] = []
    work: list[tuple[TableReport, Source]] = []
    for config in configs:
        report = SyncReport(config)
        reports.append(report)
        if config.paused:
            report.tables = [
                TableReport(table, LoadResult("paused"))
                for table in chosen(config, globs)
            ]
            continue
        source = source_of(config)
        try:
            poll = poll_once(config, source)
        except (SourceError, TargetError) as error:
            report.error = error
            continue
        report.error, report.waiting = poll.problem, poll.waiting
        for table in chosen(config, globs):
            found = TableReport(table, _before(table, poll))
            report.tables.append(found)
            if found.result.status == "due":
                work.append((found, source))
    with display, ThreadPoolExecutor(jobs) as pool:
        _load_all(work, pool, display, wait_for_others=wait_for_others)
    return reports


def dry_run(configs: Iterable[SyncConfig], globs: Sequence[str]) -> list[SyncReport]:
    """Say what ``run`` would do; writes nothing."""
    reports = []
    for config in configs:
        report = SyncReport(config)
        reports.append(report)
        try:
            found = preview(config)
        except (SourceError, TargetError) as error:
            report.error = error
            continue
        report.error, report.waiting = found.problem, found.waiting
        for item in found.tables:
            if not _matches(item.table, globs):
                continue
            pending = item.partitions or item.ddl
            status = "failed" if item.error else "pending" if pending else "unchanged"
            status = _halted(item.table) or status
            result = LoadResult(
                status, item.partitions, bytes=item.bytes, error=item.error
            )
            report.tables.append(TableReport(item.table, result, item.ddl))
    return reports


def chosen(config: SyncConfig, globs: Sequence[str]) -> list[SyncTable]:
    """Return the config's tables that the command names; all without globs."""
    return [table for table in selected_tables(config) if _matches(table, globs)]


def _matches(table: SyncTable, globs: Sequence[str]) -> bool:
    name = table.entity.lower()
    return not globs or any(fnmatchcase(name, glob.lower()) for glob in globs)


def _halted(table: SyncTable) -> str | None:
    """Return the state in which a person keeps a table from being loaded."""
    if table.paused:
        return "paused"
    return "held" if table.state == SyncTable.State.HELD else None


def _before(table: SyncTable, poll: Poll) -> LoadResult:
    if halted := _halted(table):
        return LoadResult(halted)
    for failed, error in poll.failures:
        if failed.pk == table.pk:
            return LoadResult("failed", error=error)
    return LoadResult("due" if table in poll.due else "unchanged")


def _load_all(
    work: list[tuple[TableReport, Source]],
    pool: ThreadPoolExecutor,
    display: Display,
    *,
    wait_for_others: bool,
) -> None:
    """Load the tables, the largest backlog first; fill in their results."""
    sizes = {report.table.pk: _backlog_bytes(report.table) for report, _ in work}
    work.sort(key=lambda item: -sizes[item[0].table.pk])

    def load(report: TableReport, source: Source) -> None:
        display.begin(report.table, sizes[report.table.pk])
        try:
            report.result = _load_one(
                report.table, source, display, wait_for_others=wait_for_others
            )
        finally:
            connections.close_all()
        display.end(report.table)

    futures = [pool.submit(load, report, source) for report, source in work]
    try:
        _await(futures)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        log.warning("Stopping: the running loads are rolled back. Ctrl-C again aborts.")
        display.cancel()
        try:
            wait(futures)
        except KeyboardInterrupt:
            # PostgreSQL rolls back by itself when the connections break.
            os._exit(130)
        raise
    for future in futures:
        future.result()


def _backlog_bytes(table: SyncTable) -> int:
    total: int | None = table.progress.unapplied().aggregate(n=Sum("bytes"))["n"]
    return total or 0


def _await(futures: list[Future[None]]) -> None:
    # With a timeout, for a wait without one does not notice Ctrl-C everywhere.
    pending = set(futures)
    while pending:
        _, pending = wait(pending, timeout=0.5)


def _load_one(
    table: SyncTable, source: Source, display: Display, *, wait_for_others: bool
) -> LoadResult:
    try:
        result = sync_table(table, source, display, insist=True)
        while result.status == "busy" and wait_for_others:
            display.check()
            time.sleep(BUSY_AGAIN_SECONDS)
            result = sync_table(table, source, display, insist=True)
        table.refresh_from_db(fields=["state"])
    except Cancelled:
        raise
    except SyncError as error:
        return LoadResult("failed", error=error)
    except Exception as error:
        # One table's misfortune, whatever it is, must not stop the others.
        log.exception("The load of %s ended unexpectedly", table.entity)
        message = f"Unexpected {type(error).__name__}: {error}"
        return LoadResult("failed", error=SyncError("internal_error", message))
    if result.status == "failed" and table.state == SyncTable.State.PARKED:
        result.status = "parked"
    return result

"""The load: one table's backlog, batch by batch, each in one transaction.

Data, tombstones and progress rows are committed together, so a crash anywhere
leaves the table at a partition's end and the rest of its backlog pending.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction

from sync import faultpoints
from sync.engine.announce import announce
from sync.engine.batch import BATCH_BYTES, PartitionError, Step, initiate_load
from sync.engine.control import Control
from sync.engine.locks import BusyError, Namespace, lock_or_busy
from sync.engine.schema import ensure_table
from sync.engine.session import database_errors, is_database_down, server_start
from sync.engine.source import source_of
from sync.engine.transaction import load_transaction
from sync.engine.transfer import move, record_moved
from sync.errors import Cancelled, SyncError, TargetError
from sync.models import (
    ATTEMPTS_BEFORE_PARKING,
    DataSyncProgress,
    Event,
    ProgressQuerySet,
    SyncTable,
)
from sync.sources.base import Form, Source
from sync.target.winners import RowCounts

__all__ = ["BATCH_BYTES", "LoadResult", "initiate_load", "sync_table"]

TAKE_BACK_TRIES = 5
TAKE_BACK_SECONDS = 2.0

_CHANGING = ("applied_offset", "partition")
# What another process may change between two loads of a table.
REFRESHED = (
    "columns",
    "last_partition",
    "base_partition",
    "refresh_reason",
    "approved_partition",
    "state",
)


@dataclass
class LoadResult:
    """What became of a table: success, unchanged, failed, busy or paused.

    After a failure the counts are those of the partitions applied before it.
    """

    status: str = "unchanged"
    partitions: int = 0
    rows: RowCounts = field(default_factory=RowCounts)
    bytes: int = 0
    seconds: float = 0.0
    error: SyncError | None = None

    def add(self, steps: Iterable[Step]) -> None:
        """Add what is applied now."""
        self.status = "success"
        for step in steps:
            self.partitions += 1
            self.bytes += step.size
            self.rows.add(step.progress.counts())
            self.rows.subtract(step.before)


class _OutrunError(Exception):
    """Another load applied the chosen partitions first."""


def sync_table(
    table: SyncTable,
    source: Source | None = None,
    control: Control | None = None,
    *,
    insist: bool = False,
) -> LoadResult:
    """Apply a table's backlog until it is empty or one of its partitions fails.

    The failure is recorded on that partition and holds back this table alone.
    ``insist`` also tries a partition whose loader was killed again and again.
    Raises ``TargetError`` when PostgreSQL cannot be reached and ``Cancelled``
    when ``control`` says so; both leave the backlog as it is.
    """
    source = source or source_of(table.config)
    control = control or Control()
    result = LoadResult()
    began = time.monotonic()
    tried: dict[int, SyncError] = {}
    try:
        while _next_load(table, source, control, result, tried, insist=insist):
            control.check()
    except BusyError:
        result.status = "busy"
    result.seconds = time.monotonic() - began
    return result


def _next_load(
    table: SyncTable,
    source: Source,
    control: Control,
    result: LoadResult,
    tried: dict[int, SyncError],
    *,
    insist: bool,
) -> bool:
    """Do one load and say whether to go on.

    When a later partition of the batch is at fault, the next load takes those
    before it. A partition is tried once, so meeting a failed one again ends it.
    """
    steps: list[Step] = []
    try:
        with database_errors(table.label):
            table.refresh_from_db(fields=REFRESHED)
            table.config.refresh_from_db(fields=["paused"])
            if table.paused:
                result.status = "success" if result.partitions else "paused"
                return False
            steps = initiate_load(table, source, BATCH_BYTES)
        if not steps:
            return False
        first = steps[0].progress
        if first.pk in tried:
            result.status, result.error = "failed", tried[first.pk]
            return False
        if not insist:
            _refuse_killer(first)
        steps = _attempt(table, steps, source, control)
    except _OutrunError:
        return True
    except PartitionError as failure:
        return _after_failure(table, steps, failure, result, tried)
    result.add(steps)
    return True


def _refuse_killer(progress: DataSyncProgress) -> None:
    if not progress.was_killed or progress.attempts < ATTEMPTS_BEFORE_PARKING:
        return
    began = progress.started_at
    if began is None or began > server_start():  # else PostgreSQL itself went down
        message = f"The load was killed {progress.attempts} times"
        error = SyncError("loader_killed", message, where=progress.partition)
        raise PartitionError(progress, error)


def _after_failure(
    table: SyncTable,
    steps: list[Step],
    failure: PartitionError,
    result: LoadResult,
    tried: dict[int, SyncError],
) -> bool:
    """Record a failure and say whether to go on."""
    row = failure.progress
    if row.pk in tried:
        result.status, result.error = "failed", tried[row.pk]
        return False
    tried[row.pk] = failure.error
    with database_errors(table.label):
        if not steps:  # it could not even be chosen, which is an attempt as well
            table.progress.filter(pk=row.pk).begin_attempt()
        ends = [step.end for step in steps if step.progress.pk == row.pk]
        recorded = _record_failure(table, failure, max(ends, default=0))
        faultpoints.reach("failure_recorded")
        if not recorded:
            # The answer to COMMIT was lost, but the load is there. What came to its
            # file meanwhile is still to be tried.
            del tried[row.pk]
            for step in steps:
                step.progress.refresh_from_db()
            result.add(steps)
    return True


def _record_failure(table: SyncTable, failure: PartitionError, end: int = 0) -> bool:
    """Write down a failure unless the partition is applied; say whether it was."""
    rows = table.progress.filter(pk=failure.progress.pk)
    with transaction.atomic():
        if is_database_down(failure.error):
            rows.begin_attempt()  # it was taken back
        if not rows.record_failure(failure.error, end):
            transaction.set_rollback(True)  # nor is it an attempt that was killed
            return False
        if failure.error.code == "mass_delete":
            table.hold()
        elif rows.filter(next_attempt_at=None).exists():
            table.park()
        table.add_totals(failures=1)
        Event.record(
            table.config,
            "load_failed",
            str(failure.error),
            level=Event.Level.ERROR,
            table_name=table.entity,
            partition=failure.progress.partition,
        )
    return True


def _attempt(
    table: SyncTable, steps: list[Step], source: Source, control: Control
) -> list[Step]:
    """Count the attempt, make the table fit, and load the batch; return its steps.

    When the merge of several partitions is refused for good, half of them are
    tried, so that in the end the one at fault is met alone.
    """
    rows = table.progress.filter(pk__in=[step.progress.pk for step in steps])
    with database_errors(table.label), transaction.atomic(durable=True):
        lock_or_busy(Namespace.TABLE, table.pk)
        _check_unapplied(rows, steps)
        rows.begin_attempt()
    faultpoints.reach("attempt_counted")
    try:
        ensure_table(table, steps[-1].entity)
        _load(table, steps, source, control)
    except PartitionError as failure:
        _take_back(table, rows.exclude(pk=failure.progress.pk), control)
        raise
    except SyncError as error:
        if error.permanent and len(steps) > 1:
            _take_back(table, rows, control)
            return _attempt(table, steps[: len(steps) // 2], source, control)
        first = steps[0].progress
        # Without the database the failure may stay unrecorded; then the attempt must
        # not look like one that killed its loader.
        blameless = rows if is_database_down(error) else rows.exclude(pk=first.pk)
        _take_back(table, blameless, control)
        raise PartitionError(first, error) from error
    except (BusyError, Cancelled, _OutrunError):
        _take_back(table, rows, control)
        raise
    control.committed(table.pk)
    faultpoints.reach("committed")
    return steps


def record_unexpected(table: SyncTable, error: Exception) -> None:
    """Record a fault of dvsync on the partition that met it; it is tried again."""
    row = table.progress.unapplied().first()
    if row is not None:
        message = f"Unexpected {type(error).__name__}: {error}"
        failure = PartitionError(row, SyncError("internal_error", message))
        with database_errors(table.label):
            if not row.was_killed:  # it came before the attempt was counted
                table.progress.filter(pk=row.pk).begin_attempt()
            _record_failure(table, failure)


def _take_back(table: SyncTable, rows: ProgressQuerySet, control: Control) -> None:
    """Undo the attempt of rows that are not to blame.

    Waits for a database that went away, a little or as long as ``control`` likes: an
    attempt that nobody takes back counts as a loader that was killed.
    """
    control.rolled_back(table.pk)
    for tries in itertools.count(1):
        try:
            with database_errors(table.label):
                rows.take_back_attempt()
        except TargetError as error:
            enough = tries >= TAKE_BACK_TRIES and not control.waits_for_database
            if enough or not is_database_down(error):
                raise
            time.sleep(TAKE_BACK_SECONDS)
        else:
            return


def _check_unapplied(rows: ProgressQuerySet, steps: list[Step]) -> None:
    """Raise when a step was applied meanwhile; its partition may have a new name."""
    waiting = rows.exclude(copy_status=DataSyncProgress.Status.SUCCESS)
    now = {pk: found for pk, *found in waiting.values_list("pk", *_CHANGING)}
    for step in steps:
        found = now.get(step.progress.pk)
        if found is None or found[0] != step.start:
            raise _OutrunError
        step.progress.partition = found[1]


def _load(
    table: SyncTable, steps: list[Step], source: Source, control: Control
) -> None:
    """Load the batch in one transaction: everything, or nothing."""
    began = time.monotonic()
    with load_transaction(table, control):
        faultpoints.reach("load_started")
        rows = table.progress.filter(pk__in=[step.progress.pk for step in steps])
        _check_unapplied(rows, steps)
        moved = move(table, steps, source, control)
        control.check()
        record_moved(table, steps, moved)
        names = [step.progress.partition for step in steps]
        if source.form is Form.CHANGES:
            table.note_order(names)
        table.record_load(names[-1])
        _add_up(table, steps, time.monotonic() - began)
        announce(table, steps[-1].progress.partition)
        faultpoints.reach("progress_written")


def _add_up(table: SyncTable, steps: list[Step], seconds: float) -> None:
    done = LoadResult()
    done.add(steps)
    table.add_totals(
        loads=1,
        inserted=done.rows.inserted,
        updated=done.rows.updated,
        deleted=done.rows.deleted,
        bytes=done.bytes,
        seconds=seconds,
    )

"""Rows that were set aside: applied after all, or let go."""

from __future__ import annotations

from dataclasses import dataclass, fields

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from sync.engine.announce import announce
from sync.engine.bad_rows import BadRows
from sync.engine.careful import copy_carefully
from sync.engine.intake import TOMBSTONES, staging_for, system_columns
from sync.engine.locks import Namespace, lock_or_busy
from sync.engine.session import (
    database_errors,
    is_database_down,
    prepare_session,
    raw_cursor,
)
from sync.errors import SyncError, TargetError
from sync.model_json import Attribute, Entity
from sync.models import Event, QuarantinedRow, SourceKind, SyncTable
from sync.sources.careful_rows import Widths
from sync.target import relations
from sync.target.merge import Merge
from sync.target.winners import RowCounts


@dataclass(frozen=True)
class Outcome:
    """What became of a row: ``done``, or the error that it still meets."""

    row: QuarantinedRow
    done: str = ""
    error: SyncError | None = None


def dismiss(row: QuarantinedRow, *, by: str = "") -> Outcome:
    """Let an open row go; it stays counted as rejected."""
    try:
        with database_errors(), transaction.atomic():
            _decide(row, QuarantinedRow.State.DISMISSED, by)
    except SyncError as error:
        return _still_open(row, error)
    return Outcome(row, "dismissed")


def reprocess(row: QuarantinedRow, *, by: str = "") -> Outcome:
    """Apply an open row if it can be read now and is newer than what is there.

    Raises ``BusyError`` while the table is being loaded, and ``TargetError`` when
    PostgreSQL cannot be reached.
    """
    table = row.table
    try:
        with database_errors(table.label), transaction.atomic(durable=True):
            lock_or_busy(Namespace.TABLE, table.pk)
            table.refresh_from_db()
            _check_turn(row)
            _decide(row, QuarantinedRow.State.APPLIED, by)
            counts = _apply(table, row)
            _move_count(row, counts)
            if counts.inserted or counts.updated or counts.deleted:
                announce(table, row.partition)
    except SyncError as error:
        return _still_open(row, error)
    done = "unchanged: what is there is as new"
    for name in ("inserted", "updated", "deleted"):
        if getattr(counts, name):
            done = name
    return Outcome(row, done)


def _check_turn(row: QuarantinedRow) -> None:
    """Refuse a line of a change feed: nothing tells whether what is there is newer."""
    if row.table.config.kind == SourceKind.CHANGE_FEED:
        raise SyncError(
            "line_out_of_turn",
            f"{row} has no version: later lines may have changed its row",
            where=str(row),
        )


def _apply(table: SyncTable, row: QuarantinedRow) -> RowCounts:
    cursor = raw_cursor()
    prepare_session(cursor)
    attributes = tuple(Attribute(*attribute) for attribute in row.attributes)
    entity = Entity(table.entity, attributes)
    target = table.target()
    relations.check_unaltered(target, relations.inspect(cursor, target))
    if any(target.column(attribute.name) is None for attribute in attributes):
        raise TargetError("target_altered", f"{table.label} lacks a column of the row")
    staging = staging_for(cursor, table.config, entity, target, partitioned=False)
    staging.create()
    copy_carefully(
        staging,
        row.path,
        [_as_read(row)],
        entity,
        Widths(len(attributes), row.least_width),
        BadRows(),
        first_line=row.line,
    )
    merge = Merge(
        cursor,
        staging,
        system_columns(entity, target),
        target,
        TOMBSTONES,
        table.pk,
        strict=True,
    )
    rows = {0: 1}
    counts = merge.choose(rows)
    merge.apply(counts, rows)
    return counts[0]


def _as_read(row: QuarantinedRow) -> bytes:
    """Return the row's bytes; one that may have been cut still has no line end."""
    return bytes(row.raw) + (b"" if row.code == "bad_row" else b"\n")


def _move_count(row: QuarantinedRow, counts: RowCounts) -> None:
    """Count the row as what it became, on the partition that brought it."""
    changes = {
        f"rows_{count.name}": F(f"rows_{count.name}") + getattr(counts, count.name)
        for count in fields(RowCounts)
    }
    changes["rows_rejected"] = F("rows_rejected") - 1
    row.table.progress.filter(partition=row.partition).update(**changes)


def _still_open(row: QuarantinedRow, error: SyncError) -> Outcome:
    if is_database_down(error):
        raise error
    row.state, row.decided_at = QuarantinedRow.State.OPEN, None
    return Outcome(row, error=error)


def _decide(row: QuarantinedRow, state: QuarantinedRow.State, by: str) -> None:
    now = timezone.now()
    open_row = QuarantinedRow.objects.filter(pk=row.pk, state=QuarantinedRow.State.OPEN)
    if not open_row.update(state=state, decided_at=now):
        raise SyncError("row_decided", f"{row} is not set aside any more")
    row.state, row.decided_at = state, now
    Event.record(
        row.table.config,
        f"row_{state.value}",
        f"{row.file}, line {row.line}" + (f", by {by}" if by else ""),
        table_name=row.table.entity,
        partition=row.partition,
    )

"""What must be true of the sync of a change feed, whatever happened to it.

``Ledger`` remembers what its looks and loads must have come to, by the files as
``tests.feeds.FeedWriter`` wrote them; ``check`` compares it with the database, which it
reads by plain SQL. The invariants that it names:

* F1 the target is what ``tests.feed_oracle`` makes of the applied lines, in the order
  in which they were applied;
* F2 offsets: applied <= end <= known, at the ends of lines, and a success is where
  applied is end;
* F3 every line is counted once on its file, and the counts add up to the rows;
* F4 the files are known by their names, in the order in which they were first seen;
* F5 what was found is applied once a run ended by itself, but of failed tables;
* F6 nothing is left behind: no relation, lock or transaction.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import LiteralString

from psycopg import sql
from psycopg.rows import class_row

from tests import snapshot as db
from tests.feed_oracle import (
    Key,
    Replay,
    Schema,
    Told,
    extent,
    of_table,
    replay,
    whole_lines,
)
from tests.feeds import FeedWriter, Stream
from tests.invariants import of_residue
from tests.oracle import Row


@dataclass(frozen=True)
class Progress:
    """One row of the ledger, as the database has it."""

    partition: str
    copy_status: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_unchanged: int
    rows_rejected: int
    rows_missing: int
    applied_offset: int
    end_offset: int
    error_code: str

    @property
    def lines(self) -> int:
        """How many lines are counted."""
        return (
            self.rows_inserted
            + self.rows_updated
            + self.rows_deleted
            + self.rows_unchanged
            + self.rows_rejected
        )


@dataclass(frozen=True)
class Applied:
    """A line that was applied, with the file that it is of."""

    stream: Stream
    told: Told


@dataclass
class Ledger:
    """What is known of a feed, and in what order its lines were applied.

    ``looked`` is to be called after every look, ``check`` after every load and
    ``refreshed`` after every refresh: then the order of the lines is known.
    """

    feed: FeedWriter
    insert_unknown: bool = False
    streams: list[Stream] = field(default_factory=list)
    known: dict[Stream, int] = field(default_factory=dict)
    names: dict[Stream, str] = field(default_factory=dict)
    applied: dict[str, list[Applied]] = field(default_factory=dict)
    ends: Counter[tuple[Stream, str]] = field(default_factory=Counter)
    interleaved: set[str] = field(default_factory=set)

    def looked(self) -> None:
        """Take note of what a look at the files has found."""
        for stream in self.feed.past:
            self._end(stream)
        self.feed.past.clear()
        for name in sorted(self.feed.streams):
            stream = self.feed.streams[name]
            found = extent(stream.data)
            if stream not in self.known:
                if found == 0 or not name.lower().endswith(".log"):
                    continue
                self.streams.append(stream)
            self.known[stream] = found
            self.names[stream] = name
        for stream in self.streams:
            if stream.over and self.names[stream] in self.feed.streams:
                self.names[stream] = self._free_name(self.names[stream])

    def _end(self, stream: Stream) -> None:
        """Keep what is known of a file that is over; nobody has the rest of it."""
        stream.data = stream.data[: self.known.get(stream, 0)]

    def _free_name(self, name: str) -> str:
        taken = {*self.names.values(), *self.feed.streams}
        names = (f"{name}#{number}" for number in itertools.count(1))
        return next(free for free in names if free not in taken)

    def schema(self, table: str) -> Schema:
        columns = self.feed.tables[table]
        if self.feed.dialect != "cdm":  # in which alone they must be what they say
            columns = {n: "string" if t == "guid" else t for n, t in columns.items()}
        return Schema(columns, self.feed.keys[table])

    def lines(self, stream: Stream, table: str) -> list[Told]:
        """Return the lines of a table that are known in a file."""
        schemas = {name: self.schema(name) for name in self.feed.tables}
        data = stream.data[: self.known.get(stream, 0)]
        return of_table(whole_lines(data, schemas), table)

    def advance(self, table: str, ends: Mapping[str, int]) -> None:
        """Add what was applied since, up to these offsets by the files' names."""
        done = self.applied.setdefault(table, [])
        for index, stream in enumerate(self.streams):
            before, now = self.ends[stream, table], ends.get(self.names[stream], 0)
            new = [
                line for line in self.lines(stream, table) if before < line.end <= now
            ]
            later = self.streams[index + 1 :]
            if new and any(line.stream in later for line in done):
                self.interleaved.add(table)
            done += [Applied(stream, line) for line in new]
            self.ends[stream, table] = now

    def refreshed(self, table: str) -> None:
        """Forget in what order the lines were applied: it is that of the files now."""
        self.applied[table] = []
        self.interleaved.discard(table)
        for stream in self.streams:
            self.ends[stream, table] = 0

    def replay(self, table: str) -> Replay:
        """Return what the applied lines of a table come to."""
        lines = [applied.told for applied in self.applied.get(table, [])]
        schema = self.schema(table)
        return replay(lines, schema, insert_unknown=self.insert_unknown)

    def missing(self, table: str) -> Counter[str]:
        """Return by file how many changes had no row."""
        counts: Counter[str] = Counter()
        done = Replay(self.schema(table), self.insert_unknown)
        for applied in self.applied.get(table, []):
            before = done.missing
            done.apply(applied.told)
            counts[self.names[applied.stream]] += done.missing - before
        return counts

    def is_there(self, table: str) -> bool:
        """Say whether every file with known lines of a table is there still."""
        return not any(s.over and self.lines(s, table) for s in self.streams)


def check(
    ledger: Ledger,
    config_id: int,
    *,
    settled: bool = True,
    failed: Collection[str] = (),
    connection: db.Connection,
) -> None:
    """Raise ``AssertionError`` with every invariant that does not hold.

    ``settled`` says that a run ended by itself after the last look: then all that was
    found is applied, but of the tables in ``failed``.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [(schema,)] = connection.execute(
            "SELECT schema_name FROM sync_syncconfig WHERE id = %s", [config_id]
        ).fetchall()
        problems = list(_of_files(ledger, connection, config_id))
        tables = connection.execute(
            "SELECT entity, target_name, columns, interleaved FROM sync_synctable "
            "WHERE config_id = %s",
            [config_id],
        ).fetchall()
        for entity, name, columns, interleaved in tables:
            progress = _progress(connection, config_id, entity)
            ledger.advance(entity, {p.partition: p.applied_offset for p in progress})
            relation = sql.Identifier(schema, name)
            names = {column: attribute for attribute, column, _ in columns}
            rows = db.select(connection, relation, names) if columns else []
            found = [
                *_of_rows(ledger, entity, rows),
                *_of_offsets(ledger, entity, progress),
                *_of_counts(ledger, entity, progress, len(rows)),
                *(_of_backlog(ledger, entity, progress, failed) if settled else ()),
            ]
            if interleaved != (entity in ledger.interleaved):
                found.append(f"F4 interleaved is {interleaved}")
            problems += [f"{problem} ({entity})" for problem in found]
    known = [name for _, name, *_ in tables]
    problems += list(of_residue(connection, schema, known))
    if problems:
        raise AssertionError("\n".join(problems))


_PROGRESS: LiteralString = """
    SELECT partition, copy_status, rows_inserted, rows_updated, rows_deleted,
        rows_unchanged, rows_rejected, rows_missing, applied_offset, end_offset,
        error_code
    FROM data_sync_progress WHERE config_id = %s AND table_name = %s
"""


def _progress(connection: db.Connection, config_id: int, entity: str) -> list[Progress]:
    with connection.cursor(row_factory=class_row(Progress)) as cursor:
        return cursor.execute(_PROGRESS, [config_id, entity]).fetchall()


def _of_files(
    ledger: Ledger, connection: db.Connection, config_id: int
) -> Iterator[str]:
    found = connection.execute(
        "SELECT name, extent FROM sync_syncpartition WHERE config_id = %s "
        "ORDER BY opened_at",
        [config_id],
    ).fetchall()
    wanted = [(ledger.names[s], ledger.known[s]) for s in ledger.streams]
    if found != wanted:
        yield f"F4 the files are {found}, not {wanted}"


def _of_rows(ledger: Ledger, entity: str, rows: list[Row]) -> Iterator[str]:
    key = ledger.schema(entity).key
    held = content({tuple(row[name] for name in key): row for row in rows})
    wanted = content(ledger.replay(entity).rows)
    if len(held) != len(rows):
        yield f"F1 {len(rows)} rows have {len(held)} keys"
    for place in held.keys() | wanted.keys():
        if held.get(place) != wanted.get(place):
            yield f"F1 row {place} is {held.get(place)}, not {wanted.get(place)}"


def content(rows: Mapping[Key, Row]) -> dict[Key, dict[str, str]]:
    """Return rows in a form that is equal only when they are stored alike."""
    return {
        key: {name: db.exactly(v) for name, v in row.items() if v is not None}
        for key, row in rows.items()
    }


def _of_offsets(ledger: Ledger, entity: str, progress: list[Progress]) -> Iterator[str]:
    known = {ledger.names[s]: ledger.known[s] for s in ledger.streams}
    for row in progress:
        if (
            not 0
            <= row.applied_offset
            <= row.end_offset
            <= known.get(row.partition, -1)
        ):
            yield f"F2 impossible offsets: {row}"
        is_applied = row.applied_offset == row.end_offset
        if is_applied != (row.copy_status == db.SUCCESS):
            yield f"F2 the status does not fit the offsets: {row}"
        if bool(row.error_code) != (row.copy_status == db.FAILURE):
            yield f"F2 the error does not fit the status: {row}"


def _of_counts(
    ledger: Ledger, entity: str, progress: list[Progress], rows: int
) -> Iterator[str]:
    growth = sum(row.rows_inserted - row.rows_deleted for row in progress)
    if growth != rows:
        yield f"F3 the table grew by {growth} rows and has {rows}"
    applied = ledger.applied.get(entity, [])
    lines = Counter(ledger.names[line.stream] for line in applied)
    bad = Counter(ledger.names[line.stream] for line in applied if line.told.is_bad)
    missing = ledger.missing(entity)
    for row in progress:
        name = row.partition
        if row.lines != lines[name]:
            yield f"F3 {lines[name]} lines are applied: {row}"
        if row.rows_rejected != bad[name]:
            yield f"F3 {bad[name]} lines are bad: {row}"
        if row.rows_missing != missing[name]:
            yield f"F3 {missing[name]} changes had no row: {row}"
        if row.rows_missing > row.rows_unchanged:
            yield f"F3 missing is a part of unchanged: {row}"


def _of_backlog(
    ledger: Ledger, entity: str, progress: list[Progress], failed: Collection[str]
) -> Iterator[str]:
    by_name = {row.partition: row for row in progress}
    for stream in ledger.streams:
        lines, name = ledger.lines(stream, entity), ledger.names[stream]
        row = by_name.get(name)
        if row is None and lines:
            yield f"F5 {name} has {len(lines)} lines and no progress"
        if row is not None and lines and row.end_offset < lines[-1].end:
            yield f"F5 the last line ends at {lines[-1].end}: {row}"
    pending = [row for row in progress if row.copy_status != db.SUCCESS]
    if pending and entity not in failed:
        yield f"F5 it is not done: {pending[0]}"
    if entity in failed and not pending:
        yield "F5 it should have failed"

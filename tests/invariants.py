"""What must be true of a sync, whatever happened to it; checked after every fault.

``check_invariants`` is the one thing to call. It shares no code with the engine: the
files are read by Python's csv module, the database by plain SQL, and what the rows
should be is said by ``tests.oracle``. The invariants that it names:

* I1 the target is what the oracle makes of the applied partitions, and of all
  complete ones once nothing is left to apply;
* I2 the ledger says success of exactly those partitions that the target holds;
* I3 no row gets an older version, no deleted row comes back, no success is revoked;
* I4 every record of a file is counted once, and the counts add up to the rows;
* I7 the batches in which partitions were applied make no difference;
* I9 nothing is left behind: no relation, lock or transaction;
* I11 no secret is told;
* I13 nothing is called a success that is none, or that comes after a failure.

I5, what other sessions see meanwhile, is the affair of ``tests.onlooker``.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tests import snapshot as db
from tests.exports import Change, ExportWriter
from tests.oracle import NO_VERSION, Replica

# A backend whose client was killed notices within seconds.
PATIENCE_SECONDS = 20

Key = tuple[str, UUID]
Quarantined = Mapping[tuple[str, str], Sequence[Change | bytes]]


@dataclass(frozen=True)
class Observation:
    """The versions that were seen of every row, and of every one that went away."""

    live: Mapping[Key, int]
    gone: Mapping[Key, int]
    applied: frozenset[tuple[str, str]]


def check_invariants(
    export: ExportWriter,
    config_id: int,
    *,
    before: Observation | None = None,
    settled: bool = True,
    failed: Collection[str] = (),
    late: Collection[str] = (),
    quarantined: Quarantined | None = None,
    twins: Iterable[int] = (),
    secrets: Iterable[str] = (),
    texts: Iterable[str] = (),
    connection: db.Connection | None = None,
) -> Observation:
    """Raise ``AssertionError`` with every invariant that does not hold.

    ``before`` is what an earlier call returned, for I3. ``settled`` says that a run
    ended by itself after the last change of the export: then every complete
    partition is applied, but of the tables in ``failed``, which stand at a partition
    that failed. ``late`` names partitions that were found after later ones were
    applied. ``quarantined`` holds, by partition and
    table, the records that were set aside: a ``Change`` is left out of the oracle,
    bytes are those of ``ExportWriter.raw``, which it never saw. ``twins`` are other
    syncs of the same export. ``texts`` are where ``secrets`` must not be found, which
    the application's own tables always are. ``connection`` is one of
    ``tests.snapshot.connect``, for those who ask often: a new one takes time.
    """
    with nullcontext(connection) if connection else db.connect() as connection:
        snapshot = db.read(connection, config_id)
        expected = _Expected(export, snapshot, quarantined or {}, frozenset(late))
        now = _observe(snapshot, before)
        known = [table.name for table in snapshot.tables.values()]
        problems = [
            *_of_tables(expected, snapshot),
            *(_of_backlogs(expected, snapshot, failed) if settled else ()),
            *(_of_history(before, now) if before else ()),
            *_of_twins(snapshot, (db.read(connection, twin) for twin in twins)),
            *of_residue(connection, snapshot.schema, known),
            *_of_secrets(connection, secrets, list(texts)),
        ]
    if problems:
        raise AssertionError("\n".join(problems))
    return now


class _Expected:
    """What the export says that must be."""

    def __init__(
        self,
        export: ExportWriter,
        snapshot: db.Snapshot,
        quarantined: Quarantined,
        late: frozenset[str],
    ) -> None:
        self.quarantined = quarantined
        self.late = late
        self.export = export
        self.complete = []
        for folder in export.folders:
            if not folder.closed:
                break
            if folder.name not in snapshot.skipped:
                if not folder.has_model:
                    break
                self.complete.append(folder)

    def partitions(self, table: str) -> list[str]:
        """Return the complete partitions in which the table has files."""
        return [f.name for f in self.complete if f.files.get(table)]

    def tables(self) -> set[str]:
        """Return the tables that have files in a complete partition."""
        return {name for f in self.complete for name, files in f.files.items() if files}

    def replica(self, table: str, partitions: Sequence[str]) -> Replica:
        """Return the oracle of a table over some partitions."""
        replica = Replica()
        for name in sorted(partitions):
            folder = self.export.find(name)
            aside = self.quarantined.get((name, table), ())
            rows = [c for c in folder.changes.get(table, ()) if c not in aside]
            replica.apply(name, folder.columns.get(table, ()), rows)
        return replica

    def is_there(self, partition: str) -> bool:
        """Say whether the folder is there still, or again."""
        return (self.export.root / partition).is_dir()

    def records(self, partition: str, table: str) -> int:
        """Return the records in the table's files, as Python's csv module counts."""
        return sum(map(_records, self._paths(partition, table)))

    def size(self, partition: str, table: str) -> int:
        return sum(path.stat().st_size for path in self._paths(partition, table))

    def _paths(self, partition: str, table: str) -> list[Path]:
        folder = self.export.find(partition)
        place = self.export.root / partition / table
        return [place / name for name in folder.files.get(table, ())]


def _records(path: Path) -> int:
    # Every byte is a character of Latin-1: what it would mean does not matter here.
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    with _long_cells():
        return sum(1 for _ in csv.reader(io.StringIO(text, newline="")))


@contextmanager
def _long_cells() -> Iterator[None]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


# The tables, one by one.


def _of_tables(expected: _Expected, snapshot: db.Snapshot) -> Iterator[str]:
    for table in snapshot.tables.values():
        problems = [
            *_of_rows(expected, table),
            *_of_counts(expected, table),
            *_of_ledger(expected, table),
        ]
        yield from (f"{problem} ({table.entity})" for problem in problems)


def _of_rows(expected: _Expected, table: db.TableState) -> Iterator[str]:
    replica = expected.replica(table.entity, table.applied)
    held, wanted = db.content(table.rows), db.content(replica.rows)
    if held != wanted:
        known = expected.partitions(table.entity)
        for number in range(len(known) + 1):
            other = expected.replica(table.entity, known[:number])
            if db.content(other.rows) == held:
                yield f"I2 {number} partitions are held, the ledger has {table.applied}"
                break
        yield f"I1 {_difference(held, wanted)}"
    if table.row_count != len(table.rows):
        yield f"I1 {table.row_count} rows have {len(table.rows)} keys"
    if missing := replica.columns.keys() - table.attributes:
        yield f"I1 columns are missing: {missing}"
    yield from _of_tombstones(table, replica.tombstones)


def _of_tombstones(table: db.TableState, wanted: dict[UUID, int]) -> Iterator[str]:
    if both := table.rows.keys() & table.tombstones.keys():
        yield f"I1 rows have tombstones as well: {both}"
    held = table.tombstones
    if table.forgets:  # a later delete without a version does not know it any more
        held = {k: max(v, wanted.get(k, v)) for k, v in held.items()}
    if not held.items() <= wanted.items():
        yield f"I1 tombstones are {table.tombstones}, not {wanted}"
    # One that knows no version stops nothing: it need not be kept.
    kept = {key for key, version in wanted.items() if version != NO_VERSION}
    forgotten = kept - table.tombstones.keys()
    if forgotten and not table.forgets:
        yield f"I1 tombstones are missing: {forgotten}"


def _difference(held: db.Content, wanted: db.Content) -> str:
    for key in sorted(held.keys() | wanted.keys()):
        if held.get(key) != wanted.get(key):
            return f"row {key} is {held.get(key)}, not {wanted.get(key)}"
    raise ValueError("there is none")


def _of_counts(expected: _Expected, table: db.TableState) -> Iterator[str]:
    for row in table.progress:
        if row.is_applied:
            if expected.is_there(row.partition):
                yield from _of_applied(expected, table.entity, row)
        elif any(row.counts):
            yield f"I4 {row} is not applied but has counts"
    growth = sum(row.rows_inserted - row.rows_deleted for row in table.progress)
    growth += table.pruned_growth
    if growth != table.row_count:
        yield f"I4 the table grew by {growth} rows and has {table.row_count}"


def _of_applied(expected: _Expected, name: str, row: db.Progress) -> Iterator[str]:
    records = expected.records(row.partition, name)
    if sum(row.counts) != records:
        yield f"I4 {row.partition} has {records} records, counted are {row.counts}"
    aside = len(expected.quarantined.get((row.partition, name), ()))
    if row.rows_rejected != aside:
        yield f"I4 {row.partition} rejected {row.rows_rejected}, not {aside}"
    if min(row.counts) < 0 or not 0 <= row.rows_missing <= row.rows_unchanged:
        yield f"I4 impossible counts: {row}"
    if row.bytes != (size := expected.size(row.partition, name)):
        yield f"I4 {row.partition} has {size} bytes: {row}"


def _of_ledger(expected: _Expected, table: db.TableState) -> Iterator[str]:
    if table.last_partition != max(table.applied, default=""):
        yield f"I2 {table.last_partition!r} is said to be the last of {table.applied}"
    stopped_at = ""
    for row in table.progress:
        has_error = bool(row.error_code and row.error_message)
        if row.is_applied:
            if row.error_code or row.error_message or not row.is_finished:
                yield f"I13 a success with an error: {row}"
            if stopped_at:
                yield f"I13 {row.partition} is applied, {stopped_at} before it is not"
        elif row.partition not in expected.late:
            stopped_at = stopped_at or row.partition
        if row.copy_status == db.FAILURE and not has_error:
            yield f"I13 a failure without an error: {row}"


def _of_backlogs(
    expected: _Expected, snapshot: db.Snapshot, failed: Collection[str]
) -> Iterator[str]:
    for name, table in snapshot.tables.items():
        known = {*table.pruned, *(row.partition for row in table.progress)}
        wanted = expected.partitions(name)
        if sorted(known) != sorted(wanted):
            yield f"I1 the ledger of {name} has {known}, complete are {wanted}"
        first = next((row for row in table.progress if not row.is_applied), None)
        stands = first is not None and first.copy_status == db.FAILURE
        if first is not None and name not in failed:
            yield f"I1 {name} is not done: {first}"
        elif name in failed and not stands:
            yield f"I13 {name} should have failed, but stands at {first}"
    if snapshot.selects_all:
        for name in sorted(expected.tables() - snapshot.tables.keys()):
            yield f"I1 {name} has rows but no table"


# What was, and what else there is.


def _observe(snapshot: db.Snapshot, before: Observation | None) -> Observation:
    live: dict[Key, int] = {}
    gone: dict[Key, int] = {}
    for name, table in snapshot.tables.items():
        gone |= {(name, key): v for key, v in table.tombstones.items()}
        for key, row in table.rows.items():
            version = row.get("versionnumber")
            live[name, key] = version if isinstance(version, int) else NO_VERSION
    for seen in (before.live, before.gone) if before else ():
        for place, version in seen.items():
            if place not in live:
                gone[place] = max(version, gone.get(place, NO_VERSION))
    applied = frozenset(
        (name, partition)
        for name, table in snapshot.tables.items()
        for partition in table.applied
    )
    return Observation(live, gone, applied)


def _of_history(before: Observation, now: Observation) -> Iterator[str]:
    # A delete leaves a tombstone of at least the row's version, so that what is made
    # again is newer still: it needs no look at what was between.
    for (name, key), version in now.live.items():
        seen = before.live.get((name, key), NO_VERSION)
        if version < seen:
            yield f"I3 {name} {key} went from version {seen} back to {version}"
        gone = before.gone.get((name, key), NO_VERSION)
        if gone != NO_VERSION and version <= gone:
            yield f"I3 {name} {key} was deleted at {gone} and is back with {version}"
    if revoked := before.applied - now.applied:
        yield f"I3 a success was revoked: {sorted(revoked)}"


def _of_twins(snapshot: db.Snapshot, twins: Iterable[db.Snapshot]) -> Iterator[str]:
    for twin in twins:
        for name in sorted(snapshot.tables.keys() | twin.tables.keys()):
            one, other = snapshot.tables.get(name), twin.tables.get(name)
            if one is None or other is None:
                yield f"I7 {name} is not in both syncs"
            elif (held := db.content(one.rows)) != (wanted := db.content(other.rows)):
                yield f"I7 {name}: {_difference(held, wanted)}"
            elif one.tombstones != other.tombstones:
                yield f"I7 {name}: {one.tombstones}, not {other.tombstones}"


def of_residue(
    connection: db.Connection, schema: str, known: list[str]
) -> Iterator[str]:
    """Yield what is left behind still when a while has passed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found := db.residue(connection, schema, known):
        if time.monotonic() > deadline:
            yield from (f"I9 {text} is left behind" for text in found)
            return
        time.sleep(0.05)


def _of_secrets(
    connection: db.Connection, secrets: Iterable[str], texts: list[str]
) -> Iterator[str]:
    for secret in secrets:
        for text in texts:
            if secret in text:
                yield f"I11 a secret is told: {text[:200]!r}"
        for name in db.application_tables_with(connection, secret):
            yield f"I11 a secret is in {name}"

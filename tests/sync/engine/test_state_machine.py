"""Any history that Synapse Link can write, on a real PostgreSQL, against the oracle.

Hypothesis plays the source: it changes rows, lets Synapse Link send them late, twice
and in odd places, closes folders, crashes the load, and after every sync compares
the target with ``tests.oracle``; after every crash and at the end of a history it
checks ``tests.invariants`` as well. ``DVSYNC_STATE_MACHINE_EXAMPLES`` sets how many
histories are played, by all shards together. To play a failure again, put the
``@reproduce_failure`` line that is printed on the class ``Histories``.

What no reader can know is not written (the end of "Which change wins" in
docs/architecture.md). Where a rule of this file is stricter than a random writer, it
is for that reason:

* a versionless delete drops what was not sent of its row before it;
* it is not sent again once its row is made again;
* in the folder of a versionless delete, later upserts of its row have the true time,
  and never the second of the delete.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from sync import faultpoints
from sync.engine import load, rebuild
from sync.engine.discovery import poll_once
from sync.engine.load import sync_table
from sync.engine.reconcile import reconcile_table
from sync.engine.refresh import refresh_table
from sync.models import DataSyncProgress, SyncConfig, SyncTable, Tombstone
from sync.target.rebuilt import Comparison
from tests import snapshot
from tests.exports import Change, Column, ExportWriter, ModelState, guid
from tests.invariants import Observation, check_invariants
from tests.oracle import NO_VERSION, Replica, stored

EXAMPLES = int(os.environ.get("DVSYNC_STATE_MACHINE_EXAMPLES", "200"))
# Tests of a part of the examples each, which several processes may share.
SHARDS = min(8, EXAMPLES)
STEPS = 25
# Folders are opened a minute apart and all lie in the last hour: a folder that waits
# for its model.json longer is given up, which is not played here.
STEP = timedelta(minutes=1)
AGE = timedelta(minutes=50)

VERSIONED = "account"  # deletes with and without a version
BARE_DELETES = "contact"  # deletes never have a version
UNVERSIONED = "membership"  # no versionnumber at all
TABLES = (VERSIONED, BARE_DELETES, UNVERSIONED)
OWN = {
    "name": "string",
    "amount": "decimal",
    "score": "int64",
    "active": "boolean",
    "owner": "guid",
    "due": "dateTime",
}
SCORE = Column("score", OWN["score"])
# Too narrow for any table, the end-of-data line, no key, and a key that is none.
BAD_ROWS = (b"a,b\n", b"\\.\n", b",,\n", b'"x"y\n')
EXTRA = {"colour": "string", "size": "int64", "seen": "dateTimeOffset"}

tables = st.sampled_from(TABLES)
keys = st.sampled_from([1, 1, 1, 2, 3])
files = st.sampled_from(["2025.csv", "2025_001.csv", "2026.csv", "1.csv", "4.csv"])
ticks = st.sampled_from([0, 0, 1, 7])
# How many seconds ago a row says it was written; None for an empty SinkModifiedOn.
sinks = st.sampled_from([0, 0, 0, 0, 3, 300, None])
budgets = st.sampled_from([1, 400, 10**9])
# None at all is a poll.
several_tables = st.lists(tables, unique=True)
WORDS = (
    None,
    "",
    "null",
    "x",
    ' a "quoted", word ',
    "two\nlines",
    "\r\n",
    "\\.",
    "a\n\\.\nb",
    'back\\slash\\"',
    "\t\u05e9\u05dc\u05d5\u05dd \U0001f642",
)
MOMENTS = (
    None,
    "",
    "0001-01-01T00:00:00.0000000",
    "2026-06-25T16:21:12Z",
    "2026-06-25T16:21:12.1234565Z",
    "2026-06-25T00:00:00.0000000",
    "2026-06-25T16:21:12.0000000+00:00",
    "2026-06-25T01:00:00+02:00",
    "9999-12-31T23:59:59.9999999",
    "6/28/2026 12:34:35 AM",
)
VALUES: dict[str, tuple[object, ...]] = {
    "name": WORDS,
    "amount": (None, "0", "-0.0", "1.0", "1.00", "1E-05", "9" * 38 + ".5"),
    "score": (None, 0, -1, 2**63 - 1, -(2**63)),
    "active": (None, True, False, "true", "1", "0"),
    "owner": (None, UUID(int=7), str(UUID(int=2**127)).upper()),
    "due": MOMENTS,
    "colour": WORDS,
    "size": (None, *range(-5, 6)),
    "seen": MOMENTS,
    "createdon": MOMENTS,
    "IsDelete": (None, False, "False", ""),
}


def content(number: int) -> dict[str, object]:
    """Return one of all rows that can be made of these values: 0 is an empty one."""
    values = {}
    for name, choices in VALUES.items():
        number, index = divmod(number, len(choices))
        values[name] = choices[index]
    return {name: value for name, value in values.items() if value is not None}


# One number, because Hypothesis draws it faster than a dictionary.
CONTENTS = math.prod(len(choices) for choices in VALUES.values())
contents = st.integers(0, CONTENTS - 1).map(content)


@dataclass(frozen=True)
class Deed:
    """Something that a source or Synapse Link does to one row."""

    kind: str
    file: str
    tick: int
    ago: int | None
    content: dict[str, object]
    pick: int


KINDS = (
    "put",
    "put",
    "bare delete",
    "bare delete",
    "resend",
    "resend",
    "resend exactly",
    "send held",
    "change without new version",
    "change in the same second",
    "delete with old version",
    "delete",
    "hold a delete",
    "hold a put",
    "put without version",
    "leave an empty file",
)
deeds = st.builds(
    Deed,
    kind=st.sampled_from(KINDS),
    file=files,
    tick=ticks,
    ago=sinks,
    content=contents,
    pick=st.integers(0, 9),
)
Writes = list[tuple[str, int, list[Deed]]]
some_writes = st.lists(
    st.tuples(tables, keys, st.lists(deeds, min_size=1, max_size=4)), max_size=3
)
columns = st.tuples(tables, st.sampled_from([*EXTRA, "name", "score"]))
crashes = st.none() | st.tuples(
    st.sampled_from(faultpoints.POINTS), st.sampled_from([1, 1, 2, 3]), budgets
)
numbers = count(1)

Rows = Mapping[UUID, dict[str, object]]


class Crash(BaseException):
    """What a fault point raises; no handler of errors may catch it."""


@dataclass
class Event:
    """Something that happened to a row at the source; ``content`` None is a delete."""

    number: int
    row: SourceRow
    version: int | None
    content: dict[str, object] | None
    sent: bool = False

    @property
    def is_bare_delete(self) -> bool:
        return self.content is None and self.version is None


@dataclass
class SourceRow:
    """One row of the source, through all its lives."""

    table: str
    key: int
    last: Event | None = None
    held: list[Event] = field(default_factory=list)
    # The latest second of a versionless delete, by folder.
    deleted_at: dict[str, datetime] = field(default_factory=dict)
    # It got an upsert without version, or two in one second that differ: what it
    # should be then is the order's affair.
    murky: bool = False


class Histories(RuleBasedStateMachine):
    """A source, Synapse Link, and the sync of three tables."""

    observer: ClassVar[snapshot.Connection]

    def __init__(self) -> None:
        super().__init__()
        number = next(numbers)
        self.root = Path(tempfile.mkdtemp(prefix="dvsync-histories-"))
        start = datetime.now(UTC).replace(second=0, microsecond=0) - AGE
        self.export = ExportWriter(self.root, start=start, step=STEP)
        own = [f"{name}:{kind}" for name, kind in OWN.items()]
        self.export.table(VERSIONED, own)
        self.export.table(BARE_DELETES, own)
        self.export.table(UNVERSIONED, own, versioned=False)
        self.config = SyncConfig.objects.create(
            name=f"histories {number}",
            location=str(self.root),
            schema_name=f"histories_{number}",
            include=[],
            exclude=[],
            bad_rows="quarantine",
            max_bad_rows=10**6,
        )
        self.clock = start
        self.event_count = 0
        self.source = {(t, k): SourceRow(t, k) for t in TABLES for k in (1, 2, 3)}
        self.sent: list[tuple[Change, Event]] = []
        self.content_of: dict[tuple[str, int, int | None], dict[str, object]] = {}
        self.narrowed: set[str] = set()
        self.replicas: dict[str, Replica] = defaultdict(Replica)
        self.applied: dict[str, int] = dict.fromkeys(TABLES, 0)
        self.seen: Observation | None = None
        # By partition and table, as the invariants take them.
        self.bad: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        self.broken = False

    # The source changes, and Synapse Link writes

    def event(
        self, row: SourceRow, version: int | None, content: dict[str, object] | None
    ) -> Event:
        self.event_count += 1
        row.last = Event(self.event_count, row, version, content)
        if content is not None:
            self.content_of[row.table, row.key, version] = content
        return row.last

    def new_version(self, table: str) -> int | None:
        return None if table == UNVERSIONED else self.event_count + 1

    def sink(self, event: Event, ago: int | None) -> datetime | None:
        """Return when a row is said to be written."""
        deleted_at = event.row.deleted_at.get(self.export.folder.name)
        if deleted_at is not None and event.content is not None:
            ago = 0
            self.clock = max(self.clock, deleted_at + timedelta(seconds=1))
        if event.is_bare_delete:
            ago = 0
        return None if ago is None else self.clock - timedelta(seconds=ago)

    def send(self, event: Event, file: str, ago: int | None = 0) -> None:
        """Let Synapse Link write an event into the open folder."""
        row, version = event.row, event.version
        place: dict[str, Any] = {"version": version, "file": file}
        place["sink"] = self.sink(event, ago)
        if event.content is None:
            change = self.export.delete(row.table, row.key, **place)
        else:
            values = self.fitting(row.table, event.content)
            change = self.export.upsert(row.table, row.key, **place, **values)
        self.record(change, event)

    def record(self, change: Change, event: Event) -> None:
        event.sent = True
        self.sent.append((change, event))
        if event.is_bare_delete:
            deleted_at = event.row.deleted_at
            written = stored(change.get("SinkModifiedOn"), "dateTime")
            assert isinstance(written, datetime)
            earlier = deleted_at.get(change.folder, written)
            deleted_at[change.folder] = max(written, earlier)

    def fitting(self, table: str, values: Mapping[str, object]) -> dict[str, Any]:
        """Leave out what the table has no column for at this time."""
        find = self.export.tables[table].find
        return {name: value for name, value in values.items() if find(name)}

    @rule(writes=some_writes)
    def write(self, writes: Writes) -> None:
        """Do things to some rows, often within one second."""
        for table, key, done in writes:
            for deed in done:
                self.clock += timedelta(seconds=deed.tick)
                self.do(self.source[table, key], deed)

    def do(self, row: SourceRow, deed: Deed) -> None:
        act = {
            "put": self.put,
            "hold a put": self.put,
            "put without version": self.put_without_version,
            "change without new version": self.change_without_new_version,
            "change in the same second": self.change_without_new_version,
            "send held": self.send_held,
            "leave an empty file": self.leave_an_empty_file,
            "resend": self.resend,
            "resend exactly": self.resend,
        }
        act.get(deed.kind, self.remove)(row, deed)

    def put(self, row: SourceRow, deed: Deed) -> None:
        """Insert, update or re-create a row; held, it is sent some time later."""
        event = self.event(row, self.new_version(row.table), deed.content)
        self.send_or_hold(event, deed)

    def remove(self, row: SourceRow, deed: Deed) -> None:
        """Delete a row that may be unknown or gone already."""
        version = None
        if row.table == VERSIONED and deed.kind != "bare delete":
            version = self.new_version(row.table)
            old = deed.kind == "delete with old version"
            if old and row.last and row.last.version is not None:
                version = row.last.version
        event = self.event(row, version, None)
        if event.is_bare_delete:
            row.held.clear()
        self.send_or_hold(event, deed)

    def send_or_hold(self, event: Event, deed: Deed) -> None:
        if deed.kind.startswith("hold") and event.version is not None:
            event.row.held.append(event)
        else:
            self.send(event, deed.file, deed.ago)

    def send_held(self, row: SourceRow, deed: Deed) -> None:
        """Send something that happened earlier: versions come out of order."""
        if row.held:
            event = row.held.pop(deed.pick % len(row.held))
            self.send(event, deed.file, deed.ago)

    def resend(self, row: SourceRow, deed: Deed) -> None:
        """Send something again, the very same row or with another SinkModifiedOn."""
        sent = [(change, event) for change, event in self.sent if event.row is row]
        if not sent:
            return
        change, event = sent[-1 - deed.pick % len(sent)]
        if event.is_bare_delete and event is not row.last:
            return
        values = self.fitting(row.table, change.values)
        if deed.kind == "resend":
            values |= self.fitting(row.table, self.newest_content(event))
            values["SinkModifiedOn"] = self.sink(event, deed.ago)
        self.record(self.export.write(row.table, values, file=deed.file), event)

    def newest_content(self, event: Event) -> Mapping[str, object]:
        """Return what the source has for the version of an upsert."""
        if event.content is None or event.version is None:
            return {}
        return self.content_of[event.row.table, event.row.key, event.version]

    def change_without_new_version(self, row: SourceRow, deed: Deed) -> None:
        """Send a row with its old version, other content and mostly a later time."""
        last = row.last
        if last and last.content is not None and last.version is not None and last.sent:
            if deed.kind == "change in the same second":
                row.murky = True
            else:
                self.clock += timedelta(seconds=1)
            self.send(self.event(row, last.version, deed.content), deed.file)

    def leave_an_empty_file(self, row: SourceRow, deed: Deed) -> None:
        self.export.raw(row.table, "3.csv", b"")

    def put_without_version(self, row: SourceRow, deed: Deed) -> None:
        """Leave the version of an upsert empty."""
        row.murky = True
        self.send(self.event(row, None, deed.content), deed.file, deed.ago)

    @rule(table=tables, file=files, bad=st.sampled_from(BAD_ROWS))
    def write_bad_row(self, table: str, file: str, bad: bytes) -> None:
        """Leave a row that cannot be applied; the oracle does not see it."""
        self.export.raw(table, file, bad)
        self.bad[self.export.folder.name, table].append(bad)

    # Columns

    @rule(table=tables)
    def widen_score(self, table: str) -> None:
        """Let score hold fractions from the next folder on."""
        columns = self.export.tables[table].columns
        if not self.export.folder.changes.get(table):
            columns[:] = [
                Column("score", "decimal") if c == SCORE else c for c in columns
            ]

    @rule(change=columns)
    def change_columns(self, change: tuple[str, str]) -> None:
        """Append a column, or remove one between two folders.

        What is in the open folder already is narrower than the new column.
        """
        table, column = change
        written = self.export.folder.changes.get(table)
        if self.export.tables[table].find(column):
            if not written:
                self.export.remove_column(table, column)
                self.narrowed.add(table)
        elif column in EXTRA and not (written and table in self.narrowed):
            self.export.add_column(table, f"{column}:{EXTRA[column]}")

    # Folders

    @rule(
        writes=some_writes,
        model=st.sampled_from(["written", "written", "written", "missing", "empty"]),
        changes=st.lists(columns, max_size=2),
    )
    def close_folder(
        self, writes: Writes, model: ModelState, changes: list[tuple[str, str]]
    ) -> None:
        """Close the open folder, perhaps without its model.json."""
        self.write(writes)
        self.close(model)
        for change in changes:
            self.change_columns(change)

    def close(self, model: ModelState) -> None:
        self.export.close_folder(model=model)
        self.clock = max(self.clock, self.export.opened_at)
        self.narrowed.clear()

    @precondition(lambda self: self.export.waiting())
    @rule(pick=st.integers(0, 5))
    def deliver_model(self, pick: int) -> None:
        """Write the model.json of a folder that waits for it."""
        waiting = self.export.waiting()
        self.export.deliver_model(waiting[pick % len(waiting)])

    # The sync

    @rule(
        writes=some_writes,
        close=st.booleans(),
        chosen=several_tables,
        budget=budgets,
        twice=st.booleans(),
        crash=crashes,
    )
    def sync(
        self,
        writes: Writes,
        close: bool,
        chosen: list[str],
        budget: int,
        twice: bool,
        crash: tuple[str, int, int] | None,
    ) -> None:
        """Sync some tables; without any it is a poll. A crashed sync is made good."""
        self.write(writes)
        if close or crash:
            self.close("written")
        self.broken = True
        if crash is not None:
            chosen = list(TABLES)
            self.crash(*crash)
        self.run_sync(chosen, budget, crashed=crash is not None)
        self.check(chosen)
        if twice:
            self.run_sync(chosen, budget)
            self.check(chosen)
        self.broken = False

    @rule(name=tables, budget=budgets)
    def refresh(self, name: str, budget: int) -> None:
        """Rebuild a table, and apply what is pending of it."""
        poll_once(self.config)
        table = SyncTable.objects.filter(config=self.config, entity=name).first()
        complete = self.export.complete()
        if table and any(self.export.find(f).files.get(name) for f in complete):
            self.broken = True
            with mock.patch.object(rebuild, "BATCH_BYTES", budget):
                refresh_table(table)
            self.check([name])
            self.broken = False

    def crash(self, point: str, reach: int, budget: int) -> None:
        """Sync until the fault point is reached, if it is; nothing may swallow it."""
        fired = []

        def fail() -> None:
            fired.append(point)
            raise Crash

        survived = False
        with suppress(Crash), faultpoints.armed(point, reach, action=fail):
            self.run_sync(TABLES, budget)
            survived = True
        assert survived != bool(fired)
        self.check_whole(settled=False)

    def run_sync(
        self, chosen: Iterable[str], budget: int, *, crashed: bool = False
    ) -> None:
        due = poll_once(self.config).due
        if not crashed:
            self.check_due(due)
        by_name = {table.entity: table for table in due}
        with mock.patch.object(load, "BATCH_BYTES", budget):
            for name in chosen:
                if name in by_name:
                    result = sync_table(by_name[name])
                    assert result.status in {"success", "unchanged"}, result

    def check_due(self, due: Iterable[SyncTable]) -> None:
        """Those are due that have complete folders which were not applied."""
        assert {table.entity for table in due} == {
            name
            for name in TABLES
            for folder in self.export.complete()[self.applied[name] :]
            if self.export.find(folder).files.get(name)
        }

    # What must be true

    def check(self, chosen: Iterable[str]) -> None:
        complete = self.export.complete()
        for name in chosen:
            self.advance(name, complete)
            table = SyncTable.objects.filter(config=self.config, entity=name).first()
            if table is None:
                assert not complete
                continue
            rows = self.target_rows(table)
            self.check_rows(name, rows)
            self.check_counts(name, rows, complete)
            self.check_tombstones(name, table, rows)
            self.check_truth(name, complete)

    def advance(self, name: str, complete: list[str]) -> None:
        """Bring the oracle of a table up to date."""
        for folder_name in complete[self.applied[name] :]:
            folder = self.export.find(folder_name)
            changes = folder.changes.get(name, [])
            self.replicas[name].apply(folder_name, folder.columns[name], changes)
        self.applied[name] = len(complete)

    def target_rows(self, table: SyncTable) -> Rows:
        place = sql.Identifier(self.config.schema_name, table.target_name)
        statement = sql.SQL("select * from {}").format(place)
        with connection.cursor() as cursor:
            cursor.execute(statement.as_string(None))
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        self.check_columns(table.entity, set(names))
        by_key = {row["id"]: row for row in rows}
        assert len(by_key) == len(rows)
        return by_key

    def check_columns(self, name: str, found: set[str]) -> None:
        """Every column of an applied folder with rows is there, and no made-up one."""
        folders = self.export.folders
        with_rows = [
            f.columns[name] for f in folders if self.replicas[name].read[f.name]
        ]
        known = [f.columns[name] for f in folders if f.closed]
        assert lower_names(with_rows) <= found
        assert found <= lower_names(known)

    def check_rows(self, name: str, rows: Rows) -> None:
        assert filled(rows) == filled(self.replicas[name].rows)

    def check_counts(self, name: str, rows: Rows, complete: list[str]) -> None:
        progress = DataSyncProgress.objects.filter(config=self.config, table_name=name)
        done = list(progress.filter(copy_status=DataSyncProgress.Status.SUCCESS))
        assert {p.partition: counted(p) for p in done} == {
            folder: self.replicas[name].read[folder] + len(self.bad[folder, name])
            for folder in complete
            if self.export.find(folder).files.get(name)
        }
        assert not progress.exclude(pk__in=[p.pk for p in done]).exists()
        assert all(0 <= p.rows_missing <= p.rows_unchanged for p in done)
        growth = sum(p.rows_inserted - p.rows_deleted for p in done)
        assert growth == len(rows)
        last_partition = max((p.partition for p in done), default="")
        assert (
            last_partition
            == SyncTable.objects.get(config=self.config, entity=name).last_partition
        )

    def check_tombstones(self, name: str, table: SyncTable, rows: Rows) -> None:
        found = {
            UUID(tombstone.key[0]): tombstone.version
            for tombstone in Tombstone.objects.filter(table=table)
        }
        assert not found.keys() & rows.keys()
        expected = self.replicas[name].tombstones
        assert found.items() <= expected.items()
        # One that knows no version stops nothing: it need not be kept.
        kept = {key: v for key, v in expected.items() if v != NO_VERSION}
        assert kept.items() <= found.items()

    def check_truth(self, name: str, complete: list[str]) -> None:
        """The oracle itself: a row is as the newest event that was sent made it."""
        if name == UNVERSIONED:
            return
        newest: dict[int, tuple[Event, Change]] = {}
        for change, event in self.sent:
            row = event.row
            if row.table != name or row.murky or change.folder not in complete:
                continue
            if row.key not in newest or event.number > newest[row.key][0].number:
                newest[row.key] = event, change
        for key, (event, change) in newest.items():
            self.check_truth_of_row(self.replicas[name], key, event, change)

    def check_truth_of_row(
        self, replica: Replica, key: int, event: Event, change: Change
    ) -> None:
        row = replica.rows.get(guid(key))
        if event.content is None:
            assert row is None
            return
        assert row is not None
        assert row["versionnumber"] == event.version
        for name in OWN.keys() & event.content.keys() & change.values.keys():
            assert row[name] == stored(event.content[name], OWN[name])

    def check_whole(self, *, settled: bool) -> None:
        self.seen = check_invariants(
            self.export,
            self.config.pk,
            before=self.seen,
            settled=settled,
            quarantined=self.bad,
            connection=self.observer,
        )

    # The end of a history

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.finish()
        finally:
            schema = sql.Identifier(self.config.schema_name)
            drop = sql.SQL("drop schema if exists {} cascade").format(schema)
            with connection.cursor() as cursor:
                cursor.execute(drop.as_string(None))
            self.config.delete()
            shutil.rmtree(self.root)

    def finish(self) -> None:
        """Complete every folder, and compare once more."""
        self.close("written")
        while self.export.waiting():
            self.export.deliver_model()
        self.run_sync(TABLES, 10**9)
        self.check(TABLES)
        self.check_whole(settled=True)
        for table in SyncTable.objects.filter(config=self.config):
            assert reconcile_table(table) == Comparison(0, 0, 0, 0, ())


def lower_names(models: Iterable[Iterable[Column]]) -> set[str]:
    return {column.name.lower() for columns in models for column in columns}


def filled(rows: Rows) -> dict[object, dict[str, tuple[type, object]]]:
    """Return the values that are not NULL, with their types."""
    return {
        key: {n: typed(n, v) for n, v in row.items() if v is not None}
        for key, row in rows.items()
    }


def typed(name: str, value: object) -> tuple[type, object]:
    """Return a value with its type; a score may be stored as either of its two."""
    if name == "score" and isinstance(value, int):
        value = Decimal(value)
    return type(value), value


def counted(progress: DataSyncProgress) -> int:
    """How many rows of a partition the engine says it read."""
    return (
        progress.rows_inserted
        + progress.rows_updated
        + progress.rows_deleted
        + progress.rows_unchanged
        + progress.rows_rejected
    )


@pytest.mark.fault(
    "F01",
    injected="random histories with crashes at random fault points",
    outcome="equal to the oracle after every sync",
)
@pytest.mark.fault(
    "F45",
    injected="rows sent late, twice and out of order",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "F46",
    injected="deletes, re-creates and updates in one folder",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "F47",
    injected="versions that tie, are missing or go back",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "F49",
    injected="empty and quoted empty cells of every type",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "F52",
    injected="columns appended and removed at random",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "S10", injected="rows of one version, equal or not", outcome="equal to the oracle"
)
@pytest.mark.fault(
    "C8",
    injected="one version twice with another SinkModifiedOn",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "C9",
    injected="upserts and deletes of a key over several files",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "C11",
    injected="deletes without version and with an old one",
    outcome="equal to the oracle",
)
@pytest.mark.fault(
    "C12",
    injected="deletes of unknown keys, then upserts of them",
    outcome="equal to the oracle",
)
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300 + 4 * EXAMPLES)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_target_is_what_the_oracle_says(shard: int) -> None:
    examples = EXAMPLES // SHARDS + (shard < EXAMPLES % SHARDS)
    # By its name Hypothesis knows each shard's own failures, and where it takes its
    # random numbers from the test (in continuous integration) each has others.
    machine = type(f"Histories{shard}", (Histories,), {})
    with snapshot.connect() as Histories.observer:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )

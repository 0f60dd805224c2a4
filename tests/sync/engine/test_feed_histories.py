"""Any history of log files, on a real PostgreSQL, against the oracle of change feeds.

The second driver of the state machine: Hypothesis writes lines, whole and torn, into
several files, rotates, cuts, replaces and deletes them, crashes the load, and after
every sync compares the target with ``tests.feed_oracle`` by ``tests.feed_invariants``.
``DVSYNC_STATE_MACHINE_EXAMPLES`` sets how many histories are played, by all shards
together.

What nobody can know is not played: lines that were written to a file and are gone with
it before any look at it are not missed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from django.conf import settings as site
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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
from sync.errors import SourceError
from sync.models import DataSyncProgress, SourceKind, SyncConfig, SyncTable
from sync.sources import change_feed
from sync.target.rebuilt import Comparison
from tests import snapshot
from tests.feed_invariants import Ledger, check
from tests.feeds import FeedWriter, Stream

EXAMPLES = int(os.environ.get("DVSYNC_STATE_MACHINE_EXAMPLES", "100"))
# Tests of a part of the examples each, which several processes may share.
SHARDS = min(8, EXAMPLES)
STEPS = 25

TABLES = ("account", "contact", "line")
KEYS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "account": ({"Id": "acc-1"}, {"Id": "acc-2"}, {"Id": ""}),
    "contact": (
        {"Id": "00000000-0000-0000-0000-00000000000A"},
        {"Id": "00000000-0000-0000-0000-00000000000a"},
        {"Id": "00000000-0000-0000-0000-000000000002"},
    ),
    "line": (
        {"Id": 1, "part": "a"},
        {"Id": "1", "part": "A"},
        {"Id": -2, "part": "a"},
    ),
}
OWN = {
    "name": ("string", (None, "", "x", "a\tb\\n\n", "\\N", "\u05e9\U0001f642")),
    "score": ("int64", (None, "", 0, "12", -(2**63))),
    "amount": ("decimal", (None, 0, 1.5, "1.50", 10**30)),
    "active": ("boolean", (None, True, False, "true", 0)),
    "due": ("dateTime", (None, "", "2024-09-10T12:00:00Z", "2024-09-10")),
}
SPELLINGS = (str.upper, str.lower, str.title)
# What follows the verb and the table of a line that is bad.
BAD = ('{"Id"', '{"name": "x"}', '{"Id": null}', '{"Id": "1", "colour": 1}', "[]")
FILES = ("a.log", "b.log", "b-1.log", "C.LOG")

tables = st.sampled_from(TABLES)
files = st.sampled_from(FILES)
dialects = st.sampled_from(["logicalName", "logicalName", "cdm"])
picks = st.integers(0, 9)
budgets = st.sampled_from([1, 400, 10**9])
segments = st.sampled_from([600, 2000, 10**9])
several_tables = st.lists(tables, unique=True)
crashes = st.none() | st.tuples(
    st.sampled_from(faultpoints.POINTS), st.sampled_from([1, 1, 2, 3])
)
numbers = count(1)


@dataclass(frozen=True)
class Deed:
    """A line: what it does to which row, what it tells, and how it is written."""

    verb: str
    table: str
    key: int
    told: Mapping[str, int]
    spelling: int
    line_end: str


deeds = st.builds(
    Deed,
    verb=st.sampled_from(["INSERT", "INSERT", "UPDATE", "UPDATE", "UPDATE", "DELETE"]),
    table=tables,
    key=st.integers(0, 2),
    told=st.dictionaries(st.sampled_from(list(OWN)), picks, max_size=3),
    spelling=st.integers(0, 2),
    line_end=st.sampled_from(["\n", "\n", "\r\n", "\n \n"]),
)
writes = st.lists(deeds, max_size=5)


class Crash(BaseException):
    """What a fault point raises; no handler of errors may catch it."""


class FeedHistories(RuleBasedStateMachine):
    """A writer of log files, and the sync of three tables."""

    observer: ClassVar[snapshot.Connection]

    def __init__(self) -> None:
        super().__init__()
        number = next(numbers)
        self.root = Path(tempfile.mkdtemp(prefix="dvsync-feeds-"))
        self.feed = FeedWriter(self.root, file=FILES[0])
        self.config = SyncConfig.objects.create(
            name=f"feed histories {number}",
            kind=SourceKind.CHANGE_FEED,
            location=str(self.root),
            schema_name=f"feed_histories_{number}",
            bad_rows="quarantine",
            max_bad_rows=10**6,
            max_delete_share=100,
        )
        self.ledger = Ledger(self.feed)
        self.torn: dict[str, str] = {}
        self.unspooled: list[Stream] = []
        self.rotations = 0
        self.broken = False

    @initialize(insert_unknown=st.booleans(), dialect=dialects)
    def choose(self, insert_unknown: bool, dialect: str) -> None:
        """Choose what becomes of updates of rows that are not there, and the keys."""
        self.ledger.insert_unknown = insert_unknown
        self.config.missing_keys = "insert" if insert_unknown else "ignore"
        self.config.save()
        self.feed.dialect = dialect
        own = [f"{name}:{kind}" for name, (kind, _) in OWN.items()]
        self.feed.table("account", "Id", *own)
        self.feed.table("contact", "Id:guid", *own)
        key = ("Id",) if dialect == "cdm" else ("part", "Id")
        self.feed.table("line", "Id:int64", "part", *own, key=key)

    # Lines

    @rule(file=files, done=writes)
    def write(self, file: str, done: list[Deed]) -> None:
        """Append lines to a file."""
        self.feed.file = file
        for deed in done:
            self.append(self.text(deed) + deed.line_end)

    @rule(file=files, deed=deeds, at=st.integers(1, 200))
    def tear(self, file: str, deed: Deed, at: int) -> None:
        """Append the first half of a line; the other comes before the next one."""
        self.feed.file = file
        text = self.text(deed)
        self.append(text[:at])
        self.torn[file] = text[at:] + deed.line_end

    @rule(file=files, table=tables, bad=st.sampled_from(BAD), verb=st.booleans())
    def write_bad_line(self, file: str, table: str, bad: str, verb: bool) -> None:
        """Append a line that cannot be applied."""
        self.feed.file = file
        word = "UPDATE" if verb else "UPSERT"
        self.append(f"{self.feed.moment()} | {word} | {table} | {bad}\n")

    def text(self, deed: Deed) -> str:
        """Return the line of a deed; every one has a moment of its own."""
        verb = SPELLINGS[deed.spelling](deed.verb)
        values = dict(KEYS[deed.table][deed.key])
        if deed.verb != "DELETE":
            for name, pick in deed.told.items():
                choices = OWN[name][1]
                values[name] = choices[pick % len(choices)]
        moment = self.feed.moment()
        return f"{moment} | {verb} | {deed.table} | {json.dumps(values)}"

    def append(self, text: str) -> None:
        self.feed.raw(self.torn.pop(self.feed.file, "") + text)
        self.feed.clock += 1

    # Files

    @rule(pick=picks)
    def rotate(self, pick: int) -> None:
        """Give a file another name, with or without the ending of a log."""
        if name := self.any_file(pick):
            self.rotations += 1
            ending = ".log" if pick % 2 else ""
            self.move(name, f"{name}.{self.rotations}{ending}")

    @rule()
    def move_on(self) -> None:
        """Let numbered files all move on: b.log is b-1.log then, and so on."""
        if "b.log" in self.feed.streams:
            last = 1
            while f"b-{last}.log" in self.feed.streams:
                last += 1
            for number in range(last, 1, -1):
                self.move(f"b-{number - 1}.log", f"b-{number}.log")
            self.move("b.log", "b-1.log")

    @rule(pick=picks, other=picks)
    def swap(self, pick: int, other: int) -> None:
        """Let two files change their names with each other."""
        one, two = self.any_file(pick), self.any_file(other)
        if one and two and one != two:
            self.move(one, "aside")
            self.move(two, one)
            self.move("aside", two)

    @rule(pick=picks, how=st.sampled_from(["truncate", "recreate", "remove"]))
    def end(self, pick: int, how: str) -> None:
        """Cut, replace or delete a file."""
        name = self.any_file(pick)
        if name and not self.needed(self.feed.streams[name]):
            self.torn.pop(name, None)
            getattr(self.feed, how)(name)

    @rule()
    def lose_spool(self) -> None:
        """Remove all spool files, unless they hold what is nowhere else."""
        waiting = [s for s in self.ledger.streams if self.waits(s)]
        if not any(stream.over for stream in waiting):
            shutil.rmtree(self.spool, ignore_errors=True)
            self.unspooled = waiting

    def needed(self, stream: Stream) -> bool:
        """Say whether lines of a file are neither applied nor spooled."""
        return stream in self.unspooled and self.waits(stream)

    def waits(self, stream: Stream) -> bool:
        """Say whether lines that were found in a file are not applied."""
        return any(
            line.end > self.ledger.ends[stream, table]
            for table in TABLES
            for line in self.ledger.lines(stream, table)
        )

    def move(self, old: str, new: str) -> None:
        self.feed.rename(old, new)
        if old in self.torn:
            self.torn[new] = self.torn.pop(old)

    def any_file(self, pick: int) -> str | None:
        names = sorted(self.feed.streams)
        return names[pick % len(names)] if names else None

    @property
    def spool(self) -> Path:
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()
        return Path(site.DATA_DIR) / "spool" / digest[:16]

    # The sync

    @rule(
        file=files,
        done=writes,
        chosen=several_tables,
        budget=budgets,
        segment=segments,
        crash=crashes,
    )
    def sync(
        self,
        file: str,
        done: list[Deed],
        chosen: list[str],
        budget: int,
        segment: int,
        crash: tuple[str, int] | None,
    ) -> None:
        """Sync some tables; without any it is a poll. A crashed sync is made good."""
        self.write(file, done)
        self.broken = True
        with mock.patch.object(change_feed, "SEGMENT_BYTES", segment):
            if crash is not None:
                self.crash(*crash, budget)
                chosen = list(TABLES)
            self.run_sync(chosen, budget)
        self.check(settled=set(chosen) == set(TABLES))
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
        if point not in {"discovered", "discovery_recorded"}:
            self.ledger.looked()
            self.check(settled=False)

    def run_sync(self, chosen: Iterable[str], budget: int) -> None:
        due = {table.entity: table for table in poll_once(self.config).due}
        self.ledger.looked()
        with mock.patch.object(load, "BATCH_BYTES", budget):
            for name in chosen:
                if name in due:
                    result = sync_table(due[name])
                    assert result.status in {"success", "unchanged"}, result

    @rule(name=tables, budget=budgets)
    def refresh(self, name: str, budget: int) -> None:
        """Rebuild a table, when all of its files are there, and apply what waits."""
        poll_once(self.config)
        self.ledger.looked()
        table = self.table(name)
        if table is None or not self.has_lines(name):
            return
        self.broken = True
        with mock.patch.object(rebuild, "BATCH_BYTES", budget):
            if self.ledger.is_there(name):
                refresh_table(table)
                self.ledger.refreshed(name)
            else:
                with pytest.raises(SourceError, match="gone"):
                    refresh_table(table)
        self.check(settled=False)
        self.broken = False

    @rule(name=tables)
    def reconcile(self, name: str) -> None:
        """Compare a table with what its applied lines say."""
        table = self.table(name)
        self.broken = True
        if table and table.columns:
            self.compare(name, table)
        self.broken = False

    def compare(self, name: str, table: SyncTable) -> None:
        if name in self.ledger.interleaved:
            with pytest.raises(SourceError, match="grew after a later one"):
                reconcile_table(table)
            return
        poll_once(self.config)
        self.ledger.looked()
        found = reconcile_table(table)
        if self.ledger.is_there(name):
            assert found == Comparison(0, 0, 0, 0, ())
        else:
            assert (found.missing, found.extra, found.stale) == (0, 0, 0)

    def table(self, name: str) -> SyncTable | None:
        return SyncTable.objects.filter(config=self.config, entity=name).first()

    def has_lines(self, name: str) -> bool:
        return any(self.ledger.lines(s, name) for s in self.ledger.streams)

    def check(self, *, settled: bool) -> None:
        check(self.ledger, self.config.pk, settled=settled, connection=self.observer)

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
            shutil.rmtree(self.spool, ignore_errors=True)

    def finish(self) -> None:
        """Apply everything, and compare once more; no spool file is left then."""
        self.run_sync(TABLES, 10**9)
        self.check(settled=True)
        assert not DataSyncProgress.objects.filter(
            config=self.config, copy_status=DataSyncProgress.Status.FAILURE
        ).exists()
        self.config.record_settled("")
        self.run_sync((), 10**9)
        assert not [path for path in self.spool.rglob("*") if path.is_file()]
        for name in TABLES:
            self.reconcile(name)


@pytest.mark.fault(
    "F01",
    injected="random histories of log files with crashes at random fault points",
    outcome="equal to the oracle after every sync",
)
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300 + 4 * EXAMPLES)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_target_is_what_the_oracle_says(shard: int) -> None:
    examples = EXAMPLES // SHARDS + (shard < EXAMPLES % SHARDS)
    # By its name Hypothesis knows each shard's own failures, and where it takes its
    # random numbers from the test (in continuous integration) each has others.
    machine = type(f"FeedHistories{shard}", (FeedHistories,), {})
    with snapshot.connect() as FeedHistories.observer:
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

"""Histories with prunes in between end in the same rows as without.

Two syncs follow one export, a folder a day; one of them forgets what it may. The
source deletes folders that both applied, and some come back. Rows are sent again
within days, as Synapse Link does.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql
from pytest_django import Settings

from sync.engine.configs import edit_config
from sync.engine.discovery import poll_once
from sync.engine.load import sync_table
from sync.engine.retention import prune
from sync.models import DataSyncProgress, SyncConfig, SyncTable, Tombstone
from tests.exports import Change, ExportWriter
from tests.invariants import check_invariants
from tests.snapshot import connect, content, read

EXAMPLES = max(5, int(os.environ.get("DVSYNC_STATE_MACHINE_EXAMPLES", "200")) // 20)
KEEP_DAYS = 4
# What is older is not sent again: half of the days that are kept.
SENT_AGAIN_WITHIN = 2
TABLES = ("account", "contact")

tables = st.sampled_from(TABLES)
keys = st.sampled_from([1, 2, 3])
deeds = st.one_of(
    st.tuples(st.just("put"), tables, keys),
    st.tuples(st.just("delete"), tables, keys),
    st.tuples(st.just("delete without version"), tables, keys),
    st.tuples(st.just("send again"), tables, keys),
)
days = st.tuples(
    st.lists(deeds, max_size=3),
    st.booleans(),  # whether it is synced at its end
    st.sampled_from(["", "", "", "purge", "purge", "bring back", "leave out"]),
)
numbers = itertools.count(1)
# In this one something is forgotten for sure.
CERTAIN: list[tuple[list[tuple[str, str, int]], bool, str]] = [
    ([("put", "account", 1), ("put", "contact", 1)], True, ""),
    ([("delete", "account", 1)], True, ""),
    *[([("put", "contact", 2)], True, "purge")] * 8,
    ([("put", "account", 1)], True, "bring back"),
]


class History:
    """An export and its two syncs."""

    def __init__(self, root: Path) -> None:
        self.root = root / "export"
        self.away = root / "away"
        self.away.mkdir()
        self.export = ExportWriter(self.root, step=timedelta(days=1), synapse_log=False)
        self.forgetful, self.twin = self.make("forgets"), self.make("keeps")
        self.sent: list[tuple[int, Change]] = []
        self.number = 0

    def make(self, kind: str) -> SyncConfig:
        name = f"{kind}_{next(numbers)}"
        return SyncConfig.objects.create(
            name=name, location=str(self.root), schema_name=name
        )

    def do(self, deed: tuple[str, str, int]) -> None:
        kind, table, key = deed
        export = self.export
        if kind == "put":
            change = export.upsert(table, key, name=f"{kind} {len(self.sent)}")
        elif kind == "delete":
            change = export.delete(table, key, version=export._version + 1)
        elif kind == "delete without version":
            change = export.delete(table, key)
        else:
            recent = [
                change
                for day, change in self.sent
                if day >= self.number - SENT_AGAIN_WITHIN
                and change.table == table
                and change.get("versionnumber") is not None
            ]
            if not recent:
                return
            change = export.resend(recent[key % len(recent)])
        self.sent.append((self.number, change))

    def end_day(self) -> None:
        self.export.close_folder()
        self.number += 1

    def sync(self) -> None:
        for config in (self.forgetful, self.twin):
            for table in poll_once(config).due:
                result = sync_table(table)
                assert result.status == "success", (config.name, result)
        then, recent = self.export.opened_at, timezone.now() - timedelta(hours=1)
        DataSyncProgress.objects.filter(finished_at__gt=recent).update(finished_at=then)
        Tombstone.objects.filter(deleted_at__gt=recent).update(deleted_at=then)
        self.compare()

    def prune(self) -> None:
        """Prune as the one that forgets alone would."""
        now = timezone.now()
        self.twin.progress.update(finished_at=now)
        Tombstone.objects.filter(table__config=self.twin).update(deleted_at=now)
        prune(self.export.opened_at)
        assert not any(t.pruned_growth or t.forgotten_until for t in self.of(self.twin))

    def of(self, config: SyncConfig) -> list[SyncTable]:
        return list(SyncTable.objects.filter(config=config))

    def purge(self) -> None:
        """Delete the oldest folder that every table took which has rows in it."""
        there = sorted(p.name for p in self.root.iterdir() if p.name.startswith("20"))
        done = {
            (row.partition, row.table_name)
            for row in self.twin.progress.filter(copy_status=1)
        }
        # The columns of the newest are needed by the one that comes.
        for name in there[:-3]:
            if all((name, table) in done for table in self.export.find(name).files):
                shutil.move(self.root / name, self.away / name)
                return

    def bring_back(self) -> None:
        for path in sorted(self.away.iterdir())[:1]:
            shutil.move(path, self.root / path.name)

    def leave_out(self, globs: list[str]) -> None:
        for config in (self.forgetful, self.twin):
            config.refresh_from_db()
            edit_config(config, {"exclude": globs})

    def compare(self) -> None:
        assert {t.state for t in self.of(self.forgetful)} <= {"active"}
        with connect() as observer:
            one, other = (read(observer, c.pk) for c in (self.forgetful, self.twin))
        for name, table in one.tables.items():
            twin = other.tables[name]
            assert content(table.rows) == content(twin.rows)
            # One that was forgotten lends its version to no later delete without one.
            for key, version in table.tombstones.items():
                assert version <= twin.tombstones[key]
            assert table.applied == twin.applied

    def play(self, story: list[tuple[list[tuple[str, str, int]], bool, str]]) -> None:
        for table in TABLES:
            self.export.upsert(table, 1, name="first")
        for done, synced, event in story:
            for deed in done:
                self.do(deed)
            self.end_day()
            if synced:
                self.sync()
            self.happen(event)
            if synced:
                self.prune()
                self.compare()
        self.leave_out([])
        self.end_day()
        self.sync()
        self.prune()
        self.compare()
        check_invariants(self.export, self.forgetful.pk)

    def happen(self, event: str) -> None:
        if event == "purge":
            self.purge()
        elif event == "bring back":
            self.bring_back()
        elif event == "leave out":
            left_out = self.forgetful.exclude
            self.leave_out([] if left_out else ["contact"])

    def clear(self) -> None:
        for config in (self.forgetful, self.twin):
            drop = sql.SQL("drop schema if exists {} cascade")
            connection.ensure_connection()
            connection.connection.execute(
                drop.format(sql.Identifier(config.schema_name))
            )
            config.delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
def test_forgetting_changes_no_row_and_parks_no_table(settings: Settings) -> None:
    settings.KEEP_DAYS = KEEP_DAYS
    forgotten = {"progress": 0, "tombstones": 0}

    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @example(CERTAIN)
    @given(st.lists(days, min_size=8, max_size=16))
    def play(story: list[tuple[list[tuple[str, str, int]], bool, str]]) -> None:
        root = Path(tempfile.mkdtemp(prefix="dvsync-forgetting-"))
        history = History(root)
        try:
            history.play(story)
            for table in history.of(history.forgetful):
                forgotten["tombstones"] += table.forgotten_until is not None
            partitions = history.forgetful.partitions.exclude(pruned_tables=[])
            forgotten["progress"] += partitions.count()
        finally:
            history.clear()
            shutil.rmtree(root)

    play()
    # Else it would prove nothing.
    assert all(forgotten.values()), forgotten

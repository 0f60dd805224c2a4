"""Crashes, lost answers and races of change feeds: no line is lost or applied twice.

As in ``test_crashes``, a run that passes untouched tells how often each fault point is
reached; then a crash comes at each reach of each. Real processes are killed as well.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from psycopg import sql

from sync import faultpoints
from sync.engine import line_reading, load
from sync.engine.discovery import look, poll_once, record
from sync.engine.load import sync_table
from sync.engine.source import source_of
from sync.models import QuarantinedRow, SourceKind, SyncConfig
from sync.sources import change_feed
from tests import processes
from tests.feed_invariants import Ledger
from tests.proxy import Proxy
from tests.sync.conftest import Feed, run_sql

# A load of lines has no tombstones, and in these nothing fails.
UNMET = {"tombstones_written", "failure_recorded"}
IN_DISCOVERY = {"discovered", "discovery_recorded"}
Shape = Callable[[Feed], Iterator[None]]


class Crash(BaseException):
    """The loader dies here; nothing may catch it."""


def die() -> None:
    raise Crash


# Each is written in two parts: what is applied before, and what a crash comes into.


def growth(feed: Feed) -> Iterator[None]:
    for key in ("1", "2", "3"):
        feed.insert("account", Id=key, name="before")
    feed.insert("contact", Id="1")
    yield
    feed.update("account", Id="1", name="a")
    feed.delete("account", Id="2")
    feed.update("account", Id="1", city="Bern")
    feed.insert("account", Id="4", name="new")
    feed.update("account", Id="9", name="missing")
    feed.insert("contact", Id="2", colour="is set aside")
    feed.update("contact", Id="1", name="b")


def several_files(feed: Feed) -> Iterator[None]:
    feed.insert("account", Id="1", name="a")
    yield
    feed.update("account", Id="1", name="b")
    for number, name in enumerate(("b.log", "c.log")):
        feed.file = name
        feed.update("account", Id="1", score=number)
        feed.delete("account", Id="2")
        feed.insert("account", Id="2", name=name)


def many_segments(feed: Feed) -> Iterator[None]:
    feed.insert("account", Id="1", name="x")
    yield
    for number in range(8):
        feed.update("account", Id=str(number % 3), score=number)
    feed.delete("account", Id="1")


def rotation(feed: Feed) -> Iterator[None]:
    feed.insert("account", Id="1", name="a")
    feed.file = "b.log"
    feed.insert("account", Id="2", name="a")
    yield
    feed.update("account", Id="2", name="b")
    feed.rename("b.log", "c.log")
    feed.insert("account", Id="3", name="b")
    feed.truncate("a.log")
    feed.file = "a.log"
    feed.update("account", Id="3", name="c")


SHAPES = (growth, several_files, many_segments, rotation)


@contextmanager
def fresh_sync(feed: Feed, shape: Shape) -> Iterator[None]:
    """Give the feed no files but a shape's, and a sync that applied its first part."""
    for name in [*feed.streams]:
        feed.remove(name)
    feed.past.clear()
    feed.file = "a.log"
    name = f"crashes_{feed.root.name}"
    feed.config = SyncConfig.objects.create(
        name=name,
        kind=SourceKind.CHANGE_FEED,
        location=str(feed.root),
        schema_name=name,
        bad_rows="quarantine",
    )
    feed.ledger = Ledger(feed)
    try:
        parts = shape(feed)
        next(parts)
        feed.sync()
        feed.check()
        list(parts)
        with (
            mock.patch.object(change_feed, "SEGMENT_BYTES", 400),
            mock.patch.object(load, "BATCH_BYTES", 500),
            mock.patch.object(line_reading, "BLOCK_BYTES", 60),
        ):
            yield
    finally:
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
        run_sql(drop.format(sql.Identifier(name)))
        feed.config.delete()
        shutil.rmtree(spool_of(feed), ignore_errors=True)


def spool_of(feed: Feed) -> Path:
    digest = hashlib.sha256(feed.config.location.encode()).hexdigest()
    return Path(settings.DATA_DIR) / "spool" / digest[:16]


@pytest.mark.fault(
    "F01",
    injected="a crash at every reach of every fault point, over log files",
    outcome="every invariant holds after it; the next run is exact",
)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_crash_at_any_reach_of_any_point_changes_nothing(
    feed: Feed, shape: Shape
) -> None:
    feed.config.delete()
    reached: Counter[str] = Counter()
    counting = mock.patch.object(
        faultpoints, "reach", lambda name: reached.update([name])
    )
    with fresh_sync(feed, shape), counting:
        feed.sync()
        feed.check()
    assert reached.keys() >= set(faultpoints.POINTS) - UNMET - {"block_copied"}
    for point, times in reached.items():
        for reach in range(1, times + 1):
            try:
                with fresh_sync(feed, shape):
                    crash(feed, point, reach)
            except AssertionError as error:
                error.add_note(f"crashed at reach {reach} of {point}")
                raise


def play(feed: Feed) -> None:
    for table in poll_once(feed.config).due:
        sync_table(table)


def crash(feed: Feed, point: str, reach: int) -> None:
    """Crash a sync, which must happen, and make it good."""
    with pytest.raises(Crash), faultpoints.armed(point, reach, action=die):
        play(feed)
    if point not in IN_DISCOVERY:
        feed.ledger.looked()
        feed.check(settled=False)
    feed.sync()
    feed.check()


# Real processes


@pytest.mark.fault(
    "F01",
    injected="SIGKILL of a process at every fault point, over log files",
    outcome="every invariant holds after it; the next run is exact",
)
@pytest.mark.parametrize("point", sorted(set(faultpoints.POINTS) - UNMET))
def test_killed_by_sigkill_at_a_point_it_still_ends_exact(
    make_feed: Callable[..., Feed], point: str
) -> None:
    feed = make_feed(bad_rows="quarantine")
    for number in range(50):
        feed.insert("account", Id=str(number), name="x" * 2000)
    feed.sync()
    for number in range(100):
        feed.update("account", Id=str(number), name=f"{number}" * 2000)
        feed.insert("contact", Id=str(number % 7), name=f"{number}")
    feed.insert("contact", Id="1", colour="red")
    feed.delete("account", Id="1")
    feed.table("lead", "Id", "name")
    feed.insert("lead", Id="1")

    code, _, err = processes.run("syncnow", DVSYNC_FAULTPOINT=point)

    assert code == -signal.SIGKILL, err
    if point not in IN_DISCOVERY:
        feed.ledger.looked()
        feed.check(settled=False)
    results = feed.sync()
    assert {result.status for result in results.values()} <= {"success"}
    feed.check()


@pytest.mark.fault(
    "F70",
    injected="two syncnow processes at once, over a log file",
    outcome="every line applied once",
)
def test_two_commands_at_once_apply_every_line_once(feed: Feed) -> None:
    for number in range(300):
        feed.insert("account", Id=str(number % 50), name=f"{number}" * 100)
        feed.update("contact", Id=str(number % 50), name="missing")
    both = [processes.start("syncnow") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode in {0, 1}, err
    feed.sync()
    feed.check()


# The answer to a COMMIT is lost


def through(proxy: Proxy, work: Callable[[], Any]) -> Any:
    """Return what the work returns, done by a connection of the proxy."""

    def run() -> Any:
        connection.settings_dict = proxy.settings(connection.settings_dict)
        return work()

    return elsewhere(run)


def elsewhere(work: Callable[[], Any]) -> Any:
    """Return what the work returns, done by a thread with a connection of its own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    [result] = outcome
    return result


@pytest.mark.fault(
    "F11",
    injected="the answer to COMMIT is lost, and the log file grows before that is told",
    outcome="no failure is told; the growth is applied",
)
def test_a_failure_told_after_the_commit_and_growth_is_none(feed: Feed) -> None:
    feed.insert("account", Id="1", name="a")
    feed.poll()
    table = feed.entity("account")
    after_failure = load._after_failure
    seen = []

    def grow_first(*arguments: Any) -> bool:
        feed.insert("account", Id="2", name="b")
        feed.poll()
        goes_on = after_failure(*arguments)
        [row] = feed.progress("account")
        seen.append((row.copy_status, row.error_code, row.attempts, row.was_killed))
        return goes_on

    with (
        Proxy() as proxy,
        mock.patch.object(load, "_after_failure", grow_first),
    ):
        proxy.lose_answer_to_commit(of_load=True)
        result = through(proxy, lambda: sync_table(table))
        assert proxy.struck.is_set()

    assert seen == [(0, "", 0, False)]
    assert (result.status, result.rows.inserted, result.partitions) == ("success", 2, 2)
    assert not feed.config.events.filter(kind="load_failed").exists()
    feed.check()


# Races


@pytest.mark.fault(
    "F70",
    injected="two looks that find the same growth",
    outcome="it is recorded once",
)
def test_growth_that_two_looks_have_found_is_recorded_once(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.sync()
    feed.update("account", Id="1", name="a")
    feed.insert("contact", Id="1")
    source = source_of(feed.config)
    found = [look(feed.config, source) for _ in range(2)]
    recorded = []
    for discovery in found:
        with transaction.atomic():
            record(feed.config, discovery)
        rows = [*feed.progress("account"), *feed.progress("contact")]
        recorded.append([(row.bytes, row.end_offset, row.copy_status) for row in rows])
    assert recorded[0] == recorded[1]
    feed.sync()
    feed.check()


@pytest.mark.fault(
    "F70",
    injected="two looks that find the same rotation",
    outcome="it is recorded once",
)
def test_a_rotation_that_two_looks_have_found_is_recorded_once(feed: Feed) -> None:
    for name in ("a.log", "b.log"):
        feed.file = name
        feed.insert("account", Id=name)
    feed.sync()
    feed.rename("a.log", "c.log")
    feed.rename("b.log", "a.log")
    feed.rename("c.log", "b.log")
    feed.insert("account", Id="new")
    source = source_of(feed.config)
    found = [look(feed.config, source) for _ in range(2)]
    for discovery in found:
        with transaction.atomic():
            record(feed.config, discovery)
    feed.sync()
    feed.check()


def test_a_file_may_be_rotated_and_grow_while_it_is_loaded(
    make_feed: Callable[..., Feed],
) -> None:
    feed = make_feed(bad_rows="quarantine")
    feed.insert("account", Id="1")
    feed.insert("account", Id="2", colour="red")
    table = next(iter(feed.poll().due))

    def rotate() -> None:
        feed.rename("a.log", "b.log")
        feed.file = "b.log"
        feed.update("account", Id="1", name="later")
        elsewhere(feed.poll)

    with faultpoints.armed("file_copied", action=rotate):
        result = sync_table(table)

    assert (result.status, result.error) == ("success", None)
    [row] = QuarantinedRow.objects.filter(table=table)
    assert (row.partition, row.file, row.line) == ("b.log", "b.log", 2)
    assert feed.entity("account").last_partition == "b.log"
    feed.sync()
    assert feed.rows("account", "id", "name") == [("1", "later")]
    feed.check()

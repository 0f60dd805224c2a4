"""Fixtures of the engine's and the commands' tests: an input and its sync."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from psycopg import sql

from sync.engine.discovery import Poll, poll_once
from sync.engine.load import LoadResult, sync_table
from sync.models import DataSyncProgress, SourceKind, SyncConfig, SyncTable
from tests import snapshot
from tests.exports import ExportWriter
from tests.feed_invariants import Ledger, check
from tests.feeds import FeedWriter

_numbers = itertools.count(1)


class Export(ExportWriter):
    """An export on disk and the sync of it."""

    config: SyncConfig

    def sync(self) -> dict[str, LoadResult]:
        """Look once and load every due table; return the results by entity."""
        return {table.entity: sync_table(table) for table in self.poll().due}

    def poll(self) -> Poll:
        return poll_once(self.config)

    def load(self, entity: str) -> LoadResult:
        """Look once and load one table; it must succeed."""
        self.poll()
        result = sync_table(self.entity(entity))
        assert result.status == "success", result
        return result

    def entity(self, name: str) -> SyncTable:
        return SyncTable.objects.select_related("config").get(
            config=self.config, entity=name
        )

    def progress(self, entity: str) -> list[DataSyncProgress]:
        rows = DataSyncProgress.objects.filter(config=self.config, table_name=entity)
        return list(rows.order_by("partition"))

    def rows(self, entity: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return columns of the target's rows, in the order of their keys."""
        wanted = sql.SQL(", ").join(map(sql.Identifier, columns))
        table = self.entity(entity).target()
        query = sql.SQL("SELECT {} FROM {} ORDER BY id").format(wanted, table.relation)
        return run_sql(query)


class Feed(FeedWriter):
    """A change feed on disk and the sync of it."""

    config: SyncConfig
    ledger: Ledger
    observer: snapshot.Connection

    def sync(self) -> dict[str, LoadResult]:
        """Look once and load every due table; return the results by entity."""
        results = {table.entity: sync_table(table) for table in self.poll().due}
        for entity in results:
            progress = self.progress(entity)
            ends = {row.partition: row.applied_offset for row in progress}
            self.ledger.advance(entity, ends)
        return results

    def poll(self) -> Poll:
        poll = poll_once(self.config)
        self.ledger.looked()
        return poll

    def entity(self, name: str) -> SyncTable:
        return SyncTable.objects.select_related("config").get(
            config=self.config, entity=name
        )

    def progress(self, entity: str) -> list[DataSyncProgress]:
        rows = DataSyncProgress.objects.filter(config=self.config, table_name=entity)
        return list(rows.order_by("partition"))

    def rows(self, entity: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return columns of the target's rows, in the order of the first of them."""
        wanted = sql.SQL(", ").join(map(sql.Identifier, columns))
        table = self.entity(entity).target()
        query = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(wanted, table.relation)
        return run_sql(query)

    def check(self, *, settled: bool = True, failed: Collection[str] = ()) -> None:
        """Check every invariant of a change feed."""
        check(
            self.ledger,
            self.config.pk,
            settled=settled,
            failed=failed,
            connection=self.observer,
        )


def run_sql(query: sql.Composable | str) -> list[tuple[Any, ...]]:
    """Run a statement on Django's connection and return its rows, if it has any."""
    connection.ensure_connection()
    cursor = connection.connection.execute(query)
    return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def make_export(
    tmp_path: Path, transactional_db: None
) -> Iterator[Callable[..., Export]]:
    """Make exports with a sync and a schema each, which are dropped at the end."""
    schemas: list[str] = []

    def make(**options: Any) -> Export:
        name = f"export{next(_numbers)}"
        schemas.append(name)
        export = Export(tmp_path / name, **options)
        export.config = SyncConfig.objects.create(
            name=name, location=str(export.root), schema_name=name
        )
        return export

    yield make
    for schema in schemas:
        run_sql(
            sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
        )


@pytest.fixture
def export(make_export: Callable[..., Export]) -> Export:
    """Return an export with one open folder and its sync."""
    return make_export()


@pytest.fixture
def make_feed(tmp_path: Path, transactional_db: None) -> Iterator[Callable[..., Feed]]:
    """Make change feeds with a sync and a schema each, which are dropped at the end.

    What is no part of the files is an option of the sync.
    """
    made: list[Feed] = []

    def make(*, only: str = "", dialect: str = "logicalName", **options: Any) -> Feed:
        name = f"feed{next(_numbers)}"
        feed = Feed(tmp_path / name, dialect=dialect, file="a.log")
        feed.table("account", "Id", "name", "city", "score:int64")
        feed.table("contact", "Id", "name")
        feed.config = SyncConfig.objects.create(
            name=name,
            kind=SourceKind.CHANGE_FEED,
            location=str(feed.root / only),
            schema_name=name,
            **options,
        )
        feed.ledger = Ledger(
            feed, insert_unknown=options.get("missing_keys") == "insert"
        )
        feed.observer = observer
        made.append(feed)
        return feed

    with snapshot.connect() as observer:
        yield make
    for feed in made:
        drop = "DROP SCHEMA IF EXISTS {} CASCADE"
        run_sql(sql.SQL(drop).format(sql.Identifier(feed.config.schema_name)))


@pytest.fixture
def feed(make_feed: Callable[..., Feed]) -> Feed:
    """Return a change feed of two tables without lines, and its sync."""
    return make_feed()

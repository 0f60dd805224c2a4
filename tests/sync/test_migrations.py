"""An upgrade keeps what was recorded, and makes sense of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import StateApps

from sync.engine.discovery import poll_once
from tests.sync.conftest import Export


def migrate(name: str) -> StateApps:
    executor = MigrationExecutor(connection)
    executor.migrate([("sync", name)])
    return MigrationExecutor(connection).loader.project_state([("sync", name)]).apps


@pytest.fixture
def newest(transactional_db: None) -> Iterator[str]:
    """Return the newest migration, to which the test's end leads back."""
    [(_, name)] = MigrationExecutor(connection).loader.graph.leaf_nodes("sync")
    yield name
    migrate(name)


def test_folders_purged_before_the_first_sync_park_no_table_after_an_upgrade(
    export: Export, newest: str
) -> None:
    log = export.root / "Changelog" / "Synapse.log"
    log.write_text("2026-01-01T08.00.00Z,2026-01-01T08.05.00Z")
    export.upsert("account", 1, name="a")
    first = export.close_folder()
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.load("account")
    migrate("0001_initial")

    migrate(newest)

    assert export.entity("account").base_partition == first
    known = log.read_text("utf-8")
    log.write_text(f"2026-01-01T08.00.00Z,2026-01-01T08.05.00Z,{known}")
    assert poll_once(export.config).due == []
    assert export.entity("account").state == "active"
    assert export.rows("account", "name") == [("a",), ("b",)]

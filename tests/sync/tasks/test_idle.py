"""What a poll asks when nothing happened in a large export; bench has its time."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from bench.crowd import make_idle
from sync.models import Heartbeat, SyncConfig
from sync.tasks import jobs
from tests.sync.conftest import run_sql
from tests.sync.views.test_cost import statements

STATEMENTS = 12


@pytest.fixture
def idle(tmp_path: Path, transactional_db: None) -> SyncConfig:
    config = make_idle(tmp_path / "export", folders=10_000, tables=300)
    run_sql("ANALYZE")
    return config


def poll() -> None:
    jobs.poll(timezone.now().isoformat())


def test_polls_of_a_large_export_in_which_nothing_happens_are_cheap(
    idle: SyncConfig,
) -> None:
    poll()  # takes note of everything
    idle.refresh_from_db()
    before = idle.checked_at
    with statements() as found:
        poll()
    assert len(found) <= STATEMENTS, found
    idle.refresh_from_db()
    assert idle.error_code == ""
    assert idle.checked_at is not None
    assert before is not None
    assert idle.checked_at > before
    assert Heartbeat.objects.get().polls == 2

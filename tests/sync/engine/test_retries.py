"""When what failed is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from sync.errors import TargetError
from sync.models import DataSyncProgress, retry_delay
from tests.sync.conftest import Export

JITTER = 0.2


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 20), (1, 20), (2, 40), (3, 80), (5, 320), (6, 600), (1_000_000, 600)],
)
def test_the_wait_doubles_from_20_seconds_to_10_minutes(
    attempts: int, seconds: int
) -> None:
    delays = [retry_delay(attempts).total_seconds() for _ in range(50)]
    assert seconds * (1 - JITTER) <= min(delays)
    assert max(delays) <= seconds * (1 + JITTER)
    assert len(set(delays)) > 1, "all would come back at once"


def test_what_may_pass_is_tried_again_for_ever(export: Export) -> None:
    export.upsert("account", 1)
    export.close_folder()
    export.poll()
    DataSyncProgress.objects.update(attempts=1_000)
    rows = DataSyncProgress.objects.filter(table_name="account")
    assert rows.record_failure(TargetError("table_locked", "Somebody has it"))
    [row] = export.progress("account")
    assert row.next_attempt_at is not None
    assert row.next_attempt_at < timezone.now() + timedelta(minutes=12)

from __future__ import annotations

import select
import time

import pytest
from django.test import override_settings

from sync import faultpoints
from sync.engine.load import sync_table
from sync.engine.session import raw_connection
from sync.engine.watchdog import Watchdog
from tests.sync.conftest import Export


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_its_time_is_left_alone() -> None:
    connection = raw_connection()
    with Watchdog(connection, 0.1, lambda: 0) as watchdog:
        connection.execute("SELECT pg_sleep(1)")
    assert not watchdog.bit


@pytest.mark.django_db(transaction=True)
def test_a_pulse_keeps_an_idle_connection() -> None:
    connection = raw_connection()
    beats = iter(range(10_000))
    with Watchdog(connection, 0.05, lambda: next(beats)) as watchdog:
        time.sleep(0.5)
    assert not watchdog.bit
    assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.fault(
    "F31",
    injected="a load hangs in the middle of COPY",
    outcome="its own watchdog ends it; the next run succeeds",
)
def test_a_load_on_which_nothing_moves_is_given_up_and_tried_again(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    connection = raw_connection()

    def hang() -> None:
        """Wait as for a storage that does not answer, until the line is cut."""
        ready, _, _ = select.select([connection.fileno()], [], [], 60)
        assert ready

    with (
        override_settings(STALL_SECONDS=0.2),
        faultpoints.armed("block_copied", action=hang),
    ):
        result = sync_table(export.entity("account"))

    assert result.error is not None
    assert result.error.code == "load_stalled"
    assert not result.error.permanent
    assert export.rows("account", "id") == []
    assert sync_table(export.entity("account")).status == "success"

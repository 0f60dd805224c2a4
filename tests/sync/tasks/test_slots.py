"""Every slot of the schedule gets its poll, and only one, whoever polls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.service import POLL_SECONDS, Service, eventually, next_poll
from tests.sync.conftest import run_sql

pytestmark = pytest.mark.timeout(280)

SLOTS = 12


@pytest.fixture
def audit(transactional_db: None) -> Iterator[None]:
    """Write down every beginning of a poll."""
    run_sql(
        "CREATE TABLE public.audit (slot timestamptz, beat_at timestamptz); "
        "CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO public.audit VALUES (NEW.slot, NEW.beat_at); RETURN NULL; END $$; "
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE OF beat_at ON sync_heartbeat "
        "FOR EACH ROW EXECUTE FUNCTION public.audit()"
    )
    yield
    run_sql(
        "DROP TRIGGER audit ON sync_heartbeat; DROP FUNCTION public.audit(); "
        "DROP TABLE public.audit"
    )


def polls() -> list[tuple[datetime, datetime]]:
    """Return the slots that had a poll, in their order, and when it began."""
    return [
        (slot, began)
        for slot, began in run_sql("SELECT slot, beat_at FROM audit ORDER BY beat_at")
    ]


@pytest.mark.usefixtures("audit")
def test_two_clusters_miss_no_slot_and_double_none(service: Service) -> None:
    for cluster in (service.add("poll"), service.add("poll")):
        cluster.ready()
    next_poll()
    run_sql("TRUNCATE audit")
    eventually(lambda: len(polls()) > SLOTS, service.logs, within=SLOTS * 10)

    found = polls()
    step = timedelta(seconds=POLL_SECONDS)
    assert [b - a for (a, _), (b, _) in pairwise(found)] == [step] * (len(found) - 1)
    late = sorted((began - slot).total_seconds() for slot, began in found)
    print(f"late: median {late[len(late) // 2]:.2f} s, most {late[-1]:.2f} s")  # noqa: T201

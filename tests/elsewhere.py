"""Looking at the database from a session of its own, also in the middle of a load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from django.db import connections

from tests.processes import database_url

PATIENCE_SECONDS = 30.0
Result = TypeVar("Result")


def elsewhere(work: Callable[[], Result]) -> Result:
    """Return what the work returns, done by a thread with a connection of its own."""
    outcome: list[Result] = []

    def run() -> None:
        try:
            outcome.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [result] = outcome
    return result


def until(work: Callable[[], Result]) -> Result:
    """Return the first result of the work that is true; fail when none comes."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (result := work()):
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.02)
    return result


def session() -> psycopg.Connection[tuple[object, ...]]:
    """Return a session of somebody else in the test's database."""
    return psycopg.connect(database_url())

"""Advisory locks of PostgreSQL: (namespace, id), held until the transaction ends.

A lock of a killed loader is freed by PostgreSQL itself: nothing can go stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from django.db import connection


class Namespace(IntEnum):
    """What the second integer of a lock numbers; all of dvsync's locks."""

    CONFIG = 1_685_484_398
    TABLE = 1_685_484_399
    MIGRATION = 1_685_484_400
    POLL = 1_685_484_401
    QUEUE = 1_685_484_402


# So long a lock is held that nobody gives back.
HELD_SECONDS = 90


class BusyError(Exception):
    """Another session holds the lock."""


def lock(namespace: Namespace, number: int) -> None:
    """Wait for a lock; only for work of a moment."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [namespace, number])


def lock_or_busy(namespace: Namespace, number: int) -> None:
    """Take a lock that is free, or raise ``BusyError`` at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [namespace, number])
        row = cursor.fetchone()
    if not row or not row[0]:
        raise BusyError


@contextmanager
def exclusive(namespace: Namespace, number: int) -> Iterator[None]:
    """Hold a lock for the block, over all its transactions; ``BusyError`` if taken.

    It is a transaction's lock on a connection of its own: work in the block may
    commit, and pools of connections that know no sessions do no harm.
    """
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            # A holder that stands still, or whose host is gone, loses the lock.
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true), "
                "pg_try_advisory_xact_lock(%s, %s)",
                [f"{HELD_SECONDS}s", namespace, number],
            )
            row = cursor.fetchone()
        if not row or not row[1]:
            raise BusyError
        yield
    finally:
        other.close()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the migration's lock for the block, over any transactions in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, 0)", [Namespace.MIGRATION])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, 0)", [Namespace.MIGRATION])

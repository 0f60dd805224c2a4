"""The transaction of a load: locked, watched, and stopped on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction

from sync.engine.control import Control
from sync.engine.locks import Namespace, lock_or_busy
from sync.engine.session import database_errors, raw_connection
from sync.engine.watchdog import Watchdog
from sync.errors import Cancelled, SyncError, TargetError
from sync.models import SyncTable


@contextmanager
def load_transaction(table: SyncTable, control: Control) -> Iterator[None]:
    """Do the block in one transaction that holds the table's lock.

    A connection on which nothing moves is broken by a watchdog. Raises ``BusyError``
    when the table is locked, ``Cancelled`` when ``control`` stopped a statement.
    """
    try:
        with _watched(table, control):
            yield
    except SyncError as error:
        if control.cancelled:  # what interrupted the statement
            raise Cancelled from error
        raise


@contextmanager
def _watched(table: SyncTable, control: Control) -> Iterator[None]:
    watchdog = Watchdog(
        raw_connection(), settings.STALL_SECONDS, lambda: control.pulse(table.pk)
    )
    try:
        with (
            database_errors(table.label),
            watchdog,
            transaction.atomic(durable=True),
            control.interruptible(raw_connection()),
        ):
            lock_or_busy(Namespace.TABLE, table.pk)
            yield
    except SyncError as error:
        if watchdog.bit:
            seconds = settings.STALL_SECONDS
            message = f"Nothing moved for {seconds} seconds; the load was given up"
            raise TargetError("load_stalled", message, where=table.label) from error
        raise

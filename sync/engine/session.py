"""The Django connection as the writing side wants it: a raw psycopg cursor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

import psycopg
from django.db import DatabaseError, InterfaceError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Cursor

from sync.errors import TargetError
from sync.target.failures import from_postgres

# A lock that a user holds on a target is waited for so long, then the load fails
# and tries again later.
LOCK_TIMEOUT = "10s"


def prepare_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Set what all of dvsync relies on, whatever the role's or database's defaults.

    To be called for every new connection. Only settings that the server knows.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(s.name, s.value, false) FROM (VALUES "
            "('datestyle', 'iso, mdy'), ('array_nulls', 'on'), "
            "('statement_timeout', '0'), ('transaction_timeout', '0'), "
            "('lock_timeout', '0'), ('idle_session_timeout', '0'), "
            "('idle_in_transaction_session_timeout', '0'), "
            "('default_transaction_isolation', 'read committed'), "
            "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), "
            "('tcp_keepalives_count', '3')"
            ") AS s (name, value) "
            "WHERE current_setting(s.name, true) IS DISTINCT FROM s.value "
            "AND current_setting(s.name, true) IS NOT NULL"
        )


def raw_connection() -> psycopg.Connection[tuple[object, ...]]:
    """Return psycopg's connection under Django's, opened if need be."""
    connection.ensure_connection()
    return cast("psycopg.Connection[tuple[object, ...]]", connection.connection)


def raw_cursor() -> Cursor[tuple[object, ...]]:
    """Return a cursor that raises psycopg's errors, in Django's transaction."""
    return raw_connection().cursor()


def prepare_session(cursor: Cursor[tuple[object, ...]]) -> None:
    """Set what the load relies on, whatever the role's defaults, for a transaction.

    A killed client's statement ends within seconds, and one that the network lost
    within a minute, which frees its locks.
    """
    cursor.execute(
        "SELECT set_config(name, value, true) FROM (VALUES "
        "('timezone', 'UTC'), ('datestyle', 'iso, mdy'), "
        "('client_connection_check_interval', '2s'), "
        "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), "
        "('tcp_keepalives_count', '3'), "
        "('lock_timeout', %s)) AS setting (name, value)",
        [LOCK_TIMEOUT],
    )


def server_start() -> datetime:
    """Return when PostgreSQL was started."""
    cursor = raw_cursor().execute("SELECT pg_postmaster_start_time()")
    row = cursor.fetchone()
    return cast("datetime", row[0]) if row else datetime.now(UTC)


def show_phase(
    cursor: Cursor[tuple[object, ...]], table_id: int, phase: str, done: int
) -> None:
    """Say in ``application_name`` what the session does, for pg_stat_activity."""
    cursor.execute(
        "SELECT set_config('application_name', %s, true)",
        [f"dvsync table={table_id} phase={phase} bytes={done}"],
    )


@contextmanager
def database_errors(where: str = "") -> Iterator[None]:
    """Turn errors of psycopg and of Django's wrapper into ``TargetError``.

    A connection that broke is closed, so that the next use opens a new one.
    """
    try:
        yield
    except (psycopg.Error, DatabaseError, InterfaceError) as error:
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        if not isinstance(cause, psycopg.Error):
            raise
        failure = from_postgres(cause, where)
        if failure.code == "database_unavailable":
            connection.close()
        raise failure from error


def is_database_down(error: Exception) -> bool:
    """Say whether the error means that PostgreSQL cannot be reached."""
    return isinstance(error, TargetError) and error.code == "database_unavailable"

"""The end of a sync: all that dvsync remembers of it, and its tables if that is meant.

It happens in one transaction. Whatever stops it, the sync is wholly there or wholly
gone; only the pause, which comes first, stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from django.db import connection, transaction
from psycopg import sql

from sync.engine import switches
from sync.engine.locks import Namespace, lock
from sync.engine.session import database_errors, raw_cursor
from sync.engine.source import forget_spool
from sync.errors import ConfigError, TargetError
from sync.models import SyncConfig, SyncTable
from sync.target import relations
from sync.target.activity import running
from sync.target.tables import Table

# The service rolls back a load of a paused table within seconds.
WAIT_SECONDS = 15.0
AGAIN_SECONDS = 0.25
# Readers queue behind a waiting DROP TABLE, so it waits for a second at most.
DROP_LOCK_TIMEOUT = "1s"
NAMED = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removed:
    """What went: the sync's name, and the tables that were dropped with it.

    ``left`` are relations that have the names of its tables, but are not what dvsync
    made; ``schema`` says whether the schema went as well.
    """

    name: str
    dropped: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    schema: bool = False


class _LoadingError(Exception):
    """Loads hold these tables."""

    def __init__(self, tables: Sequence[str], pids: Sequence[int]) -> None:
        super().__init__(tables)
        self.tables, self.pids = tables, pids


def remove_sync(
    config: SyncConfig,
    *,
    drop_tables: bool,
    by: str,
    wait: float = WAIT_SECONDS,
) -> Removed:
    """Delete a sync and its ledger, and with ``drop_tables`` the tables it made.

    Loads that run are asked to stop, by a pause, and waited for a little. Raises
    ``TargetError`` when one goes on, or when a table cannot be dropped: then nothing
    is gone, and the sync is paused. ``ConfigError`` when it is gone already.
    """
    switches.pause(config, by=by)
    end = time.monotonic() + wait
    while True:
        try:
            with database_errors():
                removed = _remove(config, drop_tables=drop_tables)
        except _LoadingError as error:
            if time.monotonic() >= end:
                raise _busy(config, error) from None
            time.sleep(AGAIN_SECONDS)
        except TargetError as error:
            # Somebody pressed something at the same moment.
            if error.code != "database_conflict" or time.monotonic() >= end:
                raise
        else:
            forget_spool(config)
            log.warning("The sync was deleted by %s", by, extra={"sync": removed.name})
            return removed


def _busy(config: SyncConfig, error: _LoadingError) -> TargetError:
    names = ", ".join(error.tables[:NAMED])
    more = f" and {len(error.tables) - NAMED} more" if len(error.tables) > NAMED else ""
    sessions = ", ".join(map(str, error.pids[:NAMED]))
    return TargetError(
        "table_locked",
        f"{config.name} is still loading {names}{more} (PostgreSQL's session "
        f"{sessions}); it is paused, but was not deleted",
        remedy="Wait until the load has ended, or stop the syncnow that does it, then "
        "delete the sync again.",
    )


def _remove(config: SyncConfig, *, drop_tables: bool) -> Removed:
    with transaction.atomic(durable=True):
        # As every transaction that writes about a sync: nothing new comes meanwhile.
        lock(Namespace.CONFIG, config.pk)
        if not SyncConfig.objects.select_for_update().filter(pk=config.pk).exists():
            raise ConfigError(f"{config.name} is gone already")
        tables = list(SyncTable.objects.filter(config=config).select_related("config"))
        _lock_tables(tables)
        removed = Removed(config.name)
        if drop_tables:
            removed = _drop(config, [table.target() for table in tables])
        # Django deletes what refers to it first, each kind in one statement.
        SyncConfig.objects.filter(pk=config.pk).only("pk").delete()
    return removed


def _lock_tables(tables: Sequence[SyncTable]) -> None:
    """Lock all tables against loads, or raise ``_LoadingError`` without waiting."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, pg_try_advisory_xact_lock(%s, id) FROM unnest(%s::int[]) id",
            [Namespace.TABLE, [table.pk for table in tables]],
        )
        free = dict(cursor.fetchall())
    taken = {table.pk: table.entity for table in tables if not free[table.pk]}
    if taken:
        active = running(raw_cursor(), Namespace.TABLE)
        pids = sorted({active[pk].pid for pk in taken if pk in active})
        raise _LoadingError(sorted(taken.values()), pids)


def _drop(config: SyncConfig, tables: Sequence[Table]) -> Removed:
    """Drop those of the tables that dvsync made, and the schema if it is empty then."""
    cursor = raw_cursor()
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [DROP_LOCK_TIMEOUT])
    made = [table for table in tables if table.columns]
    there = relations.existing(cursor, config.schema_name, [t.name for t in made])
    found = [table for table in made if table.name in there]
    ours = [table for table in found if relations.is_ours(cursor, table)]
    if users := relations.dependents(cursor, config.schema_name, _names(ours)):
        raise TargetError(
            "column_in_use",
            f"Tables of {config.name} are used by {', '.join(users)}",
            where=config.schema_name,
            remedy="Drop these first, or delete the sync without its tables.",
        )
    for table in ours:
        with database_errors(f"{table.schema}.{table.name}"):
            cursor.execute(sql.SQL("DROP TABLE {}").format(table.relation))
    return Removed(
        config.name,
        dropped=tuple(_names(ours)),
        left=tuple(sorted(set(_names(found)) - set(_names(ours)))),
        schema=_drop_schema(config.schema_name),
    )


def _names(tables: Sequence[Table]) -> list[str]:
    return [table.name for table in tables]


def _drop_schema(schema: str) -> bool:
    """Drop a schema; one in which there is something, or of another role, stays."""
    cursor = raw_cursor()
    if not relations.schema_exists(cursor, schema):
        return False
    statement = sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema))
    try:
        with transaction.atomic():
            cursor.execute(statement)
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.InsufficientPrivilege,
    ):
        return False
    return True

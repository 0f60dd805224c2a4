"""Creating and extending target tables, in short transactions of their own."""

from __future__ import annotations

import random
import time

from django.db import transaction
from psycopg import sql

from sync import faultpoints
from sync.engine.locks import Namespace, lock, lock_or_busy
from sync.engine.session import database_errors, prepare_session, raw_cursor
from sync.errors import TargetError
from sync.model_json import Attribute, Entity
from sync.models import Event, SyncTable
from sync.target import tables

# Readers queue behind a waiting ALTER TABLE, so it waits for a second at most.
DDL_LOCK_TIMEOUT = "1s"
DDL_TRIES = 4


def newest_entity(table: SyncTable) -> Entity | None:
    """Return the table's entity by the newest model that was read, if any was."""
    if not table.attributes:
        return None
    attributes = (Attribute(name, data_type) for name, data_type in table.attributes)
    return Entity(table.entity, tuple(attributes))


def plan_ddl(table: SyncTable, entity: Entity) -> list[sql.Composed]:
    """Return the statements that make the target fit for an entity's rows.

    Raises ``TargetError`` when the target is not as dvsync left it, or cannot
    become what the entity needs.
    """
    target = table.target()
    cursor = raw_cursor()
    tables.check_unaltered(target, tables.inspect(cursor, target))
    columns = tables.columns_for(entity, target.columns)
    return tables.plan(
        target,
        columns,
        tables.key_column(entity, columns),
        schema_exists=tables.schema_exists(cursor, target.schema),
    )


def ensure_table(table: SyncTable, entity: Entity) -> None:
    """Make the target fit for an entity's rows: create it, or add its new columns.

    Harmless when the load that wanted it then fails. Raises ``BusyError`` while
    another session works on the table, ``TargetError`` when it cannot be done.
    """
    for attempt in range(1, DDL_TRIES + 1):
        try:
            with database_errors(table.label):
                _ensure(table, entity)
        except TargetError as error:
            if error.code != "table_locked" or attempt == DDL_TRIES:
                raise
            time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - jitter
        else:
            return


def _ensure(table: SyncTable, entity: Entity) -> None:
    with transaction.atomic():
        lock_or_busy(Namespace.TABLE, table.pk)
        table.refresh_from_db(fields=["columns"])
        cursor = raw_cursor()
        prepare_session(cursor)
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)", [DDL_LOCK_TIMEOUT]
        )
        if not table.columns:
            # Two tables must not both create the schema.
            lock(Namespace.CONFIG, table.config_id)
        statements = plan_ddl(table, entity)
        for statement in statements:
            cursor.execute(statement)
        target = table.target()
        if statements:
            _record(table, entity)
        else:
            # Meet a user's lock here, before gigabytes are copied in vain.
            cursor.execute(
                sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(target.relation)
            )
        faultpoints.reach("table_altered")


def _record(table: SyncTable, entity: Entity) -> None:
    existing = table.target().columns
    columns = tables.columns_for(entity, existing)
    table.record_columns(columns)
    new = ", ".join(column.name for column in columns[len(existing) :])
    if existing:
        kind, message = "columns_added", f"{table.label} has new columns: {new}"
    else:
        kind, message = "table_created", f"{table.label} with {len(columns)} columns"
    Event.record(table.config, kind, message, table_name=table.entity)

"""Creating and extending target tables, in short transactions of their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from django.db import transaction
from psycopg import Cursor, sql

from sync import faultpoints
from sync.engine.locks import Namespace, lock, lock_or_busy
from sync.engine.session import database_errors, prepare_session, raw_cursor
from sync.errors import TargetError
from sync.model_json import Attribute, Entity
from sync.models import Event, SyncTable
from sync.target import relations, tables
from sync.target.tables import Column, Table

# Readers queue behind a waiting ALTER TABLE, so it waits for a second at most.
DDL_LOCK_TIMEOUT = "1s"
DDL_TRIES = 4
# A table up to this size is rewritten for a wider type at once: well under a second.
REWRITTEN_BYTES = 16 * 1024 * 1024


def newest_entity(table: SyncTable) -> Entity | None:
    """Return the table's entity by the newest model that was read, if any was."""
    if not table.attributes:
        return None
    attributes = (Attribute(name, data_type) for name, data_type in table.attributes)
    return Entity(table.entity, tuple(attributes), key=tuple(table.key))


def plan_ddl(table: SyncTable, entity: Entity) -> list[sql.Composed]:
    """Return the statements that make the target fit for an entity's rows.

    Raises ``TargetError`` when the target is not as dvsync left it, or cannot
    become what the entity needs.
    """
    cursor = raw_cursor()
    target = _adopted(table, entity)
    if table.config.is_feed and not entity.key:
        raise TargetError(
            "unsupported_entity",
            f"{entity.name} has no attribute that is declared its key",
            where=entity.name,
        )
    if target.columns and entity.key != tuple(table.key):
        _refuse_key(table, entity)
    columns = tables.columns_for(entity, target.columns, target.relation)
    check_widening(table, columns)
    return tables.plan(
        target,
        columns,
        tables.key_columns(entity, columns),
        schema_exists=relations.schema_exists(cursor, target.schema),
    )


def _refuse_key(table: SyncTable, entity: Entity) -> NoReturn:
    raise TargetError(
        "key_changed",
        f"The key of {table.entity} is {', '.join(entity.key) or 'Id'} now; "
        f"{table.label} was made with {', '.join(table.key) or 'Id'}",
        where=table.label,
    )


def _adopted(table: SyncTable, entity: Entity) -> Table:
    """Return the target with the types that a person gave its columns for an entity.

    Raises ``TargetError`` when it is not as dvsync left it otherwise.
    """
    target = table.target()
    found = relations.inspect(raw_cursor(), target)
    target = tables.adopted(target, found or {}, entity)
    relations.check_unaltered(target, found)
    table.columns = [[c.attribute, c.name, c.type] for c in target.columns]
    return target


def check_widening(
    table: SyncTable, columns: Sequence[Column], *, any_size: bool = False
) -> None:
    """Raise ``TargetError`` when columns cannot get their wider types in passing."""
    target = table.target()
    cursor = raw_cursor()
    wider = tables.widened_columns(target, columns) if target.columns else []
    if not wider:
        return
    said = ", ".join(f"{column.name} {column.type}" for column in wider)
    if views := relations.views_on(cursor, target, wider):
        raise TargetError(
            "column_in_use",
            f"{table.label} needs {said}, but {', '.join(views)} uses it",
            where=table.label,
        )
    if not any_size and relations.size_of(cursor, target) > REWRITTEN_BYTES:
        raise TargetError(
            "type_widened", f"{table.label} needs {said}", where=table.label
        )


def ensure_table(table: SyncTable, entity: Entity) -> None:
    """Make the target fit for an entity's rows: create it, or add its new columns.

    Harmless when the load that wanted it then fails. Raises ``BusyError`` while
    another session works on the table, ``TargetError`` when it cannot be done.
    """
    _retried(table, lambda: _ensure(table, entity))


def ensure_columns(table: SyncTable, entities: Sequence[Entity]) -> None:
    """Add the columns that a target lacks for the rows of these entities.

    It leaves alone a target that is not there, and types that are too narrow. Raises
    as ``ensure_table`` does.
    """
    _retried(table, lambda: _add_columns(table, entities))


def _retried(table: SyncTable, work: Callable[[], None]) -> None:
    for attempt in range(1, DDL_TRIES + 1):
        try:
            with database_errors(table.label):
                work()
        except TargetError as error:
            if error.code != "table_locked" or attempt == DDL_TRIES:
                raise
            time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - jitter
        else:
            return


@contextmanager
def _altering(table: SyncTable) -> Iterator[Cursor[tuple[object, ...]]]:
    """Lock the table against loads for a short transaction of DDL."""
    with transaction.atomic():
        lock_or_busy(Namespace.TABLE, table.pk)
        table.refresh_from_db(fields=["columns"])
        cursor = raw_cursor()
        prepare_session(cursor)
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)", [DDL_LOCK_TIMEOUT]
        )
        yield cursor
        faultpoints.reach("table_altered")


def _add_columns(table: SyncTable, entities: Sequence[Entity]) -> None:
    with _altering(table) as cursor:
        if relations.inspect(cursor, table.target()) is None:
            return
        before = table.columns
        target = _adopted(table, entities[-1])
        columns = target.columns
        for entity in entities:
            columns = tables.columns_for(entity, columns, target.relation)
        new = columns[len(target.columns) :]
        if new:
            cursor.execute(tables.add_columns(target, new))
        if new or table.columns != before:
            record_columns(table, (*target.columns, *new))


def _ensure(table: SyncTable, entity: Entity) -> None:
    with _altering(table) as cursor:
        if not table.columns:
            # Two tables must not both create the schema.
            lock(Namespace.CONFIG, table.config_id)
        before = table.columns
        statements = plan_ddl(table, entity)
        for statement in statements:
            cursor.execute(statement)
        target = table.target()
        if statements:
            _record(table, entity)
        else:
            if table.columns != before:
                table.record_columns(target.columns)
            # Meet a user's lock here, before gigabytes are copied in vain.
            cursor.execute(
                sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(target.relation)
            )


def _record(table: SyncTable, entity: Entity) -> None:
    existing = table.target().columns
    columns = tables.columns_for(entity, existing)
    record_columns(table, columns)


def record_columns(table: SyncTable, columns: tuple[Column, ...]) -> None:
    """Remember the target's columns, and announce what is new in them."""
    before = table.target()
    table.record_columns(columns)
    if not before.columns:
        _announce(table, "table_created", f"{table.label} with {len(columns)} columns")
        return
    known = {column.attribute for column in before.columns}
    new = [column.name for column in columns if column.attribute not in known]
    wider = [f"{c.name} {c.type}" for c in tables.widened_columns(before, columns)]
    if new:
        message = f"{table.label} has new columns: {', '.join(new)}"
        _announce(table, "columns_added", message)
    if wider:
        message = f"{table.label} has wider columns: {', '.join(wider)}"
        _announce(table, "columns_widened", message)


def _announce(table: SyncTable, kind: str, message: str) -> None:
    Event.record(table.config, kind, message, table_name=table.entity)

"""What a sync would do, found out in a transaction that is rolled back."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import transaction

from sync.engine.batch import entity_of
from sync.engine.discovery import look, record
from sync.engine.entities import selected_tables
from sync.engine.schema import newest_entity
from sync.engine.session import database_errors, raw_cursor
from sync.engine.source import source_of
from sync.errors import SourceError, SyncError
from sync.models import SyncConfig, SyncTable
from sync.sources.base import PartitionState, Source
from sync.target import relations, tables
from sync.target.tables import Table


@dataclass
class TablePreview:
    """One table: its backlog, and the statements that its target needs first."""

    table: SyncTable
    partitions: int
    bytes: int
    ddl: list[str] = field(default_factory=list)
    error: SyncError | None = None


@dataclass
class Preview:
    """A whole sync; ``waiting`` are folders that are not complete, with reasons."""

    tables: list[TablePreview]
    waiting: list[tuple[str, str]]
    problem: SourceError | None = None


def preview(config: SyncConfig) -> Preview:
    """Say what ``syncnow`` would apply and run; writes nothing.

    Raises ``SourceError`` and ``TargetError`` as ``poll_once`` does.
    """
    source = source_of(config)
    with database_errors(), transaction.atomic():
        discovery = look(config, source)
        record(config, discovery)
        schemas: set[str] = set()
        found = [_table(table, source, schemas) for table in selected_tables(config)]
        transaction.set_rollback(True)
    waiting = [
        (partition.name, partition.reason)
        for partition in discovery.partitions
        if partition.state is PartitionState.WAITING
    ]
    return Preview(found, waiting, discovery.problem)


def _table(table: SyncTable, source: Source, schemas: set[str]) -> TablePreview:
    backlog = list(table.progress.unapplied())
    found = TablePreview(table, len(backlog), sum(row.bytes for row in backlog))
    try:
        found.ddl = _ddl(table, source, [row.partition for row in backlog], schemas)
    except SyncError as error:
        found.error = error
    return found


def _ddl(
    table: SyncTable, source: Source, partitions: list[str], schemas: set[str]
) -> list[str]:
    cursor = raw_cursor()
    target = table.target()
    found = relations.inspect(cursor, target)
    entities = [entity_of(table, name, source)[0] for name in partitions]
    if newest := newest_entity(table):
        entities.append(newest)
    if entities:
        target = tables.adopted(target, found or {}, entities[0])
    relations.check_unaltered(target, found)
    statements: list[str] = []
    for entity in entities:
        columns = tables.columns_for(entity, target.columns, target.relation)
        schema_exists = target.schema in schemas or relations.schema_exists(
            cursor, target.schema
        )
        key = tables.key_columns(entity, columns)
        planned = tables.plan(target, columns, key, schema_exists=schema_exists)
        statements += [statement.as_string(cursor) for statement in planned]
        schemas.add(target.schema)
        target = Table(target.schema, target.name, columns)
    return statements

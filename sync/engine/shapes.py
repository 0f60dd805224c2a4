"""The shapes of tables: which there are, what becomes of each, and their columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db import connection
from django.db.models import IntegerField
from django.db.models.expressions import Func

from sync.engine.happenings import SCHEMA_KINDS
from sync.engine.states import Trouble
from sync.models import DataSyncProgress, Event, SyncConfig, SyncTable
from sync.target.types import sql_type

# Errors of a load that are about the shape of the table.
SHAPE_CODES = frozenset(
    {
        *("unsupported_entity", "type_changed", "type_widened", "column_in_use"),
        *("name_taken", "target_altered", "target_limit", "entity_missing"),
    }
)
EVENTS_SHOWN = 20


class Group(StrEnum):
    """What becomes of a table, what needs a person first."""

    WAITING = "waits for a yes"
    DECISION = "needs a decision"
    REPLICATED = "replicated"
    ABSENT = "gone from the source"
    EXCLUDED = "excluded"

    @property
    def slug(self) -> str:
        """Its name in an address."""
        return self.name.lower()


@dataclass(frozen=True)
class Shape:
    """A table of an export: how many columns it has in PostgreSQL and in the export."""

    table: SyncTable
    group: Group
    columns: int
    attributes: int
    trouble: Trouble | None = None


def shapes(config: SyncConfig) -> list[Shape]:
    """Return all tables of a sync, in two queries; the columns are only counted."""
    failed = _failed(config)
    tables = (
        SyncTable.objects.filter(config=config)
        .defer("columns", "attributes")
        .annotate(width=_length("columns"), source_width=_length("attributes"))
    )
    found = []
    for table in tables:
        table.config = config
        trouble = failed.get(table.entity)
        if table.error_code:
            trouble = Trouble(
                table.error_code, table.error_message, table.label, table.error_remedy
            )
        group = _group(table, trouble)
        found.append(Shape(table, group, table.width, table.source_width, trouble))
    order = list(Group)
    return sorted(found, key=lambda s: (order.index(s.group), s.table.entity))


def schema_events(config: SyncConfig) -> list[Event]:
    """Return the newest changes of tables and columns."""
    events = Event.objects.filter(config=config, kind__in=SCHEMA_KINDS)
    return list(events[:EVENTS_SHOWN])


def _length(field: str) -> Func:
    return Func(field, function="jsonb_array_length", output_field=IntegerField())


def _failed(config: SyncConfig) -> dict[str, Trouble]:
    rows = DataSyncProgress.objects.filter(
        config=config,
        copy_status=DataSyncProgress.Status.FAILURE,
        error_code__in=SHAPE_CODES,
    )
    fields = ("error_code", "error_message", "error_where", "error_remedy")
    return {
        table: Trouble(*error)
        for table, *error in rows.values_list("table_name", *fields)
    }


def _group(table: SyncTable, trouble: Trouble | None) -> Group:
    if not table.config.selects(table.entity):
        return Group.EXCLUDED
    if table.state == SyncTable.State.NEW:
        return Group.WAITING
    if trouble or table.refresh_reason:
        return Group.DECISION
    return Group.ABSENT if table.absent else Group.REPLICATED


@dataclass(frozen=True)
class ColumnShape:
    """A column: what it is in the export, and in PostgreSQL.

    ``source_type`` is empty when the newest model lacks it, ``name`` when no column
    was made for it yet. ``differs`` says that the types do not go together any more.
    """

    attribute: str
    source_type: str
    name: str
    type: str

    @property
    def differs(self) -> bool:
        """Whether the source's type has another type in PostgreSQL than the column."""
        both = bool(self.source_type and self.type)
        return both and sql_type(self.source_type) != self.type


def columns_of(table: SyncTable) -> list[ColumnShape]:
    """Return the columns of a table in PostgreSQL's order, then those to come."""
    types = dict(table.attributes)
    made = [
        ColumnShape(attribute, types.pop(attribute, ""), name, type_)
        for attribute, name, type_ in table.columns
    ]
    return [*made, *(ColumnShape(name, type_, "", "") for name, type_ in types.items())]


def query_to_copy(table: SyncTable) -> str:
    """Return a statement that shows some rows; PostgreSQL quotes what needs quotes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('SELECT * FROM %%I.%%I LIMIT 10;', %s, %s)",
            [table.config.schema_name, table.target_name],
        )
        row = cursor.fetchone()
    return str(row[0]) if row else ""

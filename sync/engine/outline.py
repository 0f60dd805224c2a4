"""What a model.json holds, and what PostgreSQL would make of it; nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass

from sync.errors import SyncError
from sync.model_json import Entity, Model
from sync.target import tables
from sync.target.tables import Column, choose_name
from sync.target.types import sql_type


@dataclass(frozen=True)
class TableOutline:
    """A table of a model; ``error`` says why it cannot be replicated, if it cannot.

    ``columns`` are in the order of the attributes, ``key`` is the name of one.
    """

    entity: Entity
    name: str
    key: str | None
    columns: tuple[Column, ...]
    error: SyncError | None = None


def outline(model: Model) -> list[TableOutline]:
    """Return the tables of a model, named as the first look at an export would."""
    taken: set[str] = set()
    found = []
    for entity in sorted(model.entities, key=lambda entity: entity.name):
        name = choose_name(entity.name, taken)
        taken.add(name)
        found.append(_outline(entity, name))
    return found


def _outline(entity: Entity, name: str) -> TableOutline:
    try:
        columns = tables.columns_for(entity, ())
    except SyncError as error:
        plain = tuple(
            Column(a.name, a.name.lower(), sql_type(a.data_type))
            for a in entity.attributes
        )
        return TableOutline(entity, name, None, plain, error)
    return TableOutline(entity, name, tables.key_column(entity, columns), columns)

"""What a model.json would become: the tables and columns, before anything is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sync.errors import TargetError
from sync.model_json import DATA_TYPES, Dialect, Entity, Model, type_key
from sync.target.tables import IS_DELETE, VERSION, choose_name, columns_for
from sync.target.types import sql_type

# What a value takes of a row at the most: those of any length are stored out of line,
# which leaves 18 bytes of them. The format document, 6.3.
_WIDTHS = {
    "uuid": 16,
    "bigint": 8,
    "integer": 4,
    "boolean": 1,
    "date": 4,
    "double precision": 8,
    "timestamp with time zone": 8,
    "time without time zone": 8,
}
_OUT_OF_LINE = 18
_ROW_HEAD = 24
ROW_LIMIT = 8160
_KNOWN = frozenset(map(type_key, DATA_TYPES))


@dataclass(frozen=True, slots=True)
class TableOutline:
    """One table of the model: its name in PostgreSQL, and what to know of it.

    ``problem`` is why it cannot be replicated. ``widest`` is how many bytes its widest
    row takes at the most, beside what is stored out of line.
    """

    entity: str
    name: str
    columns: int
    key: str
    widest: int
    warnings: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ColumnOutline:
    """One column: source name and type, and those of PostgreSQL, if it gets any."""

    attribute: str
    data_type: str
    name: str
    type: str
    notes: tuple[str, ...] = ()


def outline(model: Model, *, feed: bool = False) -> list[TableOutline]:
    """Return a model's tables by name, named as discovery names them.

    In a ``feed`` the order of its lines tells what those of an export are told by
    columns.
    """
    folded = Counter(entity.name.lower() for entity in model.entities)
    taken: set[str] = set()
    tables = []
    for entity in sorted(model.entities, key=lambda entity: entity.name):
        name = choose_name(entity.name, taken)
        taken.add(name)
        found = _table(entity, name, folded[entity.name.lower()], feed=feed)
        if model.dialect is not Dialect.CDM and not entity.key:
            problem = f"{entity.name} has no attribute that is declared its key"
            found = replace(found, key="", problem=problem)
        tables.append(found)
    return tables


def column_outlines(entity: Entity, *, feed: bool = False) -> list[ColumnOutline]:
    """Return the columns of a table in their order, of a ``feed`` or an export."""
    try:
        names = {c.attribute: c.name for c in columns_for(entity, ())}
    except TargetError:
        names = {}
    roles = dict.fromkeys(entity.key_positions, "key")
    if not feed:
        for name, role in (
            (VERSION, "orders the changes"),
            (IS_DELETE, "marks deletes"),
        ):
            roles |= dict.fromkeys(_positions(entity, name), role)
    return [
        ColumnOutline(
            attribute.name,
            attribute.data_type,
            names.get(attribute.name, ""),
            sql_type(attribute.data_type),
            tuple(
                _notes(
                    attribute.name,
                    attribute.data_type,
                    names.get(attribute.name, ""),
                    roles.get(index, ""),
                )
            ),
        )
        for index, attribute in enumerate(entity.attributes)
    ]


def _notes(attribute: str, data_type: str, name: str, role: str) -> Iterator[str]:
    if role:
        yield role
    if name and name != attribute.lower():
        yield "renamed: too long, or equal to another but for case"
    if type_key(data_type) not in _KNOWN:
        yield "unknown type, kept as text"


def _positions(entity: Entity, name: str) -> tuple[int, ...]:
    position = entity.position(name)
    return () if position is None else (position,)


def _table(entity: Entity, name: str, twins: int, *, feed: bool) -> TableOutline:
    keys = [entity.attributes[position].name for position in entity.key_positions]
    types = [sql_type(attribute.data_type) for attribute in entity.attributes]
    widest = _ROW_HEAD + len(types) // 8
    widest += sum(_WIDTHS.get(type_, _OUT_OF_LINE) for type_ in types)
    names: dict[str, str] = {}
    problem = ""
    try:
        names = {c.attribute: c.name for c in columns_for(entity, ())}
    except TargetError as error:
        problem = error.message
    return TableOutline(
        entity.name,
        name,
        len(types),
        ", ".join(names[key] for key in keys if key in names),
        widest,
        (
            *_warnings(entity, name, names, widest, twins),
            *(() if feed else _of_export(entity)),
        ),
        problem,
    )


def _warnings(
    entity: Entity, name: str, names: dict[str, str], widest: int, twins: int
) -> Iterator[str]:
    if twins > 1:
        yield "Another table has this name but for case: one of them gets a suffix."
    elif name != entity.name.lower():
        yield "The name is too long for PostgreSQL and was shortened."
    if renamed := sum(name != attribute.lower() for attribute, name in names.items()):
        yield f"Columns renamed, too long or equal but for case: {renamed}."
    types = [type_key(attribute.data_type) for attribute in entity.attributes]
    if unknown := sum(type_ not in _KNOWN for type_ in types):
        yield f"Columns of an unknown type, kept as text: {unknown}."
    if widest > ROW_LIMIT:
        yield "So wide that PostgreSQL may refuse rows with a value in every column."


def _of_export(entity: Entity) -> Iterator[str]:
    if entity.position(VERSION) is None:
        yield f"No {VERSION}: changes are ordered by the time of their export."
    if entity.position(IS_DELETE) is None:
        yield f"No {IS_DELETE}: rows that were deleted stay."

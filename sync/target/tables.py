"""The target tables: their names and columns, and the statements that make them.

Everything here is a pure function; what there is now, ``relations.py`` tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from sync.errors import TargetError
from sync.model_json import KEY, Attribute, Entity
from sync.target.types import SQL_TYPES, TIMESTAMP, sql_type, widened

MAX_NAME = 63  # bytes, PostgreSQL's NAMEDATALEN - 1
MAX_COLUMNS = 1600
VERSION, SINK, IS_DELETE = "versionnumber", "SinkModifiedOn", "IsDelete"

# Every table has these; a column of that name cannot be created.
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
# What the merge compares, and the types in which it can.
_SYSTEM_TYPES = {
    # Tombstones hold keys as text: equal keys must have one text.
    KEY: {"uuid", "text", "bigint", "integer"},
    VERSION: {"bigint", "integer"},
    SINK: {TIMESTAMP},
    IS_DELETE: {"boolean"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a target table and the attribute that it replicates."""

    attribute: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A target table. ``columns`` are in the order in which they were added."""

    schema: str
    name: str
    columns: tuple[Column, ...]

    @property
    def relation(self) -> sql.Identifier:
        """Return its qualified name for SQL."""
        return sql.Identifier(self.schema, self.name)

    def column(self, attribute: str) -> Column | None:
        """Return the column of an attribute by its exact name."""
        return next((c for c in self.columns if c.attribute == attribute), None)


def choose_name(source: str, taken: Collection[str]) -> str:
    """Return a PostgreSQL name for a name of the source that is not ``taken``.

    The name in lower case where that fits into 63 bytes and is free; else it is
    cut and ends in a hash of the exact source name, so that it depends on
    nothing else.
    """
    name = source.lower()
    if len(name.encode()) <= MAX_NAME and name not in taken:
        return name
    digest = hashlib.sha256(source.encode()).hexdigest()
    for length in range(8, len(digest) + 1, 8):
        suffix = f"_{digest[:length]}"
        room = MAX_NAME - len(suffix)
        candidate = name.encode()[:room].decode(errors="ignore") + suffix
        if candidate not in taken:
            return candidate
    raise TargetError("name_taken", f"No free name is left for {source!r}")


def columns_for(
    entity: Entity, existing: Sequence[Column], relation: sql.Identifier | None = None
) -> tuple[Column, ...]:
    """Return ``existing`` and a column for each attribute that has none yet.

    A column whose attribute has a wider type now gets it. Raises ``TargetError`` when
    the entity cannot be kept as a table, or when an attribute's type is another one;
    the message names the statement on ``relation`` that it would need.
    """
    columns = {column.attribute: column for column in existing}
    taken = {column.name for column in existing} | _SYSTEM_COLUMNS
    for attribute in entity.attributes:
        type_ = sql_type(attribute.data_type)
        column = columns.get(attribute.name)
        if column is None:
            column = Column(attribute.name, choose_name(attribute.name, taken), type_)
            columns[attribute.name] = column
            taken.add(column.name)
        elif (wider := widened(column.type, type_)) is None:
            _refuse_type(entity.name, attribute, column, relation)
        else:
            columns[attribute.name] = replace(column, type=wider)
    _check(entity, len(columns))
    return tuple(columns.values())


def key_columns(entity: Entity, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the names of the columns that hold the entity's key."""
    names = {column.attribute: column.name for column in columns}
    attributes = entity.attributes
    return tuple(names[attributes[index].name] for index in entity.key_positions)


def create_schema(schema: str) -> sql.Composed:
    """Return the statement that creates a schema."""
    return sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))


def create_table(table: Table, key: Sequence[str]) -> sql.Composed:
    """Return the statement that creates a table; ``key`` are its key columns."""
    return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
        table.relation, _definitions(table.columns), _names(key)
    )


def create_temporary_table(
    name: str, columns: Sequence[Column], key: Sequence[str]
) -> sql.Composed:
    """Return the statement for a table that goes away with the transaction."""
    return sql.SQL(
        "CREATE TEMPORARY TABLE {} ({}, PRIMARY KEY ({})) ON COMMIT DROP"
    ).format(sql.Identifier(name), _definitions(columns), _names(key))


def add_columns(table: Table, columns: Iterable[Column]) -> sql.Composed:
    """Return the statement that adds columns; old rows hold NULL in them."""
    return sql.SQL("ALTER TABLE {} {}").format(
        table.relation,
        sql.SQL(", ").join(
            sql.SQL("ADD COLUMN {}").format(_definitions([column]))
            for column in columns
        ),
    )


def retype(table: Table, columns: Iterable[Column]) -> sql.Composed:
    """Return the statement that gives columns their types; it rewrites the table."""
    return sql.SQL("ALTER TABLE {} {}").format(
        table.relation,
        sql.SQL(", ").join(
            sql.SQL("ALTER COLUMN {name} TYPE {type} USING {name}::{type}").format(
                name=sql.Identifier(column.name), type=SQL_TYPES[column.type]
            )
            for column in columns
        ),
    )


def plan(
    table: Table, columns: Sequence[Column], key: Sequence[str], *, schema_exists: bool
) -> list[sql.Composed]:
    """Return the statements that give ``table`` exactly ``columns``.

    ``table`` without columns does not exist yet.
    """
    wanted = Table(table.schema, table.name, tuple(columns))
    if table.columns:
        statements = []
        if wider := widened_columns(table, columns):
            statements.append(retype(table, wider))
        known = {column.attribute for column in table.columns}
        if new := [column for column in columns if column.attribute not in known]:
            statements.append(add_columns(table, new))
        return statements
    statements = [] if schema_exists else [create_schema(table.schema)]
    return [*statements, create_table(wanted, key)]


def widened_columns(table: Table, columns: Iterable[Column]) -> list[Column]:
    """Return those of ``columns`` that the table has with another type."""
    types = {column.attribute: column.type for column in table.columns}
    return [c for c in columns if types.get(c.attribute, c.type) != c.type]


def adopted(table: Table, found: Mapping[str, str], entity: Entity) -> Table:
    """Return the table with those types of the relation that the entity asks for.

    A person gave them to columns which dvsync would not change by itself.
    """
    wanted = {a.name: sql_type(a.data_type) for a in entity.attributes}
    columns = (
        replace(column, type=found[column.name])
        if found.get(column.name) == wanted.get(column.attribute, "")
        else column
        for column in table.columns
    )
    return replace(table, columns=tuple(columns))


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _definitions(columns: Iterable[Column]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), SQL_TYPES[column.type])
        for column in columns
    )


def _check(entity: Entity, width: int) -> None:
    if not entity.key_positions:
        raise TargetError(
            "unsupported_entity",
            f"{entity.name} has no column {KEY}, by which rows are told apart",
            where=entity.name,
        )
    # With a key of its own, the names of Synapse Link's columns mean nothing.
    for name, allowed in ({} if entity.key else _SYSTEM_TYPES).items():
        position = entity.position(name)
        if position is None:
            continue
        attribute = entity.attributes[position]
        if sql_type(attribute.data_type) not in allowed:
            raise TargetError(
                "unsupported_entity",
                f"{entity.name}.{attribute.name} is {attribute.data_type}, by which "
                "changes can be neither told apart nor ordered",
                where=f"{entity.name}.{attribute.name}",
            )
    if width > MAX_COLUMNS:
        raise TargetError(
            "target_limit",
            f"{entity.name} needs {width} columns; PostgreSQL allows {MAX_COLUMNS}",
            where=entity.name,
        )


def _refuse_type(
    entity: str, attribute: Attribute, column: Column, relation: sql.Identifier | None
) -> None:
    message = (
        f"{entity}.{attribute.name} is {attribute.data_type} now; its column is "
        f"{column.type}"
    )
    if relation is not None:
        type_ = SQL_TYPES[sql_type(attribute.data_type)]
        needed = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
            relation, sql.Identifier(column.name), type_
        )
        message += f". It would need: {needed.as_string(None)}"
    raise TargetError("type_changed", message, where=f"{entity}.{attribute.name}")

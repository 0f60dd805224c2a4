"""The types of model.json and of PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from sync.model_json import DATA_TYPES, Entity, type_key

TEXT = "text"
BOOLEAN = "boolean"
TIMESTAMP = "timestamp with time zone"
TIME_TYPES = frozenset({TIMESTAMP, "date", "time without time zone"})

# Each holds every value of those before it, written in the same way.
_WIDENING = ("integer", "bigint", "numeric", TEXT)

# Spelled as PostgreSQL's format_type() spells them, so that they can be compared
# with a table as it is. "text" for strings of any length and "numeric" without a
# precision: a replica cuts and rounds nothing. The format document, 6.2.
_TYPES = {
    "guid": "uuid",
    "string": TEXT,
    "char": TEXT,
    "int64": "bigint",
    "long": "bigint",
    "int32": "integer",
    "integer": "integer",
    "int16": "integer",
    "short": "integer",
    "byte": "integer",
    "decimal": "numeric",
    "double": "double precision",
    "float": "double precision",
    "boolean": BOOLEAN,
    "dateTime": TIMESTAMP,
    "dateTimeOffset": TIMESTAMP,
    "timestamp": TIMESTAMP,
    "date": "date",
    "time": "time without time zone",
    "json": TEXT,
    "unclassified": TEXT,
    "binary": TEXT,
}
_BY_KEY = {type_key(name): sql for name, sql in _TYPES.items()}
if frozenset(_TYPES) != DATA_TYPES:
    raise AssertionError(frozenset(_TYPES) ^ DATA_TYPES)

# The only type texts that ever reach a statement.
SQL_TYPES = {name: sql.SQL(name) for name in _TYPES.values()}


def sql_type(data_type: str) -> str:
    """Return the PostgreSQL type of a model.json type; unknown ones are text."""
    return _BY_KEY.get(type_key(data_type), TEXT)


def columns_of(entity: Entity, types: Collection[str]) -> frozenset[int]:
    """Return the positions of the columns that have one of the PostgreSQL types."""
    return frozenset(
        index
        for index, attribute in enumerate(entity.attributes)
        if sql_type(attribute.data_type) in types
    )


def widened(old: str, new: str) -> str | None:
    """Return the type that holds the values of both, None when there is none."""
    if old == new:
        return old
    if old not in _WIDENING or new not in _WIDENING:
        return TEXT if {old, new} == {TEXT, "double precision"} else None
    return max(old, new, key=_WIDENING.index)

"""The simpler dialects of model.json, in which tables declare their keys.

``logicalName`` is that of the original utility: ``entities[].logicalName`` with
``attributes[].logicalName``, ``type`` and ``isPrimaryKey``. The two shorter ones have
``tables[]``: a ``name`` with ``columns``, which are names, the first one the key; or a
``tableName`` with ``fields[].name`` and ``isPrimaryKey``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from sync.errors import ModelError
from sync.model_json.checking import (
    checked_name,
    list_at,
    name_at,
    object_at,
    refuse,
    refuse_twins,
)
from sync.model_json.parts import (
    KNOWN_TYPES,
    MAX_ATTRIBUTES,
    Attribute,
    Dialect,
    Entity,
    type_key,
)

# References and keys are such as "acc-001" in these dialects.
_TEXTS = frozenset({"guid", "lookup", "uniqueidentifier", "owner", "customer"})
READ = (
    "dvsync reads entities with name (Common Data Model) or logicalName, and tables "
    "with columns or fields"
)


def dialect_of(document: dict[str, object]) -> Dialect:
    """Say in which dialect a document is; raises ``ModelError`` when it is in none."""
    entities, tables = document.get("entities"), document.get("tables")
    # Beside entities, what is no list of tables is a key like any unknown one.
    if "tables" not in document or ("entities" in document and not _items(tables)):
        return _of_entities(entities)
    if entities:
        _refuse("has both entities and tables", "tables")
    found = {_of_table(item, index) for index, item in enumerate(_items(tables))}
    if len(found) > 1:
        _refuse("has tables with columns and tables with fields", "tables")
    return next(iter(found), Dialect.FIELDS)


def _of_entities(entities: object) -> Dialect:
    spelled = [_of_entity(item) for item in _items(entities)]
    known = [dialect for dialect in spelled if dialect is not None]
    if len(set(known)) > 1:
        index = next(i for i, d in enumerate(spelled) if d not in {None, known[0]})
        _refuse("has entities with name and with logicalName", f"entities[{index}]")
    return known[0] if known else Dialect.CDM


def _of_entity(item: object) -> Dialect | None:
    if isinstance(item, dict) and "name" in item:
        return Dialect.CDM
    logical = isinstance(item, dict) and "logicalName" in item
    return Dialect.LOGICAL if logical else None


def _of_table(item: object, index: int) -> Dialect:
    where = f"tables[{index}]"
    table = object_at(item, where)
    if ("columns" in table) == ("fields" in table):
        what = "both" if "columns" in table else "neither"
        _refuse(f"has in {where} {what} of columns and fields", where)
    return Dialect.COLUMNS if "columns" in table else Dialect.FIELDS


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def name_key(dialect: Dialect) -> str:
    """Return the key under which a dialect has the name of a table."""
    return "name" if dialect is Dialect.CDM else _SHAPES[dialect].name


def _refuse(what: str, where: str) -> NoReturn:
    raise ModelError(f"model.json {what}: {READ}", where=where)


def keyed_entity(
    dialect: Dialect, item: object, path: str, warnings: list[str]
) -> Entity:
    """Return a table of one of these dialects; raises ``ModelError``."""
    entity = object_at(item, path)
    shape = _SHAPES[dialect]
    name = name_at(entity, path, shape.name)
    attributes = f"{path}.{shape.attributes}"
    found = [
        shape.attribute_at(attribute, f"{attributes}[{index}]", index)
        for index, attribute in enumerate(
            list_at(entity, shape.attributes, path, MAX_ATTRIBUTES)
        )
    ]
    if not found:
        refuse(attributes, "must not be empty", [])
    names = [attribute.name for attribute, _ in found]
    refuse_twins(names, attributes, shape.attribute_name)
    key = tuple(attribute.name for attribute, is_key in found if is_key)
    if not key:
        warnings.append(f"{name}: no attribute is its key, so it cannot be replicated")
    for attribute, _ in found:
        if type_key(attribute.data_type) not in KNOWN_TYPES:
            warnings.append(
                f"{name}.{attribute.name}: the data type {attribute.data_type[:100]!r} "
                "is not known and is kept as text"
            )
    return Entity(name, tuple(attribute for attribute, _ in found), key=key)


def _logical(item: object, path: str, _: int) -> tuple[Attribute, bool]:
    described = object_at(item, path)
    return _described(described, path, name_at(described, path, "logicalName"))


def _field(item: object, path: str, _: int) -> tuple[Attribute, bool]:
    described = object_at(item, path)
    return _described(described, path, name_at(described, path))


def _column(item: object, path: str, index: int) -> tuple[Attribute, bool]:
    return Attribute(checked_name(item, path), "string"), index == 0


def _described(
    described: dict[str, object], path: str, name: str
) -> tuple[Attribute, bool]:
    data_type = described.get("type", "string")
    if not isinstance(data_type, str) or not data_type:
        refuse(f"{path}.type", "must be a non-empty string", data_type)
    if type_key(data_type) in _TEXTS:
        data_type = "string"
    is_key = described.get("isPrimaryKey", False)
    if not isinstance(is_key, bool):
        refuse(f"{path}.isPrimaryKey", "must be true or false", is_key)
    return Attribute(name, data_type), is_key


@dataclass(frozen=True)
class _Shape:
    """The keys of a dialect, and what reads one item of its attributes."""

    name: str
    attributes: str
    attribute_name: str
    attribute_at: Callable[[object, str, int], tuple[Attribute, bool]]


_SHAPES = {
    Dialect.LOGICAL: _Shape("logicalName", "attributes", ".logicalName", _logical),
    Dialect.COLUMNS: _Shape("name", "columns", "", _column),
    Dialect.FIELDS: _Shape("tableName", "fields", ".name", _field),
}

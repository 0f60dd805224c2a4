"""model.json, the schema of an export or of a change feed, into frozen dataclasses.

The first dialect is that of the Common Data Model, which Azure Synapse Link writes; the
others are told apart by their keys, and none is guessed.
"""

from __future__ import annotations

from sync.model_json.cdm import cdm_entity
from sync.model_json.checking import list_at, load, refuse, refuse_twins
from sync.model_json.dialects import dialect_of, keyed_entity, name_key
from sync.model_json.parts import (
    DATA_TYPES,
    KEY,
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_ENTITIES,
    MAX_NAME,
    Attribute,
    Dialect,
    Entity,
    FilePartition,
    Model,
    type_key,
)

__all__ = [
    "DATA_TYPES",
    "KEY",
    "MAX_ATTRIBUTES",
    "MAX_BYTES",
    "MAX_ENTITIES",
    "MAX_NAME",
    "Attribute",
    "Dialect",
    "Entity",
    "FilePartition",
    "Model",
    "parse_model",
    "type_key",
]


def parse_model(data: bytes) -> Model:
    """Parse the bytes of a model.json; raise ``ModelError`` when they are none."""
    document = load(data)
    if not isinstance(document, dict):
        refuse("", "must be a JSON object", document)
    warnings: list[str] = []
    dialect = dialect_of(document)
    list_key = "entities" if dialect in {Dialect.CDM, Dialect.LOGICAL} else "tables"
    items = list_at(document, list_key, "", MAX_ENTITIES)
    parsed = (
        _entity(dialect, item, f"{list_key}[{index}]", warnings)
        for index, item in enumerate(items)
    )
    entities = tuple(entity for entity in parsed if entity is not None)
    names = [entity.name for entity in entities]
    refuse_twins(names, list_key, f".{name_key(dialect)}")
    return Model(entities, tuple(dict.fromkeys(warnings)), dialect)


def _entity(
    dialect: Dialect, item: object, path: str, warnings: list[str]
) -> Entity | None:
    if dialect is Dialect.CDM:
        return cdm_entity(item, path, warnings)
    return keyed_entity(dialect, item, path, warnings)

"""The dialect of the Common Data Model, as Azure Synapse Link writes it.

Entities have an ordered list of attributes, which is the order of the cells of a row.
Unknown keys are ignored.
"""

from __future__ import annotations

from sync.model_json.checking import (
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
    Entity,
    FilePartition,
    type_key,
)

ATTRIBUTES_KEPT = 100_000


def cdm_entity(item: object, path: str, warnings: list[str]) -> Entity | None:
    """Return an entity, None for one that is no table; raises ``ModelError``."""
    entity = object_at(item, path)
    name = name_at(entity, path)
    if entity.get("$type", "LocalEntity") != "LocalEntity":
        warnings.append(f"{name}: is no LocalEntity and is left out")
        return None
    attributes = tuple(
        _attribute(attribute, path, index, name, warnings)
        for index, attribute in enumerate(
            list_at(entity, "attributes", path, MAX_ATTRIBUTES)
        )
    )
    if not attributes:
        refuse(f"{path}.attributes", "must not be empty", [])
    refuse_twins([a.name for a in attributes], f"{path}.attributes")
    partitions = (
        object_at(partition, f"{path}.partitions[{index}]")
        for index, partition in enumerate(
            list_at(entity, "partitions", path, None)
            if entity.get("partitions") is not None
            else []
        )
    )
    return Entity(
        name,
        attributes,
        tuple(
            FilePartition(str(p.get("name", "")), str(p.get("location") or ""))
            for p in partitions
        ),
        _annotation(entity, "Athena:InitialSyncDataCompletedTime"),
    )


# Attributes that were found right. Folder after folder has the same ones: looking
# them up makes a model several times as fast to read.
_right: dict[tuple[object, object], Attribute] = {}


def _attribute(
    item: object, entity_path: str, index: int, entity: str, warnings: list[str]
) -> Attribute:
    try:
        return _right[item["name"], item["dataType"]]  # type: ignore[index]
    except (KeyError, TypeError):
        path = f"{entity_path}.attributes[{index}]"
    described = object_at(item, path)
    name = name_at(described, path)
    data_type = described.get("dataType")
    if not isinstance(data_type, str) or not data_type:
        refuse(f"{path}.dataType", "must be a non-empty string", data_type)
    attribute = Attribute(name, data_type)
    if type_key(data_type) not in KNOWN_TYPES:
        warnings.append(
            f"{entity}.{name}: the data type {data_type[:100]!r} is not known and is "
            "kept as text"
        )
    elif len(_right) < ATTRIBUTES_KEPT:
        _right[name, data_type] = attribute
    return attribute


def _annotation(entity: dict[str, object], name: str) -> str:
    annotations = entity.get("annotations")
    if isinstance(annotations, list):
        for item in annotations:
            if isinstance(item, dict) and item.get("name") == name:
                return str(item.get("value") or "")
    return ""

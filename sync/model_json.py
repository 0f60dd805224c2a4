"""model.json, the schema of an export, into frozen dataclasses.

The dialect is the Common Data Model's model.json as Azure Synapse Link writes
it: entities with an ordered list of attributes, which is the order of the cells
of a row. Unknown keys are ignored. Every refusal names the exact place, such as
``entities[3].attributes[7].dataType``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from sync.errors import ModelError

MAX_BYTES = 64 * 1024 * 1024
MAX_ENTITIES = 10_000
MAX_ATTRIBUTES = 10_000
MAX_NAME = 1_000  # bytes: names are keys of our own indexes
ATTRIBUTES_KEPT = 100_000

# Seen in exports, allowed by the CDM schema, or handled by other readers.
DATA_TYPES = frozenset(
    (
        *("guid", "string", "char", "boolean", "json", "unclassified", "binary"),
        *("int64", "long", "int32", "integer", "int16", "short", "byte"),
        *("decimal", "double", "float"),
        *("dateTime", "dateTimeOffset", "timestamp", "date", "time"),
    )
)

type_key = str.lower
_KNOWN = frozenset(map(type_key, DATA_TYPES))
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One column. ``data_type`` is spelled as in the file."""

    name: str
    data_type: str


@dataclass(frozen=True, slots=True)
class FilePartition:
    """A file that the model lists for an entity; ``location`` is never a path."""

    name: str
    location: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One table of the export: its attributes are in the order of the cells."""

    name: str
    attributes: tuple[Attribute, ...]
    partitions: tuple[FilePartition, ...] = ()
    initial_sync_completed: str = ""
    key: tuple[str, ...] = ()

    @property
    def key_positions(self) -> tuple[int, ...]:
        names = [attribute.name for attribute in self.attributes]
        if self.key:
            return tuple(names.index(name) for name in self.key)
        position = self.position("Id")
        return () if position is None else (position,)

    def position(self, name: str) -> int | None:
        """Return the index of an attribute; its exact spelling is preferred."""
        names = [attribute.name for attribute in self.attributes]
        if name in names:
            return names.index(name)
        folded = [candidate.lower() for candidate in names]
        return folded.index(name.lower()) if name.lower() in folded else None


@dataclass(frozen=True)
class Model:
    """A whole model.json; ``warnings`` say what was read in a second-best way."""

    entities: tuple[Entity, ...]
    warnings: tuple[str, ...] = ()

    def entity(self, name: str) -> Entity | None:
        """Return the entity of exactly this name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Entity]:
        return {entity.name: entity for entity in self.entities}


def parse_model(data: bytes) -> Model:
    """Parse the bytes of a model.json; raise ``ModelError`` when they are none."""
    document = _load(data)
    if not isinstance(document, dict):
        _refuse("", "must be a JSON object", document)
    warnings: list[str] = []
    items = _list(document, "entities", "", MAX_ENTITIES)
    parsed = (
        _entity(item, f"entities[{index}]", warnings)
        for index, item in enumerate(items)
    )
    entities = tuple(entity for entity in parsed if entity is not None)
    _refuse_twins([entity.name for entity in entities], "entities")
    return Model(entities, tuple(dict.fromkeys(warnings)))


def _load(data: bytes) -> object:
    if len(data) > MAX_BYTES:
        raise ModelError(f"model.json is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise ModelError(f"model.json is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ModelError("model.json is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ModelError(
            f"model.json is not valid JSON: {error.msg}",
            where=f"model.json, line {error.lineno}, column {error.colno}",
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise ModelError(f"model.json is not valid JSON: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twin = next(n for n, _ in pairs if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise ModelError(f"model.json has the key {twin[:100]!r} twice in one object")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ModelError(f"model.json holds {name}, which is not JSON")


def _entity(item: object, path: str, warnings: list[str]) -> Entity | None:
    entity = _dict(item, path)
    name = _name(entity, path)
    if entity.get("$type", "LocalEntity") != "LocalEntity":
        warnings.append(f"{name}: is no LocalEntity and is left out")
        return None
    attributes = tuple(
        _attribute(attribute, path, index, name, warnings)
        for index, attribute in enumerate(
            _list(entity, "attributes", path, MAX_ATTRIBUTES)
        )
    )
    if not attributes:
        _refuse(f"{path}.attributes", "must not be empty", [])
    _refuse_twins([a.name for a in attributes], f"{path}.attributes")
    partitions = (
        _dict(partition, f"{path}.partitions[{index}]")
        for index, partition in enumerate(
            _list(entity, "partitions", path, None)
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
    described = _dict(item, path)
    name = _name(described, path)
    data_type = described.get("dataType")
    if not isinstance(data_type, str) or not data_type:
        _refuse(f"{path}.dataType", "must be a non-empty string", data_type)
    attribute = Attribute(name, data_type)
    if type_key(data_type) not in _KNOWN:
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


def _dict(item: object, path: str) -> dict[str, object]:
    if not isinstance(item, dict):
        _refuse(path, "must be an object", item)
    return item


def _list(
    parent: dict[str, object], key: str, path: str, limit: int | None
) -> list[object]:
    where = f"{path}.{key}" if path else key
    if key not in parent:
        raise ModelError(f"model.json has no {where}", where=where)
    value = parent[key]
    if not isinstance(value, list):
        _refuse(where, "must be a list", value)
    if limit is not None and len(value) > limit:
        raise ModelError(
            f"model.json: {where} has {len(value)} items, more than {limit}",
            where=where,
        )
    return value


def _name(item: dict[str, object], path: str) -> str:
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        _refuse(f"{path}.name", "must be a non-empty string", name)
    if _UNSAFE.search(name) or len(name.encode()) > MAX_NAME:
        _refuse(
            f"{path}.name",
            f"must have at most {MAX_NAME} bytes and no control character",
            name,
        )
    return name


def _refuse_twins(names: list[str], path: str) -> None:
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twins = (i for i, n in enumerate(names) if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        index = next(twins)
        _refuse(f"{path}[{index}].name", "occurs a second time", names[index])


def _refuse(path: str, rule: str, value: object) -> NoReturn:
    shown = repr(value) if isinstance(value, str) else type(value).__name__
    if value is None:
        shown = "missing or null"
    subject = f"model.json: {path}" if path else "model.json"
    raise ModelError(f"{subject} {rule}, not {shown[:100]}", where=path)

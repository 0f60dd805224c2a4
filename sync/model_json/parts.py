"""What a model.json says, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

MAX_BYTES = 64 * 1024 * 1024
MAX_ENTITIES = 10_000
MAX_ATTRIBUTES = 10_000
MAX_NAME = 1_000  # bytes: names are keys of our own indexes
KEY = "Id"

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
KNOWN_TYPES = frozenset(map(type_key, DATA_TYPES))


class Dialect(StrEnum):
    """How a model.json says what it says; the first is that of Synapse Link."""

    CDM = "Common Data Model"
    LOGICAL = "logicalName"
    COLUMNS = "columns"
    FIELDS = "fields"


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
    """One table of the export: its attributes are in the order of the cells.

    ``key`` are the names of the attributes that tell its rows apart, where the model
    declares them. Else it is ``Id``.
    """

    name: str
    attributes: tuple[Attribute, ...]
    partitions: tuple[FilePartition, ...] = ()
    initial_sync_completed: str = ""
    key: tuple[str, ...] = ()

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Return the indexes of its key's attributes; () when it has no key."""
        if self.key:
            names = [attribute.name for attribute in self.attributes]
            return tuple(names.index(name) for name in self.key)
        position = self.position(KEY)
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
    dialect: Dialect = Dialect.CDM

    def entity(self, name: str) -> Entity | None:
        """Return the entity of exactly this name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Entity]:
        return {entity.name: entity for entity in self.entities}

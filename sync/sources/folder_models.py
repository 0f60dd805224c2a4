"""The schemas of a change folder: its model.json, or a table's own model instead.

A folder whose export broke off has a model.json that is cut. The tables that it
does not describe may have a model of their own, in the folder of the service that
writes the export.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from sync.errors import ModelError, SourceError
from sync.model_json import MAX_BYTES, Dialect, Entity, Model, parse_model
from sync.sources.storage import Storage

MODEL = "model.json"
SERVICE = "Microsoft.Athena.TrickleFeedService"
# The errors of a table that neither model describes.
UNDESCRIBED = frozenset({"model_malformed", "entity_missing"})
# Models are kept for the tables of a run to share. Equal entities are one object,
# so that a model costs little more than the files it lists.
MODELS_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Described:
    """How a table is read: its entity, and the folder's model when that has it."""

    entity: Entity
    model: Model | None


def export_model(data: bytes) -> Model:
    """Parse a model.json of an export.

    Raises ``ModelError`` for a dialect in which no export is described: its keys may be
    several columns, and the rows of an export are told apart by one.
    """
    model = parse_model(data)
    if model.dialect is not Dialect.CDM:
        raise ModelError(
            f"model.json is in the dialect {model.dialect}, not in the one of Synapse "
            f"Link ({Dialect.CDM})",
            where="entities" if model.dialect is Dialect.LOGICAL else "tables",
        )
    return model


class FolderModels:
    """The models of a storage's change folders. Safe for threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._entities: dict[str, Entity] = {}
        self._lock = threading.Lock()

    def data(self, folder: str) -> bytes | None:
        """Return a folder's model.json as it is now, None when there is none."""
        return self._storage.read(f"{folder}/{MODEL}", MAX_BYTES + 1)

    def parse(self, folder: str, data: bytes) -> Model:
        """Parse a folder's model.json and keep the model."""
        model = export_model(data)
        with self._lock:
            model = replace(model, entities=tuple(map(self._shared, model.entities)))
            self._models[folder] = model
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
        return model

    def describe(self, folder: str, table: str) -> Described:
        """Return the table's entity, of the folder's model.json where that has it.

        Its own model is looked for when model.json does not parse or lacks the
        table, never when there is no model.json. Raises the error of model.json
        when both are of no use.
        """
        why: SourceError
        try:
            model = self._model(folder)
            if entity := model.entity(table):
                return Described(entity, model)
            why = SourceError(
                "entity_missing",
                f"model.json of {folder} does not describe {table}",
                where=f"{folder}/{MODEL}",
            )
        except ModelError as error:
            why = error
        try:
            return Described(self.own(folder, table).entities[0], None)
        except SourceError as unusable:
            if not unusable.permanent:
                raise
            raise _neither(why, unusable) from unusable

    def find(self, folder: str, table: str) -> Described | None:
        """Return what ``describe`` does, or None when nothing describes the table."""
        try:
            return self.describe(folder, table)
        except SourceError as error:
            if error.code in UNDESCRIBED:
                return None
            raise

    def own(self, folder: str, table: str) -> Model:
        """Return the table's own model, with the table as its only entity."""
        path = f"{folder}/{own_path(table)}"
        # Table names come from listings and models. No folder entry has a slash.
        data = None if "/" in table else self._storage.read(path, MAX_BYTES + 1)
        if data is None:
            raise SourceError("file_missing", f"there is no {path}", where=path)
        try:
            model = export_model(data)
        except ModelError as error:
            raise ModelError(f"{path}: {error.message}", where=path) from error
        alike = [e for e in model.entities if e.name.lower() == table.lower()]
        exact = [e for e in alike if e.name == table]
        found = exact or alike
        if len(found) != 1:
            raise SourceError(
                "entity_missing", f"{path} does not describe {table}", where=path
            )
        return replace(model, entities=tuple(found))

    def _model(self, folder: str) -> Model:
        with self._lock:
            if (model := self._models.get(folder)) is not None:
                self._models.move_to_end(folder)
                return model
        where = f"{folder}/{MODEL}"
        data = self.data(folder)
        if not data:
            raise SourceError(
                "file_missing", f"{folder} has no {MODEL} any more", where=where
            )
        try:
            return self.parse(folder, data)
        except ModelError as error:
            raise ModelError(
                f"{folder}: {error.message}", where=f"{folder}/{error.where or MODEL}"
            ) from error

    def _shared(self, entity: Entity) -> Entity:
        known = self._entities.get(entity.name)
        if known is None or known.attributes != entity.attributes:
            self._entities[entity.name] = replace(entity, partitions=())
            return entity
        if not entity.partitions and known == entity:
            return known
        return replace(entity, attributes=known.attributes)


def _neither(error: SourceError, unusable: SourceError) -> SourceError:
    message = (
        f"{error.message}; there is no usable per-table model either: "
        f"{unusable.message}"
    )
    if isinstance(error, ModelError):
        return ModelError(message, where=error.where)
    return SourceError(error.code, message, where=error.where)


def own_path(table: str) -> str:
    """Return the path of a table's own model below a change folder."""
    return f"{SERVICE}/{table}-model.json"

"""The model by which a sync is created: the location's own, or one that is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sync.engine.source import source_of
from sync.errors import ConfigError, ModelError, SourceError
from sync.model_json import MAX_BYTES, Model, parse_model
from sync.models import SourceKind, SyncConfig
from sync.models.text import storable
from sync.sources.folder_models import MODEL
from sync.sources.storage import Directory


def parsed(data: bytes | None) -> Model | None:
    """Return the model of a model.json that was given; raises ``ConfigError``."""
    try:
        return parse_model(data) if data is not None else None
    except ModelError as error:
        raise _refused(error) from error


def find(config: SyncConfig, data: bytes | None, given: Model | None) -> Model | None:
    """Return the model that tells the tables: the location's own, else the given one.

    The config remembers of the given one, whose bytes are ``data``, what it needs.
    Raises ``ConfigError``.
    """
    if config.kind == SourceKind.CHANGE_FEED:
        return _of_feed(config, data, given)
    return _of_export(config, given)


def _of_export(config: SyncConfig, given: Model | None) -> Model | None:
    if not Path(config.location).is_dir():
        said = f"{config.location} is a file, which no export is"
        raise ConfigError(said, where=config.location)
    if given is not None:
        config.model_json = [entity.name for entity in given.entities]
    try:
        return source_of(config).model() or given
    except ModelError:
        return given  # the root's copy serves as a list only
    except SourceError as error:
        if given is not None and error.code == "not_an_export":
            return given
        raise _refused(error) from error


def _of_feed(config: SyncConfig, data: bytes | None, given: Model | None) -> Model:
    path = Path(config.location)
    folder = path if path.is_dir() else path.parent
    model = given
    try:
        own = Directory(folder).read(MODEL, MAX_BYTES + 1)
        model = parse_model(own) if own else given
        if not own:
            config.model_json = document(data)
        if model is None:
            raise ConfigError(
                "A change feed needs a model.json, which describes its tables",
                where=str(folder / MODEL),
                remedy="Put it beside the log files, or give it with --model-json.",
            )
        source_of(config).model()
    except SourceError as error:
        # A directory may be empty still: log files that come later are read then.
        if model is None or error.code != "not_an_export" or folder != path:
            raise _refused(error) from error
    return model


def document(data: bytes | None) -> Any:
    """Return a model.json as it is stored with a change feed."""
    return storable(json.loads(data.decode("utf-8-sig"))) if data else None


def _refused(error: SourceError) -> ConfigError:
    general = "" if isinstance(error, ModelError) else error.remedy
    return ConfigError(error.message, where=error.where, remedy=general)

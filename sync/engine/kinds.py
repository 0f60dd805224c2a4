"""Which kind of source a location holds: told by what is there, never guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from sync.errors import ConfigError, ModelError, SourceError
from sync.model_json import MAX_BYTES, Dialect, Model, parse_model
from sync.models import SourceKind
from sync.sources.browsing import Glance, glance
from sync.sources.folder_models import MODEL
from sync.sources.storage import Directory

EXPORT_SIGN, FEED_SIGN = "Changelog/changelog.info", "*.log files"


class UnclearKindError(ConfigError):
    """What is there is of both kinds: a person must say which one it is."""


def kind_of(seen: Glance | None, models: Collection[Model | None] = ()) -> SourceKind:
    """Return the kind of a location by its looks, None for a file.

    ``models`` are its own model.json and the one that was given. Raises
    ``UnclearKindError`` when the signs contradict each other.
    """
    others = {is_of_feed(model) for model in models if model}
    if seen is None:
        return SourceKind.CHANGE_FEED
    if seen.is_both:
        _unclear(f"The location holds both {EXPORT_SIGN} and {FEED_SIGN}")
    if seen.begun and True in others:
        _unclear(
            f"The location holds {EXPORT_SIGN}, but the model.json is not in the "
            "dialect of Synapse Link"
        )
    if seen.begun:
        return SourceKind.SYNAPSE_LINK
    if seen.logs:
        return SourceKind.CHANGE_FEED
    if len(others) > 1:
        _unclear("The location's model.json is in another dialect than the given one")
    return SourceKind.CHANGE_FEED if True in others else SourceKind.SYNAPSE_LINK


def detected_kind(path: str, given: Model | None) -> SourceKind:
    """Return the kind of what is at a path; raises ``ConfigError`` if it is unclear.

    ``given`` is a model that was uploaded.
    """
    if not Path(path).is_dir():
        return kind_of(None)
    directory = Directory(path)
    try:
        return kind_of(glance(directory), [_own_model(directory), given])
    except SourceError as error:
        raise ConfigError(
            error.message, where=error.where, remedy=error.remedy
        ) from error


def _own_model(directory: Directory) -> Model | None:
    data = directory.read(MODEL, MAX_BYTES + 1)
    try:
        return parse_model(data) if data else None
    except ModelError:
        return None  # whoever reads it will say so


def is_of_feed(model: Model) -> bool:
    """Say whether a model.json is in a dialect in which no export is described."""
    return model.dialect is not Dialect.CDM


def _unclear(message: str) -> NoReturn:
    kinds = " or ".join(f"--kind {kind}" for kind in SourceKind.values)
    raise UnclearKindError(message, remedy=f"Say what it is: {kinds}.")

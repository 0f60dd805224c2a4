"""The source that reads the location of a sync."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from django.conf import settings

from sync.model_json import Model, parse_model
from sync.models import SourceKind, SyncConfig
from sync.sources.base import Source
from sync.sources.change_feed import ChangeFeed
from sync.sources.storage import Directory
from sync.sources.synapse_link import SynapseLink


def source_of(config: SyncConfig, spool: Path | None = None) -> Source:
    """Return the source that reads a config's location.

    What it writes for itself goes below ``spool``, else into the data directory.
    """
    if config.kind == SourceKind.CHANGE_FEED:
        return change_feed(config.location, _uploaded(config), spool)
    return SynapseLink(Directory(config.location))


def forget_spool(config: SyncConfig) -> None:
    """Remove what was prepared of a feed that no sync reads any more."""
    if not SyncConfig.objects.filter(location=config.location).exists():
        shutil.rmtree(_spool(config.location), ignore_errors=True)


def change_feed(
    location: str, uploaded: Model | None = None, spool: Path | None = None
) -> ChangeFeed:
    """Return the change feed of a directory or of one log file.

    Its spool files are in the data directory.
    """
    path = Path(location)
    only = "" if path.is_dir() else path.name
    folder = Directory(path.parent if only else path)
    return ChangeFeed(folder, spool or _spool(location), only=only, uploaded=uploaded)


def _spool(location: str) -> Path:
    digest = hashlib.sha256(location.encode(errors="surrogateescape")).hexdigest()
    folder: Path = settings.DATA_DIR / "spool" / digest[:16]
    return folder


def _uploaded(config: SyncConfig) -> Model | None:
    if config.model_json is None:
        return None
    return parse_model(json.dumps(config.model_json).encode())

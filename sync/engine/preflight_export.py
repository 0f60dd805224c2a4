"""The checks of an export before a sync of it is created."""

from __future__ import annotations

import time
from collections.abc import Callable

from sync.engine.dry_load import smallest_first_file
from sync.engine.preflight_results import (
    Remark,
    Sizes,
    State,
    chosen_names,
    compare_models,
)
from sync.engine.words import plural, size
from sync.errors import PROBLEMS
from sync.model_json import Model
from sync.models import SyncConfig
from sync.sources.browsing import glance
from sync.sources.folder_names import folder_time
from sync.sources.storage import Directory, Kind
from sync.sources.synapse_link import SynapseLink
from sync.sources.table_files import csv_files, table_folders

# How long the sizes of files are added up.
SIZES_SECONDS = 4.0


class ExportChecks:
    """What is looked at in an export."""

    def __init__(self, config: SyncConfig, model: Model, *, uploaded: bool) -> None:
        self._config = config
        self._model = model
        self._uploaded = uploaded
        self._directory = Directory(config.location)

    def all(self) -> list[tuple[str, Callable[[], str]]]:
        """Return title and work of each check, in order."""
        return [
            ("List its folders", self._list),
            ("Read a file", self._read),
            ("Understand its model.json", self._parse),
        ]

    def sizes(self) -> Sizes:
        """Add up what is to be loaded, for a limited time."""
        end = time.monotonic() + SIZES_SECONDS
        _, moment = SynapseLink(self._directory).marker()
        total = 0
        for folder in self._directory.entries():
            opened = folder_time(folder.name)
            if folder.kind is not Kind.FOLDER or opened is None or opened >= moment:
                continue
            if time.monotonic() > end:
                return Sizes(total, True)
            total += self._size_of(folder.name)
        return Sizes(total, False)

    def _size_of(self, folder: str) -> int:
        total = 0
        for table in table_folders(self._directory.entries(folder)):
            if table.kind is Kind.FOLDER and self._config.selects(table.name):
                path = f"{folder}/{table.name}"
                files, _ = csv_files(self._directory, path, table.kind)
                total += sum(file.size for file in files)
        return total

    def _list(self) -> str:
        seen = glance(self._directory)
        if seen.problem:
            raise Remark(State.FAILED, seen.problem, PROBLEMS["marker_unusable"].remedy)
        if not seen.begun:
            detail = "There is no Changelog/changelog.info yet"
            state = State.WARNING if self._uploaded else State.FAILED
            raise Remark(state, detail, PROBLEMS["not_an_export"].remedy)
        if not seen.closed:
            raise Remark(
                State.WARNING,
                f"No finished change folder yet; {seen.marker} is open",
                "Nothing: the first rows come when Synapse Link closes that folder.",
            )
        folders = plural(seen.closed, "finished change folder")
        return f"{folders}, the newest is {seen.last}; {seen.marker} is open"

    def _read(self) -> str:
        source = SynapseLink(self._directory)
        found = smallest_first_file(source, self._config)
        if found is None:
            raise Remark(State.UNKNOWN, "There is no file of a chosen table yet")
        with source.open(found) as stream:
            read = len(stream.read(1 << 16))
        return f"Read {size(read)} of {found.path}"

    def _parse(self) -> str:
        model = SynapseLink(self._directory).root_model()
        if model is None:
            raise Remark(State.UNKNOWN, "The export has no model.json yet")
        return compare_models(chosen_names(self._config, self._model), model)

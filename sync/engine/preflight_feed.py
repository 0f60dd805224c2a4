"""The checks of a change feed before a sync of it is created."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings

from sync.engine.preflight_results import (
    Remark,
    Sizes,
    State,
    chosen_names,
    compare_models,
    some_of,
)
from sync.engine.words import plural, size
from sync.errors import PROBLEMS
from sync.model_json import MAX_BYTES, Entity, Model, parse_model
from sync.models import SyncConfig
from sync.sources.browsing import glance
from sync.sources.csv_rows import BOM
from sync.sources.feed_lines import BadLineError, LineShape, table_of
from sync.sources.folder_models import MODEL
from sync.sources.storage import Directory
from sync.target.types import TEXT, TIME_TYPES, columns_of

# So much of a file is looked at.
SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class _Line:
    file: str
    number: int
    raw: bytes
    table: str | None


class FeedChecks:
    """What is looked at in a change feed."""

    def __init__(self, config: SyncConfig, model: Model, *, uploaded: bool) -> None:
        self._config = config
        self._model = model
        self._uploaded = uploaded
        self._directory = Directory(config.location)

    def all(self) -> list[tuple[str, Callable[[], str]]]:
        """Return title and work of each check, in order."""
        return [
            ("List its log files", self._list),
            ("Read lines of a file", self._read),
            ("Find the tables of its lines", self._tables),
            ("Understand its model.json", self._parse),
            ("Room for sorting lines", self._room),
        ]

    def sizes(self) -> Sizes:
        """Add up what is to be loaded."""
        return Sizes(glance(self._directory).bytes, False)

    def _list(self) -> str:
        seen = glance(self._directory)
        if seen.problem and not seen.begun:
            raise Remark(State.FAILED, seen.problem, PROBLEMS["unsafe_path"].remedy)
        if not seen.logs:
            raise Remark(
                State.WARNING,
                "There is no *.log file yet",
                "Nothing: the first rows come when one is there.",
            )
        files = plural(seen.logs, "log file")
        span = seen.first if seen.logs == 1 else f"from {seen.first} to {seen.last}"
        return f"{files} with {size(seen.bytes)}: {span}"

    def _read(self) -> str:
        lines = [line for line in self._sample() if line.table in self._chosen()]
        if not lines:
            raise Remark(State.UNKNOWN, "There is no line of a chosen table yet")
        line = lines[0]
        entity = self._entity(str(line.table))
        if entity is None:
            raise Remark(State.UNKNOWN, f"model.json does not describe {line.table}")
        try:
            _shape(entity).row(line.raw)
        except BadLineError as error:
            raise Remark(
                State.WARNING,
                f"{line.file}, line {line.number}: {error.message}",
                "Such a line stops its table, or is set aside, as you chose before.",
            ) from error
        return f"{line.file}, line {line.number} is a change of {line.table}"

    def _tables(self) -> str:
        lines = list(self._sample())
        broken = next((line for line in lines if line.table is None), None)
        if broken:
            raise Remark(
                State.FAILED,
                f"{broken.file}, line {broken.number} does not say to which table it "
                "belongs; nothing after it would be read",
                PROBLEMS["line_malformed"].remedy,
            )
        found = {line.table for line in lines if line.table}
        known = {entity.name for entity in self._newest().entities}
        if unknown := sorted(found - known):
            raise Remark(
                State.WARNING,
                f"Not in the model.json: {some_of(unknown)}",
                "Lines of these tables wait until model.json describes them.",
            )
        if not found:
            raise Remark(State.UNKNOWN, "There is no line yet")
        return f"{plural(len(found), 'table')}, all in the model.json"

    def _parse(self) -> str:
        data = self._directory.read(MODEL, MAX_BYTES + 1)
        if data:
            model = parse_model(data)
            return compare_models(chosen_names(self._config, self._model), model)
        if self._uploaded:
            number = plural(len(self._model.entities), "table")
            return f"The directory has none: the uploaded one counts, with {number}"
        raise Remark(
            State.FAILED,
            "The directory has no model.json any more",
            "Put it back, or upload it in the first step.",
        )

    def _room(self) -> str:
        """See that copies of the lines fit below the data directory."""
        needed = glance(self._directory).bytes
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(settings.DATA_DIR).free
        said = f"{size(free)} free in {settings.DATA_DIR}, for {size(needed)} of lines"
        if free < needed:
            raise Remark(
                State.WARNING,
                said,
                "Lines are copied there by table until they are applied. Make room.",
            )
        return said

    def _chosen(self) -> set[str]:
        return chosen_names(self._config, self._model)

    def _newest(self) -> Model:
        data = self._directory.read(MODEL, MAX_BYTES + 1)
        return parse_model(data) if data else self._model

    def _entity(self, table: str) -> Entity | None:
        return self._newest().entity(table)

    def _sample(self) -> Iterator[_Line]:
        """Yield the first whole lines of the first and of the last file."""
        seen = glance(self._directory)
        known = {entity.name for entity in self._newest().entities}
        for name in dict.fromkeys(filter(None, (seen.first, seen.last))):
            for number, raw in self._lines(name):
                yield _Line(name, number, raw, _table(raw, known))

    def _lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        data = self._directory.read(name, SAMPLE_BYTES) or b""
        *lines, _ = data.removeprefix(BOM).split(b"\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.removesuffix(b"\r")


def _table(line: bytes, known: set[str]) -> str | None:
    """Return the table of a line as the model names it, whatever its case."""
    name = table_of(line, known)
    alike = [other for other in known if name and other.lower() == name.lower()]
    return alike[0] if name not in known and len(alike) == 1 else name


def _shape(entity: Entity) -> LineShape:
    times = columns_of(entity, TIME_TYPES)
    return LineShape(entity, times, columns_of(entity, {TEXT}))

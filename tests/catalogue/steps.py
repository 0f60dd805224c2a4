"""What the tests of the catalogue share: rows as bytes, and what became of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.apps import apps
from django.core.management import CommandError, call_command

from sync.engine.load import sync_table
from sync.models import DataSyncProgress, Event, SyncPartition
from tests.exports import Key, guid
from tests.sync.conftest import Export

FILE = "2026.csv"
SINK = '"6/28/2026 4:34:35 PM"'
CREATED = '"2026-05-25T16:21:09.0000000+00:00"'
LF = b"\n"

MakeExport = Callable[..., Export]


# Writing


def line(
    key: Key,
    *own: str,
    version: int | str = 1,
    delete: str = "",
    after: Iterable[str] = (),
) -> bytes:
    """Return a row with the usual frame, without its line end; cells as in the file."""
    cells = (str(guid(key)), SINK, SINK, *own, str(version), CREATED, delete, *after)
    return ",".join(cells).encode()


def ago(**span: float) -> datetime:
    """Return a moment before now, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**span)


def edit_model(
    export: Export, folder: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    """Change the model.json of a closed folder, and the root's copy of it."""
    model = json.loads((export.root / folder / "model.json").read_text("utf-8"))
    edit(model)
    for path in (export.root / folder / "model.json", export.root / "model.json"):
        path.write_text(json.dumps(model), "utf-8")


def say_full_copy(export: Export, folder: str, entity: str, when: str) -> None:
    """Let a folder's model say when the full copy of a table was complete."""

    def edit(model: dict[str, Any]) -> None:
        found = next(e for e in model["entities"] if e["name"] == entity)
        for annotation in found["annotations"]:
            if annotation["name"] == "Athena:InitialSyncDataCompletedTime":
                annotation["value"] = when

    edit_model(export, folder, edit)


def configure(export: Export, **options: object) -> None:
    """Set fields of the sync."""
    for name, value in options.items():
        # A name that is no field must not pass as an attribute of this object.
        export.config._meta.get_field(name)
        setattr(export.config, name, value)
    export.config.save(update_fields=list(options))


def command(name: str, *arguments: str) -> int:
    """Run a command and return its exit code."""
    try:
        call_command(name, *arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except CommandError as error:
        return error.returncode
    return 0


# Looking


def counted(export: Export, entity: str) -> int:
    """Return how many rows of a table the progress rows account for."""
    return sum(
        row.rows_inserted
        + row.rows_updated
        + row.rows_deleted
        + row.rows_unchanged
        + row.rows_rejected
        for row in export.progress(entity)
    )


def counts(row: DataSyncProgress) -> tuple[int, int, int, int]:
    """Return inserted, updated, deleted and unchanged."""
    return row.rows_inserted, row.rows_updated, row.rows_deleted, row.rows_unchanged


def only_failure(export: Export, entity: str) -> DataSyncProgress:
    """Return the progress row of the one partition that failed."""
    [row] = [row for row in export.progress(entity) if row.copy_status == 2]
    return row


def assert_refused(
    export: Export,
    entity: str,
    code: str,
    *,
    at: int | None = None,
    column: str = "",
    file: str = FILE,
) -> None:
    """Check the code (a pattern) and the place of the one failure of a table."""
    row = only_failure(export, entity)
    assert re.fullmatch(code, row.error_code), (row.error_code, row.error_message)
    assert row.partition in row.error_where
    assert f"{entity}/{file}" in row.error_where
    if at is not None:
        assert re.search(rf"\bline {at}\b", row.error_where), row.error_where
    if column:
        assert re.search(rf"\bcolumn {column}\b", row.error_where), row.error_where
    assert row.error_remedy


def assert_read_or_refused(
    export: Export, entity: str, expected: list[Any], *, code: str = "bad_row"
) -> None:
    """Check that a file was read whole, or refused whole with its place."""
    [row] = export.progress(entity)
    if row.copy_status == 1:
        assert export.rows(entity, "name") == expected
        assert counted(export, entity) == len(expected)
    else:
        assert_refused(export, entity, code)
        assert export.rows(entity, "name") == []


def state(export: Export, folder: str) -> tuple[str, str]:
    """Return state and reason of a partition."""
    partition = SyncPartition.objects.get(config=export.config, name=folder)
    return partition.state, partition.reason


def statuses(export: Export, entity: str) -> list[int]:
    """Return the copy_status of each partition of a table, in order."""
    return [row.copy_status for row in export.progress(entity)]


def event_kinds(export: Export) -> set[str]:
    return set(
        Event.objects.filter(config=export.config).values_list("kind", flat=True)
    )


def refresh_reason(export: Export, entity: str) -> str:
    """Return why a table needs a refresh; empty if it does not."""
    table: Any = export.entity(entity)
    return str(table.refresh_reason)


def quarantined(export: Export, entity: str) -> list[Any]:
    """Return the quarantined rows of a table, in the order of the files."""
    models: Any = apps.get_app_config("sync")
    rows = models.get_model("QuarantinedRow").objects.filter(
        table=export.entity(entity)
    )
    return list(rows.order_by("partition", "file", "line"))


def sync_until_parked(export: Export, entity: str) -> str:
    """Try a table again, as often as a permanent error is tried; return its state."""
    export.sync()
    for _ in range(3):
        if (table := export.entity(entity)).state == "parked":
            break
        sync_table(table)
    return export.entity(entity).state


def sync_until_applied(export: Export, entity: str) -> str:
    """Look and try again, as the polls of a minute would; return the table's state."""
    for _ in range(3):
        export.poll()
        if sync_table(export.entity(entity)).status == "success":
            break
    return export.entity(entity).state


# Values


def outcomes(export: Export, data_type: str, cells: Iterable[str]) -> dict[str, object]:
    """Load each cell as a value of a type; return the values, or the errors' codes.

    Every cell is in a table of its own, on line 2, so that none hides another.
    """
    tables = {f"probe{number}": text for number, text in enumerate(cells)}
    for name, text in tables.items():
        export.table(name, [f"value:{data_type}"])
        export.raw(name, FILE, line(1, "") + LF + line(2, text) + LF)
    export.close_folder()
    export.sync()
    return {text: _outcome(export, name) for name, text in tables.items()}


def _outcome(export: Export, entity: str) -> object:
    [row] = export.progress(entity)
    if row.copy_status == 2:
        assert_refused(export, entity, row.error_code, at=2, column="value")
        assert export.rows(entity, "id") == []
        return row.error_code
    assert counted(export, entity) == 2
    (_, (value,)) = export.rows(entity, "value")
    return value

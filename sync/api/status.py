"""Reading the state: of everything, of one sync, of one table, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest

from sync.api.answers import Answer, not_found
from sync.api.asking import parameters
from sync.engine.documents import (
    document,
    error_document,
    frame,
    sync_document,
    table_document,
)
from sync.engine.overview import SyncStatus, TableStatus, overview
from sync.engine.states import Verdict
from sync.engine.versions import version
from sync.errors import PROBLEMS
from sync.models import SyncConfig, SyncTable
from sync.target.types import sql_type

SETTINGS = (
    "location",
    "include",
    "exclude",
    "bad_rows",
    "max_bad_rows",
    "empty_text",
    "new_tables",
    "missing_keys",
    "max_delete_share",
    "paused",
)


def about(request: HttpRequest) -> Answer:
    """Tell the version, and whose the token is."""
    parameters(request)
    user = request.user
    mine = sorted(p for p in user.get_all_permissions() if p.startswith("sync."))
    return Answer(
        {
            "version": version(),
            "user": user.get_username(),
            "permissions": mine,
        }
    )


def everything(request: HttpRequest) -> Answer:
    """Tell the state of everything, or of the sync of a name."""
    given = parameters(request, "sync")
    names = [given["sync"]] if "sync" in given else []
    seen = overview(names)
    if names and not seen.syncs:
        raise not_found(f"There is no sync named {names[0]!r}")
    return Answer(document(seen))


def one_sync(request: HttpRequest, pk: int) -> Answer:
    """Tell the state and the settings of a sync."""
    parameters(request)
    config = find_sync(pk)
    seen = overview([config.name])
    for status in seen.syncs:
        found = {**sync_document(status), "settings": settings_of(config)}
        return Answer({**frame(seen), "sync": found})
    raise _no_sync(pk)


def one_table(request: HttpRequest, pk: int) -> Answer:
    """Tell the state and the columns of a table."""
    parameters(request)
    table = find_table(pk)
    seen = overview([table.config.name])
    for status in (status for sync in seen.syncs for status in sync.tables):
        if status.table.pk == pk:
            found = {
                "sync": table.config.name,
                **table_document(status),
                "columns": _columns(table),
            }
            return Answer({**frame(seen), "table": found})
    raise not_found(f"{table.entity} is not replicated: the sync does not select it")


def errors(request: HttpRequest) -> Answer:
    """Tell what is wrong now: one error for each sync or table that has one."""
    parameters(request)
    seen = overview()
    found = [error for status in seen.syncs for error in _errors(status)]
    return Answer({"at": seen.at.isoformat(), "errors": found})


def find_sync(pk: int) -> SyncConfig:
    """Return the sync of this id; raise the refusal when there is none."""
    config = SyncConfig.objects.filter(pk=pk).first()
    if config is None:
        raise _no_sync(pk)
    return config


def find_table(pk: int) -> SyncTable:
    """Return the table of this id; raise the refusal when there is none."""
    table = SyncTable.objects.select_related("config").filter(pk=pk).first()
    if table is None:
        raise not_found(f"There is no table with the id {pk}")
    return table


def settings_of(config: SyncConfig) -> dict[str, object]:
    """Return the settings of a sync."""
    return {name: getattr(config, name) for name in SETTINGS}


def _no_sync(pk: int) -> Exception:
    return not_found(f"There is no sync with the id {pk}")


def _columns(table: SyncTable) -> list[dict[str, str | None]]:
    """Return every column that dvsync made, and what the source says of it now."""
    types: dict[str, str] = dict(table.attributes)
    made = [
        {"name": attribute, "type": types.get(attribute), "column": name, "sql": type_}
        for attribute, name, type_ in table.columns
    ]
    known = {attribute for attribute, _, _ in table.columns}
    return made + [
        {"name": name, "type": data_type, "column": None, "sql": sql_type(data_type)}
        for name, data_type in table.attributes
        if name not in known
    ]


def _errors(status: SyncStatus) -> Iterator[dict[str, object]]:
    if status.verdict.error:
        yield _error(status, None, status.verdict)
    for table in status.tables:
        if table.verdict.error:
            yield _error(status, table, table.verdict)


def _error(
    status: SyncStatus, table: TableStatus | None, verdict: Verdict
) -> dict[str, object]:
    said = error_document(verdict.error) or {}
    problem = PROBLEMS.get(said.get("code", ""))
    return {
        "sync": status.config.name,
        "sync_id": status.config.pk,
        "table": table.table.entity if table else None,
        "table_id": table.table.pk if table else None,
        "state": verdict.state.value,
        "title": problem.title if problem else None,
        "kept": problem.kept if problem else None,
        **said,
        "remedy": verdict.remedy or said.get("remedy", ""),
        "permanent": problem.permanent if problem else None,
    }

"""Actions on lists: asked about exactly the rows that were chosen, then done for them.

The page in between names the rows and posts their ids back. What came to the filter
meanwhile is not touched, and a row whose facts changed is left alone, with a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from sync.engine.decisions import held_partitions
from sync.engine.words import plural
from sync.models import DataSyncProgress, SyncConfig, SyncTable
from sync.printable import printable
from sync.tasks.deeds import SYNC_DEEDS, TABLE_DEEDS, Said
from sync.views.pages import back

LIMIT = 500
NAMES_SHOWN = 10

Things = Sequence[SyncConfig] | Sequence[SyncTable]


@dataclass(frozen=True)
class Row:
    """A row of the page in between; ``frozen`` is what must still be true of it."""

    pk: object
    name: str
    detail: str = ""
    frozen: str = ""


class BulkAction:
    """An action of a list, as Django's admin calls it."""

    allowed_permissions = ("operate",)
    do_not_call_in_templates = True

    def __init__(
        self,
        name: str,
        label: str,
        consequence: str,
        rows: Callable[[QuerySet[Any]], list[Row]],
        things: Callable[[Iterable[str]], Things],
        do: Callable[[Any, str, str | None], Said],
    ) -> None:
        self.__name__ = self.name = name
        self.short_description = label
        self.consequence = consequence
        self._rows = rows
        self._things = things
        self._do = do

    def __call__(
        self, modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Ask, or do what was answered; ``queryset`` are the rows that were chosen."""
        if request.POST.get("confirmed") == self.__name__:
            self._run(request)
            way_back = reverse(
                f"admin:{modeladmin.opts.label_lower.replace('.', '_')}_changelist"
            )
            return back(request, way_back)
        return self._ask(modeladmin, request, queryset)

    def _ask(
        self, modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        chosen = queryset.order_by()[: LIMIT + 1].values_list("pk", flat=True)
        if len(ids := list(chosen)) > LIMIT:
            self._warn(request, f"At most {LIMIT} rows at a time: filter the list.")
            return None
        rows = self._rows(queryset.model._default_manager.filter(pk__in=ids))
        if not rows:
            self._warn(request, "There is nothing of that to do in the chosen rows.")
            return None
        context = {
            **modeladmin.admin_site.each_context(request),
            "opts": modeladmin.opts,
            "title": f"{self.short_description}?",
            "action": self,
            "rows": rows,
            "left_out": len(ids) - len(rows),
            "checkbox": ACTION_CHECKBOX_NAME,
            # Without the filter: it might no longer match what was chosen.
            "post_to": request.path,
            "next": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/sync/bulk_action.html", context)

    def _run(self, request: HttpRequest) -> None:
        ids = request.POST.getlist(ACTION_CHECKBOX_NAME)[:LIMIT]
        by = request.user.get_username()
        things = self._things(ids)
        done: dict[Model, Said] = {}
        refused: dict[str, None] = {}
        notes: dict[str, None] = {}
        for thing in things:
            said = self._do(thing, by, _frozen(request.POST, thing))
            if said.done:
                done[thing] = said
                notes[said.note] = None
            else:
                refused[said.text] = None
        _log(request, done)
        self._tell(request, list(done), " ".join(notes))
        if refused:
            self._warn(request, "Not done: " + _few(list(refused), " "))
        gone = len(ids) - len(things)
        if gone and self._things is not _tables_of_progress:
            self._warn(request, f"{plural(gone, 'row')} went meanwhile.")

    def _tell(self, request: HttpRequest, done: list[Any], note: str) -> None:
        if done:
            names = _few([_name(thing) for thing in done], ", ")
            text = f"{self.short_description}: {names}. {note}".strip()
            messages.success(request, text)

    def _warn(self, request: HttpRequest, text: str) -> None:
        messages.warning(request, text)


def _frozen(posted: Mapping[str, Any], thing: Model) -> str | None:
    found = posted.get(f"frozen-{thing.pk}")
    return None if found is None else str(found)


def _few(texts: list[str], between: str) -> str:
    more = len(texts) - NAMES_SHOWN
    shown = between.join(texts[:NAMES_SHOWN])
    return f"{shown}{between}and {more:,} more" if more > 0 else shown


def _name(thing: SyncConfig | SyncTable) -> str:
    if isinstance(thing, SyncTable):
        return printable(f"{thing.config.name}: {thing.entity}")
    return printable(thing.name)


def _log(request: HttpRequest, done: Mapping[Any, Said]) -> None:
    """Add to the history of each object what was done to it."""
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=int(request.user.pk or 0),
            content_type=ContentType.objects.get_for_model(thing),
            object_id=thing.pk,
            object_repr=_name(thing)[:200],
            action_flag=CHANGE,
            change_message=said.text,
        )
        for thing, said in done.items()
    )


# What is listed, and what is meant by it


def _configs(ids: Iterable[str]) -> list[SyncConfig]:
    return list(SyncConfig.objects.defer("model_json").filter(pk__in=ids))


def _tables(ids: Iterable[str]) -> list[SyncTable]:
    return list(SyncTable.objects.select_related("config").filter(pk__in=ids))


def _tables_of_progress(ids: Iterable[str]) -> list[SyncTable]:
    """Return the tables of failed progress rows."""
    rows = DataSyncProgress.objects.filter(pk__in=ids).order_by()
    places = set(rows.values_list("config", "table_name"))
    tables = SyncTable.objects.select_related("config").filter(
        config__in={config for config, _ in places},
        entity__in={entity for _, entity in places},
    )
    return [table for table in tables if (table.config_id, table.entity) in places]


def _config_rows(queryset: QuerySet[SyncConfig]) -> list[Row]:
    return [
        Row(config.pk, _name(config), "paused" if config.paused else "")
        for config in queryset.defer("model_json")
    ]


def _table_rows(queryset: QuerySet[SyncTable]) -> list[Row]:
    return [
        Row(table.pk, _name(table), table.state)
        for table in queryset.select_related("config")
    ]


def _held_rows(queryset: QuerySet[SyncTable]) -> list[Row]:
    tables = list(queryset.select_related("config"))
    held = held_partitions(tables)
    return [
        Row(
            table.pk,
            _name(table),
            f"{held[table.pk][1]} ({held[table.pk][0]})",
            held[table.pk][0],
        )
        for table in tables
        if table.pk in held
    ]


def _failed_rows(queryset: QuerySet[DataSyncProgress]) -> list[Row]:
    failed = queryset.filter(copy_status=DataSyncProgress.Status.FAILURE)
    return [
        Row(
            row.pk,
            printable(f"{row.config.name}: {row.table_name}"),
            f"{row.partition}: {row.error_code}",
        )
        for row in failed.select_related("config")
    ]


def _to_sync(deed: str) -> Callable[[Any, str, str | None], Said]:
    return lambda config, by, only: SYNC_DEEDS[deed](config, by)


def _to_table(deed: str) -> Callable[[Any, str, str | None], Said]:
    return lambda table, by, only: TABLE_DEEDS[deed].do(table, by, only)


_PAUSE = (
    "Nothing of them is loaded until somebody resumes them. Loads that run are rolled "
    "back within seconds; nothing is lost."
)
_RESUME = "They go on where they were. What waited for a person does so again."
_RETRY = (
    "Tables that failed or are parked are tried again now, without waiting for their "
    "next attempt."
)

SYNC_ACTIONS = (
    BulkAction(
        "sync_now",
        "Sync now",
        "Their exports are looked at now, and what failed is tried once more.",
        _config_rows,
        _configs,
        _to_sync("sync-now"),
    ),
    BulkAction("pause", "Pause", _PAUSE, _config_rows, _configs, _to_sync("pause")),
    BulkAction("resume", "Resume", _RESUME, _config_rows, _configs, _to_sync("resume")),
    BulkAction(
        "retry", "Retry failed", _RETRY, _config_rows, _configs, _to_sync("retry")
    ),
)
TABLE_ACTIONS = (
    BulkAction(
        "retry", "Retry failed", _RETRY, _table_rows, _tables, _to_table("retry")
    ),
    BulkAction("pause", "Pause", _PAUSE, _table_rows, _tables, _to_table("pause")),
    BulkAction("resume", "Resume", _RESUME, _table_rows, _tables, _to_table("resume")),
    BulkAction(
        "approve_deletes",
        "Approve held deletes",
        "The next load deletes these rows. They come back only when the source sends "
        "them again.",
        _held_rows,
        _tables,
        _to_table("approve-deletes"),
    ),
)
RETRY_PROGRESS = BulkAction(
    "retry",
    "Retry failed",
    f"{_RETRY} That is done for the whole table of each row.",
    _failed_rows,
    _tables_of_progress,
    _to_table("retry"),
)

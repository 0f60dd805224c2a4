"""The long lists: partitions, progress, rows set aside, events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from sync.admin.actions import RETRY_PROGRESS
from sync.admin.base import ReadOnlyAdmin, fields_of, text
from sync.models import DataSyncProgress, Event, QuarantinedRow, SyncPartition
from sync.printable import printable

RAW_SHOWN = 2_048


@admin.register(SyncPartition)
class SyncPartitionAdmin(ReadOnlyAdmin):
    """The change folders and log files, the newest first."""

    list_display = (
        text("name"),
        text("config__name", "sync"),
        "state",
        text("reason"),
        "closed_at",
        "found_at",
    )
    list_filter = ("state", "config")
    list_select_related = ("config",)
    search_fields = ("name",)
    search_help_text = "Part of a folder's or file's name"
    ordering = ("-pk",)
    heavy = ("sizes", "pruned_tables")


@admin.register(DataSyncProgress)
class DataSyncProgressAdmin(ReadOnlyAdmin):
    """What became of each partition of each table, the newest first."""

    list_display = (
        text("partition"),
        text("table_name", "table"),
        text("config__name", "sync"),
        "copy_status",
        "rows_inserted",
        "rows_updated",
        "rows_deleted",
        "rows_rejected",
        "rows_missing",
        "applied_offset",
        "end_offset",
        "attempts",
        "finished_at",
        text("error_message", "error"),
    )
    list_filter = ("copy_status", "config")
    list_select_related = ("config",)
    search_fields = ("partition", "table_name", "error_code", "error_message")
    search_help_text = "Part of a folder's, a file's, a table's or an error's text"
    ordering = ("-pk",)
    actions = (RETRY_PROGRESS,)


@admin.register(QuarantinedRow)
class QuarantinedRowAdmin(ReadOnlyAdmin):
    """The rows that were set aside, the newest first; decided on their own page."""

    list_display = (
        "id",
        text("table__config__name", "sync"),
        text("table__entity", "table"),
        text("partition"),
        text("file"),
        "line",
        text("column"),
        "state",
        text("reason"),
    )
    list_filter = ("state", "table__config")
    list_select_related = ("table__config",)
    search_fields = ("table__entity", "partition", "code", "reason")
    search_help_text = "Part of a table's, a folder's, a file's or a reason's text"
    ordering = ("-pk",)
    heavy = ("raw", "attributes")

    def get_fields(self, request: HttpRequest, obj: object | None = None) -> list[Any]:
        """Return all fields, and the row's bytes as text."""
        return [*fields_of(QuarantinedRow, "attributes"), self.row_as_text]

    get_readonly_fields = get_fields

    @admin.display(description="row")
    def row_as_text(self, row: QuarantinedRow) -> str:
        """Show the beginning of the row as the file has it."""
        raw = bytes(row.raw)
        shown = printable(raw[:RAW_SHOWN].decode("utf-8", "backslashreplace"))
        cut = "…" if len(raw) > RAW_SHOWN else ""
        return format_html('<code class="wrap"><bdi>{}</bdi>{}</code>', shown, cut)


class LateKinds(admin.SimpleListFilter):
    """The kinds of the newest events: nobody reads a whole history for a list."""

    title = "kind"
    parameter_name = "kind"
    NEWEST = 10_000

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        """Return the kinds to choose from."""
        newest = Event.objects.order_by("-happened_at", "-pk")[: self.NEWEST]
        kinds = Event.objects.filter(pk__in=newest.values("pk")).order_by()
        return [
            (kind, kind.replace("_", " "))
            for kind in sorted(kinds.values_list("kind", flat=True).distinct())
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> QuerySet[Any] | None:
        """Return the events of the chosen kind."""
        return queryset.filter(kind=self.value()) if self.value() else None


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """What happened when."""

    list_display = (
        "happened_at",
        "level",
        "kind",
        text("config__name", "sync"),
        text("table_name", "table"),
        text("partition"),
        text("message"),
    )
    list_filter = ("level", LateKinds, "config")
    list_select_related = ("config",)
    date_hierarchy = "happened_at"
    search_fields = ("table_name", "partition", "message")
    search_help_text = "Part of a table's, a folder's, a file's or a message's text"

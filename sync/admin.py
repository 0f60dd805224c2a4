"""Read-only lists of what dvsync remembers; the engine owns these rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest

from sync.models import (
    DataSyncProgress,
    Event,
    QuarantinedRow,
    SyncConfig,
    SyncPartition,
    SyncTable,
)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(_ModelAdmin):
    """Shows everything and changes nothing."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: object | None = None
    ) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: object | None = None
    ) -> bool:
        """Nobody deletes."""
        return False


@admin.register(SyncConfig)
class SyncConfigAdmin(ReadOnlyAdmin):
    """The syncs."""

    list_display = (
        "name",
        "location",
        "schema_name",
        "paused",
        "marker",
        "checked_at",
    )
    search_fields = (
        "name",
        "location",
        "schema_name",
    )


@admin.register(SyncPartition)
class SyncPartitionAdmin(ReadOnlyAdmin):
    """The change folders."""

    list_display = (
        "name",
        "config",
        "state",
        "reason",
        "closed_at",
    )
    list_filter = (
        "config",
        "state",
    )
    list_select_related = ("config",)
    search_fields = ("name",)


@admin.register(SyncTable)
class SyncTableAdmin(ReadOnlyAdmin):
    """The tables."""

    list_display = (
        "entity",
        "config",
        "target_name",
        "state",
        "last_partition",
        "refresh_reason",
    )
    list_filter = (
        "config",
        "state",
    )
    list_select_related = ("config",)
    search_fields = (
        "entity",
        "target_name",
    )


@admin.register(DataSyncProgress)
class DataSyncProgressAdmin(ReadOnlyAdmin):
    """What became of each partition of each table."""

    list_display = (
        "partition",
        "table_name",
        "config",
        "copy_status",
        "rows_inserted",
        "rows_updated",
        "rows_deleted",
        "attempts",
        "finished_at",
        "error_message",
    )
    list_filter = (
        "copy_status",
        "config",
    )
    list_select_related = ("config",)
    search_fields = (
        "partition",
        "table_name",
        "error_message",
    )


@admin.register(QuarantinedRow)
class QuarantinedRowAdmin(ReadOnlyAdmin):
    """The rows that were set aside."""

    list_display = (
        "id",
        "table__config__name",
        "table",
        "partition",
        "file",
        "line",
        "column",
        "state",
        "reason",
    )
    list_filter = (
        "state",
        "code",
        "table__config",
    )
    list_select_related = ("table__config",)
    search_fields = (
        "table__entity",
        "partition",
        "reason",
    )


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """What happened when."""

    list_display = (
        "happened_at",
        "level",
        "kind",
        "config",
        "table_name",
        "partition",
        "message",
    )
    list_filter = (
        "level",
        "kind",
        "config",
    )
    list_select_related = ("config",)
    search_fields = (
        "table_name",
        "partition",
        "message",
    )


# dvsync makes its one schedule itself; a faulty one of a user would stop them all.
admin.site.unregister(apps.get_model("django_q", "Schedule"))

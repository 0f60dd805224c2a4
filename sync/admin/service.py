"""The service and its alerts: incidents, receivers, clusters, and what waits."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from sync.admin.base import ReadOnlyAdmin, text
from sync.engine.channels import UndeliveredError, configured
from sync.models import Cluster, Heartbeat, Incident, Notice, Receiver, Worker
from sync.printable import printable

RESULT_SHOWN = 10_000


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    """What is or was wrong, the newest first."""

    list_display = (
        "opened_at",
        "closed_at",
        "kind",
        text("config__name", "sync"),
        text("table_name", "table"),
        text("code"),
        text("message"),
        "muted",
        text("acknowledged_by"),
    )
    list_filter = (
        ("closed_at", admin.EmptyFieldListFilter),
        "kind",
        "muted",
        "config",
    )
    list_select_related = ("config",)
    search_fields = ("table_name", "code", "message")
    search_help_text = "Part of a table's name, of a code or of a message"
    ordering = ("-pk",)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """Who was told of which incident."""

    list_display = (
        "sent_at",
        "receiver",
        text("incident__config__name", "sync"),
        text("incident__table_name", "table"),
        "kind",
        "ended",
    )
    list_filter = ("receiver", "kind", "ended")
    list_select_related = ("receiver", "incident__config")
    ordering = ("-pk",)


@admin.action(description="Send a test message", permissions=["operate"])
def send_test(
    modeladmin: ReadOnlyAdmin, request: HttpRequest, queryset: QuerySet[Receiver]
) -> None:
    """Send a message that only says that it arrived; tell of each whether it did."""
    channels = {channel.name: channel for channel in configured()}
    for receiver in queryset:
        channel = channels.get(receiver.name)
        if channel is None:
            said = "is not configured any more, so nothing was sent"
            messages.warning(request, f"{receiver.name} {said}.")
            continue
        try:
            channel.send_test()
        except UndeliveredError as error:
            messages.error(request, f"{receiver.name}: {printable(str(error))}")
        else:
            messages.success(request, f"{receiver.name}: the test message arrived.")


@admin.register(Receiver)
class ReceiverAdmin(ReadOnlyAdmin):
    """The channels of alerts, and whether they can be reached."""

    actions = (send_test,)
    list_display = ("name", "since", "failures", "next_attempt_at", text("problem"))


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """When the last poll was."""

    list_display = ("name", "beat_at", "finished_at", "slot", "polls")


@admin.register(Cluster)
class ClusterAdmin(ReadOnlyAdmin):
    """The clusters that said lately that they are there."""

    list_display = ("queue", text("host"), "pid", "started_at", "beat_at")
    list_filter = ("queue",)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The workers, and what they do."""

    list_display = ("cluster", "pid", text("doing"), "since")
    list_filter = ("cluster__queue",)
    list_select_related = ("cluster",)


class QueueAdmin(ReadOnlyAdmin):
    """What waits for a worker, or is taken by one."""

    list_display = ("id", "key", "task", "lock")
    fields = ("key", "task", "lock")
    list_filter = ("key",)
    ordering = ("pk",)

    @admin.display(description="task")
    def task(self, row: Any) -> str:
        """Show what is to be done; a row of another key cannot be read."""
        known = row.task.get("name", row.task.get("id", ""))
        return format_html("<bdi>{}</bdi>", printable(str(known)))


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))


class FailureAdmin(ReadOnlyAdmin):
    """Tasks that ended with an error which dvsync did not expect."""

    list_display = (text("name"), "func", "cluster", "started", "stopped")
    list_filter = ("cluster",)
    search_fields = ("name", "func")
    fields = (
        "name",
        "func",
        "cluster",
        "started",
        "stopped",
        "problem",
    )

    @admin.display(description="problem")
    def problem(self, row: Any) -> str:
        """Show the end of the error's traceback."""
        return format_html(
            '<pre class="raw wrap">{}</pre>', _lines(str(row.result)[-RESULT_SHOWN:])
        )


def _replace_django_qs() -> None:
    """Show django-q2's queue and failures only.

    dvsync makes its one schedule itself; a faulty one of a user would stop them all.
    Successes are not kept, and a task that is submitted again does nothing: the next
    poll has done its work.
    """
    for name in ("Schedule", "Success", "Failure", "OrmQ"):
        admin.site.unregister(apps.get_model("django_q", name))
    admin.site.register(apps.get_model("django_q", "Failure"), FailureAdmin)
    admin.site.register(apps.get_model("django_q", "OrmQ"), QueueAdmin)


_replace_django_qs()

"""The syncs, which administrators may change here, and their tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.validators import MaxValueValidator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse

from sync.admin.actions import SYNC_ACTIONS, TABLE_ACTIONS
from sync.admin.base import ReadOnlyAdmin, ShowingAdmin, text
from sync.engine.configs import edit_config, unasked
from sync.engine.overview import SyncStatus, TableStatus, overview
from sync.engine.states import State
from sync.engine.words import span
from sync.models import SyncConfig, SyncTable
from sync.printable import printable
from sync.templatetags.dvsync import state as state_context


class GlobsField(forms.CharField):
    """Globs of table names, one on each line."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})

    def __init__(self, help_text: str) -> None:
        super().__init__(required=False, help_text=help_text)

    def prepare_value(self, value: Any) -> Any:
        """Show a stored list as lines; what was typed stays."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        """Return the globs."""
        globs = [line.strip() for line in super().clean(value).splitlines()]
        for glob in globs:
            if not glob.isprintable():
                raise forms.ValidationError(f"{glob!a} is no glob of table names.")
        return [glob for glob in globs if glob]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Say whether other globs were typed than are stored."""
        typed = [line.strip() for line in (data or "").splitlines()]
        return [glob for glob in typed if glob] != list(initial or [])


class SyncConfigForm(forms.ModelForm):  # type: ignore[type-arg]
    """What may be changed of a sync after it was set up."""

    include = GlobsField("Globs of the tables to replicate, one a line; none: all.")
    exclude = GlobsField("Globs of the tables to leave out, one a line; they win.")

    class Meta:
        model = SyncConfig
        fields = (
            "include",
            "exclude",
            "new_tables",
            "bad_rows",
            "max_bad_rows",
            "empty_text",
            "missing_keys",
            "max_delete_share",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "max_delete_share" in self.fields:
            share = self.fields["max_delete_share"]
            share.validators.append(MaxValueValidator(100))


class _WithStates(ChangeList):
    """A list whose rows know their state; read for the shown page in one overview."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows and the states of their syncs."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        admin: Any = self.model_admin
        names = {admin.sync_of(row).name for row in rows}
        found = overview(sorted(names)).syncs if names else []
        known = admin.statuses(found)
        for row in rows:
            row.status = known.get(row.pk)
        self.result_list = rows


class _StateColumns(ShowingAdmin):
    """Columns for what the overview says of a row."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list whose rows know their state."""
        return _WithStates

    @admin.display(description="state")
    def state_word(self, row: Any) -> str:
        """Show the word for the state, as everywhere."""
        if row.status is None:
            return "not replicated"
        found: State = row.status.state
        return render_to_string("dvsync/state.html", state_context(found))

    @admin.display(description="why")
    def reason(self, row: Any) -> str:
        """Show why, and what to do."""
        if row.status is None:
            return ""
        verdict = row.status.verdict
        return text("reason")(verdict) if verdict.reason else ""

    @admin.display(description="lag")
    def lag(self, row: Any) -> str:
        """Show how long what is missing is missing."""
        return span(row.status.lag) if row.status and row.status.lag else ""


@admin.register(SyncConfig)
class SyncConfigAdmin(_StateColumns):
    """The syncs. They are set up and deleted on pages of their own."""

    form = SyncConfigForm
    list_display = (
        text("name", order=True),
        "state_word",
        "reason",
        "lag",
        text("schema_name", "schema", order=True),
        "kind",
        text("location", order=True),
        "checked_at",
    )
    list_filter = ("kind", "paused")
    search_fields = ("name", "location", "schema_name")
    search_help_text = "Part of a name, a location or a schema"
    actions = SYNC_ACTIONS
    heavy = ("model_json",)
    as_set_up = (
        text("name", cut=1_000),
        "kind",
        text("location", cut=10_000),
        text("schema_name", "schema"),
        "created_at",
    )
    as_it_is = (
        "is_paused",
        text("marker"),
        "checked_at",
        "failing_since",
        text("error_message", "error", cut=10_000),
        text("error_where", "where", cut=10_000),
        text("error_remedy", "remedy", cut=10_000),
    )
    readonly_fields = (*as_set_up, *as_it_is)
    fieldsets = (
        ("Which tables", {"fields": ("include", "exclude", "new_tables")}),
        (
            "In cases of doubt",
            {
                "fields": (
                    "bad_rows",
                    "max_bad_rows",
                    "empty_text",
                    "missing_keys",
                    "max_delete_share",
                )
            },
        ),
        ("As it was set up", {"fields": as_set_up}),
        ("As it is", {"fields": as_it_is}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out what the kind of the source has no use for."""
        out = unasked(feed=obj.is_feed) if obj else frozenset()
        return [
            (title, {"fields": tuple(n for n in part["fields"] if n not in out)})
            for title, part in super().get_fieldsets(request, obj)
        ]

    def sync_of(self, row: SyncConfig) -> SyncConfig:
        """Return the sync of a row."""
        return row

    def statuses(self, found: Iterable[SyncStatus]) -> dict[int, SyncStatus]:
        """Return what is known of the syncs."""
        return {status.config.pk: status for status in found}

    @admin.display(description="paused")
    def is_paused(self, config: SyncConfig) -> str:
        """Say it in a word: a red cross would look like a failure."""
        return "yes" if config.paused else "no"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer no further sync after the saving: the wizard makes them."""
        context["show_save_and_add_another"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def view_on_site(self, config: SyncConfig) -> str:
        """Lead to the page of the sync."""
        return reverse("sync", args=[config.pk])

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out the deletion of many: each asks for its name."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Lead to the wizard."""
        if not self.has_add_permission(request):
            return super().add_view(request, *args, **kwargs)
        return HttpResponseRedirect(reverse("setup"))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Lead to the page that asks for the name, and for the fate of the tables."""
        config = self.get_object(request, object_id)
        if config is None or not self.has_delete_permission(request, config):
            return super().delete_view(request, object_id, extra_context)
        return HttpResponseRedirect(reverse("sync-delete", args=[config.pk]))

    def save_model(
        self, request: HttpRequest, obj: SyncConfig, form: Any, change: bool
    ) -> None:
        """Write what was changed, and nothing else, as ``editsync`` does."""
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        stored = SyncConfig.objects.get(pk=obj.pk)
        by = request.user.get_username()
        form.said = edit_config(stored, changes, by=by)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Write into the history what was changed to what."""
        return printable("; ".join(form.said)) or "No fields changed."


@admin.register(SyncTable)
class SyncTableAdmin(_StateColumns, ReadOnlyAdmin):
    """The tables, and what is remembered of them."""

    list_display = (
        text("entity", order=True),
        text("config__name", "sync", order=True),
        "state_word",
        "reason",
        "lag",
        text("target_name", "table", order=True),
        text("last_partition"),
        "inserted_total",
        "updated_total",
        "deleted_total",
    )
    list_filter = ("state", "config")
    list_select_related = ("config",)
    search_fields = ("entity", "target_name")
    search_help_text = "Part of an entity's or a table's name"
    actions = TABLE_ACTIONS
    heavy = ("columns", "attributes", "config__model_json")

    def sync_of(self, row: SyncTable) -> SyncConfig:
        """Return the sync of a row."""
        return row.config

    def statuses(self, found: Iterable[SyncStatus]) -> dict[int, TableStatus]:
        """Return what is known of the tables."""
        return {table.table.pk: table for sync in found for table in sync.tables}

    def view_on_site(self, table: SyncTable) -> str:
        """Lead to the page of the table."""
        return reverse("table", args=[table.pk])

"""Lists that only show, made for many rows and for texts of strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import CharField, Field, ForeignKey, Model, QuerySet, TextField
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html

from sync.printable import printable

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

CUT = 200
OPERATE = "sync.operate_syncconfig"


class CappedPaginator(_Paginator):
    """Counts no further than a person would leaf: not every row of a long table."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        """Return how many rows are listed."""
        rows: Any = self.object_list
        return int(rows.order_by()[: self.LIMIT].count())

    @property
    def is_capped(self) -> bool:
        """Whether there may be more rows than are listed."""
        return self.count >= self.LIMIT


def text(name: str, label: str = "", *, cut: int = CUT, order: bool = False) -> Any:
    """Return a column for a text of strangers: shown as text, and not at any length.

    It can be sorted by only with ``order``: few long lists have an index for it.
    """

    def column(row: Any) -> str:
        value: Any = row
        for part in name.split("__"):
            value = getattr(value, part)
        shown = printable(str(value or ""))
        if len(shown) > cut:
            shown = f"{shown[:cut]}…"
        return format_html('<bdi class="cell">{}</bdi>', shown) if shown else "-"

    column.__name__ = name
    return admin.display(
        column,
        description=label or name.rpartition("__")[2].replace("_", " "),
        ordering=name if order else None,
    )


class ShowingAdmin(_ModelAdmin):
    """What all lists share; texts are shown without what a terminal would obey."""

    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 100
    list_max_show_all = 100
    show_facets = admin.ShowFacets.NEVER
    # What a list does not show and may be long.
    heavy: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave what is long and not shown in the database."""
        return super().get_queryset(request).defer(*self.heavy)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Show the list without its filters when PostgreSQL cannot be asked for them.

        Django checks them no further than by their types.
        """
        try:
            return super().get_changelist_instance(request)
        except (DataError, OverflowError) as error:
            raise IncorrectLookupParameters from error

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the name of a row as a text."""
        if context.get("subtitle"):
            context["subtitle"] = printable(str(context["subtitle"]))
        return super().render_change_form(request, context, *args, **kwargs)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Say whether the actions on syncs and tables are for this user."""
        return request.user.has_perm(OPERATE)


class ReadOnlyAdmin(ShowingAdmin):
    """Shows everything and changes nothing: the engine owns these rows."""

    def get_fields(self, request: HttpRequest, obj: object | None = None) -> list[Any]:
        """Return all fields, the texts among them made safe to look at."""
        return self.get_readonly_fields(request, obj)

    def get_readonly_fields(
        self, request: HttpRequest, obj: object | None = None
    ) -> list[Any]:
        """Return the declared fields, or all of the model's."""
        if self.fields:
            return list(self.fields)
        return fields_of(self.model)

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


def fields_of(model: type[Model], *without: str) -> list[Any]:
    """Return a model's fields to look at."""
    fields = [f for f in model._meta.fields if f.editable and f.name not in without]
    return [
        text(field.name, str(field.verbose_name), cut=100_000)
        if _is_text(field)
        else field.name
        for field in fields
        if not field.primary_key or _is_text(field)
    ]


def _is_text(field: Field[Any, Any]) -> bool:
    """Say whether a stranger's text is shown for it, a related row's name perhaps."""
    kinds = (TextField, CharField, ForeignKey)
    return isinstance(field, kinds) and not field.choices

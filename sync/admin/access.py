"""What belongs to users: tokens, which can be revoked, and begun set-ups."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from sync.admin.base import ReadOnlyAdmin, ShowingAdmin, text
from sync.models import ApiToken, SetupDraft


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """The keys to the API. They are made by ``manage.py createtoken``."""

    list_display = (
        text("name", order=True),
        "user",
        "created_at",
        "last_used_at",
        "expires_at",
    )
    list_select_related = ("user",)
    list_filter = (("user", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "user__username")
    search_help_text = "Part of a token's or a user's name"

    def has_delete_permission(
        self, request: HttpRequest, obj: object | None = None
    ) -> bool:
        """Let a token be revoked by deleting it."""
        return super(ShowingAdmin, self).has_delete_permission(request, obj)


@admin.register(SetupDraft)
class SetupDraftAdmin(ReadOnlyAdmin):
    """The syncs that somebody has begun to set up."""

    list_display = ("user", text("file_name", "file"), "updated_at")
    list_select_related = ("user",)
    heavy = ("model_json",)

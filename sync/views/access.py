"""Who may see and do what, and what one sees who may not.

The roles are groups that a migration makes: *viewer*, *operator*, *administrator*.
Pages ask for permissions only, so that groups of one's own work as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache

VIEW = "sync.view_syncconfig"
OPERATE = "sync.operate_syncconfig"
ADD = "sync.add_syncconfig"
CHANGE = "sync.change_syncconfig"
DELETE = "sync.delete_syncconfig"

View = Callable[..., HttpResponse]


def needs(permission: str) -> Callable[[View], View]:
    """Let only users with a permission of this module see a page or do a deed.

    Who is not signed in is sent to the login; a region of a page that asks for itself
    gets a panel that says so, with status 401. Without the permission it is 403.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        @never_cache
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return _signed_out(request)
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.permission = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def _signed_out(request: HttpRequest) -> HttpResponse:
    if getattr(request, "htmx", False):
        context = {"login": reverse("admin:login")}
        return render(request, "dvsync/signed_out.html", context, status=401)
    return redirect_to_login(request.get_full_path())

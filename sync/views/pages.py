"""A page in the frame of the admin, and the way back after a deed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from sync.engine import inbox
from sync.printable import printable

# Of an id in PostgreSQL.
LARGEST = 2**63 - 1


def id_of(text: str) -> int | None:
    """Return the id that a browser sent; None when it is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return int(text) if int(text) <= LARGEST else None


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    title: str,
    status: int = 200,
) -> HttpResponse:
    """Render a whole page; ``title`` is its heading and the window's title."""
    frame = admin.site.each_context(request)
    # The pages are for everybody who may see them, the admin's own list is not.
    frame |= {
        "title": printable(title),
        "is_nav_sidebar_enabled": False,
        "has_permission": True,
        # Counted when the menu is drawn, and once.
        "open_errors": cache(inbox.count_unseen),
    }
    return render(request, template, {**frame, **(context or {})}, status=status)


def back(request: HttpRequest, otherwise: str) -> HttpResponseRedirect:
    """Redirect to where the form was, if that is a page of ours, after a POST."""
    wanted = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(
        wanted, {request.get_host()}, require_https=request.is_secure()
    )
    return HttpResponseRedirect(wanted if ours else otherwise)

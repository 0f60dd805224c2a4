"""How a person wants to see the pages; the browser remembers it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from sync.engine.time_zones import COOKIE
from sync.forms import PreferencesForm
from sync.templatetags.dvsync import time_zone
from sync.views.access import VIEW, needs
from sync.views.pages import back, page

REMEMBERED = timedelta(days=365)


@require_http_methods(["GET", "HEAD", "POST"])
@needs(VIEW)
def preferences(request: HttpRequest) -> HttpResponse:
    """Show the time zone of the pages, or take another one and lead back."""
    if request.method != "POST":
        form = PreferencesForm(initial={"zone": time_zone()})
        return _page(request, form, request.GET.get("next", ""))
    form = PreferencesForm(request.POST)
    if not form.is_valid():
        return _page(request, form, request.POST.get("next", ""), status=422)
    zone = form.cleaned_data["zone"]
    messages.success(request, f"These pages show times in {zone}.")
    response = back(request, reverse("preferences"))
    _remember(response, zone)
    return response


def _page(
    request: HttpRequest, form: PreferencesForm, way_back: str, status: int = 200
) -> HttpResponse:
    context = {"form": form, "next": way_back}
    template = "dvsync/preferences.html"
    return page(request, template, context, title="Preferences", status=status)


def _remember(response: HttpResponse, zone: str) -> None:
    response.set_cookie(
        COOKIE,
        zone,
        max_age=REMEMBERED,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )

"""All pages, for the tests that look at every one of them.

A new address needs a line: in ``PAGES`` what to open, or in ``NO_PAGES`` why not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.contrib import admin
from django.urls import reverse

from sync.errors import PROBLEMS
from tests.addresses import addresses
from tests.browser.world import World

Paths = Callable[[World], list[str]]


def _fixed(*paths: str) -> Paths:
    return lambda world: list(paths)


def _of_sync(name: str, query: str = "") -> Paths:
    return lambda world: [
        reverse(name, args=[export.config.pk]) + query for export in world.exports
    ]


def _of_main(name: str) -> Paths:
    return lambda world: [reverse(name, args=[world.main.pk])]


def _of_table(name: str) -> Paths:
    return lambda world: [reverse(name, args=[table.pk]) for table in world.tables]


def _errors(world: World) -> list[str]:
    return [reverse("error-help", args=[code]) for code in sorted(PROBLEMS)[:3]]


PAGES: dict[str, Paths] = {
    "overview": _fixed("/"),
    "sync": _of_sync("sync"),
    "sync-timeline": _of_main("sync-timeline"),
    "sync-schema": _of_main("sync-schema"),
    "sync-settings": _of_main("sync-settings"),
    "sync-delete": _of_main("sync-delete"),
    "table": _of_table("table"),
    "errors": _fixed("/errors/"),
    "error-help": _errors,
    "quarantine": _fixed("/quarantine/"),
    "support-bundle": _fixed("/support-bundle/"),
    "preferences": _fixed("/preferences/"),
    "setup": _fixed("/setup/"),
    "setup-first-rows": _of_main("setup-first-rows"),
    "admin:index": _fixed("/admin/"),
    "admin:app_list": _fixed("/admin/sync/", "/admin/auth/", "/admin/django_q/"),
    "admin:password_change": _fixed("/admin/password_change/"),
    "admin:password_change_done": _fixed("/admin/password_change/done/"),
    "admin:auth_user_password_change": lambda world: [
        reverse("admin:auth_user_password_change", args=[world.root.pk])
    ],
    "admin:auth_user_add": _fixed("/admin/auth/user/add/"),
}
NO_PAGES = {
    "healthz": "for machines",
    "readyz": "for machines",
    "metrics": "for machines",
    "overview-live": "a part of the overview",
    "sync-live": "a part of the sync",
    "table-live": "a part of the table",
    "sync-deed": "a form that redirects",
    "table-deed": "a form that redirects, or asks: see the journeys",
    "errors-do": "a form that redirects",
    "sync-pause-reason": "a form that redirects",
    "table-pause-reason": "a form that redirects",
    "quarantine-decide": "a form that redirects, or asks: see the journeys",
    "setup-step": "see the journeys",
    "support-bundle-download": "a download",
    "sync-timeline-download": "a download",
    "setup-restart": "a form that redirects",
    "setup-sample": "a form that redirects",
    "setup-columns": "a part of a step: see the journeys",
    "admin:login": "for those who are not signed in",
    "admin:logout": "ends the session",
    "admin:jsi18n": "a script",
    "admin:autocomplete": "JSON",
    "admin:view_on_site": "a redirect",
}
OF_MODELS = ("changelist", "add", "change", "delete", "history")


def of_models() -> dict[str, Paths]:
    """Return the pages of the admin for every kind of thing."""
    found: dict[str, Paths] = {}
    for model in admin.site._registry:
        for page in OF_MODELS:
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
            found[name] = _of_example(name, model, page)
    return found


def _of_example(name: str, model: type, page: str) -> Paths:
    if page in {"changelist", "add"}:
        return lambda world: [reverse(name)]
    return lambda world: [reverse(name, args=[world.example(model).pk])]


ALL = {**of_models(), **PAGES}


def without_a_line() -> Iterator[str]:
    """Yield the names of addresses about which nothing is said here."""
    for address in addresses():
        known = address.name in ALL or address.name in NO_PAGES
        if not known and not address.name.startswith("api"):
            yield address.name

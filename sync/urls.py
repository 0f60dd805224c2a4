"""The addresses of the application."""

from __future__ import annotations

from django.urls import include, path

from sync.views import (
    bundle,
    deeds,
    errors,
    overview,
    preferences,
    quarantine,
    setup,
    sync_page,
    sync_settings,
    sync_tabs,
    table_page,
)
from sync.views.probes import PROBES

urlpatterns = [
    *(path(name, view, name=name) for name, view in PROBES.items()),
    path("", overview.overview, name="overview"),
    path("live/", overview.overview_live, name="overview-live"),
    path("syncs/<int:pk>/", sync_page.sync_page, name="sync"),
    path("syncs/<int:pk>/live/", sync_page.sync_live, name="sync-live"),
    path("syncs/<int:pk>/timeline/", sync_tabs.sync_timeline, name="sync-timeline"),
    path(
        "syncs/<int:pk>/timeline/download/",
        sync_tabs.sync_timeline_download,
        name="sync-timeline-download",
    ),
    path("syncs/<int:pk>/schema/", sync_tabs.sync_schema, name="sync-schema"),
    path("syncs/<int:pk>/settings/", sync_settings.sync_settings, name="sync-settings"),
    path("syncs/<int:pk>/delete/", sync_settings.sync_delete, name="sync-delete"),
    path("syncs/<int:pk>/do/<slug:deed>/", deeds.sync_deed, name="sync-deed"),
    path(
        "syncs/<int:pk>/pause-reason/",
        deeds.sync_pause_reason,
        name="sync-pause-reason",
    ),
    path("tables/<int:pk>/", table_page.table_page, name="table"),
    path("tables/<int:pk>/live/", sync_page.table_live, name="table-live"),
    path("tables/<int:pk>/do/<slug:deed>/", deeds.table_deed, name="table-deed"),
    path(
        "tables/<int:pk>/pause-reason/",
        deeds.table_pause_reason,
        name="table-pause-reason",
    ),
    path("errors/", errors.errors, name="errors"),
    path("errors/do/", errors.errors_do, name="errors-do"),
    path("errors/<slug:code>/", errors.error_help, name="error-help"),
    path("quarantine/", quarantine.quarantine, name="quarantine"),
    path("quarantine/decide/", quarantine.quarantine_decide, name="quarantine-decide"),
    path("preferences/", preferences.preferences, name="preferences"),
    path("setup/", setup.setup, name="setup"),
    path("setup/restart/", setup.restart, name="setup-restart"),
    path("setup/columns/", setup.columns, name="setup-columns"),
    path("setup/first-rows/<int:pk>/", setup.first_rows, name="setup-first-rows"),
    path("setup/<slug:step>/", setup.setup_step, name="setup-step"),
    path("support-bundle/", bundle.support_bundle, name="support-bundle"),
    path(
        "support-bundle/download/",
        bundle.support_bundle_download,
        name="support-bundle-download",
    ),
    path("api/v1/", include("sync.api.urls")),
]

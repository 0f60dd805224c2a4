"""The addresses of the JSON API, below ``/api/v1/``: docs/api.md has examples.

They have no slash at the end: one that is added leads nowhere, as all else does.
"""

from __future__ import annotations

from django.urls import path, re_path

from sync.api import deeds, lists, models, status, syncs
from sync.api.access import ADD, CHANGE, OPERATE, VIEW, endpoint
from sync.api.answers import nowhere
from sync.tasks.deeds import SYNC_DEEDS, TABLE_DEEDS

urlpatterns = [
    path("", endpoint(GET=(VIEW, status.about)), name="api"),
    path("status", endpoint(GET=(VIEW, status.everything)), name="api-status"),
    path("errors", endpoint(GET=(VIEW, status.errors)), name="api-errors"),
    path("progress", endpoint(GET=(VIEW, lists.progress)), name="api-progress"),
    path("models", endpoint(POST=(ADD, models.look_into)), name="api-models"),
    path(
        "syncs",
        endpoint(GET=(VIEW, syncs.listing), POST=(ADD, syncs.create)),
        name="api-syncs",
    ),
    path(
        "syncs/<int:pk>",
        endpoint(GET=(VIEW, status.one_sync), PATCH=(CHANGE, syncs.edit)),
        name="api-sync",
    ),
    *(
        path(
            f"syncs/<int:pk>/{name}",
            endpoint(POST=(deeds.needed(name), deeds.for_sync(name))),
            name=f"api-sync-{name}",
        )
        for name in SYNC_DEEDS
    ),
    path("tables/<int:pk>", endpoint(GET=(VIEW, status.one_table)), name="api-table"),
    *(
        path(
            f"tables/<int:pk>/{name}",
            endpoint(POST=(deeds.needed(name), deeds.for_table(name))),
            name=f"api-table-{name}",
        )
        for name in TABLE_DEEDS
    ),
    path("quarantine", endpoint(GET=(VIEW, lists.quarantine)), name="api-quarantine"),
    path(
        "quarantine/decide",
        endpoint(POST=(OPERATE, deeds.decide_rows)),
        name="api-quarantine-decide",
    ),
    re_path(r"", nowhere, name="api-nowhere"),
]

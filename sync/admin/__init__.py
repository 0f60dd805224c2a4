"""The admin: everything that dvsync remembers, to look at; the syncs to be changed.

``Tombstone`` is not here: Django's admin knows no keys of several columns.
"""

from __future__ import annotations

from django.contrib import admin

from sync.admin import access, ledger, service, syncs

__all__ = ["access", "ledger", "service", "syncs"]

# The pages stand beside it already.
admin.site.site_url = None
admin.site.site_header = admin.site.site_title = "dvsync"

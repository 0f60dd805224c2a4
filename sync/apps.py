"""The application."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class SyncAppConfig(AppConfig):
    """Reads exports and applies them to PostgreSQL."""

    name = "sync"
    verbose_name = "Synchronisation"

    def ready(self) -> None:
        """Prepare every connection; arm the fault point that a test names."""
        from sync import faultpoints
        from sync.engine.session import prepare_connection

        connection_created.connect(prepare_connection)
        faultpoints.arm_from_environment()

"""The application."""

from __future__ import annotations

from django.apps import AppConfig


class SyncAppConfig(AppConfig):
    """Reads exports and applies them to PostgreSQL."""

    name = "sync"
    verbose_name = "Synchronisation"

    def ready(self) -> None:
        """Arm the fault point that a test's environment names."""
        from sync import faultpoints

        faultpoints.arm_from_environment()

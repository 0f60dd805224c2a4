"""The addresses of the application."""

from __future__ import annotations

from django.urls import path

from sync.views import PROBES

urlpatterns = [path(name, view, name=name) for name, view in PROBES.items()]

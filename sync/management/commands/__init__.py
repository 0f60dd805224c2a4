"""The commands of the application."""

from __future__ import annotations

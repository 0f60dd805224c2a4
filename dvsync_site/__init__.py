"""The Django site: settings, addresses, and the commands that start things."""

from __future__ import annotations

"""Setting up a sync, from a model.json to its first rows."""

from __future__ import annotations

from sync.views.setup.pages import columns, first_rows, restart, setup, setup_step

__all__ = ["columns", "first_rows", "restart", "setup", "setup_step"]

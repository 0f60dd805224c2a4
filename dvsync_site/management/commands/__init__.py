"""The commands that start things."""

from __future__ import annotations

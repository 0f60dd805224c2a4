"""DOING: the only place where source, target and models meet."""

from __future__ import annotations

"""dvsync: Synapse Link exports into PostgreSQL. docs/architecture.md is its map."""

from __future__ import annotations

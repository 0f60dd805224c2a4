"""Measures dvsync beside plain psql: ``python -m bench``."""

from __future__ import annotations

"""WRITING: statements and COPY on a raw psycopg cursor. Knows no Django."""

from __future__ import annotations

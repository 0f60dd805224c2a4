"""READING: exports of every kind. Knows neither Django nor psycopg."""

from __future__ import annotations

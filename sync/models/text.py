"""Texts of strangers, as PostgreSQL can store them."""

from __future__ import annotations


def clean(text: str) -> str:
    """Return a text that PostgreSQL stores: no NUL, no lone surrogate, not endless."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:4000]

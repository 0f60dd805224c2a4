"""Texts of strangers, as PostgreSQL can store them."""

from __future__ import annotations

from typing import Any


def clean(text: str) -> str:
    """Return a text that PostgreSQL stores: no NUL, no lone surrogate, not endless."""
    return _without_nul(text)[:4000]


def storable(document: Any) -> Any:
    """Return a JSON document whose texts PostgreSQL can store, none of them cut."""
    if isinstance(document, str):
        return _without_nul(document)
    if isinstance(document, list):
        return [storable(item) for item in document]
    if isinstance(document, dict):
        return {_without_nul(name): storable(value) for name, value in document.items()}
    return document


def _without_nul(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")

"""Texts of strangers, made safe to look at."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text of an export without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

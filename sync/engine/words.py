"""Times and sizes as a person says them; the same words everywhere."""

from __future__ import annotations

from datetime import timedelta

_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def span(time: timedelta) -> str:
    """Return a length of time in its largest whole unit: 8 s, 12 min, 3 h, 5 d."""
    seconds = max(0, int(time.total_seconds()))
    for length, unit in _SPANS:
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(number: int) -> str:
    """Return a number of bytes: 812 B, 1.2 MB."""
    for length, unit in _SIZES:
        if number >= length:
            return f"{number / length:,.1f} {unit}"
    return f"{number} B"


def sentence(text: str) -> str:
    """Return a text with a full stop, unless it ends like a sentence already."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def plural(number: int, word: str) -> str:
    """Return a number of things: 1 worker, 2 workers."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"

"""What an error means: the sections of docs/errors.md, for the page of an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

_SECTION = re.compile(r"(?m)^## (\w+)\n")
_TITLE = re.compile(r"\*[^*]+\*\s*")
_LABEL = re.compile(r"\*\*(\w+):\*\*\s*")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, after the question that it answers, if any.

    ``pieces`` are text and code by turns, beginning with text.
    """

    label: str
    pieces: tuple[str, ...]


@cache
def sections() -> dict[str, tuple[Paragraph, ...]]:
    """Return what docs/errors.md says of each code; nothing when it is not there."""
    path = Path(settings.BASE_DIR) / "docs" / "errors.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:  # an installation without the documents
        return {}
    _, *parts = _SECTION.split(text)
    return {
        code: tuple(map(_paragraph, body.strip().split("\n\n")))
        for code, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _paragraph(text: str) -> Paragraph:
    """Read a paragraph of the small part of Markdown that the document keeps to."""
    line = _LINK.sub(r"\1", " ".join(text.split()))
    label = _LABEL.match(line)
    said = _LABEL if label else _TITLE
    pieces = tuple(said.sub("", line, count=1).split("`"))
    return Paragraph(label[1] if label else "", pieces)

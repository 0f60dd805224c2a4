"""Incidents as messages: a JSON document, or a plain text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from django.utils import timezone

from sync.models import Incident

SCHEMA_VERSION = 1
# What one message tells of; the rest comes with the next one.
MOST = 1000
MOST_IN_MAIL = 100
LONGEST = 500
LONGEST_SUBJECT = 150

OPENED, REMINDER, RECOVERED = "opened", "reminder", "recovered"


@dataclass(frozen=True)
class News:
    """Something to tell of an incident: opened, reminder or recovered."""

    incident: Incident
    event: str

    @property
    def place(self) -> str:
        """Return sync and table for people."""
        name, table = self.incident.config.name, self.incident.table_name
        return line(f"{name}: {table}" if table else name)

    @property
    def kind(self) -> str:
        """Return the state in words."""
        return self.incident.kind.replace("_", " ")


def document(event: str, **content: object) -> dict[str, object]:
    """Return what every JSON message begins with, and its content."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": event,
        "id": uuid4().hex,
        "sent_at": timezone.now().isoformat(),
        **content,
    }


def alert(news: Sequence[News]) -> dict[str, object]:
    """Return the JSON message of some news."""
    return document("alert", incidents=[_as_json(item) for item in news])


def _as_json(item: News) -> dict[str, object]:
    incident = item.incident
    closed_at = incident.closed_at
    return {
        "id": incident.pk,
        "event": item.event,
        "sync": incident.config.name,
        "table": incident.table_name,
        "kind": incident.kind,
        "code": incident.code,
        "message": incident.message[:LONGEST],
        "where": incident.where[:LONGEST],
        "remedy": incident.remedy[:LONGEST],
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": closed_at.isoformat() if closed_at else None,
    }


def subject(news: Sequence[News]) -> str:
    """Return one line for the head of a mail."""
    if len(news) == 1:
        said = f"{news[0].place}: {_what(news[0])}"
    else:
        counts = Counter(item.event for item in news)
        said = ", ".join(f"{number} {event}" for event, number in counts.items())
        said += f" ({news[0].place} and others)"
    return line(f"[dvsync] {said}", LONGEST_SUBJECT)


def text(news: Sequence[News]) -> str:
    """Return the body of a mail."""
    parts = [_paragraph(item) for item in news[:MOST_IN_MAIL]]
    if len(news) > MOST_IN_MAIL:
        parts.append(
            f"and {len(news) - MOST_IN_MAIL} more: manage.py syncstatus shows all."
        )
    return "\n\n".join(parts) + "\n"


def _what(item: News) -> str:
    if item.event == RECOVERED:
        return "recovered"
    return f"still {item.kind}" if item.event == REMINDER else item.kind


def _paragraph(item: News) -> str:
    incident = item.incident
    code = f" ({incident.code})" if incident.code else ""
    lines = [f"{item.place}: {_what(item)}{line(code)}", f"  {line(incident.message)}"]
    if incident.where:
        lines.append(f"  where: {line(incident.where)}")
    if item.event == RECOVERED:
        ended = incident.closed_at or incident.opened_at
        lines.append(f"  from {_time(incident.opened_at)} to {_time(ended)}")
    else:
        lines.append(f"  to do: {line(incident.remedy)}" if incident.remedy else "")
        lines.append(f"  since {_time(incident.opened_at)}")
    return "\n".join(part for part in lines if part.strip())


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def line(said: str, longest: int = LONGEST) -> str:
    """Return a stranger's text as one line in which nothing is hidden."""
    shown = "".join(c if c.isprintable() else " " for c in said)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."

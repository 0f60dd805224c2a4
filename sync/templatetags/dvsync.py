"""Words, times, sizes and names in templates; all escaped by the template itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.db.models import Model
from django.utils import timezone

from sync import printable
from sync.engine import error_cards, folders, time_zones, words
from sync.engine.error_cards import ErrorCard
from sync.engine.overview import SyncStatus, TableStatus
from sync.engine.states import State
from sync.models import DataSyncProgress

register = template.Library()


@register.filter
def shown(text: object) -> str:
    """Show a text of strangers: control and direction characters as codes."""
    return printable.printable(str(text))


@register.filter
def sentence(text: str) -> str:
    """End a text with a full stop, unless it ends like a sentence already."""
    return words.sentence(text)


@register.filter
def span(time: timedelta | None) -> str:
    """Return a length of time: 8 s, 12 min."""
    return words.span(time) if time is not None else ""


@register.filter
def size(number: int) -> str:
    """Return a number of bytes: 1.2 MB."""
    return words.size(number)


@register.filter
def number(value: int) -> str:
    """Return a number with separators: 1,234,567."""
    return f"{value:,}"


@register.filter
def plural(value: int, word: str) -> str:
    """Return a number of things: 1 row, 2 rows."""
    return words.plural(value, word)


@register.filter
def duration(time: timedelta | None) -> str:
    """Return how long work took: in 12 s, in less than a second."""
    if time is None:
        return ""
    brief = time < timedelta(seconds=1)
    return "in less than 1 s" if brief else f"in {words.span(time)}"


@register.filter
def took(row: DataSyncProgress) -> str:
    """Return how long the load of a folder took, if that is known."""
    time = folders.took(row)
    if time is None:
        return ""
    return words.span(time) if time >= timedelta(seconds=1) else "< 1 s"


@register.filter
def clock(moment: datetime) -> str:
    """Return a moment in the person's time zone: 2026-03-01 09:15:01 CET."""
    return time_zones.clock(moment)


@register.filter
def iso(moment: datetime) -> str:
    """Return a moment for machines: in UTC, as ISO 8601 has it."""
    return moment.astimezone(UTC).isoformat()


@register.simple_tag
def time_zone() -> str:
    """Return the name of the zone that a page's times are in: UTC, Europe/Berlin."""
    return str(timezone.get_current_timezone())


@register.inclusion_tag("dvsync/state.html")
def state(value: State) -> dict[str, Any]:
    """Show the word for a state with its icon and colour."""
    return {"word": value.value, "name": value.name.lower().replace("_", "-")}


@register.inclusion_tag("dvsync/time.html")
def ago(moment: datetime | None, suffix: str = "ago") -> dict[str, Any]:
    """Show how long ago a moment was; its absolute time is at hand."""
    since = timezone.now() - moment if moment else None
    return {"moment": moment, "since": since, "suffix": suffix}


# A bar a minute, in the units of the drawing.
BAR_WIDTH, BAR_GAP, BARS_HIGH = 3, 1, 24


@register.inclusion_tag("dvsync/sparkline.html")
def sparkline(numbers: Sequence[int], what: str) -> dict[str, Any]:
    """Draw a bar for each number; ``what`` names them for who does not see it."""
    step = BAR_WIDTH + BAR_GAP
    return {
        "path": "".join(_bars(numbers, step)),
        "width": len(numbers) * step - BAR_GAP,
        "height": BARS_HIGH,
        "what": what,
        "most": max(numbers, default=0),
        "sum": sum(numbers),
    }


def _bars(numbers: Sequence[int], step: int) -> Iterator[str]:
    most = max(numbers, default=0)
    for index, number in enumerate(numbers):
        if number > 0:
            # The least one can be seen as well.
            high = max(2, round(BARS_HIGH * number / most))
            left = index * step
            yield f"M{left} {BARS_HIGH}v-{high}h{BAR_WIDTH}v{high}z"


@register.filter
def seconds(value: float) -> timedelta:
    """Return seconds as a length of time."""
    return timedelta(seconds=value)


@register.filter
def numbers(things: Sequence[Model]) -> str:
    """Return the numbers of things as a form posts them: 1,2,3."""
    return ",".join(str(thing.pk) for thing in things)


@register.filter
def total(numbers: Sequence[int]) -> int:
    """Return the sum of numbers."""
    return sum(numbers)


@register.inclusion_tag("dvsync/error_card.html", takes_context=True)
def error_card(
    context: template.Context,
    trouble: ErrorCard | TableStatus | SyncStatus,
    level: int = 2,
) -> dict[str, Any]:
    """Show trouble, what is safe and what to press; to be asked only when there is.

    Not inside a region that is polled: it folds. ``level`` is that of its heading.
    """
    card = _card(trouble)
    perms, request = context["perms"], context["request"]
    needed = {"add": "sync.change_syncconfig"}
    deeds = [
        deed
        for deed in (card.deeds if card else ())
        if needed.get(deed.name, "sync.operate_syncconfig") in perms
    ]
    return {
        "card": card,
        "deeds": deeds,
        "level": level,
        "id": f"error-{card.table.pk if card and card.table else 'sync'}",
        "next": request.get_full_path(),
    }


def _card(trouble: ErrorCard | TableStatus | SyncStatus) -> ErrorCard | None:
    if isinstance(trouble, TableStatus):
        return error_cards.card_of_table(trouble)
    if isinstance(trouble, SyncStatus):
        return error_cards.card_of_sync(trouble)
    return trouble

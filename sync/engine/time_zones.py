"""The time zones in which pages can show times; everything else is in UTC.

Which one a page is shown in is Django's active zone: ``sync.middleware`` sets it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone

COOKIE = "dvsync_time_zone"
# A place has a name in one of them; other names are old, or no place's.
_AREAS = {
    *("Africa", "America", "Antarctica", "Arctic", "Asia"),
    *("Atlantic", "Australia", "Europe", "Indian", "Pacific"),
}


@cache
def zone_names() -> frozenset[str]:
    """Return the zones to choose from; UTC is always among them."""
    places = {n for n in available_timezones() if n.partition("/")[0] in _AREAS}
    return frozenset(places | {"UTC"})


def zone_named(name: str) -> ZoneInfo | None:
    """Return a zone that can be chosen; None for any other text, whatever it is."""
    if name not in zone_names():
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # its file went since the names were read
        return None


def in_zone(moment: datetime) -> datetime:
    """Return a moment in the active zone; in UTC what no calendar has there.

    A folder may be called 9999-12-31T23.59.59Z, which Berlin never sees.
    """
    try:
        return moment.astimezone(timezone.get_current_timezone())
    except OverflowError:
        return moment.astimezone(UTC)


def clock(moment: datetime) -> str:
    """Return a moment in the active zone with its name: 2026-03-01 09:15:01 CET.

    A zone without letters of its own is told by its offset, as +0545.
    """
    local = in_zone(moment)
    return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')} {local.tzname()}"

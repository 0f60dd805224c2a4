"""The names of change folders, and the list of them that Synapse Link keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

_FOLDER = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d)[.:](\d\d)[.:](\d\d)(?:\.(\d{1,7}))?[Zz]?", re.ASCII
)
# A space does not separate: a log of another kind has times at the start of its lines.
_ITEM = re.compile(r"[^,\r\n]+")


@lru_cache(maxsize=1 << 16)  # an export's folders, met again with every poll
def folder_time(name: str) -> datetime | None:
    """Return the time that a change folder's name holds, None for other names."""
    match = _FOLDER.fullmatch(name)
    if match is None:
        return None
    *parts, fraction = match.groups()
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        return datetime(*map(int, parts), microsecond, tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def folder_time_or_first(name: str) -> datetime:
    """Return the time of a name; what is no folder name is before all folders."""
    return folder_time(name) or datetime.min.replace(tzinfo=UTC)


def logged_names(data: bytes, limit: int) -> set[str]:
    """Return the items of a Synapse.log, of its first ``limit`` bytes.

    They are separated by commas or line ends; what is no folder name is among them.
    """
    text = data[:limit].decode("utf-8-sig", errors="replace")
    if len(data) > limit:  # the rest of a name may be a name too, of another time
        text = text[: max(map(text.rfind, ",\r\n")) + 1]
    return {item[0].strip() for item in _ITEM.finditer(text)}


def gone(
    names: Iterable[str], present: Iterable[str], before: datetime
) -> tuple[str, ...]:
    """Return the folder names that are not present, in the order of their times.

    Only those older than ``before``, and one for each time: names are compared by
    their times, since a time has several spellings.
    """
    there = {folder_time(name) for name in present}
    found: dict[datetime, str] = {}
    for name in sorted(names):
        time = folder_time(name)
        if time is not None and time < before and time not in there:
            found.setdefault(time, name)
    return tuple(found[time] for time in sorted(found))

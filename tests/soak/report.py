"""What a soak measured, as sentences."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean

from tests.soak.watch import Watch

POLL = dt.timedelta(seconds=20)
# What a part may have grown by from the first to the last third, and still be flat.
GROWTH, GROWTH_MB = 1.2, 10.0
UNEXPECTED = re.compile(r"ended unexpectedly|internal_error|Unexpected \w+")
Deeds = Sequence[tuple[dt.datetime, str]]


def polls(
    watch: Watch, deeds: Deeds, began: dt.datetime, ended: dt.datetime
) -> Iterator[str]:
    """Say how many polls there were, and what happened around those missed."""
    seen = {s: at for s, at in watch.slots.items() if began <= s <= ended}
    possible = list(_slots(began, ended))
    missed = [slot for slot in possible if slot not in seen]
    away = {slot for slot in missed if _was_away(watch, slot)}
    absent = sum((a.end - a.begin).total_seconds() for a in watch.absences)
    for slot in missed:
        said = " (database away)" if slot in away else ""
        near = [f"{at:%X} {what}" for at, what in deeds if abs(at - slot) < POLL]
        yield f"missed {slot:%X}{said}: {'; '.join(near)}"
    late = [(at - slot).total_seconds() for slot, at in seen.items()]
    gaps = [(b - a).total_seconds() for a, b in pairwise(sorted(seen.values()))]
    yield (
        f"polls: {len(seen)} of {len(possible)}; missed {len(missed)}, of them "
        f"{len(away)} while the database was away ({absent:.0f} s in "
        f"{len(watch.absences)} times)"
    )
    yield (
        f"longest gap between polls: {max(gaps, default=0):.0f} s; lateness: "
        f"{mean(late or [0]):.1f} s, at most {max(late, default=0):.1f} s"
    )


def _slots(began: dt.datetime, ended: dt.datetime) -> Iterator[dt.datetime]:
    seconds = POLL.total_seconds()
    slot = dt.datetime.fromtimestamp(-(-began.timestamp() // seconds) * seconds, dt.UTC)
    while slot <= ended:
        yield slot
        slot += POLL


def _was_away(watch: Watch, slot: dt.datetime) -> bool:
    return any(a.begin < slot + POLL and slot < a.end for a in watch.absences)


def sizes(samples: Sequence[dict[str, float]]) -> Iterator[tuple[str, bool]]:
    """Say how much memory each part took, and whether it grew."""
    third = len(samples) // 3
    if not third:
        return
    for kind in sorted({kind for found in samples for kind in found}):
        sizes = [found.get(kind, 0.0) for found in samples]
        first, last = sizes[:third], sizes[-third:]
        # By the largest: chaos makes the others small. The server's cache fills up.
        grew = kind != "postgres" and max(last) > max(first) * GROWTH + GROWTH_MB
        yield (
            f"memory of {kind}: mean {mean(first):.0f} MB, at most {max(first):.0f} in "
            f"the first third; {mean(last):.0f} and {max(last):.0f} in the last",
            grew,
        )


def log(path: Path) -> Iterator[tuple[str, bool]]:
    """Say what the log tells, and whether that was a fault of dvsync."""
    said: Counter[str] = Counter()
    starts: Counter[str] = Counter()
    for level, logger, message in _events(path):
        if message.startswith("started, process"):
            starts[logger] += 1
        text = re.sub(r"[0-9a-f]{12,}|\d+", "N", message)[:100]
        if level in {"WARNING", "ERROR", "CRITICAL"} or "Traceback" in message:
            said[f"{level} {logger}: {text}"] += 1
    shown = ", ".join(f"{name} {n}" for name, n in sorted(starts.items()))
    yield f"starts by the supervisor: {shown}", False
    for text, number in said.most_common():
        yield f"log: {number} x {text}", bool(UNEXPECTED.search(text))


def _events(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            event = {"message": line}
        values = (event.get("level"), event.get("logger"), event.get("message"))
        level, logger, message = map(str, values)
        yield level, logger, message

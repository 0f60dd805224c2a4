"""What a person is told before a deed that cannot be undone.

A question carries the facts that it told. Only while they are still so may the answer
to it count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sync.engine.decisions import held_partition, lost_partitions
from sync.engine.rebuild import partitions_since
from sync.engine.words import plural, size, span
from sync.models import SyncTable
from sync.printable import printable

NAMES_SHOWN = 5


@dataclass(frozen=True)
class Question:
    """A question: its title, what will happen, the button, and the frozen facts."""

    title: str
    points: tuple[str, ...]
    button: str
    frozen: str


def before_refresh(table: SyncTable) -> Question:
    """Say what a refresh replays, and that readers see no gap."""
    name = printable(table.entity)
    unit, is_feed = table.config.unit, table.config.is_feed
    found = [
        partition
        for partition in partitions_since(table.config, table.base_partition)
        if table.entity in partition.sizes
    ]
    total = sum(sum(p.sizes[table.entity].values()) for p in found)
    since = printable(table.base_partition) or f"the first {unit}"
    points = [
        f"{plural(len(found), unit)} with {size(total)} are read again, "
        + (f"from {since} on." if is_feed else f"from the full copy in {since} on."),
        "A second copy is built beside the table, and only the difference is applied, "
        "in one transaction. Readers see the old rows until then; views, grants and "
        "indexes stay.",
        f"Rows that the {unit}s do not hold are deleted.",
    ]
    if table.refresh_reason:
        points.insert(0, f"Why: {printable(table.refresh_reason)}.")
    if speed := _seconds(table, total):
        points.append(f"It takes {speed}, if it is as fast as the loads were.")
    points.append("The table gets no new rows meanwhile; its backlog waits.")
    return Question(
        f"Refresh {name}?", tuple(points), "Refresh the table", table.base_partition
    )


def before_approval(table: SyncTable) -> Question | None:
    """Say which rows will be deleted; None when the table is not held."""
    held = held_partition(table)
    if held is None:
        return None
    name = printable(table.entity)
    partition, message = held
    points = (
        f"{printable(message)}, when it applies {printable(partition)}.",
        f"So many deletes are held when they are more than "
        f"{table.config.max_delete_share} % of the table.",
        "The next load deletes the rows. They come back only when the source sends "
        "them again.",
        f"This is for that one {table.config.unit}. Another one that deletes as much "
        "waits again.",
    )
    return Question(
        f"Let {name} delete its rows?", points, "Approve the deletes", partition
    )


def before_acceptance(table: SyncTable) -> Question | None:
    """Say what stays unknown without the lost folders; None when nothing is lost."""
    lost = lost_partitions(table)
    if not lost:
        return None
    unit = table.config.unit
    shown = ", ".join(printable(name) for name in lost[:NAMES_SHOWN])
    more = len(lost) - NAMES_SHOWN
    points: tuple[str, ...] = (
        f"{plural(len(lost), unit)} went before they were applied: {shown}"
        + (f" and {more:,} more." if more > 0 else "."),
        "What was in them stays unknown: rows may be missing, old, or still there "
        "although they were deleted.",
        f"The table goes on with the {unit}s after them. What it holds now stays.",
    )
    if not table.config.is_feed:
        heal = "If the table has a newer full copy, a refresh heals it instead."
        points = (*points, heal)
    return Question(
        f"Let {printable(table.entity)} go on without what is lost?",
        points,
        "Accept the loss",
        "\n".join(lost),
    )


def _seconds(table: SyncTable, total: int) -> str:
    if not table.bytes_total or not table.seconds_total:
        return ""
    seconds = total * table.seconds_total / table.bytes_total
    return "moments" if seconds < 1 else f"about {span(timedelta(seconds=seconds))}"

"""What is wrong now, by its cause: one fault of forty tables is one thing to mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from sync.engine.error_cards import (
    ErrorCard,
    card_of_error,
    card_of_sync,
    card_of_table,
)
from sync.engine.overview import Overview, TableStatus
from sync.engine.states import WORST_FIRST, State, Trouble
from sync.models import Event, Incident, SyncConfig, SyncTable, clean

# So many tables, or errors, one press is for; of a group with more the first.
MOST_AT_ONCE = 1000
# What ended is shown for so long, and so much of it.
ENDED_FOR = timedelta(days=7)
ENDED_MOST = 100
_ACKNOWLEDGED = [f"acknowledged_{name}" for name in ("at", "by", "kind", "code")]
_KINDS = {
    State.LATE: Incident.Kind.LATE,
    State.FAILING: Incident.Kind.FAILING,
    State.ACTION_REQUIRED: Incident.Kind.ACTION_REQUIRED,
}


@dataclass(frozen=True)
class Item:
    """Trouble of a table, or without one of the sync itself.

    ``incident`` is None before the poll has made one of it. What is being tried again
    is not wrong now, but its incident lasts until the table was loaded: its card is of
    the state *syncing*.
    """

    card: ErrorCard
    config: SyncConfig
    status: TableStatus | None
    incident: Incident | None

    @property
    def table(self) -> SyncTable | None:
        """The table; None for the sync itself."""
        return self.status.table if self.status else None

    @property
    def retriable(self) -> bool:
        """Whether a person may let it be tried again, and that is of any use."""
        useful = any(deed.name == "retry" for deed in self.card.deeds)
        wrong = self.card.state.needs_attention
        return bool(wrong and useful and self.status and self.status.retriable)


@dataclass(frozen=True)
class Group:
    """Trouble of one cause, the oldest first.

    One cause: the same state, the same error, in a column of the same name.
    """

    items: Sequence[Item]

    @property
    def card(self) -> ErrorCard:
        """What is told of all of it: the card of the first."""
        return self.items[0].card

    @property
    def kind(self) -> str:
        """As what it is acknowledged; "" when nothing is wrong now."""
        return _KINDS.get(self.card.state, "")

    @property
    def incidents(self) -> list[Incident]:
        """Its incidents, the oldest first."""
        return [item.incident for item in self.items if item.incident]

    @property
    def syncs(self) -> int:
        """In how many syncs it is."""
        return len({item.config.pk for item in self.items})

    @property
    def unseen(self) -> list[Incident]:
        """Its incidents that nobody has acknowledged, as many as one press is for."""
        found = [one for one in self.incidents if not one.acknowledged]
        return found[:MOST_AT_ONCE] if self.kind else []

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has seen all of it."""
        return all(i.incident and i.incident.acknowledged for i in self.items)

    @property
    def retriable(self) -> list[SyncTable]:
        """Its tables that may be tried again, as many as one press is for."""
        found = [item.table for item in self.items if item.table and item.retriable]
        return found[:MOST_AT_ONCE]


def groups(seen: Overview) -> list[Group]:
    """Return what is wrong, by cause: the new before what somebody has acknowledged.

    Then the gravest, then that of the most tables.
    """

    def age(item: Item) -> tuple[datetime, str, str]:
        began = item.incident.opened_at if item.incident else seen.at
        return began, item.config.name, item.table.entity if item.table else ""

    found: dict[tuple[str, ...], list[Item]] = {}
    for item in sorted(_items(seen), key=age):
        card = item.card
        cause = (card.state.value, card.code, card.title, card.place.column)
        found.setdefault(cause, []).append(item)
    return sorted(
        map(Group, found.values()),
        key=lambda group: (
            group.acknowledged,
            WORST_FIRST.index(group.card.state),
            -len(group.items),
        ),
    )


def _items(seen: Overview) -> Iterator[Item]:
    known = {(row.config_id, row.table_name): row for row in Incident.objects.open()}
    for sync in seen.syncs:
        config = sync.config
        if card := card_of_sync(sync):
            yield Item(card, config, None, known.get((config.pk, "")))
        for status in sync.tables:
            incident = known.get((config.pk, status.table.entity))
            if card := card_of_table(status):
                yield Item(card, config, status, incident)
            elif incident and incident.code and status.state is not State.PAUSED:
                yield Item(_tried_again(incident), config, status, incident)


def _tried_again(incident: Incident) -> ErrorCard:
    """Tell an incident that lasts although nothing is wrong now, as it was told."""
    texts = (incident.code, incident.message, incident.where, incident.remedy)
    return card_of_error(Trouble(*texts), state=State.SYNCING)


def ended() -> list[tuple[Incident, SyncTable | None]]:
    """Return the incidents that ended in the last days with their tables.

    The latest comes first.
    """
    since = timezone.now() - ENDED_FOR
    rows = Incident.objects.filter(closed_at__gte=since).order_by("-closed_at", "-pk")
    rows = rows.select_related("config").defer("config__model_json")
    incidents = list(rows[:ENDED_MOST])
    tables = SyncTable.objects.filter(
        config__in={incident.config_id for incident in incidents},
        entity__in={incident.table_name for incident in incidents},
    ).only("config_id", "entity")
    known = {(table.config_id, table.entity): table for table in tables}
    return [(row, known.get((row.config_id, row.table_name))) for row in incidents]


def count_unseen() -> int:
    """Return how many open incidents nobody has acknowledged."""
    return Incident.objects.open().unseen().count()


def acknowledge(incidents: Iterable[int], kind: str, code: str, *, by: str) -> int:
    """Note that somebody has seen incidents as this; return of how many nobody had.

    They are told of no more while they last as they are: one that was or becomes
    graver than this ``kind``, or of another ``code``, is news.
    """
    now = timezone.now()
    with transaction.atomic():
        rows = Incident.objects.filter(closed_at=None, pk__in=list(incidents)).unseen()
        seen = []
        for incident in rows.select_for_update().order_by("pk"):
            incident.acknowledge(kind, code, by=by, now=now)
            if incident.acknowledged:
                seen.append(incident)
        Incident.objects.bulk_update(seen, _ACKNOWLEDGED, batch_size=500)
        Event.objects.bulk_create(
            Event(
                config_id=incident.config_id,
                table_name=incident.table_name,
                kind="acknowledged",
                message=clean(f"by {by}"),
            )
            for incident in seen
        )
    return len(seen)

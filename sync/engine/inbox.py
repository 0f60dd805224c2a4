"""What is wrong now, by its cause: one fault of forty tables is one thing to mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from sync.engine.error_cards import (
    ErrorCard,
    card_of_error,
    card_of_sync,
    card_of_table,
    card_without_error,
)
from sync.engine.overview import Overview
from sync.engine.states import WORST_FIRST, State, Trouble, Verdict
from sync.models import Event, Incident, SyncConfig, SyncTable

# What ended is shown for so long, and so much of it.
ENDED_FOR = timedelta(days=7)
ENDED_MOST = 100
# Of tables and syncs no more is read than is shown.
_LARGE = ("columns", "attributes", "config__model_json")
_STATES = {
    Incident.Kind.LATE: State.LATE,
    Incident.Kind.FAILING: State.FAILING,
    Incident.Kind.ACTION_REQUIRED: State.ACTION_REQUIRED,
}


@dataclass(frozen=True)
class Item:
    """Trouble of a table; of the sync itself, or of a table that is gone, without one.

    ``incident`` is None before the poll has made one of it. What is ``over`` is not
    wrong now, but its incident lasts until the table was loaded.
    """

    card: ErrorCard
    config: SyncConfig
    table: SyncTable | None
    incident: Incident | None
    over: bool = False


@dataclass(frozen=True)
class Group:
    """Trouble of one cause, the oldest first; ``card`` is that of the first.

    One cause: the same state, the same error, in a column of the same name.
    """

    items: Sequence[Item]

    @property
    def card(self) -> ErrorCard:
        """What is told of all of it."""
        return self.items[0].card

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
        """Its incidents that nobody has acknowledged."""
        return [one for one in self.incidents if not one.acknowledged_at]

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has seen all of it."""
        return all(i.incident and i.incident.acknowledged_at for i in self.items)

    @property
    def retriable(self) -> list[SyncTable]:
        """Its tables that may be tried again, where that is part of the remedy."""
        return [
            item.table
            for item in self.items
            if item.table and any(deed.name == "retry" for deed in item.card.deeds)
        ]


def groups(seen: Overview) -> list[Group]:
    """Return what is wrong, by cause: the new before what somebody has acknowledged.

    Then the gravest, then that of the most tables.
    """
    found: dict[tuple[str, ...], list[Item]] = {}
    for item in sorted(_items(seen), key=_age):
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
    rows = _open().select_related("config").defer("config__model_json")
    known = {(row.config_id, row.table_name): row for row in rows}
    for sync in seen.syncs:
        incident = known.pop((sync.config.pk, ""), None)
        if card := card_of_sync(sync):
            yield Item(card, sync.config, None, incident)
        elif incident:
            yield _over(incident, None)
        for status in sync.tables:
            incident = known.pop((sync.config.pk, status.table.entity), None)
            if card := card_of_table(status):
                yield Item(card, sync.config, status.table, incident)
            elif incident:
                yield _over(incident, status.table)
    for incident in known.values():
        yield _over(incident, None)


def _over(incident: Incident, table: SyncTable | None) -> Item:
    """Tell an incident that lasts although nothing is wrong now, as it was told."""
    state = _STATES[Incident.Kind(incident.kind)]
    if table and not incident.code:
        verdict = Verdict(state, incident.message, incident.remedy)
        card = card_without_error(verdict, table)
    else:
        texts = (incident.code, incident.message, incident.where, incident.remedy)
        card = card_of_error(Trouble(*texts), state=state, table=table)
    return Item(card, incident.config, table, incident, over=True)


def _age(item: Item) -> tuple[bool, datetime, str, str]:
    incident = item.incident
    began = incident.opened_at if incident else timezone.now()
    entity = item.table.entity if item.table else ""
    return incident is None, began, item.config.name, entity


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
    )
    tables = tables.select_related("config").defer(*_LARGE)
    known = {(table.config_id, table.entity): table for table in tables}
    return [(row, known.get((row.config_id, row.table_name))) for row in incidents]


def count_unseen() -> int:
    """Return how many open incidents nobody has acknowledged."""
    return _open().filter(acknowledged_at=None).count()


def acknowledge(incidents: Iterable[int], *, by: str) -> list[Incident]:
    """Note that somebody has seen incidents; return those that nobody had seen.

    They are told of no more while they last as they are. One that gets graver, or has
    another cause, is news again.
    """
    now = timezone.now()
    with transaction.atomic():
        unseen = _open().filter(acknowledged_at=None, pk__in=list(incidents))
        seen = list(unseen.select_related("config").select_for_update(of=("self",)))
        for incident in seen:
            incident.acknowledge(by, now)
            Event.record(
                incident.config,
                "acknowledged",
                f"by {by}",
                table_name=incident.table_name,
            )
        Incident.objects.bulk_update(
            seen, ["acknowledged_at", "acknowledged_by"], batch_size=500
        )
    return seen


def _open() -> QuerySet[Incident]:
    oldest = Incident.objects.filter(closed_at=None)
    return oldest.order_by("opened_at", "config__name", "table_name")

"""What is wrong now, by its cause: one fault of forty tables is one thing to mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from sync.engine.error_cards import ErrorCard, card_of_error, card_without_error
from sync.engine.states import State, Trouble, Verdict
from sync.models import Event, Incident, SyncTable

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
    """An incident, and its table; None for the sync itself, or one that is gone."""

    incident: Incident
    table: SyncTable | None

    @property
    def lasted(self) -> timedelta | None:
        """How long it lasted; None while it lasts."""
        closed_at = self.incident.closed_at
        return closed_at - self.incident.opened_at if closed_at else None


@dataclass(frozen=True)
class Group:
    """Open incidents of one cause, the oldest first; ``card`` is that of the first.

    One cause: of the same kind, with the same error, in a column of the same name.
    """

    card: ErrorCard
    items: Sequence[Item]

    @property
    def first_at(self) -> datetime:
        """When the first of it was noticed."""
        return self.items[0].incident.opened_at

    @property
    def last_at(self) -> datetime:
        """When the last of it was noticed."""
        return self.items[-1].incident.opened_at

    @property
    def ids(self) -> str:
        """The numbers of its incidents, as a form posts them."""
        return ",".join(str(item.incident.pk) for item in self.items)

    @property
    def syncs(self) -> int:
        """In how many syncs it is."""
        return len({item.incident.config_id for item in self.items})

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has seen all of it."""
        return all(item.incident.acknowledged_at for item in self.items)

    @property
    def retriable(self) -> bool:
        """Whether trying again is part of the remedy, of a table at least."""
        known = any(deed.name == "retry" for deed in self.card.deeds)
        return known and any(item.table for item in self.items)


def groups() -> list[Group]:
    """Return the open incidents by cause: the new before those that somebody saw.

    Then the gravest, then those of the most tables.
    """
    found: dict[tuple[str, ...], list[Item]] = {}
    cards: dict[tuple[str, ...], ErrorCard] = {}
    for item in _with_tables(_open()):
        card = _card(item)
        cause = (item.incident.kind, item.incident.code, card.title, card.place.column)
        cards.setdefault(cause, card)
        found.setdefault(cause, []).append(item)
    made = [Group(cards[cause], items) for cause, items in found.items()]
    return sorted(
        made,
        key=lambda group: (
            group.acknowledged,
            -group.items[0].incident.weight,
            -len(group.items),
        ),
    )


def ended() -> list[Item]:
    """Return the incidents that ended in the last days, the latest first."""
    since = timezone.now() - ENDED_FOR
    rows = Incident.objects.filter(closed_at__gte=since).order_by("-closed_at", "-pk")
    return _with_tables(rows[:ENDED_MOST])


def count_unseen() -> int:
    """Return how many open incidents nobody has acknowledged."""
    return _open().filter(acknowledged_at=None).count()


def acknowledge(incidents: Iterable[int], *, by: str) -> list[Incident]:
    """Note that somebody has seen incidents; return those that nobody had seen.

    They are told of no more while they last as they are. One that gets graver, or has
    another cause, is news again.
    """
    with transaction.atomic():
        unseen = _open().filter(acknowledged_at=None, pk__in=list(incidents))
        seen = list(unseen.select_related("config").select_for_update(of=("self",)))
        for incident in seen:
            incident.acknowledge(by, timezone.now())
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


def tables_of(incidents: Iterable[int]) -> list[SyncTable]:
    """Return the tables of those incidents that are still open."""
    rows = _open().filter(pk__in=list(incidents))
    return [item.table for item in _with_tables(rows) if item.table]


def _open() -> QuerySet[Incident]:
    oldest = Incident.objects.filter(closed_at=None)
    return oldest.order_by("opened_at", "config__name", "table_name")


def _with_tables(rows: QuerySet[Incident]) -> list[Item]:
    incidents = list(rows.select_related("config").defer("config__model_json"))
    configs = {incident.config_id for incident in incidents}
    names = {incident.table_name for incident in incidents} - {""}
    tables = SyncTable.objects.filter(config__in=configs, entity__in=names)
    tables = tables.select_related("config").defer(*_LARGE)
    known = {(table.config_id, table.entity): table for table in tables}
    return [
        Item(incident, known.get((incident.config_id, incident.table_name)))
        for incident in incidents
    ]


def _card(item: Item) -> ErrorCard:
    incident, state = item.incident, _STATES[Incident.Kind(item.incident.kind)]
    if not incident.code and item.table:
        verdict = Verdict(state, incident.message, incident.remedy)
        return card_without_error(verdict, item.table)
    texts = (incident.code, incident.message, incident.where, incident.remedy)
    return card_of_error(Trouble(*texts), state=state, table=item.table)

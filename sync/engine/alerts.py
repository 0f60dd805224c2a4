"""What is wrong now, compared with what was wrong before: incidents open and close.

``sync.engine.delivery`` tells people of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from sync.engine.delivery import deliver
from sync.engine.entities import is_wanted
from sync.models import Incident, SyncConfig, SyncTable, clean

__all__ = ["Alarm", "deliver", "review"]

TEXTS = ("kind", "code", "message", "where", "remedy")

Place = tuple[int, str]


@dataclass(frozen=True)
class Alarm:
    """Something that is wrong now; ``table_name`` is empty for the sync itself.

    ``kind`` is one of ``Incident.Kind``.
    """

    config_id: int
    table_name: str
    kind: str
    code: str = ""
    message: str = ""
    where: str = ""
    remedy: str = ""

    @property
    def place(self) -> Place:
        """Return what it is the alarm of."""
        return self.config_id, self.table_name

    @property
    def weight(self) -> int:
        """How grave it is: more is graver."""
        return Incident.Kind(self.kind).weight


def review(alarms: Iterable[Alarm]) -> None:
    """Open, change and close incidents, so that they are the present alarms.

    ``alarms`` are all that there are now, of everything that is not paused. Of
    several of one table the gravest counts. What is not among them any more has
    recovered, or nobody wants to hear of it: then its incident ends unsaid.
    """
    now = timezone.now()
    with transaction.atomic():
        # In the order in which whoever acknowledges them locks them.
        lasting = Incident.objects.filter(closed_at=None).order_by("pk")
        known = {
            (incident.config_id, incident.table_name): incident
            for incident in lasting.select_for_update()
        }
        present = _gravest(alarms)
        Incident.objects.bulk_create(
            (
                Incident(
                    config_id=alarm.config_id,
                    table_name=alarm.table_name,
                    opened_at=now,
                    **_texts(alarm),
                )
                for place, alarm in present.items()
                if place not in known
            ),
            ignore_conflicts=True,
        )
        Incident.objects.bulk_update(
            [i for place, i in known.items() if _changes(i, present.get(place))],
            TEXTS,
            batch_size=500,
        )
        _close([i for place, i in known.items() if place not in present], now)


def _gravest(alarms: Iterable[Alarm]) -> dict[Place, Alarm]:
    found: dict[Place, Alarm] = {}
    for alarm in alarms:
        other = found.get(alarm.place)
        if other is None or alarm.weight > other.weight:
            found[alarm.place] = alarm
    return found


def _texts(alarm: Alarm) -> dict[str, str]:
    return {name: clean(getattr(alarm, name)) for name in TEXTS}


def _changes(incident: Incident, alarm: Alarm | None) -> bool:
    """Let the incident be as its alarm is now; say whether that changes it."""
    if alarm is None:
        return False
    changed = False
    for name, text in _texts(alarm).items():
        changed = changed or getattr(incident, name) != text
        setattr(incident, name, text)
    return changed


def _close(incidents: list[Incident], now: datetime) -> None:
    if not incidents:
        return
    configs = SyncConfig.objects.in_bulk([i.config_id for i in incidents])
    tables = SyncTable.objects.filter(config__in=configs).select_related("config")
    listening = {(t.config_id, t.entity) for t in tables if _is_followed(t)}
    listening |= {(config.pk, "") for config in configs.values() if not config.paused}
    for incident in incidents:
        incident.closed_at = now
        incident.muted = (incident.config_id, incident.table_name) not in listening
    Incident.objects.bulk_update(incidents, ["closed_at", "muted"], batch_size=500)


def _is_followed(table: SyncTable) -> bool:
    paused = table.config.paused or table.state == SyncTable.State.PAUSED
    return not paused and is_wanted(table)

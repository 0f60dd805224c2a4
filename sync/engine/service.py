"""Whether the service itself is alive: its polls, its clusters and their workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Count, Expression, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, JSONObject
from django.utils import timezone

from sync.engine.session import database_errors
from sync.errors import TargetError
from sync.models import CLUSTER_DEAD_AFTER, Cluster, Heartbeat

# Without a poll for so long the service does not do its work.
HEARTBEAT_STALE_AFTER = timedelta(seconds=90)
POLL, SYNC = "poll", "sync"


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster that was heard of lately, and how many of its workers are at work."""

    queue: str
    host: str
    pid: int
    age: timedelta
    workers: int
    busy: int


@dataclass(frozen=True)
class ServiceStatus:
    """The service's signs of life; ``age`` is None when there never was a poll."""

    age: timedelta | None
    polls: int
    polled_at: datetime | None
    clusters: tuple[ClusterStatus, ...]

    @property
    def polling(self) -> bool:
        """Whether a poll was there lately."""
        return self.age is not None and self.age <= HEARTBEAT_STALE_AFTER

    @property
    def workers(self) -> int:
        """How many workers wait for loads, or do them."""
        return sum(c.workers for c in self.clusters if c.queue == SYNC)

    @property
    def worker_age(self) -> timedelta | None:
        """How long ago one of them was heard of; None when none is."""
        ages = [c.age for c in self.clusters if c.queue == SYNC and c.workers]
        return min(ages, default=None)

    @property
    def busy(self) -> int:
        """How many of these are doing a load."""
        return sum(c.busy for c in self.clusters if c.queue == SYNC)


@dataclass(frozen=True)
class Readiness:
    """Whether the site can do its work, and what is missing otherwise."""

    database: bool = False
    migrations: bool = False
    heartbeat: bool = False
    age: timedelta | None = None

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return self.database and self.migrations and self.heartbeat


def service_status() -> ServiceStatus:
    """Return the service's signs of life."""
    now = timezone.now()
    heartbeat = Heartbeat.objects.filter(name=Heartbeat.POLL).first()
    clusters = _clusters(now).values_list(*_CLUSTER)
    return _status(
        heartbeat.seen_at if heartbeat else None,
        heartbeat.polls if heartbeat else 0,
        (dict(zip(_CLUSTER, cluster, strict=True)) for cluster in clusters),
        now,
    )


def service_signs(now: datetime) -> dict[str, Expression | Subquery]:
    """Return the signs of life to annotate any rows with, for ``service_of``."""
    beat = Heartbeat.objects.filter(name=Heartbeat.POLL)
    fields = {name: name for name in _CLUSTER}
    return {
        "polled_at": Subquery(
            beat.values(at=Coalesce("finished_at", "beat_at")),
        ),
        "polls": Subquery(beat.values("polls")),
        "clusters": ArraySubquery(_clusters(now).values(json=JSONObject(**fields))),
    }


def service_of(row: Any, now: datetime) -> ServiceStatus:
    """Return the signs of life that a row was annotated with."""
    return _status(row.polled_at, row.polls or 0, row.clusters, now)


# What is read of a cluster.
_CLUSTER = ("queue", "host", "pid", "beat_at", "seen", "busy")


def _clusters(now: datetime) -> QuerySet[Cluster]:
    heard = Cluster.objects.filter(beat_at__gt=now - CLUSTER_DEAD_AFTER)
    return heard.annotate(
        seen=Count("workers"),
        busy=Count("workers", filter=Q(workers__queue_row__isnull=False)),
    )


def _status(
    polled_at: datetime | None,
    polls: int,
    clusters: Iterable[Mapping[str, Any]],
    now: datetime,
) -> ServiceStatus:
    return ServiceStatus(
        age=_since(polled_at, now) if polled_at else None,
        polls=polls,
        polled_at=polled_at,
        clusters=tuple(
            ClusterStatus(
                c["queue"], c["host"], c["pid"], _age(c, now), c["seen"], c["busy"]
            )
            for c in clusters
        ),
    )


def _age(cluster: Mapping[str, Any], now: datetime) -> timedelta:
    beat_at = cluster["beat_at"]
    if isinstance(beat_at, str):  # as JSON has it
        beat_at = datetime.fromisoformat(beat_at)
    return _since(beat_at, now)


def readiness() -> Readiness:
    """Say what is there of database, migrations and heartbeat; never raises for them.

    The heartbeat is not looked for in a database that is not migrated.
    """
    try:
        with database_errors():
            if not is_migrated():
                return Readiness(database=True)
            age = Heartbeat.age()
    except TargetError:
        return Readiness()
    beats = age is not None and age <= HEARTBEAT_STALE_AFTER
    return Readiness(database=True, migrations=True, heartbeat=beats, age=age)


def is_migrated() -> bool:
    """Say whether all tables of this version are made."""
    applied = set(MigrationRecorder(connection).applied_migrations())
    return applied >= _newest_migrations()


@cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    """Return the last migration of every app; the code does not change meanwhile."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _since(moment: datetime, now: datetime) -> timedelta:
    return max(now - moment, timedelta())

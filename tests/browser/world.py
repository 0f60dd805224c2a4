"""A site in use: something of everything, in plain names or in hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db.models import Model
from django.utils import timezone

from sync.engine.switches import pause
from sync.models import (
    ApiToken,
    BadRowPolicy,
    Cluster,
    Event,
    Heartbeat,
    Incident,
    Notice,
    Receiver,
    SetupDraft,
    SyncConfig,
    SyncTable,
    Worker,
)
from tests import hostile
from tests.exports import Column
from tests.people import person
from tests.sync.conftest import Export

ROWS = 12


@dataclass(frozen=True)
class Names:
    """What things are called; ``values`` are of cells, as many as are wished."""

    tables: tuple[str, ...] = ("account", "contact", "invoice", "lead", "quote")
    columns: tuple[str, ...] = ("name", "city", "note")
    values: tuple[str, ...] = ("Anna", "Berlin", "")
    files: tuple[str, ...] = ("2026.csv",)
    syncs: tuple[str, ...] = ("sales", "service", "archive")
    person: str = "alice"
    error: str = "the network was away"


PLAIN = Names()
HOSTILE = Names(
    tables=hostile.NAMES,
    columns=hostile.NAMES,
    values=hostile.VALUES,
    files=tuple(f"{name[:60]}.csv" for name in hostile.NAMES),
    syncs=tuple(
        name for name in hostile.NAMES if name.isprintable() and len(name) < 100
    )[:3],
    person=f"<{hostile.ELEMENT} onclick={hostile.CANARY}()>",
    error="; ".join(hostile.VALUES)[:3_000],
)


@dataclass
class World:
    """What there is; ``main`` is the sync with tables of every state."""

    names: Names
    exports: list[Export] = field(default_factory=list)

    @property
    def main(self) -> SyncConfig:
        return self.exports[0].config

    @property
    def root(self) -> User:
        return person("root")

    @property
    def tables(self) -> list[SyncTable]:
        return list(self.main.tables.order_by("pk"))

    def example(self, model: type[Model]) -> Model:
        """Return a thing of this kind; there must be one."""
        found = model._default_manager.order_by("pk").first()
        assert found, f"there is no {model._meta.label}: tests/browser/world.py"
        return found


def make_world(make_export: Callable[..., Export], names: Names = PLAIN) -> World:
    """Sync real exports; what needs a service or hours is written as it would be."""
    world = World(names)
    for name in names.syncs:
        export = make_export()
        SyncConfig.objects.filter(pk=export.config.pk).update(name=name)
        export.config.refresh_from_db()
        world.exports.append(export)
    _loads(world)
    _one_waits_and_one_is_paused(world)
    _people(world)
    _service(world)
    _alarms(world)
    _queue()
    return world


def _loads(world: World) -> None:
    """Let tables be healthy, late with bad rows set aside, parked, paused and new."""
    export, names = world.exports[0], world.names
    _policy(world, BadRowPolicy.QUARANTINE)
    values, files = cycle(names.values), cycle(names.files)
    for table in names.tables:
        # Not by their names, in which a colon would tell the type.
        export.table(table, map(Column, names.columns))
        for key in range(1, ROWS):
            row = {column: next(values) for column in names.columns}
            _write(export, table, key, next(files), row)
    aside = names.tables[1]
    _bad_row(export, aside, next(files), next(values))
    export.close_folder()
    export.sync()
    _policy(world, BadRowPolicy.STOP)
    for table in names.tables[2:4]:
        _bad_row(export, table, next(files), next(values))
    _write(export, names.tables[0], 1, next(files), {})
    export.delete(names.tables[0], 2)
    export.close_folder()
    export.sync()
    pause(export.entity(names.tables[3]), by=names.person, reason=names.error)
    # Of the last one nobody has said whether it is wanted.
    export.config.tables.filter(entity=names.tables[-1]).update(state="new")
    export.entity(names.tables[4]).need_refresh(names.error[:200])


def _write(
    export: Export, table: str, key: int, file: str, row: dict[str, str]
) -> None:
    # By way of a mapping: the names are no words of Python's.
    values: dict[str, Any] = row
    export.upsert(table, key, file=file, **values)


def _bad_row(export: Export, table: str, file: str, value: str) -> None:
    quoted = value.replace('"', '""').replace("\r", " ").replace("\n", " ")
    line = f'"no guid, but {quoted}","1/1/2026 1:00:00 AM","",x\n'
    export.raw(table, file, line.encode())


def _policy(world: World, policy: str) -> None:
    SyncConfig.objects.filter(pk=world.main.pk).update(bad_rows=policy)
    world.main.refresh_from_db()


def _one_waits_and_one_is_paused(world: World) -> None:
    _, waiting, paused = world.exports
    waiting.poll()
    pause(paused.config, by=world.names.person, reason=world.names.error)
    for kind, level in (("sync_paused", "info"), ("table_parked", "error")):
        Event.record(paused.config, kind, world.names.error, level=level)


def _people(world: World) -> None:
    root = person("root")
    root.first_name = world.names.person
    root.save()
    ApiToken.make(root, world.names.person)
    SetupDraft.objects.create(user=person("operator"), file_name=world.names.person)
    LogEntry.objects.create(
        user=root,
        content_type=None,
        object_id="1",
        object_repr=world.names.syncs[0],
        action_flag=CHANGE,
        change_message=world.names.error,
    )


def _service(world: World) -> None:
    now = timezone.now()
    Heartbeat.begin(now)
    Heartbeat.end()
    cluster = Cluster.objects.create(
        queue="sync", host=world.names.person, pid=1, beat_at=now
    )
    Worker.objects.create(cluster=cluster, pid=2)
    task = apps.get_model("django_q", "Task")
    for number, success in enumerate((True, False)):
        task._default_manager.create(
            id=f"{number:032}",
            name=world.names.person,
            func="sync.tasks.jobs.poll",
            started=now - timedelta(seconds=1),
            stopped=now,
            success=success,
            result=world.names.error,
        )


def _alarms(world: World) -> None:
    incident = Incident.objects.create(
        config=world.main,
        table_name=world.names.tables[2],
        kind=Incident.Kind.ACTION_REQUIRED,
        code="bad_value",
        message=world.names.error,
        where=world.names.files[0],
    )
    receiver = Receiver.objects.create(name="webhook", problem=world.names.error)
    Notice.objects.create(
        incident=incident,
        receiver=receiver,
        kind=incident.kind,
        sent_at=timezone.now(),
    )


def _queue() -> None:
    from django_q.signing import SignedPackage

    queue = apps.get_model("django_q", "OrmQ")
    payload = SignedPackage.dumps({"id": "1", "name": "load", "func": "f", "args": ()})
    queue._default_manager.create(key="sync", payload=payload, lock=timezone.now())

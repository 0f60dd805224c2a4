"""Makes a sync of many tables with a past, by itself: what pages and queries then cost.

To be called with Django set up. Everything comes from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection
from django.utils import timezone
from psycopg import sql

from sync.models import (
    Cluster,
    DataSyncProgress,
    Heartbeat,
    SyncConfig,
    SyncPartition,
    SyncTable,
    Worker,
)

# fmt: off
_WORDS = [
    "account", "acct", "asset", "bank", "batch", "bill", "budget", "calendar", "case",
    "category", "channel", "charge", "class", "company", "contact", "contract", "cost",
    "country", "credit", "currency", "customer", "delivery", "department", "dimension",
    "discount", "document", "employee", "event", "exchange", "fiscal", "group",
    "header", "inventory", "invoice", "item", "journal", "ledger", "line", "lead",
    "location", "main", "order", "party", "payment", "period", "person", "posting",
    "price", "product", "project", "purchase", "quantity", "receipt", "region",
    "report", "return", "route", "sales", "schedule", "service", "ship", "site",
    "stock", "storage", "supply", "table", "tax", "term", "transaction", "transfer",
    "unit", "vendor", "version", "warehouse",
]
# fmt: on
FOLDER = timedelta(minutes=15)
_ERRORS = (
    ("bad_value", "'n/a' is no int64: invalid input syntax for type bigint: \"n/a\""),
    ("table_locked", "The table is locked by another session: canceling statement"),
    ("file_unreadable", "2026.csv cannot be read: Input/output error"),
)
_APPLIED = """
    INSERT INTO data_sync_progress (config_id, partition, table_name, copy_status,
        rows_inserted, rows_updated, rows_deleted, rows_unchanged, rows_rejected,
        rows_missing, bytes, attempts, finished_at, error_code, error_message,
        error_where, error_remedy)
    SELECT t.config_id, s.name, t.entity, 1, 10, 10, 1, 0, 0, 0, 5000, 1, s.found_at,
        '', '', '', ''
    FROM sync_synctable AS t JOIN sync_syncpartition AS s ON s.config_id = t.config_id
    WHERE t.config_id = %s AND (t.id + s.id) %% 10 = 0
"""


def make_crowd(
    tables: int, *, folders: int = 12, failing: int = 3, name: str = "finance"
) -> SyncConfig:
    """Make the sync, its targets and a service that is alive; return the sync."""
    chance = random.Random(7)  # noqa: S311 - no secret
    now = timezone.now()
    config = SyncConfig.objects.create(
        name=name, location="/srv/export", schema_name=name, checked_at=now
    )
    moments = [now - FOLDER * (folders - n) for n in range(folders)]
    SyncPartition.objects.bulk_create(
        SyncPartition(
            config=config,
            name=_folder(moment),
            opened_at=moment,
            closed_at=moment + FOLDER,
            state="ready",
            found_at=moment + FOLDER,
        )
        for moment in moments
    )
    names = _names(tables, chance)
    made = [_table(config, entity, moments[-2], chance) for entity in names]
    SyncTable.objects.bulk_create(made)
    rows = [row for table in made for row in _progress(table, moments, chance)]
    _fail(rows, made[:failing], moments[-1])
    DataSyncProgress.objects.bulk_create(rows, batch_size=2000)
    _make_targets(name, names)
    _make_service(now)
    return config


def _names(number: int, chance: random.Random) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < number:
        found["".join(chance.sample(_WORDS, chance.randint(2, 3)))] = None
    return list(found)


def _folder(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H.%M.%SZ}"


def _table(
    config: SyncConfig, entity: str, last: datetime, chance: random.Random
) -> SyncTable:
    def some(most: int) -> int:
        return int(10 ** chance.uniform(0, most))

    return SyncTable(
        config=config,
        entity=entity,
        target_name=entity,
        last_partition=_folder(last),
        last_loaded_at=last + FOLDER + timedelta(seconds=chance.uniform(1, 800)),
        loads_total=some(3),
        inserted_total=some(7),
        updated_total=some(7),
        deleted_total=some(5),
        bytes_total=some(10),
        last_inserted=some(4),
        last_updated=some(4),
        last_deleted=some(3) if chance.random() < 0.3 else 0,
    )


def _progress(
    table: SyncTable, moments: list[datetime], chance: random.Random
) -> Iterator[DataSyncProgress]:
    """Return what is applied up to the last but one folder, and some of the last."""
    for number, moment in enumerate(moments):
        newest = number == len(moments) - 1
        if newest and chance.random() < 0.7:
            continue
        begin = moment + FOLDER + timedelta(seconds=chance.uniform(0, 600))
        yield DataSyncProgress(
            config_id=table.config_id,
            partition=_folder(moment),
            table_name=table.entity,
            copy_status=int(not newest),
            rows_inserted=chance.randint(0, 5000),
            rows_updated=chance.randint(0, 5000),
            bytes=chance.randint(1000, 5_000_000),
            attempts=int(not newest),
            started_at=None if newest else begin,
            finished_at=None if newest else begin + timedelta(seconds=2),
        )


def _fail(
    rows: list[DataSyncProgress], tables: list[SyncTable], newest: datetime
) -> None:
    """Let the newest folder of these tables fail: the first one's for good."""
    for number, table in enumerate(tables):
        mine = [row for row in rows if row.table_name == table.entity]
        row = mine[-1]
        code, message = _ERRORS[number % len(_ERRORS)]
        row.copy_status, row.attempts = 2, 3
        row.error_code, row.error_message = code, message
        row.error_where = f"{row.partition}/{table.entity}/2026.csv, line {number + 12}"
        row.error_remedy = "Mend the source; then it is tried again."
        if number:
            row.next_attempt_at = timezone.now() + timedelta(seconds=40)


def make_idle(root: Path, *, folders: int, tables: int) -> SyncConfig:
    """Make an export of which everything is applied, and its sync; return the sync.

    Every folder has a tenth of the tables. The folders are empty on the disk: what is
    known is not looked into.
    """
    now = timezone.now().replace(microsecond=0)
    moments = [now - FOLDER * (folders - n) for n in range(folders)]
    for moment in [*moments, now]:
        (root / _folder(moment)).mkdir(parents=True)
    (root / "Changelog").mkdir()
    (root / "Changelog" / "changelog.info").write_text(_folder(now))
    config = SyncConfig.objects.create(
        name="idle", location=str(root), schema_name="idle"
    )
    SyncPartition.objects.bulk_create(
        (
            SyncPartition(
                config=config,
                name=_folder(moment),
                opened_at=moment,
                closed_at=moment + FOLDER,
                state="ready",
                found_at=moment + FOLDER,
            )
            for moment in moments
        ),
        batch_size=2000,
    )
    SyncTable.objects.bulk_create(
        SyncTable(
            config=config,
            entity=entity,
            target_name=entity,
            last_partition=_folder(moments[-1]),
            attributes=[["Id", "guid"], ["name", "string"]],
            columns=[["Id", "id", "uuid"], ["name", "name", "text"]],
        )
        for entity in _names(tables, random.Random(7))  # noqa: S311
    )
    with connection.cursor() as cursor:
        cursor.execute(_APPLIED, [config.pk])
    return config


def _make_targets(schema: str, names: list[str]) -> None:
    statements = [
        sql.SQL("CREATE TABLE {} (id uuid PRIMARY KEY, name text)").format(
            sql.Identifier(schema, name)
        )
        for name in names
    ]
    first = sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("; ").join([first, *statements]))


def _make_service(now: datetime) -> None:
    Heartbeat.begin(now)
    Heartbeat.end()
    for queue, workers in (("poll", 1), ("sync", 2)):
        cluster = Cluster.objects.create(queue=queue, host="host", pid=17)
        for number in range(workers):
            Worker.objects.create(cluster=cluster, pid=100 + number)

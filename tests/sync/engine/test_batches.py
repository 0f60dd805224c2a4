"""However the partitions are cut into loads, the table ends the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from sync import faultpoints
from sync.engine import load
from sync.engine.batch import Step
from sync.models import DataSyncProgress, SyncTable
from tests import snapshot
from tests.exports import Change
from tests.invariants import check_invariants
from tests.onlooker import Onlooker
from tests.sync.conftest import Export

KEYS = 12


def history(export: Export, dice: random.Random, folders: int) -> None:
    """Write upserts, versioned deletes and rows that are sent again, in folders."""
    sent: list[Change] = []
    version = 1_000 * len(export.folders)
    for _ in range(folders):
        for _ in range(8):
            key, roll = dice.randint(1, KEYS), dice.random()
            version += 1
            if sent and roll < 0.2:
                export.resend(dice.choice(sent))
            elif roll < 0.4:
                sent.append(export.delete("account", key, version=version))
            else:
                sent.append(export.upsert("account", key, version=version, name="x"))
        export.close_folder()


def twin_of(export: Export, make: Callable[..., Export]) -> Export:
    """Return another sync of the same export."""
    twin = make()
    twin.config.location = str(export.root)
    twin.config.save(update_fields=["location"])
    return twin


def random_batches(dice: random.Random) -> Any:
    initiate = load.initiate_load

    def some(table: SyncTable, source: Any, limit: int) -> list[Step]:
        return initiate(table, source, dice.choice([0, 500, 2000, limit]))

    return mock.patch.object(load, "initiate_load", some)


@pytest.mark.fault(
    "F45",
    injected="folders with late and repeated rows in batches of every size, twice",
    outcome="the same rows and tombstones",
)
@pytest.mark.parametrize("seed", range(3))
def test_batches_and_repetition_make_no_difference(
    make_export: Callable[..., Export], seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311
    together = make_export()
    history(together, dice, 6)
    one_by_one, at_random = (twin_of(together, make_export) for _ in range(2))
    together.sync()
    with mock.patch.object(load, "BATCH_BYTES", 0):
        one_by_one.sync()
    with random_batches(dice):
        at_random.sync()
    syncs = [export.config.pk for export in (together, one_by_one, at_random)]
    for number in syncs:
        check_invariants(together, number, twins=syncs)

    # The ledger forgets everything, and every folder is applied once more.
    DataSyncProgress.objects.filter(config=at_random.config).update(copy_status=0)
    SyncTable.objects.filter(config=at_random.config).update(last_partition="")
    with random_batches(dice):
        at_random.sync()

    with snapshot.connect() as connection:
        [first, _, again] = [snapshot.read(connection, n).tables for n in syncs]
    for name, table in first.items():
        assert snapshot.content(again[name].rows) == snapshot.content(table.rows)
        assert again[name].tombstones == table.tombstones


def test_a_reader_sees_beginnings_of_the_partitions_only(export: Export) -> None:
    with Onlooker(export.config.schema_name, "account") as onlooker:
        for point in ("rows_deleted", "rows_inserted", "progress_written"):
            history(export, random.Random(point), 2)  # noqa: S311
            with faultpoints.armed(point, action=onlooker.look):
                assert export.sync()["account"].status == "success"
            onlooker.look()
    assert len(onlooker.seen["account"]) == 4
    onlooker.check(export)
    check_invariants(export, export.config.pk)

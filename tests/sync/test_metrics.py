from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from sync.engine.states import State
from sync.metrics import exposition
from sync.models import Cluster, Heartbeat, SyncTable, Worker
from tests.catalogue.steps import FILE, ago, configure, line
from tests.sync.conftest import Export

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
MakeExport = Callable[..., Export]
Labels = tuple[tuple[str, str], ...]


@pytest.fixture
def export(make_export: MakeExport) -> Export:
    return make_export(start=ago(seconds=60))


def scrape() -> dict[tuple[str, Labels], float]:
    """Return the samples as Prometheus reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition().decode())
        for sample in family.samples
    }


def of(export: Export, name: str, entity: str = "account", **more: str) -> float:
    labels = {"config": export.config.name, "table": entity, **more}
    return scrape()[f"dvsync_{name}", tuple(sorted(labels.items()))]


def of_sync(export: Export, name: str, **more: str) -> float:
    labels = {"config": export.config.name, **more}
    return scrape()[f"dvsync_{name}", tuple(sorted(labels.items()))]


def service(name: str) -> float:
    return scrape()[f"dvsync_{name}", ()]


@pytest.mark.django_db
def test_an_installation_without_anything_has_its_service_alone() -> None:
    assert {name for name, _ in scrape()} == {
        "dvsync_heartbeat_age_seconds",
        "dvsync_polls_total",
        "dvsync_workers_seen",
        "dvsync_workers_busy",
    }
    assert service("heartbeat_age_seconds") == float("inf")


@pytest.mark.django_db
def test_the_services_signs_of_life_are_told() -> None:
    Heartbeat.begin(timezone.now())
    cluster = Cluster.objects.create(queue="sync", host="h", pid=1)
    Worker.objects.create(cluster=cluster, pid=2)
    Worker.objects.create(cluster=cluster, pid=3, queue_row=7)
    dead = Cluster.objects.create(queue="sync", host="h", pid=4, beat_at=ago(minutes=5))
    Worker.objects.create(cluster=dead, pid=5, queue_row=8)
    poll = Cluster.objects.create(queue="poll", host="h", pid=6)
    Worker.objects.create(cluster=poll, pid=7, queue_row=9)

    assert (service("workers_seen"), service("workers_busy")) == (2, 1)
    assert service("polls_total") == 1
    assert 0 <= service("heartbeat_age_seconds") < 60


def test_a_backlog_is_told_with_its_lag(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder(gap=ago(seconds=20) - export.opened_at)
    export.poll()

    assert of(export, "backlog_partitions") == 1
    assert of(export, "backlog_bytes") > 0
    assert of(export, "lag_seconds") >= 20
    export.sync()
    assert of(export, "backlog_partitions") == of(export, "lag_seconds") == 0


def test_totals_are_those_that_are_remembered(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    SyncTable.objects.filter(entity="account").update(
        loads_total=4,
        failures_total=3,
        inserted_total=30,
        updated_total=20,
        deleted_total=10,
        bytes_total=5_000_000_000,
        seconds_total=1.5,
    )
    for kind, number in (("inserted", 30), ("updated", 20), ("deleted", 10)):
        assert of(export, "rows_total", kind=kind) == number
    assert of(export, "bytes_total") == 5_000_000_000
    assert of(export, "load_seconds_total") == 1.5
    assert of(export, "loads_total") == 4
    assert of(export, "load_failures_total") == 3


def test_exactly_one_state_is_told_of_each_table_and_sync(export: Export) -> None:
    configure(export, bad_rows="quarantine")
    export.upsert("account", 1, name="a")
    export.raw("account", FILE, line(1, '"x"', "no number") + b"\n")
    export.upsert("contact", 1, name="a")
    export.close_folder()
    export.sync()
    SyncTable.objects.filter(entity="contact").update(state="parked")

    def states(name: str, **labels: str) -> dict[str, float]:
        return {
            state.value: of_sync(export, name, **labels, state=state.value)
            for state in State
        }

    account = states("table_state", table="account")
    assert {state for state, value in account.items() if value} == {"healthy"}
    contact = states("table_state", table="contact")
    assert {state for state, value in contact.items() if value} == {"action required"}
    sync = states("sync_state")
    assert {state for state, value in sync.items() if value} == {"action required"}
    assert of_sync(export, "parked_tables") == 1
    assert of(export, "quarantined_rows") == 1


def test_an_export_that_was_never_looked_at_has_an_endless_age(export: Export) -> None:
    assert of_sync(export, "last_check_age_seconds") == float("inf")
    export.poll()
    assert 0 <= of_sync(export, "last_check_age_seconds") < 60


def test_names_of_strangers_stay_within_their_label(export: Export) -> None:
    wild = 'a"} 1\ndvsync_evil{x="\\\N{SNOWMAN}'
    configure(export, name=wild)
    SyncTable.objects.create(config=export.config, entity=wild, target_name="t")

    assert of(export, "backlog_partitions", wild) == 0
    assert not any(name.startswith("dvsync_evil") for name, _ in scrape())


def test_all_metrics_and_no_others_are_documented(export: Export) -> None:
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.poll()
    told = {name for name, _ in scrape()}
    text = DOCUMENT.read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^\| `(dvsync_\w+)` \|", text)) == told
    for line_ in text.splitlines():
        if found := re.match(r"\| `(dvsync_\w+)` \| ([\w, ]*) \|", line_):
            labels = {
                label
                for name, pairs in scrape()
                if name == found[1]
                for label, _ in pairs
            }
            assert set(found[2].replace(",", " ").split()) == labels, line_

"""One load per due table in the queue; what the dead had taken is free again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from sync.engine.batch import BATCH_BYTES
from sync.engine.due import DueTable
from sync.engine.locks import Namespace, exclusive
from sync.models import Cluster, Worker
from sync.tasks.queue import enqueue, queued_tables, release, release_abandoned
from tests.elsewhere import session
from tests.sync.conftest import run_sql

pytestmark = pytest.mark.django_db
WEEK = timedelta(days=7)


def small(*numbers: int) -> list[DueTable]:
    return [DueTable(number, f"s.t{number}", 10, None) for number in numbers]


def large(*numbers: int) -> list[DueTable]:
    size = BATCH_BYTES + 1
    return [DueTable(number, f"s.t{number}", size, None) for number in numbers]


def workers(number: int, *, heard: timedelta = timedelta()) -> Cluster:
    cluster = Cluster.objects.create(
        queue="sync", host="h", pid=1, beat_at=timezone.now() - heard
    )
    for pid in range(number):
        Worker.objects.create(cluster=cluster, pid=pid)
    return cluster


def numbers(tables: list[DueTable]) -> list[int]:
    return [table.pk for table in tables]


def test_a_due_table_is_enqueued_once() -> None:
    assert numbers(enqueue(small(1, 2))) == [1, 2]
    assert numbers(enqueue(small(1, 2, 3))) == [3]
    assert queued_tables() == {1, 2, 3}
    assert OrmQ.objects.filter(key="sync").count() == 3


def test_a_load_that_is_taken_counts_as_queued() -> None:
    enqueue(small(1))
    OrmQ.objects.update(lock=timezone.now() + WEEK)
    assert enqueue(small(1)) == []


@pytest.mark.parametrize(
    ("seen", "taken"), [(0, [1]), (1, [1]), (2, [1]), (3, [1, 2]), (9, [1, 2, 3, 4])]
)
def test_large_loads_leave_one_worker_for_the_small_ones(
    seen: int, taken: list[int]
) -> None:
    workers(seen)
    workers(5, heard=timedelta(minutes=5))  # of a host that is gone
    found = numbers(enqueue([*large(1, 2, 3, 4), *small(5, 6)]))
    assert found == [*taken, 5, 6]


def test_a_large_load_in_the_queue_counts_against_the_next() -> None:
    workers(2)
    assert numbers(enqueue(large(1, 2))) == [1]
    assert enqueue(large(1, 2)) == []
    OrmQ.objects.all().delete()
    assert numbers(enqueue(large(2))) == [2]


def test_300_tables_are_all_enqueued_in_the_order_in_which_they_wait() -> None:
    workers(2)
    tables = small(*range(300, 0, -1))
    assert numbers(enqueue(tables)) == list(range(300, 0, -1))


def test_what_a_dead_cluster_had_taken_is_released() -> None:
    enqueue(small(1, 2))
    one, two = OrmQ.objects.order_by("pk")
    OrmQ.objects.update(lock=timezone.now() + WEEK)
    for row, heard in ((one, timedelta(minutes=2)), (two, timedelta())):
        worker = workers(1, heard=heard).workers.get()
        worker.queue_row = row.pk
        worker.save()
    release_abandoned()
    free = OrmQ.objects.filter(lock__lte=timezone.now())
    assert list(free) == [one]
    assert two.pk not in free.values_list("pk", flat=True)


def test_a_load_that_still_holds_its_table_is_not_released() -> None:
    enqueue(small(1))
    [row] = OrmQ.objects.all()
    OrmQ.objects.update(lock=timezone.now() + WEEK)
    worker = workers(1, heard=timedelta(minutes=2)).workers.get()
    worker.queue_row = row.pk
    worker.save()
    with exclusive(Namespace.TABLE, 1):  # its cluster only stands still
        release_abandoned()
        assert not OrmQ.objects.filter(lock__lte=timezone.now()).exists()
    release_abandoned()
    assert OrmQ.objects.filter(lock__lte=timezone.now()).exists()


def test_what_was_taken_and_never_begun_is_released_after_a_while() -> None:
    enqueue(small(1, 2))
    old, new = OrmQ.objects.order_by("pk")
    now = timezone.now()
    OrmQ.objects.filter(pk=old.pk).update(lock=now + WEEK - timedelta(minutes=2))
    OrmQ.objects.filter(pk=new.pk).update(lock=now + WEEK)
    release_abandoned()
    assert list(OrmQ.objects.filter(lock__lte=timezone.now())) == [old]


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_a_row_that_a_stopped_process_has_locked() -> None:
    enqueue(small(1, 2))
    one, two = OrmQ.objects.order_by("pk")
    OrmQ.objects.update(lock=timezone.now() + WEEK - timedelta(minutes=2))
    with session() as other:
        other.execute("DELETE FROM django_q_ormq WHERE id = %s", [one.pk])
        run_sql("SET lock_timeout = '5s'")  # else it would wait for ever
        release_abandoned()
        other.rollback()
    run_sql("RESET lock_timeout")
    assert list(OrmQ.objects.filter(lock__lte=timezone.now())) == [two]


def test_release_of_nothing_is_harmless() -> None:
    release([])
    release_abandoned()


def test_a_row_that_cannot_be_read_is_let_go() -> None:
    enqueue(small(1))
    OrmQ.objects.create(key="sync", payload="no package", lock=timezone.now())
    assert queued_tables() == {1}
    assert OrmQ.objects.count() == 1

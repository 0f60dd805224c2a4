"""How many tasks wait in each queue, and how many are taken."""

from __future__ import annotations

from django.db.models import Count, Q
from django.utils import timezone
from django_q.models import Failure, OrmQ


def depths() -> dict[str, object]:
    """Return the tasks that wait and that are taken, by queue, and how many failed."""
    taken = Q(lock__gt=timezone.now())
    rows = OrmQ.objects.order_by().values_list("key")
    counted = rows.annotate(
        waiting=Count("pk", filter=~taken), taken=Count("pk", filter=taken)
    )
    return {
        "queues": {
            key: {"waiting": waiting, "taken": at_work}
            for key, waiting, at_work in counted
        },
        "failed_tasks": Failure.objects.count(),
    }

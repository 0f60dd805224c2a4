"""``manage.py qcluster``: serve the queue of polls, or that of loads."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from sync.management.base import DvsyncCommand


class Command(DvsyncCommand):
    """Serve the queue of polls, or that of loads."""

    help = (
        "Serves a queue until SIGTERM or Ctrl-C: the polls' queue, or with the "
        "environment variable Q_CLUSTER_NAME=sync the loads'. Both are needed; any "
        "number of each may run, on any number of hosts. Waits for a database that is "
        "away. Loads that run when it is stopped are rolled back and begin anew later."
    )
    epilog = "Exit codes: 0 stopped as asked; 1 ended by force or killed; 2 wrong use."
    examples = (
        "qcluster                        polls, every 20 seconds",
        "qcluster                        with Q_CLUSTER_NAME=sync: loads",
    )
    needs_database = False

    def add_arguments(self, parser: CommandParser) -> None:
        """There are no options: a cluster is what the settings say."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until the end."""
        from sync.tasks import cluster

        sys.exit(cluster.run())

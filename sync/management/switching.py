"""What the commands that pause, resume and retry have in common."""

from __future__ import annotations

import getpass
import socket
from abc import ABC, abstractmethod
from typing import Any

from django.core.management.base import CommandParser

from sync.management.base import DvsyncCommand
from sync.management.choosing import find_config, find_table
from sync.models import SyncConfig, SyncTable


class SwitchCommand(DvsyncCommand, ABC):
    """A command for one sync or some of its tables; it never waits for a load."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument(
            "tables",
            nargs="*",
            default=[],  # argparse would call it required without one
            metavar="TABLE",
            help="entities; none: the sync",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Switch what was named, and say what changed."""
        config = find_config(options["name"])
        tables = [find_table(config, name) for name in options["tables"]]
        chosen: list[SyncConfig | SyncTable] = [*tables] or [config]
        for what in chosen:
            self.switch(what)

    @abstractmethod
    def switch(self, what: SyncConfig | SyncTable) -> None:
        """Do it to one sync or table."""


def person() -> str:
    """Return who runs the command, for the events."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = "somebody"
    return f"{user}@{socket.gethostname()}"

"""``manage.py acceptloss``: go on without folders or log files that are gone."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from sync.engine.decisions import accept_loss
from sync.management.base import TABLES_FAILED, DvsyncCommand
from sync.management.choosing import find_config, find_table
from sync.management.display import printable
from sync.management.switching import person


class Command(DvsyncCommand):
    """Go on without folders or log files that are gone."""

    help = (
        "Lets tables that are parked with history_lost go on without the folders or "
        "log files that were deleted before they were applied. What was in them stays "
        "unknown: rows may be missing, old, or still there. A refresh from a full copy "
        "heals it."
    )
    epilog = (
        "Exit codes: 0 accepted; 2 wrong use; 3 nothing is lost there; 5 no database."
    )
    examples = ("acceptloss sales", "acceptloss sales --table account")

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument("--table", metavar="T", help="only this entity")

    def handle(self, *args: Any, **options: Any) -> None:
        """Accept the loss and say for which tables."""
        config = find_config(options["name"])
        table = find_table(config, options["table"]) if options["table"] else None
        accepted = accept_loss(config, table.entity if table else None, by=person())
        if not accepted:
            raise CommandError(
                f"{config.name} has no table that waits for lost {config.unit}s",
                returncode=TABLES_FAILED,
            )
        for name in accepted:
            self.stdout.write(
                f"{printable(name)}: goes on without the lost {config.unit}s"
            )

"""``manage.py approvedeletes``: let a held table delete its rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from sync.engine.decisions import approve_deletes
from sync.management.base import TABLES_FAILED, DvsyncCommand
from sync.management.choosing import find_config, find_table
from sync.management.display import printable
from sync.management.switching import person


class Command(DvsyncCommand):
    """Let a held table delete its rows."""

    help = (
        "Releases a table that is held because one load would delete more of it than "
        "--max-delete-share allows. The next load applies it."
    )
    epilog = (
        "Exit codes: 0 released; 2 wrong use; 3 the table is not held; 5 no database."
    )
    examples = ("approvedeletes sales account",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument("table", metavar="TABLE", help="the entity")

    def handle(self, *args: Any, **options: Any) -> None:
        """Release the table."""
        table = find_table(find_config(options["name"]), options["table"])
        held = approve_deletes(table, by=person())
        if held is None:
            raise CommandError(
                f"{printable(table.label)} is not held", returncode=TABLES_FAILED
            )
        self.stdout.write(
            f"{printable(table.label)}: the deletes of {held} are approved"
        )

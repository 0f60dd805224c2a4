"""``manage.py refreshtable``: rebuild a table from its full copy on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sync.engine.refresh import refresh_table
from sync.errors import SyncError
from sync.management.base import DvsyncCommand
from sync.management.choosing import (
    find_config,
    find_table,
    refuse,
    wait_while_busy,
)
from sync.management.display import printable


class Command(DvsyncCommand):
    """Rebuild a table from its full copy on."""

    help = (
        "Replays the table's folders, from the newest full copy on, or all its log "
        "files in their order, into a second copy "
        "beside the live table, and applies the difference in one transaction. Views, "
        "grants and indexes stay; readers see the old rows or the new ones. When a "
        "column needs a wider type, readers wait while PostgreSQL rewrites the table."
    )
    epilog = (
        "Exit codes: 0 refreshed; 2 wrong use; 3 refused or failed, and nothing is "
        "changed; 4 the source cannot be read; 5 no database."
    )
    examples = ("refreshtable sales account",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument("table", metavar="TABLE", help="the entity")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refresh, and say what it changed."""
        table = find_table(find_config(options["name"]), options["table"])
        try:
            found = wait_while_busy(lambda: refresh_table(table))
        except SyncError as error:
            refuse(error)
        self.stdout.write(
            f"{printable(table.label)}: refreshed, {found.inserted} inserted, "
            f"{found.updated} updated, {found.deleted} deleted"
        )

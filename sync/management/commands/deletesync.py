"""``manage.py deletesync``: forget a sync, with or without its tables."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sync.engine.removal import Removed, remove_sync
from sync.engine.words import plural
from sync.errors import TargetError
from sync.management.base import BUSY, TABLES_FAILED, USAGE, DvsyncCommand
from sync.management.choosing import exit_code, find_config
from sync.management.display import printable
from sync.management.switching import person


class Command(DvsyncCommand):
    """Forget a sync, with or without its tables."""

    help = (
        "Deletes a sync: its settings, its ledger, its events and the rows that were "
        "set aside. The tables in PostgreSQL stay, unless --drop-tables is given; the "
        "export is never touched. It cannot be undone, so the name is asked for once "
        "more, unless --yes is given."
    )
    epilog = (
        "Exit codes: 0 deleted; 2 wrong use, or another name was typed; 3 a table "
        "cannot be dropped, nothing is deleted; 5 no database; 6 a load goes on, "
        "nothing is deleted."
    )
    examples = (
        "deletesync sales                        its tables stay as they are",
        "deletesync sales --drop-tables --yes",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument(
            "--drop-tables",
            action="store_true",
            help="drop its tables as well, and its schema if that is empty then",
        )
        parser.add_argument(
            "--yes", action="store_true", help="do not ask for the name once more"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete the sync and say what went."""
        config = find_config(options["name"])
        drop = options["drop_tables"]
        if not options["yes"]:
            self._confirm(config.name, drop=drop)
        try:
            removed = remove_sync(config, drop_tables=drop, by=person())
        except TargetError as error:
            code = exit_code(error)
            if error.code == "table_locked":
                code = BUSY
            self.fail(error, code if code != USAGE else TABLES_FAILED)
        self._tell(removed, config.schema_name, drop=drop)

    def _confirm(self, name: str, *, drop: bool) -> None:
        what = "and its tables" if drop else "and leave its tables"
        self.say(f"This deletes {printable(name)} {what}. Type its name to go on:")
        if sys.stdin.readline().rstrip("\r\n") != name:
            raise CommandError(
                "That is not its name: nothing was deleted", returncode=USAGE
            )

    def _tell(self, removed: Removed, schema: str, *, drop: bool) -> None:
        said = "its tables stay"
        if drop:
            said = f"{plural(len(removed.dropped), 'table')} dropped"
            said += f", the schema {schema} too" if removed.schema else ""
        self.stdout.write(f"{printable(removed.name)}: deleted; {said}")
        for name in removed.left:
            self.say(f"{printable(name)} is not as dvsync made it, and stays.")

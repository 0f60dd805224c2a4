"""``manage.py reconcile``: compare tables with what the source says."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandParser

from sync.engine.entities import selected_tables
from sync.engine.reconcile import reconcile_table
from sync.errors import SyncError
from sync.management.base import (
    TABLES_FAILED,
    DvsyncCommand,
    describe,
    stdout_may_close,
)
from sync.management.choosing import exit_code, find_config, find_table, refuse
from sync.management.display import printable
from sync.models import SyncTable
from sync.target.rebuilt import Comparison

SCHEMA_VERSION = 1


class Command(DvsyncCommand):
    """Compare tables with what the source says."""

    help = (
        "Replays the applied folders of each table, from its full copy on, or all that "
        "was applied of its log files, and "
        "compares every row. Nothing is written, and loads may go on. missing: rows "
        "that the table lacks; extra: rows it should not have; stale: rows with other "
        "content; unverifiable: rows that a deleted folder may have touched."
    )
    epilog = (
        "Exit codes: 0 equal, as far as it can be verified; 2 wrong use; 3 different, "
        "or a table cannot be compared; 4 the source cannot be read; 5 no database."
    )
    examples = (
        "reconcile sales",
        "reconcile sales --table account --json",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument("--table", metavar="T", help="only this entity")
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, print, and end with the exit code."""
        config = find_config(options["name"])
        tables = selected_tables(config)
        if options["table"]:
            tables = [find_table(config, options["table"])]
        found: list[tuple[SyncTable, Comparison]] = []
        failed = False
        for table in tables:
            try:
                found.append((table, reconcile_table(table)))
            except SyncError as error:
                if len(tables) == 1 or exit_code(error) != TABLES_FAILED:
                    refuse(error)
                failed = True
                self.say(describe(error))
        with stdout_may_close():
            self.stdout.write(
                json.dumps(document(found), indent=2)
                if options["json"]
                else "\n".join(_line(*item) for item in found) or "No tables yet"
            )
            self.stdout.flush()
        if failed or any(i.missing or i.extra or i.stale for _, i in found):
            sys.exit(TABLES_FAILED)


def document(found: list[tuple[SyncTable, Comparison]]) -> dict[str, object]:
    """Return the outcome as ``--json`` prints it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tables": [
            {
                "table": table.entity,
                "missing": item.missing,
                "extra": item.extra,
                "stale": item.stale,
                "unverifiable": item.unverifiable,
                "keys": list(item.keys),
            }
            for table, item in found
        ],
    }


def _line(table: SyncTable, item: Comparison) -> str:
    name = printable(table.label)
    if not (item.missing or item.extra or item.stale or item.unverifiable):
        return f"{name}: equal"
    counts = (
        f"{name}: {item.missing} missing, {item.extra} extra, {item.stale} stale, "
        f"{item.unverifiable} unverifiable"
    )
    keys = ", ".join(printable(key) for key in item.keys[:5])
    return f"{counts}; first keys: {keys}" if keys else counts

"""``manage.py syncstatus``: the state of every sync and table on one screen."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from django.core.management.base import CommandParser

from sync.engine.documents import document
from sync.engine.overview import Overview, overview
from sync.engine.states import State
from sync.management.base import TABLES_FAILED, DvsyncCommand, stdout_may_close
from sync.management.choosing import find_configs
from sync.management.status import lines

NARROW, WIDE, PIPED = 40, 120, 80


class Command(DvsyncCommand):
    """Tell the state of the service, of each sync and of each table."""

    help = (
        "Shows whether the service polls, and the state of every sync and table, the "
        "worst first: when its source was looked at, up to where it is "
        "applied, and what to do where something is wrong. docs/states.md explains "
        "the words."
    )
    epilog = (
        "Exit codes: 0 all is well; 2 wrong use, unknown name; 3 something needs "
        "attention (action required, failing, late); 5 no database."
    )
    examples = (
        "syncstatus                          everything",
        "syncstatus sales --table 'acc*'     some tables of one sync",
        "syncstatus --json                   for a program",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these syncs")
        parser.add_argument(
            "--table",
            action="append",
            default=[],
            metavar="GLOB",
            help="show only tables that match; may be repeated",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the overview and end with the exit code."""
        if options["names"]:
            find_configs(options["names"])
        seen = _only(overview(options["names"]), options["table"])
        with stdout_may_close():
            if options["json"]:
                self.stdout.write(json.dumps(document(seen), indent=2))
            else:
                for line in lines(seen, _width(), self._paint):
                    self.stdout.write(line)
            self.stdout.flush()
        if not seen.syncs:
            self.say("There is no sync yet: manage.py createsync NAME LOCATION")
        if any(sync.state.needs_attention for sync in seen.syncs):
            sys.exit(TABLES_FAILED)

    def _paint(self, state: State, text: str) -> str:
        if state in {State.ACTION_REQUIRED, State.FAILING}:
            return str(self.style.ERROR(text))
        if state is State.LATE:
            return str(self.style.WARNING(text))
        return str(self.style.SUCCESS(text)) if state is State.HEALTHY else text


def _width() -> int:
    if not sys.stdout.isatty():
        return PIPED
    return min(max(shutil.get_terminal_size().columns, NARROW), WIDE)


def _only(seen: Overview, globs: list[str]) -> Overview:
    """Return the overview with the matching tables alone; all without globs."""
    if not globs:
        return seen

    def matches(entity: str) -> bool:
        return any(fnmatchcase(entity.lower(), glob.lower()) for glob in globs)

    syncs = [
        replace(sync, tables=[t for t in sync.tables if matches(t.table.entity)])
        for sync in seen.syncs
    ]
    return replace(seen, syncs=syncs)

"""``manage.py editsync``: change what a sync selects and how it decides."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sync.engine.configs import edit_config
from sync.management.base import DvsyncCommand
from sync.management.choosing import (
    add_globs,
    add_policies,
    find_config,
    find_table,
    policies,
)
from sync.management.switching import person


class Command(DvsyncCommand):
    """Change what a sync selects and how it decides."""

    help = (
        "Changes options of a sync; those that are not given stay. A table that is "
        "selected later is filled from the beginning on. --include and --exclude "
        "replace the former globs; '' alone clears them."
    )
    epilog = "Exit codes: 0 changed; 2 refused, with the reason; 5 no database."
    examples = (
        "editsync sales --bad-rows quarantine --max-bad-rows 20",
        "editsync sales --exclude 'msdyn_*'",
        "editsync sales --add-table newtable     a table that --new-tables asked about",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        add_globs(parser, default=None)
        parser.add_argument(
            "--add-table",
            action="append",
            default=[],
            metavar="T",
            help="replicate a new table that waits for a yes; may be repeated",
        )
        add_policies(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Change the sync and say what changed."""
        config = find_config(options["name"])
        globs = {
            name: [glob for glob in options[name] if glob]
            for name in ("include", "exclude")
            if options[name] is not None
        }
        tables = [find_table(config, name) for name in options["add_table"]]
        changes = edit_config(
            config, {**globs, **policies(options)}, accept=tables, by=person()
        )
        self.stdout.write(
            f"{config.name}: {'; '.join(changes)}"
            if changes
            else f"{config.name}: nothing changed"
        )

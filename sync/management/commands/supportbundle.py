"""``manage.py supportbundle``: what others need to know to help, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sync.engine.bundle import bundle, file_name
from sync.management.base import USAGE, DvsyncCommand
from sync.tasks.depth import depths


class Command(DvsyncCommand):
    """Write versions, states, errors, timings and shapes into one file."""

    help = (
        "Writes a zip file of text for those who help: versions, settings without "
        "secrets, the state of everything, the last errors, the times of the last "
        "loads, the shape of the sources. It holds no value of a row. What cannot be "
        "found out, such as everything in a database that is away, is said in it."
    )
    epilog = "Exit codes: 0 written; 2 the file cannot be written."
    examples = (
        "supportbundle                       a new file in this directory",
        "supportbundle for-support.zip",
    )
    # It shall tell of a database that is away or not migrated.
    needs_database = False
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the argument."""
        parser.add_argument(
            "file", nargs="?", metavar="FILE", help="default: a name with the time"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the bundle and say where it is."""
        path = Path(options["file"] or file_name())
        data = bundle({"queue": depths})
        try:
            with path.open("xb") as stream:
                stream.write(data)
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written: {error.strerror}", returncode=USAGE
            ) from error
        self.stdout.write(str(path))
        self.say(f"{len(data):,} bytes: look through it, then pass it on.")

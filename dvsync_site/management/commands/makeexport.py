"""``manage.py makeexport``: write a sample export to try dvsync with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from dvsync_site.sample_export import write_export
from dvsync_site.sample_feed import SampleFeed
from sync.management.base import USAGE, DvsyncCommand

NUMBERS = (
    ("tables", 5, "number of tables"),
    ("rows", 1000, "rows of each table in the first folder"),
    ("folders", 6, "closed change folders, the first one included"),
    ("seed", 1, "another number gives other data"),
)
# Lines of changes by lines of first rows.
CHANGES_BY_LINES = 2


class Command(DvsyncCommand):
    """Write a sample export."""

    help = (
        "Writes a sample export of Azure Synapse Link: change folders of CSV files "
        "without headers, and model.json. The last folder is open, as in a real "
        "export. The same arguments write the same bytes. With --feed it is a change "
        "feed instead: log files of row changes. The path goes to stdout, everything "
        "else to stderr."
    )
    examples = (
        "makeexport var/export",
        "makeexport var/export --tables 12 --folders 20",
        "makeexport var/feed --feed --rows 500",
        "makeexport var/big --tables 2 --rows 5000000 --folders 1",
    )
    needs_database = False
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.epilog = (
            "Exit codes: 0 written; 1 not written; 2 refused, with the reason."
        )
        parser.add_argument(
            "directory", metavar="DIR", type=Path, help="a new or empty directory"
        )
        for name, default, text in NUMBERS:
            parser.add_argument(
                f"--{name}",
                type=int,
                default=default,
                metavar="N",
                help=f"{text} (default: {default})",
            )
        parser.add_argument(
            "--feed",
            action="store_true",
            help="a change feed of three tables; --rows are its accounts",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the export and say what is in it."""
        directory = Path(options["directory"])
        for name in ("tables", "rows", "folders"):
            if options[name] < 1:
                raise CommandError(f"--{name} must be at least 1.", returncode=USAGE)
        try:
            if options["feed"]:
                said = _write_feed(directory, options["rows"], options["seed"])
            else:
                said = _write_export(
                    directory, {name: options[name] for name, _, _ in NUMBERS}
                )
        except (FileExistsError, NotADirectoryError) as error:
            raise CommandError(
                f"{directory} is not an empty directory. Name a new one.",
                returncode=USAGE,
            ) from error
        except OSError as error:
            raise CommandError(
                f"{directory} cannot be written: {error.strerror}."
            ) from error
        self.say(said)
        self.stdout.write(str(directory))


def _write_export(directory: Path, numbers: dict[str, int]) -> str:
    summary = write_export(directory, **numbers)
    return (
        f"Tables: {summary.tables}. Rows: {summary.rows:,}. "
        f"Size: {summary.bytes / 1e6:,.1f} MB. "
        f"Closed folders: {summary.folders}. Open folder: {summary.marker}."
    )


def _write_feed(directory: Path, rows: int, seed: int) -> str:
    if directory.exists() and any(directory.iterdir()):
        raise FileExistsError(directory)
    feed = SampleFeed(directory, rows=rows, seed=seed)
    feed.write_initial()
    feed.write_changes(feed.lines // CHANGES_BY_LINES)
    return (
        f"Tables: {len(feed.tables)}. Lines: {feed.lines:,}. Files: {len(feed.files)}."
    )

"""``manage.py growexport``: let a sample grow by the real clock."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from dvsync_site.sample_demo import EVERY, FEED_EVERY, is_feed, only_writer
from dvsync_site.sample_export import SampleExport
from dvsync_site.sample_feed import SampleFeed
from sync.management.base import USAGE, DvsyncCommand

CHANGES = 12
# A folder takes some 50 KB. With so many of them the export grows slower.
MANY_FOLDERS, SLOW_SECONDS = 1000, 600
# With so many lines a change feed grows slower too.
MANY_LINES = 500_000


class Command(DvsyncCommand):
    """Add a little to a sample export or a sample change feed every few seconds."""

    help = (
        "Lets an export that makeexport, demo or up --demo wrote grow: closes a small "
        "change folder every few seconds, named by the clock, until it is stopped. It "
        "may be killed and started again. Slower once the export has "
        f"{MANY_FOLDERS:,} folders, so that it does not fill the disk. A sample change "
        "feed gets lines at the end of its newest log file instead."
    )
    epilog = "Exit codes: 0 that many folders closed; 1 not written; 2 refused."
    examples = (
        "growexport var/exports/demo",
        "growexport var/export --every 5 --folders 10",
    )
    needs_database = False
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("directory", metavar="DIR", type=Path, help="the export")
        for name, default, text in (
            (
                "every",
                None,
                "seconds from one folder's closing, or one addition to a log, to the "
                f"next (default: {EVERY}, {FEED_EVERY} for a change feed)",
            ),
            ("folders", None, "end after so many folders or additions; default never"),
        ):
            parser.add_argument(
                f"--{name}", type=int, default=default, metavar="N", help=text
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Close folder after folder."""
        directory: Path = options["directory"]
        every: int | None = options["every"]
        if every is not None and every < 1:
            raise CommandError("--every must be at least 1.", returncode=USAGE)
        try:
            with only_writer(directory) as alone:
                if not alone:
                    raise CommandError(
                        "Another process lets this export grow.", returncode=USAGE
                    )
                if is_feed(directory):
                    feed = SampleFeed.resume(directory)
                    self._grow_feed(feed, every or FEED_EVERY, options["folders"])
                else:
                    export = SampleExport.resume(directory)
                    self._grow(export, every or EVERY, options["folders"])
        except FileNotFoundError as error:
            raise CommandError(
                f"{directory} is no export that makeexport or demo wrote.",
                returncode=USAGE,
            ) from error
        except OSError as error:
            raise CommandError(
                f"{directory} cannot be written: {error.strerror}."
            ) from error

    def _grow(self, export: SampleExport, every: int, folders: int | None) -> None:
        closed = 0
        while folders is None or closed < folders:
            if len(export.closed) >= MANY_FOLDERS:
                every = max(every, SLOW_SECONDS)
            time.sleep(max(0.0, (export.opened - _now()).total_seconds() + every))
            # Times only go on, also when the clock was set back.
            opens = max(_now(), export.opened + dt.timedelta(seconds=1))
            name = export.write_changes(CHANGES, opens=opens)
            closed += 1
            self.say(f"Closed the folder {name}: {CHANGES} changes")

    def _grow_feed(self, feed: SampleFeed, every: int, times: int | None) -> None:
        done = 0
        while times is None or done < times:
            if feed.lines >= MANY_LINES:
                every = max(every, SLOW_SECONDS)
            time.sleep(every)
            name = feed.write_changes(CHANGES)
            done += 1
            self.say(f"Added {CHANGES} lines to {name}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

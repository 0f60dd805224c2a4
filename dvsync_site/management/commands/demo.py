"""``manage.py demo``: an export and a change feed, on one's own machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from dvsync_site.sample_demo import (
    FEED_NAME,
    FEED_ROWS,
    NAME,
    ROWS,
    demo_directory,
    demo_feed_directory,
    make_demo_export,
    make_demo_feed,
    make_demo_sync,
    only_writer,
)
from dvsync_site.sample_export import SampleExport
from dvsync_site.sample_feed import SampleFeed
from sync.management.base import DvsyncCommand
from sync.models import SyncTable

LATER_FOLDERS = 5
# Lines that the change feed gets once.
LATER_LINES = 200
QUERIES = (
    "SELECT address1_city, count(*) FROM demo.account GROUP BY 1 ORDER BY 2 DESC",
    "SELECT c.custgroup, count(*) AS orders, sum(s.mcrordertotal) AS total "
    "FROM demo.salestable s JOIN demo.custtable c ON c.accountnum = s.custaccount "
    "GROUP BY 1 ORDER BY 2 DESC",
    "SELECT o.product, sum(o.quantity * o.price) AS total "
    "FROM demo_feed.orderline o GROUP BY 1 ORDER BY 2 DESC",
    "SELECT partition, table_name, rows_inserted, rows_updated, rows_deleted "
    "FROM data_sync_progress ORDER BY 1, 2",
)


class Command(DvsyncCommand):
    """Show dvsync at work on a sample export."""

    help = (
        "Writes a sample export and a sample change feed under the data directory, "
        f"creates the syncs {NAME!r} and {FEED_NAME!r} for them, loads both and shows "
        "what arrived. Safe to run again."
    )
    epilog = "Exit codes: those of syncnow."
    examples = ("demo",)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write, create, load, let changes arrive, and say what to look at."""
        call_command("migrate", verbosity=0, stdout=sys.stderr)
        directory = demo_directory(settings.DATA_DIR)
        make_demo_export(directory, self.say, rows=ROWS)
        make_demo_sync(directory)
        self.stdout.write("The first folder holds a full copy of every table:")
        self._sync()
        with only_writer(directory) as alone:
            missing = self._grow(directory) if alone else 0
        if missing:
            self.stdout.write(
                f"\n{missing} change folders arrive, with updates and deletes:"
            )
            self._sync()
        self._feed()
        self._show()

    def _feed(self) -> None:
        """Do the same with a change feed."""
        directory = demo_feed_directory(settings.DATA_DIR)
        self.stdout.write("")
        make_demo_feed(directory, self.say, FEED_ROWS)
        make_demo_sync(directory, FEED_NAME)
        self.stdout.write("A change feed begins with an INSERT of every row:")
        self._sync(FEED_NAME)
        with only_writer(directory) as alone:
            feed = SampleFeed.resume(directory)
            missing = feed.first_lines + LATER_LINES - feed.lines if alone else 0
            if missing > 0:
                feed.write_changes(missing)
        if missing > 0:
            self.stdout.write(f"\n{missing} lines of changes arrive in its log file:")
            self._sync(FEED_NAME)

    def _grow(self, directory: Path) -> int:
        """Write the later folders that are not there yet; return how many."""
        export = SampleExport.resume(directory)
        missing = max(0, LATER_FOLDERS + 1 - len(export.closed))
        for _ in range(missing):
            export.write_changes()
        return missing

    def _sync(self, name: str = NAME) -> None:
        call_command("syncnow", name, stdout=self.stdout, stderr=self.stderr)

    def _show(self) -> None:
        self.stdout.write("\nWhat is in PostgreSQL now:")
        tables = SyncTable.objects.filter(
            config__name__in=[NAME, FEED_NAME]
        ).select_related("config")
        for table in tables:
            target = table.target()
            count = _count(target.relation)
            self.stdout.write(
                f"  {target.schema + '.' + target.name:24} {count:>8,} rows, as of "
                f"{table.last_partition}"
            )
        manage = f"{_python()} manage.py"
        self.stdout.write("\nFour queries to try:")
        for query in QUERIES:
            self.stdout.write(f'  {manage} dbshell -- -c "{query}"')
        self.stdout.write(
            "\nNext, your own export (a directory with Changelog/changelog.info) or "
            "change feed (a directory of log files):\n"
            f"  {manage} createsync NAME DIRECTORY\n"
            f"  {manage} syncnow NAME"
        )


def _python() -> str:
    """Return the interpreter as one would type it here."""
    executable = Path(sys.executable)
    if executable.is_relative_to(Path.cwd()):
        return str(executable.relative_to(Path.cwd()))
    return str(executable)


def _count(relation: sql.Identifier) -> int:
    connection.ensure_connection()
    query = sql.SQL("SELECT count(*) FROM {}").format(relation)
    row = connection.connection.execute(query).fetchone()
    return int(row[0])

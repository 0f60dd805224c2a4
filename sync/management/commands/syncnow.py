"""``manage.py syncnow``: apply everything that is pending, now."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from sync.engine.entities import undecided_tables
from sync.engine.session import is_database_down
from sync.engine.words import plural
from sync.errors import SourceError, SyncError
from sync.management.base import (
    BUSY,
    DATABASE_FAILED,
    INTERRUPTED,
    SOURCE_FAILED,
    TABLES_FAILED,
    DvsyncCommand,
    describe,
    stdout_may_close,
)
from sync.management.choosing import find_configs
from sync.management.display import Bars, Display, Lines, printable, summary
from sync.management.running import SyncReport, TableReport, dry_run, run
from sync.models import SyncConfig, SyncTable

SCHEMA_VERSION = 1


class Command(DvsyncCommand):
    """Apply everything that is pending, now."""

    help = (
        "Reads each export's finished change folders, and the whole lines of each "
        "change feed's log files, and applies what is not applied yet: every table in "
        "one transaction per batch of them. It does not wait for the back-off of "
        "failed tables, and tries parked ones once."
    )
    epilog = (
        "Exit codes: 0 up to date; 2 wrong use, unknown name, no sync; 3 some tables "
        "failed, are parked or held; 4 a source cannot be read; 5 the database cannot "
        "be reached; 6 a table is being loaded elsewhere and --no-wait was given; 130 "
        "stopped by Ctrl-C after a clean rollback."
    )
    examples = (
        "syncnow                             every sync, every table",
        "syncnow sales --table 'account*'    some tables of one sync",
        "syncnow --dry-run                   what would be done, and its DDL",
        "syncnow --json > result.json        the outcome for a program",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="syncs; all")
        parser.add_argument(
            "--table",
            action="append",
            default=[],
            metavar="GLOB",
            help="only tables whose entity name matches; may be repeated",
        )
        parser.add_argument(
            "--jobs",
            type=_positive,
            default=os.cpu_count() or 1,
            metavar="N",
            help="tables loaded at the same time (default: the cores, %(default)s)",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would be done; no writes"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout"
        )
        parser.add_argument(
            "--no-progress", action="store_true", help="show nothing while it runs"
        )
        parser.add_argument(
            "--no-wait",
            action="store_true",
            help="do not wait for tables that are being loaded elsewhere",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, print the outcome, and end with its exit code."""
        configs = find_configs(options["names"])
        try:
            reports = self._run(configs, options)
        except KeyboardInterrupt:
            self.say("Stopped. What was not committed is rolled back.")
            sys.exit(INTERRUPTED)
        with stdout_may_close():
            if options["json"]:
                self.stdout.write(json.dumps(document(reports), indent=2))
            else:
                self._print(reports)
            self.stdout.flush()
        if options["table"] and not any(report.tables for report in reports):
            self.say(f"No table matches {' or '.join(options['table'])}.")
        self._say_waiting(reports)
        self._say_decisions(reports)
        if code := exit_code(reports):
            sys.exit(code)

    def _run(
        self, configs: Sequence[SyncConfig], options: dict[str, Any]
    ) -> list[SyncReport]:
        if options["dry_run"]:
            return dry_run(configs, options["table"])
        return run(
            configs,
            options["table"],
            options["jobs"],
            self._display(quiet=options["no_progress"]),
            wait_for_others=not options["no_wait"],
        )

    def _display(self, *, quiet: bool) -> Display:
        if quiet:
            return Display()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return Bars(sys.stderr)
        return Lines(self.say)

    def _print(self, reports: Sequence[SyncReport]) -> None:
        for report in reports:
            if report.error is not None:
                self.say(f"{report.config.name}: {describe(report.error)}")
            shown = [t for t in report.tables if t.result.status != "unchanged"]
            for table in shown:
                self._print_table(table)
            if len(shown) < len(report.tables):
                left = len(report.tables) - len(shown)
                tables = "table" if left == 1 else "tables"
                self.stdout.write(f"{report.config.name}: {left} {tables} unchanged")
            if not report.tables and report.error is None:
                self.stdout.write(f"{report.config.name}: no tables yet")

    def _print_table(self, table: TableReport) -> None:
        result = table.result
        if table.ddl is None:
            self.stdout.write(summary(table.table, result))
        else:
            partitions = plural(result.partitions, table.table.config.unit)
            self.stdout.write(
                f"{printable(table.table.label)}: {result.status}, "
                f"{partitions}, {result.bytes} bytes"
            )
            for statement in table.ddl:
                self.stdout.write(f"  {statement};")
        if result.error is not None:
            self.say(f"{printable(table.table.label)}: {describe(result.error)}")

    def _say_waiting(self, reports: Sequence[SyncReport]) -> None:
        for report in reports:
            if report.waiting:
                name, reason = report.waiting[0]
                more = len(report.waiting) - 1
                unit = report.config.unit
                behind = f", and {more} later {unit}s behind it" if more else ""
                self.say(
                    f"{report.config.name}: {name} is not complete: "
                    f"{printable(reason)}{behind}"
                )

    def _say_decisions(self, reports: Sequence[SyncReport]) -> None:
        """Say which tables wait for somebody's decision, and the command for it."""
        for report in reports:
            if report.error is not None and is_database_down(report.error):
                continue
            name = shlex.quote(report.config.name)
            for table in undecided_tables(report.config):
                entity = shlex.quote(printable(table.entity))
                label = printable(table.label)
                if table.state == SyncTable.State.NEW:
                    self.say(
                        f"{label}: a new table. Replicate it: manage.py editsync "
                        f"{name} --add-table {entity}"
                    )
                else:
                    self.say(
                        f"{label}: refresh needed: {printable(table.refresh_reason)}. "
                        f"Run manage.py refreshtable {name} {entity}"
                    )


def exit_code(reports: Sequence[SyncReport]) -> int:
    """Return the exit code: the highest of 5, 4 and 3, else 6 or 0."""
    codes = {0}
    for report in reports:
        if report.error is not None:
            unread = isinstance(report.error, SourceError)
            codes.add(SOURCE_FAILED if unread else DATABASE_FAILED)
        for table in report.tables:
            if table.result.error and is_database_down(table.result.error):
                codes.add(DATABASE_FAILED)
            elif table.result.status in {"failed", "parked", "held"}:
                codes.add(TABLES_FAILED)
    busy = any(t.result.status == "busy" for r in reports for t in r.tables)
    return max(codes) or (BUSY if busy else 0)


def document(reports: Sequence[SyncReport]) -> dict[str, object]:
    """Return the outcome as ``--json`` prints it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "syncs": [
            {
                "name": report.config.name,
                "error": _error(report.error),
                "tables": [_table(table) for table in report.tables],
            }
            for report in reports
        ],
    }


def _table(table: TableReport) -> dict[str, object]:
    result = table.result
    found = {
        "table": table.table.entity,
        "target": table.table.label,
        "status": result.status,
        "partitions": result.partitions,
        "rows": asdict(result.rows),
        "bytes": result.bytes,
        "seconds": round(result.seconds, 3),
        "error": _error(result.error),
    }
    if table.ddl is not None:
        found["ddl"] = table.ddl
    return found


def _error(error: SyncError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
    }


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)

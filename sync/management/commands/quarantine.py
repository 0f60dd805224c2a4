"""``manage.py quarantine``: the rows that were set aside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sync.engine.quarantine import Outcome, dismiss, reprocess
from sync.management.base import (
    TABLES_FAILED,
    USAGE,
    DvsyncCommand,
    describe,
    stdout_may_close,
)
from sync.management.choosing import find_config, find_table, wait_while_busy
from sync.management.display import printable
from sync.management.switching import person
from sync.models import QuarantinedRow, SyncConfig

SCHEMA_VERSION = 1
RAW_SHOWN = 200


class Command(DvsyncCommand):
    """List the rows that were set aside; re-process or dismiss them."""

    help = (
        "Lists the rows that could not be applied and were set aside (--bad-rows "
        "quarantine). --reprocess applies a row that can be read now and is newer than "
        "what is there; --dismiss lets it go. A line of a change feed is not "
        "re-processed: refreshtable reads it again, in its place among the others."
    )
    epilog = (
        "Exit codes: 0 done; 2 wrong use, unknown ID; 3 a row cannot be applied yet; "
        "5 no database."
    )
    examples = (
        "quarantine sales                       the open rows",
        "quarantine sales --table account --json",
        "quarantine sales --reprocess 17 18     try two of them again",
        "quarantine sales --dismiss 19          let one go",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the sync")
        parser.add_argument("--table", metavar="T", help="only this entity")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--reprocess", nargs="+", type=int, metavar="ID")
        what.add_argument("--dismiss", nargs="+", type=int, metavar="ID")
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """List or decide, and end with the exit code."""
        rows = self._rows(find_config(options["name"]), options["table"])
        if options["reprocess"]:
            outcomes = [
                wait_while_busy(partial(reprocess, row, by=person()))
                for row in _chosen(rows, options["reprocess"])
            ]
        elif options["dismiss"]:
            outcomes = [
                dismiss(row, by=person()) for row in _chosen(rows, options["dismiss"])
            ]
        else:
            outcomes = [Outcome(row) for row in rows]
        with stdout_may_close():
            self._print(outcomes, as_json=options["json"])
            self.stdout.flush()
        if any(outcome.error for outcome in outcomes):
            sys.exit(TABLES_FAILED)

    def _rows(self, config: SyncConfig, entity: str | None) -> list[QuarantinedRow]:
        rows = QuarantinedRow.objects.filter(
            table__config=config, state=QuarantinedRow.State.OPEN
        ).select_related("table__config")
        if entity:
            rows = rows.filter(table=find_table(config, entity))
        return list(rows)

    def _print(self, outcomes: list[Outcome], *, as_json: bool) -> None:
        if as_json:
            found = [_document(outcome) for outcome in outcomes]
            document = {"schema_version": SCHEMA_VERSION, "rows": found}
            self.stdout.write(json.dumps(document, indent=2))
            return
        if not outcomes:
            self.stdout.write("No row is set aside")
        for outcome in outcomes:
            row = outcome.row
            done = f" {outcome.done}" if outcome.done else ""
            self.stdout.write(f"{row.pk}{done}: {printable(_place(row))}")
            if not outcome.done:
                self.stdout.write(f"   {row.code}: {printable(row.reason)}")
                self.stdout.write(f"   {printable(_raw(row))}")
            if outcome.error:
                self.say(describe(outcome.error))


def _chosen(rows: Iterable[QuarantinedRow], ids: list[int]) -> list[QuarantinedRow]:
    known = {row.pk: row for row in rows}
    if unknown := [str(id_) for id_ in ids if id_ not in known]:
        raise CommandError(
            f"No open row has the ID {', '.join(unknown)}", returncode=USAGE
        )
    return [known[id_] for id_ in dict.fromkeys(ids)]


def _place(row: QuarantinedRow) -> str:
    column = f", column {row.column}" if row.column else ""
    return f"{row}{column}"


def _raw(row: QuarantinedRow) -> str:
    raw = bytes(row.raw)
    shown = raw[:RAW_SHOWN].decode(errors="backslashreplace")
    return shown + ("…" if len(raw) > RAW_SHOWN else "")


def _document(outcome: Outcome) -> dict[str, object]:
    row = outcome.row
    return {
        "id": row.pk,
        "table": row.table.entity,
        "partition": row.partition,
        "file": row.file,
        "line": row.line,
        "column": row.column,
        "code": row.code,
        "reason": row.reason,
        "raw": bytes(row.raw).decode(errors="backslashreplace"),
        "state": row.state,
        "outcome": outcome.done or None,
        "error": str(outcome.error) if outcome.error else None,
    }

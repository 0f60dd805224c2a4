"""What commands name on their line: syncs, tables and policies."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from django.core.management.base import CommandError, CommandParser

from sync.engine.locks import BusyError
from sync.errors import SourceError, SyncError
from sync.management.base import (
    DATABASE_FAILED,
    SOURCE_FAILED,
    TABLES_FAILED,
    USAGE,
    describe,
)
from sync.models import (
    BadRowPolicy,
    EmptyText,
    MissingKeys,
    NewTables,
    SyncConfig,
    SyncTable,
)

BUSY_AGAIN_SECONDS = 0.3
# Errors of the source as a whole, not of one table in it.
_EXPORT = frozenset(
    {"source_unreadable", "not_an_export", "marker_unusable", "line_malformed"}
)

Result = TypeVar("Result")


def find_config(name: str) -> SyncConfig:
    """Return the sync of this name; end the command when there is none."""
    return find_configs([name])[0]


def find_configs(names: Sequence[str]) -> list[SyncConfig]:
    """Return the syncs of these names, all without names; end when one is unknown."""
    configs = {config.name: config for config in SyncConfig.objects.all()}
    if not configs:
        raise CommandError(
            "There is no sync yet. Create one: manage.py createsync NAME LOCATION",
            returncode=USAGE,
        )
    if unknown := [name for name in names if name not in configs]:
        raise CommandError(
            f"There is no sync named {unknown[0]!r}. Known: {', '.join(configs)}",
            returncode=USAGE,
        )
    return [configs[name] for name in dict.fromkeys(names or configs)]


def find_table(config: SyncConfig, entity: str) -> SyncTable:
    """Return the table of this entity, whatever its case; end when there is none."""
    tables = SyncTable.objects.filter(config=config).select_related("config")
    found = tables.filter(entity=entity) or tables.filter(entity__iexact=entity)
    if len(found) == 1:
        return found[0]
    known = ", ".join(table.entity for table in tables[:20])
    raise CommandError(
        f"{config.name} has no table {entity!r}. Known: {known or 'none yet'}",
        returncode=USAGE,
    )


def wait_while_busy(work: Callable[[], Result]) -> Result:
    """Do the work; when a load holds the table, wait for its end."""
    while True:
        try:
            return work()
        except BusyError:
            time.sleep(BUSY_AGAIN_SECONDS)


def exit_code(error: SyncError) -> int:
    """Return 3 for an error of a table, 4 of the export, 5 of the database."""
    if error.code == "database_unavailable":
        return DATABASE_FAILED
    if isinstance(error, SourceError) and error.code in _EXPORT:
        return SOURCE_FAILED
    return TABLES_FAILED


def refuse(error: SyncError) -> NoReturn:
    """End the command with an error and its exit code."""
    raise CommandError(describe(error), returncode=exit_code(error)) from error


def add_globs(parser: CommandParser, *, default: object) -> None:
    """Declare the options that select tables."""
    for option, text in (
        ("--include", "only tables that match (default: all); may be repeated"),
        ("--exclude", "not tables that match; wins over --include"),
    ):
        parser.add_argument(
            option,
            action="extend",
            nargs="+",
            default=default,
            metavar="GLOB",
            help=text,
        )


def add_policies(parser: CommandParser) -> None:
    """Declare the options for what a sync does in cases of doubt."""
    for option, values, text in (
        ("--bad-rows", BadRowPolicy, "a row that cannot be applied: stop its table"),
        ("--empty-text", EmptyText, "an empty cell of a text column is NULL or ''"),
        ("--new-tables", NewTables, "tables that appear later: include, or ask"),
        (
            "--missing-keys",
            MissingKeys,
            "an update, in a change feed, of a row that is not there: ignore it, or "
            "insert what it tells",
        ),
    ):
        default = str(values.choices[0][0])
        parser.add_argument(
            option, choices=values.values, help=f"{text} (default: {default})"
        )
    parser.add_argument(
        "--max-bad-rows",
        type=_number,
        metavar="N",
        help="a table stops when more rows than this are set aside (default: 100)",
    )
    parser.add_argument(
        "--max-delete-share",
        type=_percentage,
        metavar="P",
        help="per cent of a table that one load may delete unasked (default: 50)",
    )


def policies(options: dict[str, Any]) -> dict[str, object]:
    """Return the policies that were given, by the names of the sync's fields."""
    names = (
        "bad_rows",
        "max_bad_rows",
        "empty_text",
        "new_tables",
        "missing_keys",
        "max_delete_share",
    )
    return {name: options[name] for name in names if options[name] is not None}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**31 - 1:
        raise ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _percentage(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 100:
        raise ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return int(text)

"""What every command of dvsync shares: help, exit codes, and clear endings."""

from __future__ import annotations

import os
import sys
from argparse import HelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from django.core.management import call_command
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from sync.engine.locks import one_at_a_time
from sync.engine.session import database_errors
from sync.errors import SyncError, TargetError
from sync.management.display import printable

USAGE, TABLES_FAILED, SOURCE_FAILED, DATABASE_FAILED = 2, 3, 4, 5
BUSY, INTERRUPTED = 6, 130


class DvsyncCommand(BaseCommand):
    """A command whose help begins with examples and whose errors are one message.

    Exit codes: 2 for a wrong use, 5 when the database cannot be used. A database
    that was never migrated is migrated first.
    """

    examples: ClassVar[tuple[str, ...]] = ()
    epilog = ""
    needs_database = True

    def create_parser(
        self, prog_name: str, subcommand: str, **kwargs: Any
    ) -> CommandParser:
        """Return the parser, with the examples above everything else."""
        examples = "".join(f"  manage.py {line}\n" for line in self.examples)

        class ExamplesFirst(DjangoHelpFormatter):
            def format_help(self) -> str:
                return f"Examples:\n{examples}\n{super().format_help()}"

        formatter: type[HelpFormatter] = ExamplesFirst
        return super().create_parser(
            prog_name,
            subcommand,
            formatter_class=formatter,
            epilog=self.epilog,
            **kwargs,
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; errors that a person can act on end it in one message."""
        try:
            if self.needs_database:
                with database_errors():
                    self._migrate_first_time()
            return super().execute(*args, **options)
        except TargetError as error:
            self.fail(error, DATABASE_FAILED)
        except SyncError as error:
            self.fail(error, USAGE)
        except (DatabaseError, InterfaceError) as error:
            down = isinstance(error, OperationalError | InterfaceError)
            raise CommandError(
                f"The database cannot be used: {str(error).strip()}\n"
                + (
                    "Check that PostgreSQL runs and that DATABASE_URL is right."
                    if down
                    else "Run manage.py migrate."
                ),
                returncode=DATABASE_FAILED,
            ) from error

    def say(self, message: str) -> None:
        """Write a message for a person, on stderr."""
        self.stderr.write(message, style_func=str)

    def fail(self, error: SyncError, returncode: int) -> NoReturn:
        """End the command with an error and its remedy."""
        raise CommandError(describe(error), returncode=returncode) from error

    def _migrate_first_time(self) -> None:
        if self._is_migrated():
            return
        with one_at_a_time():
            if not self._is_migrated():
                self.say("Creating dvsync's own tables (manage.py migrate).")
                call_command("migrate", verbosity=0, stdout=sys.stderr)

    def _is_migrated(self) -> bool:
        loader = MigrationExecutor(connection).loader
        return ("sync", "0001_initial") in loader.applied_migrations


def describe(error: SyncError) -> str:
    """Return an error and its remedy on two lines."""
    return f"{printable(str(error))}\n{error.remedy}"


@contextmanager
def stdout_may_close() -> Iterator[None]:
    """Let a reader of stdout go away, as ``head`` does, without ado.

    The work is done and committed then: the exit code must tell of it.
    """
    try:
        yield
    except OSError:
        # Python flushes stdout once more at its end.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)

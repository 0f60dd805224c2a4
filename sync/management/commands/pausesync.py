"""``manage.py pausesync``: load nothing of a sync or a table until resumesync."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sync.engine import switches
from sync.management.display import printable
from sync.management.switching import SwitchCommand, person
from sync.models import SyncConfig, SyncTable


class Command(SwitchCommand):
    """Load nothing of a sync or a table until resumesync."""

    help = (
        "Pauses a sync, whose export is then not even looked at, or some of its "
        "tables. A load of the service that runs is rolled back within seconds; one "
        "of syncnow ends with its batch. Nothing is lost: the backlog waits."
    )
    epilog = "Exit codes: 0 paused, also if it was; 2 wrong use; 5 no database."
    examples = (
        "pausesync sales",
        "pausesync sales account contact",
        "pausesync sales --reason 'upgrade of Dataverse'",
    )
    reason = ""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        super().add_arguments(parser)
        parser.add_argument(
            "--reason",
            default="",
            metavar="TEXT",
            help="why, in a line that is shown wherever the pause is",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause what was named, and say what changed."""
        self.reason = options["reason"].strip()
        super().handle(*args, **options)

    def switch(self, what: SyncConfig | SyncTable) -> None:
        """Pause it; of what was paused before, a reason is told all the same."""
        if switches.pause(what, by=person(), reason=self.reason):
            said = "paused"
        elif self.reason and switches.explain_pause(what, self.reason, by=person()):
            said = "was paused, and has this reason now"
        else:
            said = "nothing to pause"
        self.stdout.write(f"{printable(str(what))}: {said}")

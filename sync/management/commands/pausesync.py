"""``manage.py pausesync``: load nothing of a sync or a table until resumesync."""

from __future__ import annotations

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
    examples = ("pausesync sales", "pausesync sales account contact")

    def switch(self, what: SyncConfig | SyncTable) -> None:
        """Pause it."""
        paused = switches.pause(what, by=person())
        said = "paused" if paused else "nothing to pause"
        self.stdout.write(f"{printable(str(what))}: {said}")

"""``manage.py resumesync``: end a pause."""

from __future__ import annotations

from sync.engine import switches
from sync.management.display import printable
from sync.management.switching import SwitchCommand, person
from sync.models import SyncConfig, SyncTable


class Command(SwitchCommand):
    """End a pause."""

    help = (
        "Lets a paused sync or table go on with the next poll. A table that waited for "
        "a person before its pause waits again; tables of a sync that were paused by "
        "name stay so."
    )
    epilog = "Exit codes: 0 resumed, also if it ran; 2 wrong use; 5 no database."
    examples = ("resumesync sales", "resumesync sales account")

    def switch(self, what: SyncConfig | SyncTable) -> None:
        """Resume it."""
        resumed = switches.resume(what, by=person())
        said = "goes on" if resumed else "was not paused"
        self.stdout.write(f"{printable(str(what))}: {said}")

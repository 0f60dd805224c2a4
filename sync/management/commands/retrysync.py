"""``manage.py retrysync``: try again what failed, with the next poll."""

from __future__ import annotations

from sync.engine import switches
from sync.management.display import printable
from sync.management.switching import SwitchCommand, person
from sync.models import SyncConfig, SyncTable


class Command(SwitchCommand):
    """Try again what failed, with the next poll."""

    help = (
        "Lets tables that failed or are parked be tried again by the next poll, "
        "without waiting for their back-off: all of a sync, or those named. syncnow "
        "does it at once and by itself."
    )
    epilog = (
        "Exit codes: 0 done, also with nothing to retry; 2 wrong use; 5 no database."
    )
    examples = ("retrysync sales", "retrysync sales account")

    def switch(self, what: SyncConfig | SyncTable) -> None:
        """Retry it, and say which tables."""
        tables = switches.retry(what, by=person())
        for table in tables:
            self.stdout.write(f"{printable(table.entity)}: is tried again")
        if not tables:
            why = ""
            if isinstance(what, SyncTable) and what.halted:
                why = f" (it is {what.state})"
            self.stdout.write(f"{printable(str(what))}: nothing to retry{why}")

"""One look at every export: what a poll does before loads are enqueued."""

from __future__ import annotations

import logging

from sync.engine.discovery import look_once
from sync.engine.session import is_database_down
from sync.errors import SyncError
from sync.models import SyncConfig

# An export with thousands of folders is taken note of in several polls.
LOOK_SECONDS = 15.0

log = logging.getLogger(__name__)


def look_at_all() -> int:
    """Look at every export that is not paused and return how many could be read.

    What is wrong with one is recorded there and keeps no other from being read.
    Raises ``TargetError`` when the database cannot be reached.
    """
    read = 0
    for config in SyncConfig.objects.filter(paused=False):
        before = config.error_code
        try:
            look_once(config, seconds=LOOK_SECONDS)
        except SyncError as error:
            if is_database_down(error):
                raise
            if error.code != before:  # not with every poll
                log.warning("%s", error, extra={"sync": config.name})
        except Exception as error:
            log.exception("The poll ended unexpectedly", extra={"sync": config.name})
            message = f"Unexpected {type(error).__name__}: {error}"
            config.record_problem(SyncError("internal_error", message))
        else:
            read += 1
    return read

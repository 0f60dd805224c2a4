"""Looking at every export in turn: what a poll does."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from django.db.models import F

from sync.engine.discovery import look_once
from sync.engine.session import database_errors, is_database_down
from sync.errors import SyncError
from sync.models import SyncConfig

# A poll shall end before the next one. An export with thousands of folders is taken
# note of in several polls; exports that had no turn in one have it in the next.
ROUND_SECONDS = 15.0
LOOK_SECONDS = 5.0
LOOK_FILES = 5_000

log = logging.getLogger(__name__)


def look_in_turn() -> Iterator[SyncConfig]:
    """Look at the exports that are not paused; yield those in which something is new.

    Those that were not looked at for the longest time come first. What is wrong with
    one is recorded there and keeps no other from being read. Raises ``TargetError``
    when the database cannot be reached.
    """
    end = time.monotonic() + ROUND_SECONDS
    configs = SyncConfig.objects.filter(paused=False)
    for config in configs.order_by(F("checked_at").asc(nulls_first=True), "pk"):
        if time.monotonic() > end:
            log.info("The other exports have their turn with the next poll")
            return
        if look_at(config):
            yield config


def look_at(config: SyncConfig) -> bool:
    """Look at one export, not for long, and say whether there was anything new.

    What is wrong with it is recorded there. Raises ``TargetError`` when the database
    cannot be reached.
    """
    before = config.error_code
    try:
        return not look_once(config, seconds=LOOK_SECONDS, files=LOOK_FILES).quiet
    except SyncError as error:
        if is_database_down(error):
            raise
        if _is_gone(config):
            return False
        if error.code != before:  # not with every poll
            log.warning("%s", error, extra={"sync": config.name})
    except Exception as error:
        if _is_gone(config):
            return False
        log.exception("The look ended unexpectedly", extra={"sync": config.name})
        message = f"Unexpected {type(error).__name__}: {error}"
        config.record_problem(SyncError("internal_error", message))
    return False


def _is_gone(config: SyncConfig) -> bool:
    """Say whether the sync was deleted while its export was looked at."""
    with database_errors():
        return not SyncConfig.objects.filter(pk=config.pk).exists()

"""Every page in pictures, for who looks at all of them after a change.

The site when it is empty, when it is in use and partly fails, and with 300 tables;
each page in light and dark, wide and narrow, as long as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from bench.crowd import make_crowd
from sync.engine.alarms import look_after_alerts
from sync.engine.configs import create_config
from sync.engine.discovery import poll_once
from sync.models import DataSyncProgress, SyncConfig
from tests.exports import ExportWriter
from tests.screenshots.pictures import a_browser, make_site, running_site, visit

SCHEMES = ("light", "dark")
WIDTHS = {"wide": 1280, "narrow": 320}
TABLES = 300
TABS = ("sync", "sync-timeline", "sync-schema", "sync-settings", "sync-delete")


def take_every_page(directory: Path) -> int:
    """Take the pictures into a directory; those of an earlier time are replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    with running_site() as site, a_browser() as browser:
        for when, paths in _moments():
            for scheme, (shape, width) in product(SCHEMES, WIDTHS.items()):
                page = visit(browser, site, scheme, width)
                for name, path in paths.items():
                    page.goto(path)
                    picture = directory / f"{when}-{name}-{scheme}-{shape}.png"
                    page.screenshot(path=picture, full_page=True)
                page.context.close()
    sys.stdout.write(f"{len(list(directory.glob('*.png')))} pictures in {directory}\n")
    return 0


def _moments() -> Iterator[tuple[str, dict[str, str]]]:
    """Make the site fuller and fuller; yield what to look at each time."""
    yield "empty", _fixed()
    exports = Path(settings.DATA_DIR) / "exports"
    _, failing = make_site(exports)
    _one_waits(exports)
    SyncConfig.objects.filter(paused=False).update(checked_at=timezone.now())
    look_after_alerts()
    yield "in-use", _fixed() | _of(failing)
    yield "crowd", {"overview": "/"} | _of(make_crowd(TABLES))


def _fixed() -> dict[str, str]:
    return {
        "overview": reverse("overview"),
        "setup": reverse("setup"),
        "setup-location": f"{reverse('setup')}location/?read=model",
        "errors": reverse("errors"),
        "quarantine": reverse("quarantine"),
        "support-bundle": reverse("support-bundle"),
        "preferences": reverse("preferences"),
        "error-help": reverse("error-help", args=["bad_value"]),
        "admin": reverse("admin:index"),
        "admin-progress": reverse("admin:sync_datasyncprogress_changelist"),
        "admin-syncs": reverse("admin:sync_syncconfig_changelist"),
    }


def _of(config: SyncConfig) -> dict[str, str]:
    """Return the pages of a sync and of its table that failed."""
    failed = DataSyncProgress.objects.filter(config=config, copy_status=2).first()
    assert failed
    table = config.tables.get(entity=failed.table_name)
    found = {name: reverse(name, args=[config.pk]) for name in TABS}
    own = reverse("table", args=[table.pk])
    parts = {f"table-{part}": f"{own}?part={part}" for part in ("columns", "events")}
    return found | {"table": own} | parts


def _one_waits(exports: Path) -> None:
    """Set up a sync of an export whose first folder is not closed yet."""
    export = ExportWriter(exports / "contoso-finance")
    export.upsert("custtable", 1)
    poll_once(create_config("finance-new", str(export.root)).config)

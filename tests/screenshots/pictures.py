"""The pictures, and the made-up site that they show.

Three exports of sample data, really loaded, one of them with a faulty file; each page
once in the light and once in the dark.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import Browser, Page, sync_playwright

from dvsync_site import embedded
from dvsync_site.sample_export import SampleExport
from sync.engine.configs import create_config
from sync.engine.discovery import poll_once
from sync.engine.load import sync_table
from sync.engine.switches import pause
from sync.models import (
    Cluster,
    DataSyncProgress,
    Event,
    Heartbeat,
    SyncConfig,
    SyncTable,
    Worker,
)
from tests.browser.chromium import find_browser
from tests.browser.loads import SteppedLoad, stepped
from tests.browser.site import Site
from tests.people import person, signed_in

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SIZE = {"width": 1280, "height": 800}
LARGEST = 150_000
HISTORY = timedelta(hours=3)
STEP = timedelta(minutes=15)


def take_pictures() -> int:
    """Make the site, take the pictures, and say what was written."""
    PICTURES.mkdir(exist_ok=True)
    with running_site() as site, a_browser() as browser:
        sales, service = make_site(Path(settings.DATA_DIR) / "exports")
        for scheme in ("light", "dark"):
            page = visit(browser, site, scheme, SIZE["width"])
            Camera(page, scheme, sales, service).take_all()
            page.context.close()
    for path in sorted(PICTURES.glob("*.png")):
        size = path.stat().st_size
        sys.stdout.write(f"{path.name}: {size:,} bytes\n")
        assert size <= LARGEST, path
    return 0


# The site


@contextmanager
def running_site() -> Iterator[Site]:
    """Start the site on an empty database, and stop it."""
    embedded.ensure(settings.DATA_DIR)
    call_command("migrate", verbosity=0)
    site = Site()
    site.start()
    try:
        yield site
    finally:
        site.stop()


def make_site(folder: Path) -> tuple[SyncConfig, SyncConfig]:
    """Load three exports; return the one that is well and the one that is not."""
    now = timezone.now()
    person("root")
    sales = _sync("sales", folder, tables=8, now=now)
    service = _sync("service", folder, tables=5, now=now, faulty=True)
    pause(_sync("archive", folder, tables=3, now=now), by="anna")
    _seem_older(now)
    Heartbeat.begin(now)
    Heartbeat.end()
    for queue, workers in (("poll", 1), ("sync", 2)):
        cluster = Cluster.objects.create(queue=queue, host="crm-db-1", pid=411)
        for number in range(workers):
            Worker.objects.create(cluster=cluster, pid=420 + number)
    return sales, service


def _sync(
    name: str, folder: Path, *, tables: int, now: datetime, faulty: bool = False
) -> SyncConfig:
    start = now - HISTORY
    export = SampleExport(
        folder / f"contoso-{name}", tables=tables, rows=3_000, seed=3, start=start
    )
    export.write_initial(opens=start + STEP)
    config = create_config(name, str(export.directory)).config
    _load(config)
    while export.opened + STEP < now:
        last = export.write_changes(opens=export.opened + STEP)
    if faulty:
        _spoil(export.directory / last, export.tables)
    _load(config)
    return config


def _spoil(folder: Path, tables: list[str]) -> None:
    """Let a row begin with what is no Id."""
    path = next(path for table in tables for path in (folder / table).glob("*.csv"))
    lines = path.read_bytes().split(b"\n")
    lines[0] = b"n/a," + lines[0].partition(b",")[2]
    path.write_bytes(b"\n".join(lines))


def _load(config: SyncConfig) -> None:
    for table in poll_once(config).due:
        sync_table(table)


def _seem_older(now: datetime) -> None:
    """Let each folder be loaded a few seconds after it was closed."""
    for row in DataSyncProgress.objects.select_related("config"):
        partition = row.config.partitions.get(name=row.partition)
        later = timedelta(seconds=8 + len(row.table_name) * 7)
        ended = min(partition.closed_at + later, now)
        row.started_at, row.finished_at = ended - timedelta(seconds=2), ended
        row.save(update_fields=["started_at", "finished_at"])
    beginning = Event.objects.filter(kind__in=("sync_created", "table_created"))
    beginning.update(happened_at=now - HISTORY)
    # The picture is of anybody's machine.
    created = Event.objects.filter(kind="sync_created")
    created.update(message="/srv/exports/contoso")
    for table in SyncTable.objects.all():
        newest = table.progress.filter(copy_status=1).order_by("-finished_at").first()
        if newest:
            SyncTable.objects.filter(pk=table.pk).update(
                last_loaded_at=newest.finished_at
            )


# The pictures


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Start the browser of the tests."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # see tests/browser/conftest.py
    with sync_playwright() as playwright:
        program = find_browser(Path(playwright.chromium.executable_path))
        yield playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )


@dataclass(frozen=True)
class Camera:
    """Takes the pictures of one scheme."""

    page: Page
    scheme: str
    sales: SyncConfig
    service: SyncConfig

    def take_all(self) -> None:
        """Take a picture of each page."""
        SyncConfig.objects.filter(paused=False).update(checked_at=timezone.now())
        [failed] = DataSyncProgress.objects.filter(config=self.service, copy_status=2)
        table = self.service.tables.get(entity=failed.table_name)
        self._take("overview", "/")
        self._take("error", f"/tables/{table.pk}/")
        self._take("timeline", f"/syncs/{self.service.pk}/timeline/")
        self._begin_setup()
        self._take("setup")
        with _loading(self.sales) as load:
            self.page.goto(f"/syncs/{self.sales.pk}/")
            for _ in range(8):
                load.step()
            self._take("sync", f"/syncs/{self.sales.pk}/")

    def _take(self, name: str, path: str = "") -> None:
        if path:
            self.page.goto(path)
        self.page.screenshot(path=PICTURES / f"{name}-{self.scheme}.png")

    def _begin_setup(self) -> None:
        page = self.page
        page.goto("/setup/")
        if page.get_by_role("button", name="Start over").count():
            page.get_by_role("button", name="Start over").click()
        model = Path(self.sales.location) / "model.json"
        page.get_by_label("File").set_input_files(model)
        page.get_by_role("button", name="Upload").click()


@contextmanager
def _loading(config: SyncConfig) -> Iterator[SteppedLoad]:
    """Let a large folder be loaded, which stands still in the middle."""
    export = SampleExport.resume(Path(config.location))
    export.write_changes(60_000, opens=timezone.now())
    due = max(poll_once(config).due, key=lambda table: table.entity)
    with stepped(due) as load:
        yield load
    _load(config)


def visit(browser: Browser, site: Site, scheme: str, width: int) -> Page:
    """Open the browser of somebody who may everything."""
    context = browser.new_context(
        base_url=site.url,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": SIZE["height"]},
    )
    name = settings.SESSION_COOKIE_NAME
    value = signed_in("root").cookies[name].value
    context.add_cookies([{"name": name, "value": value, "url": site.url}])
    return context.new_page()

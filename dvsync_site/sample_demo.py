"""The samples of the demo: made once, each grown by one process at a time."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dvsync_site.sample_export import SERVICE, START, SampleExport
from dvsync_site.sample_feed import NOTES, SampleFeed
from sync.engine.configs import create_config
from sync.models import SyncConfig

NAME, FEED_NAME = "demo", "demo_feed"
TABLES, ROWS, SEED = 6, 20_000, 1
FEED_ROWS = 500
# What the button of the pages makes, while one waits.
SAMPLE, SAMPLE_ROWS = "sample", 1_000
# Seconds from one folder of a growing export to the next.
EVERY = 30
# Seconds from one addition to the log of a growing feed to the next.
FEED_EVERY = 5
# A live one begins with a folder of this length, which is closed at once.
FIRST_FOLDER = dt.timedelta(minutes=15)


def demo_directory(data_dir: Path) -> Path:
    """Return where the demo's export is: below the directory for exports."""
    before = Path(data_dir) / "demo-export"  # an earlier version's
    return before if before.exists() else Path(data_dir) / "exports" / "demo"


def demo_feed_directory(data_dir: Path) -> Path:
    """Return where the demo's change feed is: beside its export."""
    return demo_directory(data_dir).with_name(FEED_NAME)


def make_sample_export(root: Path) -> Path:
    """Return a sample export below a directory, which is made unless it is there.

    It is written beside and renamed, so that two who ask at once get one. Raises
    ``OSError`` when nothing can be written there.
    """
    directory = root / SAMPLE
    if (directory / "Changelog" / "changelog.info").exists():
        return directory
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=root) as draft:
        made = Path(draft) / SAMPLE
        make_demo_export(made, lambda _: None, rows=SAMPLE_ROWS, live=True)
        # Somebody else's is as good; what is there and is no export is not ours.
        if not (directory / "Changelog" / "changelog.info").exists():
            made.rename(directory)
    return directory


def make_demo_export(
    directory: Path, say: Callable[[str], None], *, rows: int = ROWS, live: bool = False
) -> None:
    """Write the export unless it is there; a live one is closed now, by its name."""
    if (directory / "Changelog" / "changelog.info").exists():
        say(f"Using the sample export in {directory}")
        return
    # What a killed run may have left is no export yet.
    shutil.rmtree(directory, ignore_errors=True)
    say(f"Writing a sample export into {directory}")
    now = dt.datetime.now(dt.UTC)
    start = now - FIRST_FOLDER if live else START
    export = SampleExport(directory, tables=TABLES, rows=rows, seed=SEED, start=start)
    export.write_initial(opens=now if live else None)


def make_demo_feed(directory: Path, say: Callable[[str], None], rows: int) -> None:
    """Write the change feed unless it is there."""
    if (directory / NOTES).exists():
        say(f"Using the sample change feed in {directory}")
        return
    say(f"Writing a sample change feed into {directory}")
    SampleFeed(directory, rows=rows, seed=SEED).write_initial()


def make_demo_sync(directory: Path, name: str = NAME) -> None:
    """Create a sync of the demo unless it is there."""
    if not SyncConfig.objects.filter(name=name).exists():
        create_config(name, str(directory))


def is_feed(directory: Path) -> bool:
    """Say whether a sample is a change feed, not an export."""
    return (directory / NOTES).exists()


@contextmanager
def only_writer(directory: Path) -> Iterator[bool]:
    """Tell whether this process may let the sample grow: no other one does now."""
    place = directory if is_feed(directory) else directory / SERVICE
    fd = os.open(place / ".writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)

"""The pages of a change feed in the browser: accessible, silent on hostile lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from pytest_django import Settings

from sync.models import SyncConfig
from tests import hostile
from tests.browser.conftest import NARROW, Visit
from tests.browser.test_hostile_texts import BROKEN_OUT
from tests.browser.test_pages import TOO_WIDE, faults
from tests.browser.watch import Watch
from tests.sync.conftest import Feed

TIME = "2024-09-10T12:00:00Z"


@pytest.fixture
def used(make_feed: Callable[..., Feed]) -> Feed:
    """Return a feed with lines applied, missing, set aside, and of nobody."""
    feed = make_feed(bad_rows="quarantine")
    feed.insert("account", Id="a", name="Anna")
    feed.update("contact", Id="b", name="Bert")
    feed.raw(f'{TIME} | UPDATE | account | {{"name": "x"}}\n')
    feed.sync()
    feed.file = "b.log"
    feed.insert("contact", Id="c", name="Carl")
    feed.insert("lead", Id="l")
    feed.sync()
    feed.raw("<b>nothing</b>\n")
    feed.sync()
    return feed


@pytest.fixture
def nasty(make_feed: Callable[..., Feed]) -> Feed:
    """Return a feed whose files, tables, columns and lines are to do harm."""
    feed = make_feed(bad_rows="quarantine", max_bad_rows=100)
    values = cycle(hostile.VALUES)
    # A bar would end the name of a table in a line.
    tables = [
        name for name in hostile.NAMES if "|" not in name and name == name.strip()
    ]
    for table in tables:
        feed.table(table, "Id", *(name.replace(":", "") for name in hostile.NAMES[:5]))
    for number, table in enumerate(tables):
        feed.file = f"{number} {hostile.NAMES[number][:60]}.log"
        columns = list(feed.tables[table])
        feed.insert(table, **dict(zip(columns, values, strict=False)))
        feed.insert(table, **{"Id": next(values), "odd <hostile-x>": next(values)})
        feed.raw(f"{TIME} | {hostile.CANARY} | {table} | {hostile.SCRIPT}\n")
    feed.raw(f"{TIME} | INSERT | <{hostile.ELEMENT}> | {{}}\n")
    feed.sync()
    feed.path.rename(feed.root / f"moved {hostile.NAMES[0][:60]}.log")
    feed.raw(f"{hostile.SCRIPT}\n")
    feed.sync()
    return feed


def paths(config: SyncConfig, location: str) -> Iterator[str]:
    """Yield the pages on which a feed is told."""
    yield "/"
    for part in ("", "timeline/", "schema/", "settings/", "delete/"):
        yield f"/syncs/{config.pk}/{part}"
    for table in config.tables.order_by("pk"):
        yield f"/tables/{table.pk}/"
    for part in ("columns", "events"):
        yield f"/tables/{config.tables.earliest('pk').pk}/?part={part}"
    yield "/quarantine/"
    yield f"/setup/location/?read=model&in={location}"
    for model in ("syncconfig", "syncpartition", "datasyncprogress", "event"):
        yield f"/admin/sync/{model}/"
    for code in ("line_malformed", "line_out_of_turn", "out_of_order", "key_changed"):
        yield f"/errors/{code}/"


def test_the_pages_of_a_feed_are_accessible(
    visit: Visit, used: Feed, settings: Settings
) -> None:
    settings.ROOTS = [used.root.parent]
    page = visit("root", bypass_csp=True)
    found = [
        f"{path}: {fault}"
        for path in paths(used.config, str(used.root))
        if not path.startswith("/admin/")
        for fault in faults(page, path)
    ]
    assert found == []


def test_what_is_hostile_in_a_feed_stays_a_text(
    visit: Visit, watch: Watch, nasty: Feed, settings: Settings
) -> None:
    settings.ROOTS = [nasty.root.parent]
    page = visit("root", width=NARROW)
    seen = 0
    for path in paths(nasty.config, str(nasty.root)):
        page.goto(path)
        assert page.locator(BROKEN_OUT).count() == 0, path
        text = page.locator("body").inner_text()
        seen += text.count(f"<{hostile.ELEMENT}")
        if not path.startswith("/admin/"):
            codes = hostile.DIRECTIONS + hostile.CONTROLS
            assert set(text) & set(codes) == set(), path
            assert page.evaluate(TOO_WIDE) == [], path
        assert watch.complaints == []
    assert seen, "no page showed any of it"

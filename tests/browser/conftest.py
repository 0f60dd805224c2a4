"""Real browsers on the real site: one Chromium for each process of the run."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import NoBrowserError, find_browser
from tests.browser.site import Site
from tests.browser.watch import Watch
from tests.people import signed_in

# Generous: other tests run on the same machine. No test waits for it to pass.
PATIENCE_MS = 30_000
WIDE, NARROW = 1280, 320

expect.set_options(timeout=PATIENCE_MS)

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def _chromium(django_db_setup: None) -> Iterator[tuple[Browser, AbstractEventLoop]]:
    with sync_playwright() as playwright:
        bundled = Path(playwright.chromium.executable_path)
        loop = asyncio.get_running_loop()
        with _loop_forgotten():
            program = _find_browser(bundled)
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        with _loop_forgotten():
            yield browser, loop
        browser.close()
    asyncio._set_running_loop(None)


def _find_browser(bundled: Path) -> Path:
    try:
        return find_browser(bundled)
    except NoBrowserError as error:
        pytest.fail(str(error), pytrace=False)


@contextmanager
def _loop_forgotten() -> Iterator[None]:
    """Make the thread an ordinary one, in which Django works and other loops may run.

    From its start on, Playwright's loop counts as running in this thread, also between
    two calls and during the tests that come next and have no browser.
    """
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


@pytest.fixture
def chromium(
    _chromium: tuple[Browser, AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browser]:
    """Return the one browser of this process. Without a program the test fails.

    During the test Django is used in the thread of Playwright: between its calls,
    never within its loop, so that Django's guard against that has nothing to find.
    """
    browser, loop = _chromium
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    asyncio._set_running_loop(loop)
    yield browser
    asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def _site(django_db_setup: None) -> Iterator[Site]:
    site = Site()
    site.start()
    yield site
    site.stop()


@pytest.fixture
def site(_site: Site, transactional_db: None) -> Iterator[Site]:
    """Return the running site, on the database of the test."""
    yield _site
    _site.settle()


@pytest.fixture
def watch(site: Site) -> Iterator[Watch]:
    """Collect what the browser complains of; in the end it must be nothing."""
    watch = Watch(site.url)
    yield watch
    assert watch.complaints == []


@pytest.fixture
def visit(chromium: Browser, site: Site, watch: Watch) -> Iterator[Visit]:
    """Open browsers of people: ``visit("viewer")``, with a page that is empty still.

    Without a role nobody is signed in. ``scheme`` is light or dark, ``width`` that of
    the window; further options are those of ``Browser.new_context``.
    """
    contexts = []

    def visit(
        role: str = "", *, scheme: Any = "light", width: int = WIDE, **options: Any
    ) -> Page:
        context = chromium.new_context(
            base_url=site.url,
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        watch.attend(context)
        if role:
            name = django_settings.SESSION_COOKIE_NAME
            value = signed_in(role).cookies[name].value
            context.add_cookies([{"name": name, "value": value, "url": site.url}])
        return context.new_page()

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def page(visit: Visit) -> Page:
    """Return a page in the browser of somebody who may everything."""
    return visit("root")

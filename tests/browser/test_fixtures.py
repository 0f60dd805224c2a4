"""The browser sees what is wrong: each complaint is one that a test has provoked."""

from __future__ import annotations

import asyncio
import time

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.site import Site
from tests.browser.watch import CANARY, Watch


def complained_of(page: Page, watch: Watch, text: str) -> bool:
    """Wait until this is complained of; whatever else comes with it is expected."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not any(text in complaint for complaint in watch.complaints):
        assert time.monotonic() < end, watch.complaints
        page.wait_for_timeout(50)
    watch.expect("")
    return True


def test_the_login_is_the_way_in(visit: Visit) -> None:
    User.objects.create_superuser("alice", password="correct horse")
    page = visit()
    page.goto("/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")
    assert page.locator("#user-tools").inner_text().upper().count("ALICE") == 1


def test_a_role_is_signed_in(visit: Visit) -> None:
    answer = visit("viewer").goto("/")
    assert answer
    assert answer.status == 200


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("console.error('a fault')", "error a fault"),
        ("console.warn('a doubt')", "warning a doubt"),
        ("setTimeout(() => { throw new Error('a hole') })", "a hole"),
        ("setTimeout(() => alert('hacked'))", "dialog hacked"),
        (f"window.{CANARY} = 1", "a hostile text ran"),
        (f"{CANARY}()", "a hostile text ran"),
        ("void fetch('/nowhere')", "404"),
        ("void fetch('https://example.org/').catch(() => 0)", "refused: connect-src"),
        ("document.body.append(Object.assign(document.createElement('script'), "
         "{textContent: '1'}))", "refused: script-src"),
        ("document.body.setAttribute('style', 'color: red')", "refused: style-src"),
        ("document.body.setAttribute('onclick', '1')", "refused: script-src"),
    ],
)  # fmt: skip
def test_what_a_page_does_wrong_is_seen(
    visit: Visit, watch: Watch, script: str, said: str
) -> None:
    page = visit("viewer")
    page.goto("/")
    assert watch.complaints == []
    page.evaluate(script)
    assert complained_of(page, watch, said)


def test_a_request_to_another_host_is_seen(visit: Visit, watch: Watch) -> None:
    page = visit()
    page.route("https://example.org/", lambda route: route.fulfill(body="hello"))
    page.goto("https://example.org/")
    assert complained_of(page, watch, "another host: https://example.org/")


def test_a_site_that_is_gone_comes_back_under_its_address(
    visit: Visit, watch: Watch, site: Site
) -> None:
    page = visit("viewer")
    page.goto("/")
    with site.gone():
        asked = "fetch('/healthz').then(() => 'there', () => 'gone')"
        assert page.evaluate(asked) == "gone"
    assert complained_of(page, watch, "CONNECTION_REFUSED")
    page.goto("/")
    expect(page.locator("body")).to_be_visible()


def test_the_thread_of_the_tests_is_no_thread_of_asyncio() -> None:
    """Also after a test with a browser: otherwise Django would refuse its own."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_static_files_come_through_the_middleware(visit: Visit) -> None:
    answer = visit().request.get("/static/sync/dvsync.css")
    assert answer.headers["x-content-type-options"] == "nosniff"

"""The choice of a time zone: with a script, without one, and in polled regions."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from sync.engine.time_zones import COOKIE
from sync.models import SyncConfig
from tests.browser.conftest import NARROW, Visit
from tests.browser.test_pages import TOO_WIDE, faults_here


@pytest.fixture(autouse=True)
def config(visit: Visit) -> SyncConfig:
    # After the browser: before it, Django's connection is another one.
    return SyncConfig.objects.create(
        name="sales", location="/x", schema_name="sales", checked_at=timezone.now()
    )


@pytest.mark.parametrize(
    ("browser", "offered"),
    [("Europe/Berlin", "Europe/Berlin"), ("Asia/Calcutta", "Asia/Kolkata")],
)
def test_the_zone_of_the_browser_is_a_press_away(
    visit: Visit, browser: str, offered: str
) -> None:
    page = visit("viewer", timezone_id=browser)
    page.goto("/")
    page.get_by_role("link", name="Times in UTC").click()
    page.get_by_role("button", name=f"Use this browser's: {offered}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.locator(".messagelist")).to_contain_text(f"show times in {offered}")
    page.get_by_role("link", name=f"Times in {offered}").click()
    expect(page.get_by_label("Time zone")).to_have_value(offered)
    expect(page.locator("#browser-zone")).to_be_hidden()


def test_a_region_keeps_the_zone_while_it_updates(
    visit: Visit, config: SyncConfig
) -> None:
    page = visit("viewer", timezone_id="Asia/Kathmandu")
    page.goto("/preferences/")
    page.locator("#browser-zone").click()
    page.goto("/")
    time = page.locator("#live td time").first
    expect(time).to_have_attribute("title", re.compile(r"\+0545$"))
    SyncConfig.objects.update(checked_at=None)
    page.evaluate("htmx.trigger('#live', 'dvsync:now')")
    expect(page.locator("#live")).to_contain_text("never checked")
    SyncConfig.objects.update(checked_at=timezone.now())
    page.evaluate("htmx.trigger('#live', 'dvsync:now')")
    expect(time).to_have_attribute("title", re.compile(r"\+0545$"))


def test_without_a_script_a_zone_is_chosen_from_the_list(visit: Visit) -> None:
    page = visit("viewer", java_script_enabled=False, timezone_id="Europe/Berlin")
    page.goto("/quarantine/?state=dismissed")
    page.get_by_role("link", name="Times in UTC").click()
    expect(page.locator("#browser-zone")).to_be_hidden()
    page.get_by_label("Time zone").select_option("America/New_York")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile(r"/quarantine/\?state=dismissed$"))
    expect(page.get_by_role("link", name="Times in America/New_York")).to_be_visible()


def test_a_page_cannot_read_the_cookie(visit: Visit) -> None:
    page = visit("viewer", timezone_id="Europe/Berlin")
    page.goto("/preferences/")
    page.locator("#browser-zone").click()
    expect(page.locator(".messagelist")).to_be_visible()
    assert COOKIE in {cookie.get("name") for cookie in page.context.cookies()}
    assert COOKIE not in page.evaluate("document.cookie")


def test_the_longest_zone_fits_on_a_phone(visit: Visit) -> None:
    zone = "America/Argentina/ComodRivadavia"
    page = visit("viewer", width=NARROW, bypass_csp=True, timezone_id=zone)
    page.goto("/preferences/")
    assert list(faults_here(page)) == []
    page.set_viewport_size({"width": NARROW, "height": 900})
    page.get_by_label("Time zone").select_option("America/North_Dakota/New_Salem")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".messagelist")).to_be_visible()
    assert page.evaluate(TOO_WIDE) == []

"""What people come for, from the first click to the last, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from sync.models import Heartbeat, SyncTable
from tests.browser.conftest import NARROW, Visit
from tests.browser.loads import stepped
from tests.browser.site import Site
from tests.browser.watch import Watch
from tests.service import Service, service
from tests.sync.conftest import Export

POLLED = re.compile(r"/live/(\?|$)")


@pytest.fixture
def sales(export: Export) -> Export:
    """Return an export of which everything is applied."""
    for key in (1, 2, 3):
        export.upsert("account", key, name=f"name {key}")
        export.upsert("contact", key, name=f"name {key}")
    export.close_folder()
    export.sync()
    Heartbeat.begin(timezone.now())
    Heartbeat.end()
    return export


@pytest.fixture
def running(tmp_path: Path, site: Site) -> Iterator[Service]:
    with service(tmp_path) as made:
        yield made


def update_every(page: Page, seconds: str) -> None:
    page.get_by_label("Updates").select_option(seconds)


def poll(page: Page) -> None:
    """Let the page ask for its region now, and wait for the answer."""
    with page.expect_response(POLLED):
        page.evaluate("htmx.trigger('#live', 'dvsync:now')")


def button_of(page: Page, table: SyncTable, word: str) -> Locator:
    return page.locator(f"#t{table.pk}").get_by_role("button", name=re.compile(word))


def press(page: Page, table: SyncTable, word: str) -> None:
    button_of(page, table, word).click()


# Watching


def test_a_load_is_watched_from_its_first_byte_to_its_end(
    visit: Visit, sales: Export
) -> None:
    for key in range(1, 12):
        sales.upsert("account", key, name="x" * 300_000)
    sales.close_folder()
    sales.poll()
    page = visit("viewer")
    page.goto(f"/syncs/{sales.config.pk}/")
    page.evaluate("window.stayed = true")
    expect(page.get_by_text("Loading now")).to_have_count(0)
    bar = page.get_by_role("progressbar")
    with stepped(sales.entity("account")) as load:
        poll(page)
        expect(page.get_by_role("heading", name="Loading now")).to_be_visible()
        expect(page.locator(".loads")).to_contain_text("reading the files")
        seen = [float(bar.get_attribute("value") or 0)]
        # From here on the page asks by itself: something is loading.
        load.step()
        load.step()
        expect(bar).not_to_have_attribute("value", str(int(seen[0])))
        seen.append(float(bar.get_attribute("value") or 0))
        total = float(bar.get_attribute("max") or 0)
        assert seen[0] < seen[1] <= total
        news = page.locator("#live-news")
        while float(bar.get_attribute("value") or 0) * 2 < total:
            expect(news).not_to_contain_text("50 %")
            load.step()
            poll(page)
        expect(news).to_contain_text("account: 50 % read")
    expect(page.get_by_text("Loading now")).to_have_count(0)
    expect(page.locator("#live")).to_contain_text("8 new")
    assert page.evaluate("window.stayed")


def test_the_overview_follows_a_real_service(
    visit: Visit, sales: Export, running: Service
) -> None:
    page = visit("operator")
    page.goto("/")
    update_every(page, "5")
    running.both()
    sales.upsert("account", 4, name="new")
    sales.close_folder()
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator(".messagelist")).to_contain_text("look")
    name = sales.folders[-2].name
    expect(page.locator("#live")).to_contain_text(f"applied through {name}")
    assert sales.rows("account", "name")[-1] == ("new",)


# Repairing


def test_a_failure_is_understood_mended_and_tried_again(
    visit: Visit, sales: Export
) -> None:
    sales.upsert("account", 4, name="mended", amount="12.5")
    path = sales.root / sales.folder.name / "account" / "2026.csv"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"12.5", b"12x5"))
    sales.close_folder()
    sales.sync()
    page = visit("operator")
    page.goto("/")
    expect(page).to_have_title(re.compile(r"\(1 failing\)"))
    page.get_by_role("link", name="1 open error").click()
    card = page.locator(".error-card")
    for text in ("2026.csv", "line 1", "amount", "12x5", "What is safe"):
        expect(card).to_contain_text(text)
    path.write_bytes(good)
    card.get_by_role("button", name="Retry").click()
    expect(page.locator(".messagelist")).to_contain_text(re.compile("tr(y|ied)"))
    sales.sync()
    expect(page.locator(".error-card")).to_have_count(1)  # as it was
    page.reload()
    expect(page.locator(".error-card")).to_have_count(0)
    page.goto("/")
    expect(page.locator("#live .state-healthy").first).to_be_visible()
    expect(page).not_to_have_title(re.compile("failing"))
    assert sales.rows("account", "name")[-1] == ("mended",)


def test_a_sync_is_paused_and_resumed(visit: Visit, sales: Export) -> None:
    page = visit("operator")
    page.goto("/")
    page.get_by_role("button", name="Pause").click()
    row = page.locator(f"#s{sales.config.pk}")
    expect(row).to_contain_text("paused")
    expect(page.get_by_role("button", name="Sync now")).to_have_count(0)
    sales.config.refresh_from_db()
    assert sales.config.paused
    page.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("healthy")
    page.goto(f"/syncs/{sales.config.pk}/timeline/")
    expect(page.locator("#content")).to_contain_text("operator")


def test_a_refresh_asks_first_and_says_what_stays_readable(
    visit: Visit, sales: Export
) -> None:
    page = visit("operator")
    page.goto(f"/syncs/{sales.config.pk}/")
    press(page, sales.entity("account"), "Refresh")
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    expect(page).to_have_url(re.compile(f"/syncs/{sales.config.pk}/"))


def test_what_changes_is_told_to_who_cannot_see_it(visit: Visit, sales: Export) -> None:
    page = visit("viewer")
    page.goto(f"/syncs/{sales.config.pk}/")
    news, alarm = page.locator("#live-news"), page.locator("#live-alarm")
    expect(alarm).to_have_attribute("role", "alert")
    sales.entity("contact").pause()
    poll(page)
    expect(news).to_contain_text("contact: paused")
    expect(alarm).to_be_empty()
    sales.upsert("account", 4, amount="12x5")
    sales.close_folder()
    sales.sync()
    poll(page)
    expect(alarm).to_contain_text("account: failing")
    told = alarm.inner_text()
    poll(page)
    assert alarm.inner_text() == told


# Who may


def test_a_viewer_has_no_buttons_and_is_refused_without_them(
    visit: Visit, sales: Export, watch: Watch
) -> None:
    page = visit("viewer")
    for path in ("/", f"/syncs/{sales.config.pk}/", "/quarantine/"):
        page.goto(path)
        for button in page.locator("main").get_by_role("button").all():
            assert button.inner_text() in {"Search", "Filter", "Show"}
    watch.expect("status of 403")
    page.goto("/admin/password_change/")  # a page with a token
    page.evaluate(
        """(path) => {
          const form = document.querySelector("main form");
          form.action = path;
          HTMLFormElement.prototype.submit.call(form);
        }""",
        f"/syncs/{sales.config.pk}/do/pause/",
    )
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    sales.config.refresh_from_db()
    assert not sales.config.paused


def test_who_is_signed_out_meanwhile_is_told_in_place(
    visit: Visit, sales: Export, watch: Watch
) -> None:
    page = visit("operator")
    page.goto("/")
    update_every(page, "5")
    Session.objects.all().delete()
    watch.expect("status of 401|401 from|Response Status Error Code 401")
    panel = page.get_by_text("You are signed out.")
    expect(panel).to_be_visible()
    expect(page.locator("table.syncs")).to_have_count(0)
    expect(page.locator("input[name=username]")).to_have_count(0)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6_000)
    assert asked == []
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_label("Username")).to_be_visible()


# When things are away


def test_a_page_says_how_old_it_is_while_the_server_is_away(
    visit: Visit, sales: Export, site: Site, watch: Watch
) -> None:
    watch.expect("net::ERR_|error htmx:")
    page = visit("operator")
    page.goto("/")
    update_every(page, "5")
    note = page.locator("#live-note")
    with site.gone():
        expect(note).to_contain_text(re.compile(r"Not updated for \d+ s, retrying"))
        # Never blank: what was known is still there, and marked as old.
        expect(page.locator("table.syncs")).to_be_visible()
        expect(page.locator("#live")).to_have_class(re.compile("stale"))
    # By itself, after the longest wait between two attempts.
    expect(note).to_have_text("", timeout=90_000)
    expect(page.locator("#live")).not_to_have_class(re.compile("stale"))


# Without a script, in the dark, on a phone


def test_without_a_script_every_deed_is_done(visit: Visit, sales: Export) -> None:
    page = visit("operator", java_script_enabled=False)
    page.goto("/")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator(".messagelist")).to_be_visible()
    page.get_by_role("link", name=sales.config.name).click()
    page.get_by_label("Find a table").fill("contact")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("table.tables tbody tr")).to_have_count(1)
    press(page, sales.entity("contact"), "Pause")
    assert sales.entity("contact").state == "paused"
    press(page, sales.entity("contact"), "Resume")
    assert sales.entity("contact").state == "active"
    press(page, sales.entity("contact"), "Refresh")
    page.locator("main form button.danger").click()
    expect(page.locator(".messagelist")).to_be_visible()
    page.get_by_role("link", name="Reload").first.click()


def test_without_a_script_and_on_a_phone_a_pause_gets_its_reason(
    visit: Visit, sales: Export
) -> None:
    page = visit("operator", java_script_enabled=False, width=NARROW)
    for path in (
        f"/syncs/{sales.config.pk}/",
        f"/tables/{sales.entity('contact').pk}/",
    ):
        page.goto(path)
        expect(page.get_by_label("Why")).to_have_count(0)
        page.locator("#content").get_by_role("button", name="Pause").first.click()
        page.get_by_label("Why").fill("upgrade of Dataverse")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_label("Why")).to_have_value("upgrade of Dataverse")
        told = page.locator(".pause p")
        expect(told).to_contain_text("ago by operator: upgrade of Dataverse.")
        page.get_by_role("button", name="Resume").first.click()
        expect(told).to_have_count(0)


def test_the_focus_stays_while_the_page_updates(visit: Visit, sales: Export) -> None:
    page = visit("operator")
    page.goto(f"/syncs/{sales.config.pk}/")
    button = button_of(page, sales.entity("contact"), "Pause")
    button.focus()
    for _ in range(3):
        poll(page)
        expect(button).to_be_focused()


def test_what_is_searched_for_stays_while_the_page_updates(
    visit: Visit, sales: Export
) -> None:
    page = visit("viewer")
    page.goto(f"/syncs/{sales.config.pk}/?q=cont&sort=-name")
    search = page.get_by_label("Find a table")
    search.fill("half a wo")
    poll(page)
    expect(page.locator("table.tables tbody tr")).to_have_count(1)
    expect(search).to_have_value("half a wo")


def test_the_dark_is_chosen_by_the_system_or_by_hand(
    visit: Visit, sales: Export
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    page = visit("viewer", scheme="dark")
    page.goto("/")
    dark = page.evaluate(colour)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    assert dark != light
    toggle = page.locator("button.theme-toggle")
    for _ in range(3):
        toggle.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert page.evaluate(colour) == dark
    page.reload()
    assert page.evaluate(colour) == dark


def test_bars_and_icons_are_seen_in_colours_of_ones_own(
    visit: Visit, sales: Export
) -> None:
    page = visit("viewer", forced_colors="active")
    page.goto(f"/syncs/{sales.config.pk}/")
    page.evaluate(
        """document.querySelector("main").insertAdjacentHTML(
          "afterbegin", "<progress id=bar max=2 value=1></progress>")"""
    )
    for part in ("#bar", "#live .sparkline", "#live .state .icon"):
        seen = page.locator(part).first
        before = seen.screenshot()
        # Without what shall be seen it looks another way.
        seen.evaluate("(one) => { one.value = 0; one.replaceChildren(); }")
        assert seen.screenshot() != before, part


def test_on_a_phone_each_table_is_a_card(visit: Visit, sales: Export) -> None:
    page = visit("operator", width=NARROW)
    page.goto(f"/syncs/{sales.config.pk}/")
    row = page.locator("table.tables tbody tr").first
    box = row.bounding_box()
    assert box
    assert box["width"] <= NARROW
    label = (
        "getComputedStyle(document.querySelector('td[data-label]'), '::before').content"
    )
    assert "State" in page.evaluate(label)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW

"""Without a mouse: each journey by Tab, Enter, Space and letters alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from sync.models import Heartbeat, SyncConfig
from tests.browser.conftest import Visit
from tests.exports import ExportWriter
from tests.sync.conftest import Export, run_sql

MOST_TABS = 60
NAME = """
() => {
  const element = document.activeElement;
  const label = element.labels && element.labels[0];
  const name = element.getAttribute("aria-label") || (label || element).textContent;
  return name.replace(/\\s+/g, " ").trim();
}
"""
IS_SEEN = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"


@pytest.fixture
def sales(export: Export) -> Export:
    """Return an export of two tables of which everything is applied."""
    for key in (1, 2, 3):
        export.upsert("account", key, name=f"name {key}")
        export.upsert("contact", key, name=f"name {key}")
    export.close_folder()
    export.sync()
    Heartbeat.begin(timezone.now())
    Heartbeat.end()
    return export


def go_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, and shows it."""
    seen = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(NAME))
        if seen[-1] == name:
            assert page.evaluate(IS_SEEN), f"nobody sees the focus on {name}"
            return
    raise AssertionError(f"nothing with {name!r} can be reached: {seen}")


def press(page: Page, name: str, key: str = "Enter") -> None:
    go_to(page, name)
    page.keyboard.press(key)


def follow(page: Page, name: str, key: str = "Enter") -> None:
    """Press what leads to another page, and wait for it."""
    go_to(page, name)
    with page.expect_navigation():
        page.keyboard.press(key)


def test_a_sync_is_paused_resumed_and_opened(visit: Visit, sales: Export) -> None:
    page = visit("operator")
    page.goto("/")
    name = sales.config.name
    press(page, "Skip to main content")
    follow(page, f"Pause {name}")
    expect(page.locator(f"#s{sales.config.pk}")).to_contain_text("paused")
    follow(page, f"Resume {name}", "Space")
    expect(page.locator(f"#s{sales.config.pk}")).to_contain_text("healthy")
    follow(page, name)
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_a_time_zone_is_chosen(visit: Visit, sales: Export) -> None:
    page = visit("viewer", timezone_id="Asia/Tokyo")
    page.goto("/")
    follow(page, "Times in UTC")
    go_to(page, "Time zone")
    page.keyboard.type("Berlin")
    follow(page, "Save")
    expect(page.locator(".messagelist")).to_contain_text("Europe/Berlin")
    follow(page, "Times in Europe/Berlin")
    follow(page, "Use this browser's: Asia/Tokyo", "Space")
    expect(page.get_by_role("link", name="Times in Asia/Tokyo")).to_be_visible()


def test_a_failure_is_found_and_tried_again(visit: Visit, sales: Export) -> None:
    sales.upsert("account", 4, amount="12.5")
    path = sales.root / sales.folder.name / "account" / "2026.csv"
    path.write_bytes(path.read_bytes().replace(b"12.5", b"12x5"))
    sales.close_folder()
    sales.sync()
    page = visit("operator")
    page.goto("/")
    follow(page, "1 open error")
    press(page, "Technical detail")
    expect(page.locator(".error-card details")).to_have_attribute("open", "")
    follow(page, "Retry")
    expect(page.locator(".messagelist")).to_contain_text("account")


def test_a_refresh_is_asked_about_left_and_confirmed(
    visit: Visit, sales: Export
) -> None:
    page = visit("operator")
    page.goto(f"/syncs/{sales.config.pk}/")
    follow(page, "Refresh account")
    follow(page, "Cancel")
    expect(page.locator("table.tables")).to_be_visible()
    follow(page, "Refresh account", "Space")
    follow(page, "Refresh the table")
    expect(page.locator(".messagelist")).to_contain_text("account")


def test_rows_set_aside_are_ticked_and_let_go(visit: Visit, sales: Export) -> None:
    SyncConfig.objects.filter(pk=sales.config.pk).update(bad_rows="quarantine")
    sales.config.refresh_from_db()
    for key in (7, 8):
        sales.raw("account", "2026.csv", f'"{key}","","",broken,,,,\n'.encode())
    sales.close_folder()
    sales.sync()
    page = visit("operator")
    page.goto("/quarantine/")
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    for pk in boxes.evaluate_all("(boxes) => boxes.map((box) => box.value)"):
        press(page, f"Tick row {pk}", "Space")
    follow(page, "Dismiss ticked rows")
    follow(page, "Dismiss 2 rows")
    expect(boxes).to_have_count(0)


def test_a_sync_is_deleted_by_its_typed_name(visit: Visit, sales: Export) -> None:
    page = visit("administrator")
    page.goto(f"/syncs/{sales.config.pk}/settings/")
    follow(page, "Delete this sync…")
    name = sales.config.name
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.name") != "name":
        page.keyboard.press("Tab")
    page.keyboard.type(name)
    follow(page, "Delete the sync")
    expect(page.locator(".messagelist")).to_contain_text(name)
    assert not SyncConfig.objects.exists()


def test_a_sync_is_set_up(
    visit: Visit, tmp_path: Path, settings: Settings, transactional_db: None
) -> None:
    settings.ROOTS = [tmp_path]
    export = ExportWriter(tmp_path / "contoso")
    for table in ("account", "lead"):
        export.upsert(table, 1, name="a")
    export.close_folder()
    page = visit("administrator")
    # From the beginning: a dialog that is waited for too late is never seen.
    page.on("filechooser", lambda one: one.set_files(export.root / "model.json"))
    page.goto("/")
    follow(page, "Set up a sync")
    press(page, "File")
    expect(page.get_by_label("File")).to_have_value(re.compile("model.json"))
    follow(page, "Upload")
    press(page, "lead", "Space")
    expect(page.locator("#chosen")).to_contain_text("1 of 2 tables")
    follow(page, "Continue")
    go_to(page, str(export.root))
    follow(page, "Continue")
    go_to(page, "Name of the sync")
    page.keyboard.press("Control+A")
    page.keyboard.type("keys")
    follow(page, "Continue")
    expect(page.locator("table.checks")).to_be_visible()
    follow(page, "Continue anyway")
    follow(page, "Start")
    expect(page.get_by_role("heading", level=1)).to_have_text("keys")
    assert SyncConfig.objects.get().name == "keys"
    run_sql("DROP SCHEMA IF EXISTS keys CASCADE")

"""From nothing to the first rows, by the screen alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from pytest_django import Settings

from dvsync_site import sample_demo
from sync.models import SyncConfig
from tests.browser.conftest import NARROW, Visit
from tests.browser.site import Site
from tests.browser.test_pages import faults_here
from tests.exports import ExportWriter
from tests.feeds import FeedWriter
from tests.service import Service, service
from tests.sync.conftest import Export, run_sql

MOST_CLICKS = 12
ROWS = 30


@pytest.fixture
def roots(tmp_path: Path, settings: Settings, site: Site) -> Iterator[Path]:
    """Return the only directory in which exports may be; drop what was made."""
    root = tmp_path / "exports"
    settings.ROOTS = [root]
    yield root
    for config in SyncConfig.objects.all():
        run_sql(f'DROP SCHEMA IF EXISTS "{config.schema_name}" CASCADE')


@pytest.fixture
def running(tmp_path: Path, roots: Path) -> Iterator[Service]:
    with service(tmp_path) as made:
        yield made


def write_export(root: Path) -> ExportWriter:
    export = ExportWriter(root)
    for table in ("account", "contact", "lead"):
        for key in range(1, ROWS):
            export.upsert(table, key, name=f"{table} {key}", amount=key)
    export.close_folder()
    return export


class Person:
    """Clicks, and counts it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def press(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True).first)

    def follow(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name, exact=True).first)

    def title(self) -> str:
        return self.page.locator("#step").inner_text().partition(": ")[2]


def test_the_sample_brings_its_first_rows_within_twelve_clicks(
    visit: Visit, running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_demo, "SAMPLE_ROWS", 200)
    running.both()
    page = visit("administrator")
    page.goto("/")
    somebody = Person(page)
    somebody.follow("Set up a sync")
    somebody.press("Try with sample data")
    # From here on the way is the same each time: what the page wants first.
    while "/setup/" in page.url:
        title = somebody.title()
        somebody.click(page.locator("form button.button:visible").first)
        assert somebody.clicks <= MOST_CLICKS, title
    expect(page.get_by_text("The first rows are there")).to_be_visible(timeout=90_000)
    assert somebody.clicks <= MOST_CLICKS
    query = page.locator("pre.query").first.inner_text()
    assert run_sql(query.strip().rstrip(";"))


def test_an_upload_is_previewed_checked_and_loaded(
    visit: Visit, roots: Path, running: Service
) -> None:
    export = write_export(roots / "contoso")
    page = visit("administrator")
    somebody = Person(page)
    page.goto("/setup/")
    page.get_by_label("File").set_input_files(export.root / "model.json")
    somebody.press("Upload")
    expect(page.locator("#chosen")).to_contain_text("3 of 3 tables")
    page.get_by_role("checkbox", name="lead").uncheck()
    expect(page.locator("#chosen")).to_contain_text("2 of 3 tables")
    somebody.press("Continue")
    somebody.press("Continue")  # the export that was found
    page.get_by_label("Name of the sync").fill("contoso")
    # Back loses nothing.
    somebody.press("Continue")
    # The one warning is that no service runs yet, which says how to start it.
    expect(page.locator("#checks")).to_contain_text("1 warning")
    expect(page.locator("table.checks")).to_contain_text("manage.py up")
    assert page.get_by_text("failed:").count() == 0
    somebody.press("Continue anyway")
    somebody.follow("Back")
    expect(page.get_by_label("Name of the sync")).to_have_value("contoso")
    page.goto("/setup/")
    somebody.click(page.get_by_role("link", name="Continue"))
    somebody.press("Start")
    running.both()
    expect(page.get_by_text("The first rows are there")).to_be_visible(timeout=90_000)
    expect(page.locator("pre.query").first).to_contain_text("SELECT")
    config = SyncConfig.objects.get()
    assert set(config.tables.values_list("entity", flat=True)) >= {"account", "contact"}
    assert run_sql('SELECT count(*) FROM "contoso".account') == [(ROWS - 1,)]
    assert run_sql("SELECT to_regclass('contoso.lead')") == [(None,)]


@pytest.mark.parametrize("script", [True, False], ids=["script", "none"])
def test_every_step_is_accessible_and_needs_no_script(
    visit: Visit, roots: Path, script: bool
) -> None:
    write_export(roots / "contoso")
    options = {"bypass_csp": True} if script else {"java_script_enabled": False}
    page = visit("administrator", width=NARROW, **options)
    check: Callable[[], None] = (lambda: _sound(page)) if script else (lambda: None)
    somebody = Person(page)
    page.goto("/setup/")
    check()
    # A mistake first: nothing is uploaded.
    somebody.press("Upload")
    expect(page.locator("#mistakes")).to_be_visible()
    check()
    somebody.follow("Choose the directory")
    for _ in range(12):
        check()
        if "/setup/" not in page.url:
            break
        somebody.click(page.locator("form button.button:visible").first)
    assert SyncConfig.objects.count() == 1


def _sound(page: Page) -> None:
    if page.url.endswith("/checks/"):  # they begin by themselves
        expect(page.locator("table.checks")).to_be_visible()
    if "/setup/" in page.url:
        found = list(faults_here(page))
        assert found == [], page.url
        page.set_viewport_size({"width": NARROW, "height": 900})


def test_who_did_not_finish_goes_on_where_it_was(visit: Visit, roots: Path) -> None:
    export = write_export(roots / "contoso")
    page = visit("administrator")
    page.goto("/setup/")
    page.get_by_label("File").set_input_files(export.root / "model.json")
    page.get_by_role("button", name="Upload").click()
    page = visit("administrator")
    page.goto("/setup/")
    expect(page.get_by_text("You have begun to set up a sync")).to_be_visible()
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_text("You have begun to set up a sync")).to_have_count(0)


def test_a_row_that_was_set_aside_is_decided_about(
    visit: Visit, export: Export
) -> None:
    SyncConfig.objects.filter(pk=export.config.pk).update(bad_rows="quarantine")
    export.config.refresh_from_db()
    for key in (1, 2, 3):
        export.upsert("account", key, name="good")
        bad = f'"{key}","","",broken {key},,,,\n'
        export.raw("account", "2026.csv", bad.encode())
    export.close_folder()
    export.sync()
    page = visit("operator")
    page.goto(f"/syncs/{export.config.pk}/")
    page.get_by_role("link", name="3 rows set aside").click()
    expect(page.locator("table.set-aside tbody tr")).to_have_count(3)
    first = page.locator("table.set-aside tbody tr").first
    first.get_by_role("button", name="Re-process").click()
    expect(page.locator(".messagelist")).to_contain_text("cannot be applied yet")
    first.get_by_role("button", name="Dismiss").click()
    expect(page.locator("table.set-aside tbody tr")).to_have_count(2)
    page.get_by_role("checkbox").first.check()
    page.get_by_role("checkbox").nth(1).check()
    page.get_by_role("button", name="Dismiss ticked rows").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 rows")
    page.locator("main form button").first.click()
    expect(page.locator("table.set-aside tbody tr")).to_have_count(0)


UTILITY = Path(__file__).parents[1] / "data" / "dvsyncutil"


def test_a_feed_from_its_model_to_the_first_rows(
    visit: Visit, roots: Path, running: Service
) -> None:
    feed = roots / "changes"
    feed.mkdir(parents=True)
    (feed / "2024-09-10.log").write_bytes((UTILITY / "synapse.json").read_bytes())
    page = visit("administrator")
    somebody = Person(page)
    page.goto("/setup/")
    page.get_by_label("File").set_input_files(UTILITY / "model.json")
    somebody.press("Upload")
    expect(page.locator("#chosen")).to_contain_text("2 of 2 tables")
    somebody.press("Continue")
    expect(page.locator("#offered")).to_contain_text("It looks like a change feed")
    somebody.press("Continue")
    expect(page.get_by_text("An empty cell of a text column")).to_have_count(0)
    page.get_by_label("is counted and ignored").check()
    somebody.press("Continue")
    expect(page.locator("table.checks")).to_contain_text("is a change of account")
    somebody.press("Continue anyway")
    expect(page.locator("dl.facts")).to_contain_text("2024-09-10.log")
    somebody.press("Start")
    running.both()
    expect(page.get_by_text("The first rows are there")).to_be_visible(timeout=90_000)
    assert somebody.clicks <= MOST_CLICKS
    rows = run_sql("SELECT accountid, telephone1, name FROM changes.account ORDER BY 1")
    assert rows == [
        ("acc-001", "987-654-3210", "Contoso Ltd."),
        ("acc-002", "555-123-4567", "Northwind Traders"),
    ]
    assert run_sql("SELECT count(*) FROM changes.contact") == [(0,)]
    contact = SyncConfig.objects.get().tables.get(entity="contact")
    page.goto(f"/tables/{contact.pk}/")
    expect(page.get_by_text("1 change of rows that were not there")).to_be_visible()


def test_the_steps_for_a_feed_are_accessible(visit: Visit, roots: Path) -> None:
    feed = FeedWriter(roots / "changes")
    feed.table("account", "accountid", "name")
    feed.insert("account", accountid="a", name="Anna")
    both = write_export(roots / "both")
    (both.root / "a.log").write_bytes(feed.path.read_bytes())
    page = visit("administrator", width=NARROW, bypass_csp=True)
    somebody = Person(page)
    page.goto("/setup/location/?read=model")
    page.locator(f"input[value='{both.root}']").check()
    somebody.press("Continue")
    expect(page.locator("#holds")).to_be_visible()
    _sound(page)
    page.goto("/setup/location/?read=model")
    page.locator(f"input[value='{feed.root}']").check()
    _sound(page)
    somebody.press("Continue")
    for _ in range(5):
        _sound(page)
        if "/setup/" not in page.url:
            break
        somebody.click(page.locator("form button.button:visible").first)
    assert SyncConfig.objects.get().is_feed

"""Every page: accessible in both schemes and widths, within its width, and silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Page, expect

from bench.crowd import make_crowd
from tests.browser.axe import violations
from tests.browser.conftest import NARROW, WIDE, Visit
from tests.browser.pages import ALL, without_a_line
from tests.browser.watch import Watch
from tests.browser.world import World, make_world
from tests.sync.conftest import Export, run_sql


def group_of(name: str) -> str:
    """Return the app of a page of the admin, and of which kind the page is."""
    if not name.startswith("admin:"):
        return "ours"
    app, _, rest = name.partition("_")
    return f"{app} {rest.rpartition('_')[2]}" if app == "admin:sync" else app


Scheme = Literal["light", "dark"]
TABS = ("", "timeline/", "schema/", "settings/")
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SHAPES = [(scheme, width) for scheme in SCHEMES for width in (WIDE, NARROW)]
# So many pages in one test that the world is worth making.
GROUPS = {
    group: [name for name in ALL if group_of(name) == group]
    for group in sorted({group_of(name) for name in ALL})
}
_SEEN: set[str] = set()
TOO_WIDE = """
() => {
  const room = document.documentElement.clientWidth;
  if (document.scrollingElement.scrollWidth <= room) return [];
  return [...document.querySelectorAll("main *, header *")]
    .filter((element) => element.getBoundingClientRect().right > room + 1)
    .slice(0, 5).map((element) => element.outerHTML.slice(0, 200));
}
"""


@pytest.fixture
def world(make_export: Callable[..., Export]) -> World:
    return make_world(make_export)


def test_every_address_is_a_page_or_has_a_reason_not_to_be() -> None:
    assert list(without_a_line()) == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_page_is_accessible(
    visit: Visit, watch: Watch, world: World, group: str
) -> None:
    # A page that refuses is looked at too, and axe looks for style sheets in vain.
    watch.expect(r"status of 403|status of 405|widgets\.css")
    page = visit("root", bypass_csp=True)
    found = [
        f"{path}: {fault}"
        for name in GROUPS[group]
        for path in ALL[name](world)
        for fault in faults(page, path)
    ]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_three_hundred_tables_fit_on_a_phone(visit: Visit) -> None:
    config = make_crowd(300, name="crowd")
    try:
        page = visit("operator", width=NARROW)
        for path in ("/", *(f"/syncs/{config.pk}/{tab}" for tab in TABS)):
            page.goto(path)
            assert page.evaluate(TOO_WIDE) == [], path
    finally:
        run_sql("DROP SCHEMA crowd CASCADE")


def test_no_page_complains(visit: Visit, watch: Watch, world: World) -> None:
    watch.expect(r"status of 403|status of 405")
    page = visit("root")
    for paths in ALL.values():
        for path in paths(world):
            page.goto(path)


@pytest.mark.parametrize("path", ["/admin/login/", "/nowhere"])
def test_what_strangers_see_is_accessible(
    visit: Visit, watch: Watch, path: str
) -> None:
    watch.expect("status of 404")
    assert list(faults(visit(bypass_csp=True), path)) == []


def test_pages_without_anything_to_show_are_accessible(
    visit: Visit, transactional_db: None
) -> None:
    page = visit("root", bypass_csp=True)
    empty = ("/", "/quarantine/", "/quarantine/?state=dismissed", "/setup/location/")
    found = [fault for path in empty for fault in faults(page, path)]
    assert found == []


def test_what_stands_in_for_a_region_is_accessible(
    visit: Visit, watch: Watch, world: World
) -> None:
    watch.expect("status of 401|401 from|Response Status Error Code 401")
    page = visit("root", bypass_csp=True)
    page.goto("/")
    Session.objects.all().delete()
    page.evaluate("htmx.trigger('#live', 'dvsync:now')")
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    assert list(faults_here(page)) == []


def faults(page: Page, path: str) -> Iterator[str]:
    answer = page.goto(path)
    assert answer
    if answer.status == 403 and page.title() in _SEEN:
        return  # all refusals are one page
    _SEEN.add(page.title())
    yield from faults_here(page)


def faults_here(page: Page) -> Iterator[str]:
    headings = page.locator("h1").count()
    if headings != 1 or not page.title().endswith("dvsync"):
        yield f"has the title {page.title()!r} and {headings} main headings"
    for scheme, width in SHAPES:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        for text in violations(page):
            yield f"{scheme} {width}: {text}"
        for element in page.evaluate(TOO_WIDE):
            yield f"{scheme} {width}: wider than the page: {element}"


def test_the_pages_that_ask_first_are_accessible(visit: Visit, world: World) -> None:
    page = visit("root", bypass_csp=True)

    def asked(path: str, *clicks: str) -> None:
        page.set_viewport_size({"width": WIDE, "height": 900})
        page.goto(path)
        for selector in clicks:
            page.locator(selector).first.click()
        assert list(faults_here(page)) == [], path

    asked(f"/syncs/{world.main.pk}/", "button[formaction$='/refresh/']")
    asked("/quarantine/", "button[name=only][value^=dismiss]")
    changelist = reverse("admin:sync_syncconfig_changelist")
    page.goto(changelist)
    actions = page.locator("select[name=action] option").evaluate_all(
        "(options) => options.map((option) => option.value).filter(Boolean)"
    )
    for action in actions:
        page.set_viewport_size({"width": WIDE, "height": 900})
        page.goto(changelist)
        page.locator("select[name=action]").select_option(action)
        page.locator("input.action-select").first.check()
        page.locator("button[name=index]").click()
        assert list(faults_here(page)) == [], action

"""What strangers wrote is shown as text, on every page: nothing of it does anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import NARROW, Visit
from tests.browser.pages import ALL, of_models
from tests.browser.test_pages import TOO_WIDE
from tests.browser.watch import Watch
from tests.browser.world import HOSTILE, World, make_world
from tests.hostile import CONTROLS, DIRECTIONS, ELEMENT
from tests.sync.conftest import Export

OURS = [name for name in ALL if not name.startswith("admin:")]
LISTS = [name for name in of_models() if name.endswith(("changelist", "change"))]
OTHERS = [name for name in ALL if name not in OURS + LISTS]
# Elements and attributes that only a hostile text can have made.
BROKEN_OUT = f"{ELEMENT}, [src=x], [onerror], [onload], [onclick], [onfocus], [hx-trigger=load], [href^='javascript:' i], [data-{ELEMENT}]"  # noqa: E501


@pytest.fixture
def world(make_export: Callable[..., Export]) -> World:
    return make_world(make_export, HOSTILE)


@pytest.mark.parametrize(
    "names", [OURS, LISTS, OTHERS], ids=["ours", "lists", "others"]
)
def test_a_hostile_text_stays_a_text(
    visit: Visit, watch: Watch, world: World, names: list[str]
) -> None:
    watch.expect(r"status of 40[345]")
    page = visit("root")
    seen = 0
    for name in names:
        for path in ALL[name](world):
            page.goto(path)
            assert page.locator(BROKEN_OUT).count() == 0, path
            seen += page.locator("body").inner_text().count(f"<{ELEMENT}")
            assert watch.complaints == []
    assert seen, "no page showed any of it"


def test_directions_and_controls_are_shown_as_codes(
    visit: Visit, watch: Watch, world: World
) -> None:
    watch.expect(r"status of 40[345]")
    page = visit("root", width=NARROW)
    coded = 0
    for name in OURS:
        for path in ALL[name](world):
            page.goto(path)
            text = page.title() + page.locator("body").inner_text()
            found = sorted(set(text) & set(DIRECTIONS + CONTROLS))
            assert list(map(ascii, found)) == [], path
            coded += text.count("\\u202e")
            assert page.evaluate(TOO_WIDE) == [], path
    assert coded, "no page showed any of it"


def test_every_click_and_focus_is_harmless(visit: Visit, world: World) -> None:
    """Texts may wait for a person: to be hovered, focused or clicked."""
    page = visit("root")
    for path in (f"/syncs/{world.main.pk}/", "/quarantine/"):
        page.goto(path)
        for _ in range(40):
            page.keyboard.press("Tab")
        # A link leads away, which would end this.
        page.evaluate("addEventListener('click', (event) => event.preventDefault())")
        for place in page.get_by_text(ELEMENT).all()[:10]:
            place.dispatch_event("mouseover")
            place.dispatch_event("click")

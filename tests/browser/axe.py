"""What axe finds on a page: the rules of WCAG 2.2 AA and the best practices."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """
(tags) => axe.run({runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]})
  .then((found) => found.violations.flatMap((rule) => rule.nodes.map(
    (node) => `${rule.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`)))
"""


def violations(page: Page) -> list[str]:
    """Return a sentence for every element at fault, as the page is now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    found: Any = page.evaluate(RUN, TAGS)
    return list(found)

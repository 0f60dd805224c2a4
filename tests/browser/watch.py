"""Whatever a browser complains of, in all of its pages, as a list of sentences."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    WebError,
)

# What a hostile text tries to do; nobody may ever come so far.
CANARY = "dvsyncCanary"
SCRIPT = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`refused: ${event.violatedDirective} ${event.blockedURI}`);
});
Object.defineProperty(window, "CANARY", {
  get() { console.error("a hostile text ran"); return () => undefined; },
  set() { console.error("a hostile text ran"); },
});
""".replace("CANARY", CANARY)


class Watch:
    """Collects complaints of contexts; at the end there must be none but expected ones.

    A complaint is: a message of the console from a warning on, an uncaught exception,
    a refusal of the content security policy, a dialog, a request that failed, and a
    request to another host.
    """

    def __init__(self, origin: str) -> None:
        self._host = urlsplit(origin).netloc
        self._complaints: list[str] = []
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """Let complaints pass in which this regular expression is found."""
        self._expected.append(pattern)

    @property
    def complaints(self) -> list[str]:
        """Return those that nobody expected."""
        return [
            text
            for text in self._complaints
            if not any(re.search(pattern, text) for pattern in self._expected)
        ]

    def attend(self, context: BrowserContext) -> None:
        context.add_init_script(SCRIPT)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)

    def _complain(self, page: Page | None, text: str) -> None:
        where = urlsplit(page.url).path if page else "?"
        self._complaints.append(f"{where}: {text}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            place = urlsplit(message.location.get("url", "")).path
            self._complain(message.page, f"{message.type} {message.text} ({place})")

    def _error(self, error: WebError) -> None:
        self._complain(error.page, f"exception {error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._complain(dialog.page, f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"about", "blob"} and address.netloc != self._host:
            self._complaints.append(f"another host: {request.url}")

    def _failed(self, request: Request) -> None:
        # What a page still asked for when the next one was opened is no failure.
        if request.failure != "net::ERR_ABORTED":
            self._complaints.append(f"{request.url}: {request.failure}")

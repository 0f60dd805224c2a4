"""Why something is paused: told on its page by who may, read by everybody."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from sync.engine import switches
from sync.models import Event, SyncConfig, SyncTable
from tests.people import signed_in
from tests.sync.conftest import Export

HOSTILE = "<script>alert(1)</script>\n\u202egpj \x07\"onfocus='x'"
TOLD = "<script>alert(1)</script> \\u202egpj \\x07\"onfocus='x'"
TABS = ("sync", "sync-timeline", "sync-schema", "sync-settings")


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return signed_in("operator")


@pytest.fixture
def export(export: Export) -> Export:
    """Return an export with a table."""
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    return export


@pytest.fixture(params=["sync", "table"])
def what(export: Export, request: pytest.FixtureRequest) -> SyncConfig | SyncTable:
    """Return what is paused: the sync, or its table."""
    return export.config if request.param == "sync" else export.entity("account")


def kind_of(what: SyncConfig | SyncTable) -> str:
    return "table" if isinstance(what, SyncTable) else "sync"


def page_of(what: SyncConfig | SyncTable) -> str:
    return reverse(kind_of(what), args=[what.pk])


def read(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def told(text: str) -> str:
    """Return what a page says of a pause above what asks for itself."""
    found = re.search(r'<div class="pause">\s*<p class="wrap">(.*?)</p>', text)
    return html.unescape(re.sub(r"<[^>]*>", "", found[1])) if found else ""


def prefilled(text: str) -> str | None:
    """Return what the input for the reason holds; None when there is none."""
    found = re.search(
        r'<input type="text" id="pause-reason"[^>]*?value="([^"]*)"', text
    )
    return html.unescape(found[1]) if found else None


def explain(
    client: Client, what: SyncConfig | SyncTable, reason: str, **fields: str
) -> HttpResponse:
    url = reverse(f"{kind_of(what)}-pause-reason", args=[what.pk])
    answer: Any = client.post(url, {"reason": reason, **fields})
    return answer  # type: ignore[no-any-return]


def said(answer: HttpResponse) -> str:
    """Return the message with which a form redirected."""
    assert answer.status_code == 302, answer.content
    *_, message = get_messages(answer.wsgi_request)  # type: ignore[attr-defined]
    return str(message)


def test_what_is_not_paused_has_no_form(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    text = read(operator, page_of(what))
    assert 'class="pause"' not in text
    assert prefilled(text) is None


def test_a_pause_is_one_press_and_its_reason_comes_afterwards(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    deed = reverse(f"{kind_of(what)}-deed", args=[what.pk, "pause"])
    answer = operator.post(deed, {"next": page_of(what)}, follow=True)
    text = answer.content.decode()
    assert re.fullmatch(r"Paused \d+ s ago by operator\.", told(text))
    assert prefilled(text) == ""
    assert '<label for="pause-reason">Why</label>' in text
    assert f'maxlength="{switches.REASON_LENGTH}"' in text
    reply = said(explain(operator, what, "upgrade of Dataverse"))
    assert re.fullmatch(
        rf"{re.escape(str(what))} was paused \d+ s ago by operator: upgrade of "
        r"Dataverse\.",
        reply,
    )
    text = read(operator, page_of(what))
    assert told(text).endswith("by operator: upgrade of Dataverse.")
    assert prefilled(text) == "upgrade of Dataverse"
    explain(operator, what, "")
    text = read(operator, page_of(what))
    assert told(text).endswith("by operator.")
    assert prefilled(text) == ""


def test_who_tells_the_reason_of_anothers_pause_is_named(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    explain(operator, what, "Upgrade. Ask eve!")
    text = read(operator, page_of(what))
    assert told(text).endswith(" ago by bob; operator says: Upgrade. Ask eve!")


def test_every_tab_of_a_paused_sync_says_why(operator: Client, export: Export) -> None:
    switches.pause(export.config, by="bob", reason="upgrade")
    for name in TABS:
        path = reverse(name, args=[export.config.pk]) + "?q=x"
        text = read(operator, path)
        assert told(text).endswith("by bob: upgrade."), name
        [form] = re.findall(r"<form[^>]*/pause-reason/.*?</form>", text, re.DOTALL)
        assert "csrfmiddlewaretoken" in form
        assert f'name="next" value="{path}"' in form


def test_every_part_of_a_paused_table_says_why(
    operator: Client, export: Export
) -> None:
    table = export.entity("account")
    switches.pause(table, by="bob", reason="upgrade")
    for part in ("folders", "columns", "events"):
        text = read(operator, f"{page_of(table)}?part={part}")
        assert told(text).endswith("by bob: upgrade.")


def test_a_viewer_reads_why_and_may_not_say_it(what: SyncConfig | SyncTable) -> None:
    switches.pause(what, by="bob", reason="upgrade")
    viewer = signed_in("viewer")
    text = read(viewer, page_of(what))
    assert told(text).endswith("by bob: upgrade.")
    assert prefilled(text) is None
    assert "pause-reason" not in text
    assert explain(viewer, what, "mine").status_code == 403
    assert Event.objects.get(kind="paused").message == "by bob: upgrade"


def test_the_text_of_a_stranger_stays_text_wherever_it_is_shown(
    operator: Client, export: Export, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    reply = explain(operator, what, HOSTILE, next="/")
    assert said(reply).endswith(f"by bob; operator says: {TOLD}.")
    text = read(operator, page_of(what))
    assert told(text).endswith(f"operator says: {TOLD}.")
    assert prefilled(text) == TOLD
    timeline = reverse("sync-timeline", args=[export.config.pk])
    for path in (
        page_of(what),
        "/",
        timeline,
        reverse("sync", args=[export.config.pk]),
    ):
        text = read(operator, path)
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "\x07" not in text


def test_what_is_prefilled_changes_nothing_when_another_saves_it(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob", reason=HOSTILE * 20)
    before = Event.objects.get(kind="paused").message
    explain(operator, what, prefilled(read(operator, page_of(what))) or "")
    assert Event.objects.get(kind="paused").message == before


def test_the_overview_says_why(operator: Client, export: Export) -> None:
    switches.pause(export.config, by="bob", reason="upgrade")
    assert "by bob: upgrade" in html.unescape(read(operator, "/"))


def test_a_pause_that_ended_meanwhile_has_no_reason(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    what.refresh_from_db()
    switches.resume(what, by="eve")
    assert said(explain(operator, what, "why")).endswith(" is not paused any more.")
    assert Event.objects.get(kind="paused").message == "by bob"


def test_a_pause_that_no_event_tells_is_shown_without_a_form(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    Event.objects.filter(kind="paused").delete()
    assert prefilled(read(operator, page_of(what))) is None
    assert "no event tells" in said(explain(operator, what, "why"))


def test_one_comes_back_to_where_the_form_was(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    here = f"{page_of(what)}?q=a"
    assert explain(operator, what, "a", next=here).headers["Location"] == here
    answer = explain(operator, what, "b", next="https://evil.example/")
    assert answer.headers["Location"] == page_of(what)


def test_a_reason_is_posted_with_its_token_only(
    operator: Client, what: SyncConfig | SyncTable
) -> None:
    switches.pause(what, by="bob")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert explain(strict, what, "why").status_code == 403
    url = reverse(f"{kind_of(what)}-pause-reason", args=[what.pk])
    assert operator.get(url).status_code == 405
    assert operator.post(url.replace(str(what.pk), "999999")).status_code == 404
    assert Event.objects.get(kind="paused").message == "by bob"


def test_what_is_polled_has_the_reason_and_no_input(
    operator: Client, export: Export
) -> None:
    switches.pause(export.config, by="bob", reason="upgrade!")
    path = reverse("sync-live", args=[export.config.pk])
    text = operator.get(path, headers={"HX-Request": "true"}).content.decode()
    assert "by bob: upgrade!</p>" in text
    assert "<input" not in text

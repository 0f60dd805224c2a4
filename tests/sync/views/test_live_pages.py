"""The overview, the tables of a sync, and the regions that ask for themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sync import faultpoints
from sync.models import Cluster, Heartbeat, SyncConfig, SyncTable, Worker
from tests.catalogue.steps import FILE, ago, line
from tests.elsewhere import elsewhere
from tests.people import person, signed_in
from tests.sync.conftest import Export

MakeExport = Callable[..., Export]
pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def export(make_export: MakeExport) -> Export:
    """Return an export of which account is loaded, closed just now."""
    export = make_export(start=ago(seconds=100), step=timedelta(seconds=10))
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.load("account")
    return export


def alive() -> None:
    Heartbeat.begin(timezone.now())
    Heartbeat.end()
    cluster = Cluster.objects.create(queue="sync", host="h", pid=4)
    Worker.objects.create(cluster=cluster, pid=5)


def spoil(export: Export, times: int = 1, entity: str = "account") -> None:
    export.table(entity)
    export.raw(entity, FILE, line(1, '"x"', "no number") + b"\n")
    export.close_folder()
    for _ in range(times):
        export.sync()


def read(path: str, role: str = "operator", **headers: str) -> str:
    answer = signed_in(role).get(path, headers=headers)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def words(html: str) -> str:
    """Return the text as it is read."""

    class Reader(HTMLParser):
        text = ""

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    reader.feed(html)
    return " ".join(reader.text.split())


def page_of(export: Export, **wish: str) -> str:
    return reverse("sync", args=[export.config.pk], query=wish)


def live_of(export: Export, **wish: str) -> str:
    return reverse("sync-live", args=[export.config.pk], query=wish)


def names(html: str) -> list[str]:
    return re.findall(r'<th scope="row".*?<bdi>(.*?)</bdi>', html)


# The overview


def test_without_a_sync_the_page_says_what_to_do() -> None:
    text = read("/", "administrator")
    assert "Nothing is synced yet" in text
    assert reverse("setup") in text
    assert "An administrator can set one up" in words(read("/", "viewer"))


def test_a_healthy_sync_shows_its_clocks_and_its_rows(export: Export) -> None:
    alive()
    text = words(read("/"))
    assert "1 healthy" in text
    assert re.search(r"checked \d+ s ago", text)
    assert re.search(r"applied through 20\S+Z, closed \d+ (s|min) ago", text)
    assert "1 table" in text
    html = read("/")
    assert 'role="img"' in html
    assert "in each of the last 60 minutes: 1 in all, 1 in a minute at the most" in html
    assert "<title>Overview | dvsync</title>" in " ".join(html.split())


def test_the_worst_sync_comes_first_and_leads_to_its_error(
    make_export: MakeExport, export: Export
) -> None:
    bad = make_export(start=ago(seconds=100), step=timedelta(seconds=10))
    spoil(bad, 3)
    html = read("/")
    assert names(html) == [bad.config.name, export.config.name]
    table = bad.entity("account")
    assert f'href="{reverse("table", args=[table.pk])}">1 open error</a>' in html
    assert "<title>(1 failing) Overview" in " ".join(html.split())


def test_an_export_that_cannot_be_read_is_an_open_error_too(export: Export) -> None:
    SyncConfig.objects.update(error_code="source_unreadable", error_message="gone")
    html = read("/")
    assert f'href="{page_of(export)}">1 open error</a>' in html
    assert "gone" in words(read(page_of(export)))


def test_a_service_that_is_dead_is_told_with_its_command(export: Export) -> None:
    text = words(read("/"))
    assert "Nothing looks for new data. There was no look yet." in text
    assert "Start it: manage.py up" in text
    alive()
    text = words(read("/"))
    assert re.search(r"last look \d+ s ago · worker last seen \d+ s ago", text)
    assert "Start it" not in text
    Worker.objects.all().delete()
    assert "Q_CLUSTER_NAME=sync manage.py qcluster" in words(read(page_of(export)))


# The tables of a sync


def test_a_table_shows_what_it_has_and_what_it_lacks(export: Export) -> None:
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.poll()
    text = words(read(page_of(export)))
    assert "account" in text
    assert re.search(r"loaded \d+ s ago", text)
    assert text.count("1 new") == 2  # in the last load, and in total
    assert "1 folder" in text
    assert re.search(r"\d+\.\d kB", text)  # its size on disk


def test_tables_are_found_by_state_and_by_name(export: Export) -> None:
    export.upsert("contact", 1, name="a")
    export.upsert("invoice", 1, name="a")
    export.close_folder()
    export.sync()
    spoil(export, 3)
    assert names(read(page_of(export))) == ["account", "contact", "invoice"]
    assert names(read(page_of(export, state="healthy"))) == ["contact", "invoice"]
    assert names(read(page_of(export, q="CONT"))) == ["contact"]
    assert names(read(page_of(export, state="healthy", q="x"))) == []
    assert "No table is like that" in read(page_of(export, q="x"))
    # What is not understood is left out.
    odd = page_of(export, state="odd", sort="odd", page="odd")
    assert len(names(read(odd))) == 3


def test_tables_are_sorted_by_any_column(export: Export) -> None:
    export.upsert("contact", 1, name="a")
    export.upsert("contact", 2, name="a")
    export.close_folder()
    export.sync()
    assert names(read(page_of(export, sort="table"))) == ["account", "contact"]
    assert names(read(page_of(export, sort="-table"))) == ["contact", "account"]
    assert names(read(page_of(export, sort="total"))) == ["contact", "account"]
    assert names(read(page_of(export, sort="-total"))) == ["account", "contact"]
    for column in ("state", "loaded", "last", "lag", "size", "backlog"):
        html = read(page_of(export, sort=column))
        assert len(names(html)) == 2
        assert html.count("aria-sort=") == 1


def test_the_region_shows_the_same_as_the_page(export: Export) -> None:
    wish = {"state": "healthy", "sort": "-table", "q": "a"}
    page = read(page_of(export, **wish))
    region = read(live_of(export, **wish), **HTMX)
    assert "<html" not in region
    assert names(region) == names(page) == ["account"]
    assert f'hx-get="{live_of(export, **wish)}"'.replace("&", "&amp;") in page


def test_many_tables_come_in_pages(export: Export) -> None:
    SyncTable.objects.bulk_create(
        SyncTable(config=export.config, entity=f"t{n:03}", target_name=f"t{n:03}")
        for n in range(120)
    )
    first, second = read(page_of(export)), read(page_of(export, page="2"))
    assert (len(names(first)), len(names(second))) == (100, 21)
    assert "page 1 of 2" in words(first)


def test_folders_that_wait_are_told_with_their_reason(export: Export) -> None:
    export.upsert("account", 2, name="b")
    folder = export.close_folder(model="missing")
    export.poll()
    text = words(read(page_of(export)))
    assert "1 folder not complete yet" in text
    assert folder in text


def test_what_strangers_wrote_is_text(export: Export) -> None:
    evil = "<script>alert(1)</script>\u202e\x07"
    SyncTable.objects.update(
        entity=evil, error_code="table_locked", error_message=evil, refresh_reason=""
    )
    SyncConfig.objects.update(name=evil, error_code="x", error_message=evil)
    for path in ("/", page_of(export)):
        html = read(path)
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "\x07" not in html
        assert "&lt;script&gt;" in html


def test_a_sync_that_is_not_there_is_not_found() -> None:
    client = signed_in("viewer")
    for name in ("sync", "sync-live", "table-live"):
        assert client.get(reverse(name, args=[404])).status_code == 404


def test_the_page_of_a_table_says_when_the_rest_of_it_is_out_of_date(
    export: Export,
) -> None:
    """The card of an error is in no region that asks for itself."""
    shown = read(reverse("table", args=[export.entity("account").pk]))
    assert "Show this page anew" not in shown
    [asks] = re.findall(r'hx-get="([^"]*/live/[^"]*)"', shown)
    assert "Show this page anew" not in read(asks, **HTMX)
    spoil(export, 3)
    later = read(asks, **HTMX)
    assert "Show this page anew" in later
    [asks_again] = re.findall(r'hx-get="([^"]*/live/[^"]*)"', later)
    assert asks_again == asks, "it stays until the page is shown anew"


def test_a_message_keeps_the_name_that_it_begins_with(export: Export) -> None:
    """Django begins messages with a capital: account is no Account."""
    name = export.config.name
    client = signed_in("operator")
    deed = reverse("sync-deed", args=[export.config.pk, "pause"])
    html = client.post(deed, follow=True).content.decode()
    assert f">{name} is paused." in html


def test_nothing_is_said_about_an_export_before_it_was_looked_at(
    make_export: MakeExport,
) -> None:
    export = make_export()
    html = words(read(page_of(export)))
    assert "has not been looked at yet" in html
    assert "is finished yet" not in html
    SyncConfig.objects.update(checked_at=timezone.now())
    assert "is finished yet" in words(read(page_of(export)))


def test_a_region_of_what_was_deleted_asks_no_more(export: Export) -> None:
    for name in ("sync-live", "table-live"):
        html = read(reverse(name, args=[404]), **HTMX)
        assert "not here any more" in html
        assert "hx-get" not in html


# Who may


def buttons(html: str) -> set[str]:
    return set(re.findall(r'formaction="[^"]*/do/([a-z-]+)/"', html))


def test_a_viewer_has_no_buttons(export: Export) -> None:
    spoil(export, 3)
    for path in ("/", page_of(export)):
        html = read(path, "viewer")
        assert buttons(html) == set()
        assert 'id="deed"' not in html


def test_an_operator_has_the_buttons_that_make_sense(export: Export) -> None:
    assert buttons(read("/")) == {"sync-now", "pause"}
    assert buttons(read(page_of(export))) == {"sync-now", "pause", "refresh"}
    spoil(export, 3)
    assert buttons(read(page_of(export))) == {"sync-now", "pause", "retry"}
    export.entity("account").pause()
    assert "resume" in buttons(read(page_of(export)))
    export.config.pause()
    assert buttons(read(page_of(export))) == {"resume"}
    assert buttons(read("/")) == {"resume"}


def test_a_table_that_waits_for_a_decision_leads_to_it(export: Export) -> None:
    SyncTable.objects.update(state="new")
    assert ">Decide</a>" in read(page_of(export))


def test_what_is_polled_holds_no_input_and_no_token(export: Export) -> None:
    for path in ("/live/", live_of(export)):
        html = read(path, **HTMX)
        for tag in ("<input", "<select", "<form", "<details", "csrf"):
            assert tag not in html


def test_who_is_signed_out_gets_a_panel_and_no_poll(export: Export) -> None:
    answer = Client().get(live_of(export), headers=HTMX)
    assert answer.status_code == 401
    assert "hx-get" not in answer.content.decode()


# Live


def test_the_server_decides_how_often_a_region_asks(export: Export) -> None:
    assert 'hx-trigger="every 15s, dvsync:now"' in read(live_of(export), **HTMX)
    # Who opened the page just now sees what he pressed begin.
    assert 'hx-trigger="every 2s, dvsync:now"' in read(page_of(export))
    export.upsert("contact", 1, name="a")
    export.close_folder()
    export.poll()
    assert 'hx-trigger="every 2s, dvsync:now"' in read("/live/", **HTMX)


def test_a_load_is_shown_while_it_runs(export: Export) -> None:
    export.upsert("account", 2, name="b")
    export.close_folder()
    export.poll()
    table = export.entity("account")
    client = Client()
    client.force_login(person("viewer"))
    seen: dict[str, str] = {}

    def region(path: str) -> str:
        return client.get(path, headers=HTMX).content.decode()

    def look() -> None:
        for path in ("/live/", live_of(export), f"/tables/{table.pk}/live/"):
            seen[path] = elsewhere(partial(region, path))

    with faultpoints.armed("rows_inserted", action=look):
        export.load("account")
    size = export.progress("account")[1].bytes
    for path in (live_of(export), f"/tables/{table.pk}/live/"):
        assert f'max="{size}" value="{size}"' in seen[path]
        assert "applying the changes" in seen[path]
        assert 'aria-label="Read of account"' in seen[path]
        assert "every 2s" in seen[path]
    assert "loading account 100 %" in words(seen["/live/"])
    assert "<progress" not in read(live_of(export), **HTMX)


def test_a_table_alone_shows_its_state(export: Export) -> None:
    html = read(f"/tables/{export.entity('account').pk}/live/", **HTMX)
    assert "healthy" in words(html)
    assert "1 new" in words(html)
    assert "every 15s" in html

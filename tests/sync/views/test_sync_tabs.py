"""The timeline and the shapes of tables, as pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from sync.engine.configs import edit_config
from sync.engine.switches import pause
from sync.models import Event, Incident, SyncConfig, SyncTable
from sync.views import sync_tabs
from tests.people import signed_in
from tests.sync.conftest import Export

HOSTILE = "<script>alert(1)</script>{{ 7 }}\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.fixture
def viewer(transactional_db: None) -> Client:
    return signed_in("viewer")


@pytest.fixture
def config(transactional_db: None) -> SyncConfig:
    return SyncConfig.objects.create(name="sales", location="/x", schema_name="sales")


def text_of(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return unescape(answer.content.decode())


def rows(text: str) -> list[str]:
    """Return the rows of the page's first table."""
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    return body.split("<tr>")[1:]


# Timeline


def test_the_timeline_tells_loads_events_and_people(
    export: Export, viewer: Client
) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.sync()
    edit_config(export.config, {"max_bad_rows": 3}, by="anna")
    pause(export.config, by="ben")
    text = text_of(viewer, f"/syncs/{export.config.pk}/timeline/")
    told = rows(text)
    assert len(told) == 4
    for part, row in zip(
        (
            "by ben",
            "max_bad_rows 3 (by anna)",
            "1 inserted, 0 updated, 0 deleted",
            "with 8 columns",
        ),
        told,
        strict=True,
    ):
        assert part in row


def test_a_sync_without_a_story_says_what_will_be_here(
    config: SyncConfig, viewer: Client
) -> None:
    address = f"/syncs/{config.pk}/timeline/"
    assert "Nothing has happened yet" in text_of(viewer, address)
    assert "Nothing of this kind has happened" in text_of(viewer, f"{address}?q=x")


def test_filters_and_pages_of_the_timeline_are_in_its_address(
    config: SyncConfig, viewer: Client
) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    Event.objects.bulk_create(
        Event(
            config=config,
            kind="load_failed" if number % 2 else "paused",
            table_name="a&b=1",
            message=f"number {number}.",
            happened_at=start + timedelta(seconds=number),
        )
        for number in range(450)
    )
    SyncTable.objects.create(config=config, entity="a&b=1", target_name="a")
    base = f"/syncs/{config.pk}/timeline/"
    address: str | None = f"{base}?kind=problems&table={quote('a&b=1')}&q=number"
    seen = []
    while address:
        text = text_of(viewer, address)
        seen += rows(text)
        assert '<option value="a&b=1" selected>' in text
        assert '<option value="problems" selected>' in text
        before, found, _ = text.partition('" rel="next">Older</a>')
        address = base + before.rpartition('href="')[2] if found else None
    assert len(seen) == 225
    assert "number 449." in seen[0]
    assert "number 1." in seen[-1]


@pytest.fixture
def mixed(export: Export) -> Export:
    """Return an export with a load, a pause, a failure, a warning and two alerts."""
    export.upsert("account", 1)
    export.close_folder()
    export.sync()
    config = export.config
    Event.record(config, "paused", "by ben")
    Event.record(config, "load_failed", "line one\nand two", level="error")
    Event.record(config, "partition_late", HOSTILE, level="warning")
    for kind in (Incident.Kind.LATE, Incident.Kind.FAILING):
        Incident.objects.create(config=config, table_name=kind, kind=kind)
    return export


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("error", ["Alert: failing", "Load failed"]),
        (
            "warning",
            ["Alert: failing", "Alert: late", "Folder came late", "Load failed"],
        ),
        ("x", None),
    ],
)
def test_what_is_grave_is_found_alone(
    mixed: Export, viewer: Client, level: str, told: list[str] | None
) -> None:
    address = f"/syncs/{mixed.config.pk}/timeline/?level={level}"
    found = rows(text_of(viewer, address))
    if told is None:
        assert len(found) == 7
        return
    assert len(found) == len(told)
    assert all(any(title in row for row in found) for title in told)


def test_the_timeline_is_downloaded_as_it_is_filtered(
    mixed: Export, viewer: Client
) -> None:
    base = f"/syncs/{mixed.config.pk}/timeline/"
    link = f"{base}download/?kind=&level=error&table=&q=line"
    assert link in text_of(viewer, f"{base}?level=error&q=line")
    answer = viewer.get(link)
    assert answer.headers["Content-Disposition"].startswith("attachment")
    [line] = answer.content.decode().splitlines()
    at, *cells = line.split("\t")
    assert datetime.fromisoformat(at).tzinfo == UTC
    assert cells == ["error", "Load failed", "", "", "line one\\nand two"]
    whole = viewer.get(f"{base}download/").content.decode()
    assert len(whole.splitlines()) == 7
    assert "1 inserted, 0 updated" in whole
    assert "\\u202e" in whole


def test_a_long_timeline_is_downloaded_as_far_as_it_is_told(
    mixed: Export, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_tabs, "LINES", 2)
    address = f"/syncs/{mixed.config.pk}/timeline/download/"
    lines = viewer.get(address).content.decode().splitlines()
    assert len(lines) == 3
    assert lines[-1] == "# Only the newest 2 are here."


@pytest.mark.parametrize(
    "query",
    [
        *(
            "?before=x",
            "?kind=x",
            "?table=%00",
            "?q=%00'%22",
            "?level=x",
            "?before=%00~1~2",
        ),
        *(
            f"?before={quote(moment)}~1~5"
            for moment in (
                "2020-01-01T00:00:00+23:59",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
            )
        ),
    ],
)
def test_any_address_of_the_timeline_is_a_page(
    config: SyncConfig, viewer: Client, query: str
) -> None:
    text_of(viewer, f"/syncs/{config.pk}/timeline/{query}")


def test_names_and_messages_of_strangers_are_text(
    config: SyncConfig, viewer: Client
) -> None:
    config.name = HOSTILE
    config.save()
    SyncTable.objects.create(config=config, entity=HOSTILE, target_name=HOSTILE)
    Event.record(
        config, "columns_added", HOSTILE, table_name=HOSTILE, partition=HOSTILE
    )
    for tab in ("timeline", "schema", "settings"):
        html = viewer.get(f"/syncs/{config.pk}/{tab}/").content.decode()
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)" in html
        visible = html.replace(f'value="{HOSTILE}"', "")
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in visible.split("<option")[0]


def test_pages_of_a_sync_that_is_not_there_are_not_there(viewer: Client) -> None:
    for tab in ("timeline", "schema", "settings"):
        text_of(viewer, f"/syncs/999/{tab}/", 404)


# Schema


def test_every_table_is_in_its_group_what_needs_a_person_first(
    export: Export, viewer: Client
) -> None:
    for name in ("account", "contact", "lead", "gone", "left_out"):
        export.upsert(name, 1, name="x")
    export.close_folder()
    export.sync()
    edit_config(export.config, {"exclude": ["left*"], "new_tables": "ask"})
    export.remove_column("contact", "amount")
    export.add_column("contact", "amount:boolean")
    export.upsert("contact", 2, amount="True")
    export.upsert("brand_new", 1, name="x")
    export.close_folder()
    export.sync()
    SyncTable.objects.filter(entity="gone").update(absent=True)
    export.entity("lead").need_refresh("copied anew")
    told = rows(text_of(viewer, f"/syncs/{export.config.pk}/schema/"))
    for part, row in zip(
        (
            ("brand_new", "waits for a yes", "no table yet", "8 in the source"),
            ("contact", "needs a decision", "amount is boolean now"),
            ("lead", "needs a decision", "copied anew"),
            ("account", "replicated", ">8<"),
            ("gone", "gone from the newest model.json"),
            ("left_out", "excluded by the settings; its rows stay"),
        ),
        told,
        strict=True,
    ):
        assert all(word in row for word in part), row
    assert not any("<form" in row for row in told)


def test_a_table_that_waits_is_accepted_by_who_may_change(
    config: SyncConfig,
) -> None:
    table = SyncTable.objects.create(
        config=config, entity="a", target_name="a", state=SyncTable.State.NEW
    )
    address = f"/syncs/{config.pk}/schema/"
    action = f'action="/tables/{table.pk}/do/add/"'
    assert action not in text_of(signed_in("operator"), address)
    assert action in text_of(signed_in("administrator"), address)


def test_tables_are_found_by_group_and_name_and_paged(
    config: SyncConfig, viewer: Client
) -> None:
    SyncTable.objects.bulk_create(
        SyncTable(
            config=config,
            entity=f"Table{number:03}",
            target_name=f"table{number:03}",
            columns=[["a", "a", "text"]] * 500,
            absent=number == 7,
        )
        for number in range(300)
    )
    base = f"/syncs/{config.pk}/schema/"
    assert len(rows(text_of(viewer, base))) == 100
    text = text_of(viewer, f"{base}?q=table2&page=1")
    assert len(rows(text)) == 100
    assert "Table200" in text
    assert len(rows(text_of(viewer, f"{base}?page=3"))) == 100
    assert len(rows(text_of(viewer, f"{base}?show=absent"))) == 1
    assert "No table matches" in text_of(viewer, f"{base}?q=nothing")
    for odd in ("?page=x", "?page=-1", "?page=99", "?show=x", "?q=%00"):
        text_of(viewer, base + odd)


def test_a_sync_without_tables_says_why(config: SyncConfig, viewer: Client) -> None:
    text = text_of(viewer, f"/syncs/{config.pk}/schema/")
    assert "No table is known yet" in text


@pytest.mark.parametrize("tab", ["timeline", "schema", "settings", "delete"])
def test_the_number_of_queries_does_not_grow_with_the_tables(
    config: SyncConfig, tab: str, django_assert_max_num_queries: Any
) -> None:
    client = signed_in("administrator")
    for first in (0, 150):
        SyncTable.objects.bulk_create(
            SyncTable(config=config, entity=f"t{n}", target_name=f"t{n}", state="new")
            for n in range(first, first + 150)
        )
        Event.objects.bulk_create(
            Event(config=config, kind="columns_added", table_name=f"t{n}")
            for n in range(150)
        )
        # Session, user and permissions are four of them.
        with django_assert_max_num_queries(12):
            text_of(client, f"/syncs/{config.pk}/{tab}/")

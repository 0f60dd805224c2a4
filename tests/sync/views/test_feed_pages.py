"""The pages of a change feed: its words, its offsets, and what one may press."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from sync.models import Event, QuarantinedRow, SyncConfig
from tests.people import signed_in
from tests.sync.conftest import Feed

pytestmark = pytest.mark.django_db(transaction=True)
BAD = '2024-09-10T12:00:00Z | UPDATE | account | {"name": "x"}\n'


@pytest.fixture
def client(db: None) -> Client:
    return signed_in("administrator")


@pytest.fixture
def filled(make_feed: Callable[..., Feed]) -> Feed:
    feed = make_feed(bad_rows="quarantine")
    feed.insert("account", Id="a", name="Anna")
    feed.update("account", Id="b", name="Bert")
    feed.raw(BAD)
    feed.sync()
    return feed


def shown(client: Client, name: str, *of: object, **query: str) -> str:
    answer = client.get(reverse(name, args=of), query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_a_table_tells_its_offsets_and_the_changes_of_missing_rows(
    client: Client, filled: Feed
) -> None:
    text = shown(client, "table", filled.entity("account").pk)
    size = filled.path.stat().st_size
    assert f"{size:,}<br>of {size:,}" in text
    assert "1 change of rows that were not there" in text
    assert "Log files" in text


@pytest.mark.parametrize(
    "name", ["sync", "sync-timeline", "sync-schema", "sync-settings", "sync-delete"]
)
def test_no_page_of_a_feed_speaks_of_folders(
    client: Client, filled: Feed, name: str
) -> None:
    text = shown(client, name, filled.config.pk)
    main = text[text.index('id="content"') :]
    main = main.replace("Folders and log files", "").replace('"folders"', "")
    found = re.findall(r".{30}(?:folder|the export)[^\"].{30}", main)
    assert found == []


def test_the_settings_ask_only_what_a_feed_has_a_use_for(
    client: Client, filled: Feed
) -> None:
    text = shown(client, "sync-settings", filled.config.pk)
    assert "An update of a row that is not there" in text
    assert "empty cell" not in text
    admin = shown(client, "admin:sync_syncconfig_change", filled.config.pk)
    assert 'name="missing_keys"' in admin
    assert 'name="empty_text"' not in admin


def test_a_line_offers_the_refresh_of_its_table(client: Client, filled: Feed) -> None:
    text = shown(client, "quarantine")
    row = QuarantinedRow.objects.get()
    assert "Refresh its table" in text
    assert "reprocess" not in text
    refresh = reverse("table-deed", args=[row.table_id, "refresh"])
    asked = client.post(refresh, {"next": reverse("quarantine")})
    assert "1 log file with" in asked.content.decode()


def test_the_server_refuses_to_reprocess_a_line(client: Client, filled: Feed) -> None:
    row = QuarantinedRow.objects.get()
    answer = client.post(
        reverse("quarantine-decide"), {"only": f"reprocess {row.pk}"}, follow=True
    )
    assert "has no version" in answer.content.decode()
    row.refresh_from_db()
    assert row.state == "open"


def test_a_renamed_file_is_told_in_the_timeline(client: Client, filled: Feed) -> None:
    filled.path.rename(filled.path.with_suffix(".log.1"))
    filled.sync()
    assert Event.objects.filter(kind="partition_renamed").exists()
    text = shown(client, "sync-timeline", filled.config.pk)
    assert "Log file renamed or replaced" in text


def test_a_line_of_nobody_has_a_card_with_its_place(
    client: Client, filled: Feed
) -> None:
    filled.raw("nothing of use\n")
    filled.sync()
    config = SyncConfig.objects.get(pk=filled.config.pk)
    assert config.error_code == "line_malformed"
    text = shown(client, "sync", config.pk)
    assert "line 4" in text
    assert "does not say to which table it belongs" in text

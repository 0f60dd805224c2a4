"""The page of one table: its state, its folders, its columns and its events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from sync.engine.configs import edit_config
from sync.engine.folders import folders
from sync.engine.switches import pause
from sync.models import DataSyncProgress, QuarantinedRow, SyncTable
from tests.people import signed_in
from tests.sync.conftest import Export, run_sql


@pytest.fixture
def viewer(transactional_db: None) -> Client:
    return signed_in("viewer")


def page(client: Client, table: SyncTable, query: str = "", status: int = 200) -> str:
    answer = client.get(f"/tables/{table.pk}/{query}")
    assert answer.status_code == status
    return unescape(answer.content.decode())


def rows(text: str) -> list[str]:
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    return body.split("<tr")[1:]


def deeds(text: str, table: SyncTable) -> set[str]:
    """Return what may be pressed on the page."""
    pieces = text.split(f'action="/tables/{table.pk}/do/')[1:]
    return {piece.partition("/")[0] for piece in pieces}


def test_a_table_that_was_loaded(export: Export, viewer: Client) -> None:
    export.upsert("account", 1, name="x")
    export.upsert("account", 2, name="y")
    first = export.close_folder()
    export.sync()
    export.delete("account", 1)
    second = export.close_folder()
    export.sync()
    table = export.entity("account")
    text = page(viewer, table)
    schema = export.config.schema_name
    assert f"SELECT * FROM {schema}.account LIMIT 10;" in text
    assert "2 rows inserted, 0 updated, 1 deleted" in text
    assert "2 loads" in text
    newest, oldest = rows(text)
    assert second in newest
    assert 'data-label="Deleted" class="number">1<' in newest
    assert first in oldest
    assert 'data-label="Inserted" class="number">2<' in oldest
    assert "error-card" not in text
    assert deeds(text, table) == set()
    assert deeds(page(signed_in("operator"), table), table) == {"pause", "refresh"}


def test_the_statement_to_copy_is_one_that_postgresql_takes(
    export: Export, viewer: Client
) -> None:
    export.upsert('Od"d Näme', 1, name="x")
    export.upsert("order", 1, name="x")
    export.close_folder()
    export.sync()
    for table in SyncTable.objects.all():
        text = page(viewer, table)
        statement = text.partition('class="copyable"><bdi>')[2].partition("</bdi>")[0]
        assert len(run_sql(statement)) == 1, statement


def test_a_table_that_failed_tells_why_and_what_to_press(export: Export) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.upsert("account", 2, amount="<b>many</b>")
    name = export.close_folder()
    export.sync()
    table = export.entity("account")
    operator = signed_in("operator")
    html = operator.get(f"/tables/{table.pk}/").content.decode()
    text = unescape(html)
    assert "A value does not fit its column" in text
    assert f"folder <bdi>{name}</bdi>" in text
    assert "line 1" in text
    assert "column <bdi>amount</bdi>" in text
    assert "The table kept its last good content" in text
    assert "<b>many" not in html
    assert deeds(text, table) == {"retry", "pause", "refresh"}
    assert len(rows(page(operator, table, "?status=2"))) == 1
    assert len(rows(page(operator, table, "?status=1"))) == 1
    assert "No folder has this status" in page(operator, table, "?status=0")
    assert len(rows(page(operator, table, "?status=x"))) == 2
    # Pressed, the table is tried again, and one is back on the page.
    back = f"/tables/{table.pk}/?status=2"
    answer = operator.post(f"/tables/{table.pk}/do/retry/", {"next": back})
    assert answer.headers["Location"] == back
    assert [row.copy_status for row in export.progress("account")] == [1, 0]


def test_a_paused_table_may_be_resumed(export: Export) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.sync()
    table = export.entity("account")
    pause(table, by="anna")
    text = page(signed_in("operator"), table)
    assert deeds(text, table) == {"resume", "refresh"}
    assert "s ago by anna" in text


def test_the_columns_are_told_as_they_are_on_both_sides(
    export: Export, viewer: Client
) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.sync()
    export.remove_column("account", "name")
    export.add_column("account", "Extra:decimal")
    export.upsert("account", 2, Extra=2)
    export.close_folder()
    export.sync()
    table = export.entity("account")
    SyncTable.objects.update(
        attributes=[
            *([n, "int64" if n == "amount" else t] for n, t in table.attributes),
            ["later", "string"],
        ]
    )
    told = {
        row.partition("<bdi>")[2].partition("</bdi>")[0]: row
        for row in rows(page(viewer, table, "?part=columns"))
    }
    assert "gone from the newest model.json" in told["name"]
    assert "not made yet" in told["later"]
    assert "the type in the export changed" in told["amount"]
    assert "<code><bdi>extra</bdi></code>" in told["Extra"]
    assert "numeric" in told["Extra"]
    assert next(iter(told)) == "Id"
    assert len(rows(page(viewer, table, "?part=columns&q=AMO"))) == 1
    assert "No column matches" in page(viewer, table, "?part=columns&q=%25")


def test_a_wide_table_is_a_page_all_the_same(
    export: Export, viewer: Client, django_assert_max_num_queries: Any
) -> None:
    columns = [[f"a{n}", f"a{n}", "text"] for n in range(1500)]
    table = SyncTable.objects.create(
        config=export.config,
        entity="wide",
        target_name="wide",
        columns=columns,
        attributes=[[name, "string"] for name, *_ in columns],
    )
    with django_assert_max_num_queries(10):
        assert len(rows(page(viewer, table, "?part=columns"))) == 1500


def test_events_and_rows_set_aside_belong_to_the_page(
    export: Export, viewer: Client
) -> None:
    edit_config(export.config, {"bad_rows": "quarantine"}, by="anna")
    export.upsert("account", 1, amount="many")
    export.upsert("contact", 1, name="x")
    export.close_folder()
    export.sync()
    assert QuarantinedRow.objects.count() == 1
    table = export.entity("account")
    text = page(viewer, table, "?part=events")
    assert "Bad rows set aside" in text
    assert "contact" not in "".join(rows(text))
    assert f'href="/quarantine/?table={table.pk}">1 row</a>' in text


def test_a_table_that_is_left_out_or_waits_says_so(export: Export) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    edit_config(export.config, {"exclude": ["account"]})
    export.sync()
    table = export.entity("account")
    administrator = signed_in("administrator")
    text = page(administrator, table)
    assert "left out by the settings of the sync" in text
    assert "no table yet" in text
    assert deeds(text, table) == set()
    edit_config(export.config, {"exclude": []})
    SyncTable.objects.update(state=SyncTable.State.NEW)
    text = page(administrator, table)
    assert "A new table waits for a yes" in text
    assert deeds(text, table) == {"add"}


def test_many_folders_come_page_by_page(
    export: Export, viewer: Client, django_assert_max_num_queries: Any
) -> None:
    table = SyncTable.objects.create(
        config=export.config, entity="account", target_name="account"
    )
    start = datetime(2026, 1, 1, tzinfo=UTC)
    names = [f"{start + timedelta(minutes=n):%Y-%m-%dT%H.%M.%SZ}" for n in range(250)]
    DataSyncProgress.objects.bulk_create(
        DataSyncProgress(
            config=export.config,
            partition=name,
            table_name="account",
            copy_status=1 if index % 2 else 2,
            next_attempt_at=start,
            error_code="bad_row",
        )
        for index, name in enumerate(names)
    )
    seen: list[str] = []
    address: str | None = ""
    while address is not None:
        with django_assert_max_num_queries(11):
            text = page(viewer, table, address)
        seen += rows(text)
        head, found, _ = text.partition('" rel="next">Older</a>')
        address = head.rpartition('href="')[2] if found else None
    assert len(seen) == 250
    assert names[-1] in seen[0]
    assert names[0] in seen[-1]
    assert [r.partition for r in folders(table, 1, size=3).rows] == names[-1:-7:-2]


@pytest.mark.parametrize("query", ["?part=x", "?before=%00", "?status=%27", "?q=%00"])
def test_any_address_of_a_table_is_a_page(
    export: Export, viewer: Client, query: str
) -> None:
    table = SyncTable.objects.create(
        config=export.config, entity="account", target_name="account"
    )
    page(viewer, table, query)


def test_a_table_that_is_not_there_has_no_page(viewer: Client) -> None:
    assert viewer.get("/tables/999/").status_code == 404


def test_a_table_without_folders_says_why(export: Export, viewer: Client) -> None:
    table = SyncTable.objects.create(
        config=export.config, entity="account", target_name="account"
    )
    assert "No finished change folder has rows" in page(viewer, table)
    assert "No columns are known yet" in page(viewer, table, "?part=columns")
    assert "Nothing has happened to this table" in page(viewer, table, "?part=events")

"""Reading the state, the progress and the rows set aside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sync.engine.documents import document
from sync.engine.overview import overview
from sync.models import DataSyncProgress, SyncConfig, SyncTable
from tests.catalogue.steps import FILE, LF, configure, line, quarantined
from tests.sync.api.conftest import Caller, document_of, error_of
from tests.sync.conftest import Export

BAD = "no number"


def park(export: Export, entity: str = "account") -> str:
    export.table(entity)
    export.raw(entity, FILE, line(1, '"x"', BAD) + LF)
    folder = export.close_folder()
    for _ in range(3):
        export.sync()
    return folder


def set_aside(export: Export, rows: int = 1) -> None:
    configure(export, bad_rows="quarantine")
    export.table("account", ["name", "amount:decimal"])
    for number in range(rows):
        export.raw("account", FILE, line(number, '"x"', BAD) + LF)
    export.close_folder()
    export.load("account")


@pytest.fixture
def loaded(export: Export) -> Export:
    for entity in ("account", "contact"):
        export.upsert(entity, 1, name="a")
    export.close_folder()
    export.sync()
    return export


def test_the_status_is_that_of_the_command(loaded: Export, viewer: Caller) -> None:
    park(loaded)
    told = document_of(viewer("GET", "status"))
    known: dict[str, Any] = json.loads(json.dumps(document(overview())))
    for found in (told, known):
        found["at"] = None
        for sync in found["syncs"]:
            sync["lag_seconds"] = None
            for table in sync["tables"]:
                table["lag_seconds"] = None
    assert told == known
    assert told["syncs"][0]["state"] == "action required"


def test_the_status_of_one_sync_by_its_name(loaded: Export, viewer: Caller) -> None:
    SyncConfig.objects.create(name="another / sync", location="/", schema_name="x")
    told = document_of(viewer("GET", "status?sync=another%20/%20sync"))
    assert [sync["name"] for sync in told["syncs"]] == ["another / sync"]
    assert error_of(viewer("GET", "status?sync=none"), 404)["code"] == "not_found"


def test_one_sync_is_told_with_its_settings(loaded: Export, viewer: Caller) -> None:
    sync = document_of(viewer("GET", f"syncs/{loaded.config.pk}"))["sync"]
    assert sync["name"] == loaded.config.name
    assert sync["settings"]["location"] == str(loaded.root)
    assert sync["settings"]["max_bad_rows"] == 100
    assert len(sync["tables"]) == 2


def test_one_table_is_told_with_its_columns(loaded: Export, viewer: Caller) -> None:
    loaded.add_column("account", "colour:string")
    pk = loaded.entity("account").pk
    table = document_of(viewer("GET", f"tables/{pk}"))["table"]
    assert (table["table"], table["sync"]) == ("account", loaded.config.name)
    assert table["totals"]["inserted"] == 1
    columns = {column["name"]: column for column in table["columns"]}
    assert columns["amount"] == {
        "name": "amount",
        "type": "decimal",
        "column": "amount",
        "sql": "numeric",
    }


def test_a_column_that_left_the_model_is_told_without_a_type(
    loaded: Export, viewer: Caller
) -> None:
    table = loaded.entity("account")
    table.attributes = [["Id", "guid"], ["later", "int64"]]
    table.save()
    columns = document_of(viewer("GET", f"tables/{table.pk}"))["table"]["columns"]
    types = {column["name"]: column["type"] for column in columns}
    assert types["amount"] is None
    assert columns[-1] == {
        "name": "later",
        "type": "int64",
        "column": None,
        "sql": "bigint",
    }


def test_a_table_that_is_not_selected_is_not_there(
    loaded: Export, viewer: Caller
) -> None:
    configure(loaded, exclude=["contact"])
    pk = loaded.entity("contact").pk
    assert "not replicated" in error_of(viewer("GET", f"tables/{pk}"), 404)["message"]
    for path in ("tables/987654", "syncs/987654"):
        error_of(viewer("GET", path), 404)


def test_the_cost_does_not_grow_with_the_number_of_tables(
    export: Export, viewer: Caller
) -> None:
    counts: list[list[int]] = []
    for _ in range(2):
        for number in range(3):
            export.upsert(f"table{len(counts)}{number}", 1, name="a")
        export.close_folder()
        export.sync()
        paths = ("status", "errors", "syncs", f"syncs/{export.config.pk}", "progress")
        for path in paths:
            document_of(viewer("GET", path))
        found = []
        for path in paths:
            with CaptureQueriesContext(
                connection,
            ) as seen:
                document_of(viewer("GET", path))
            found.append(len(seen))
        counts.append(found)
    assert counts[0] == counts[1]


# What is wrong


def test_errors_are_told_with_code_place_and_remedy(
    loaded: Export, viewer: Caller
) -> None:
    assert document_of(viewer("GET", "errors"))["errors"] == []
    folder = park(loaded)
    [error] = document_of(viewer("GET", "errors"))["errors"]
    assert (error["sync"], error["table"]) == (loaded.config.name, "account")
    assert error["table_id"] == loaded.entity("account").pk
    assert (error["code"], error["state"]) == ("bad_value", "action required")
    assert folder in error["where"]
    assert f"retrysync {loaded.config.name} account" in error["remedy"]
    assert error["kept"]
    assert error["title"]
    assert error["permanent"] is True


def test_an_export_that_cannot_be_read_is_an_error_without_a_table(
    loaded: Export, viewer: Caller
) -> None:
    (loaded.root / "Changelog" / "changelog.info").unlink()
    with pytest.raises(Exception, match="no Changelog"):
        loaded.poll()
    [error] = document_of(viewer("GET", "errors"))["errors"]
    assert (error["table"], error["table_id"]) == (None, None)
    assert error["code"] == "not_an_export"


# Progress


def test_progress_is_told_newest_first_and_in_pages(
    export: Export, viewer: Caller
) -> None:
    for number in range(5):
        export.upsert("account", number, name="a")
        export.close_folder()
    export.sync()
    rows = []
    path: str | None = "progress?limit=2"
    pages = 0
    while path:
        page = document_of(viewer("GET", path))
        rows += page["progress"]
        path, pages = page["next"], pages + 1
    assert pages == 3
    ids = list(DataSyncProgress.objects.order_by("-pk").values_list("pk", flat=True))
    assert [row["id"] for row in rows] == ids
    assert all(row["status"] == "success" for row in rows)
    assert rows[0]["rows"]["inserted"] == 1
    assert rows[0]["error"] is None


def test_progress_can_be_filtered(loaded: Export, viewer: Caller) -> None:
    folder = park(loaded)
    name = loaded.config.name
    for query, number in (
        (f"sync={name}", 3),
        (f"sync={name}&table=account", 2),
        ("table=contact", 1),
        ("status=failure", 1),
        ("status=success", 2),
        ("status=pending", 0),
        (f"partition={folder}", 1),
        ("table=unknown", 0),
    ):
        found = document_of(viewer("GET", f"progress?{query}"))["progress"]
        assert len(found) == number, query
    [failed] = document_of(viewer("GET", "progress?status=failure"))["progress"]
    assert failed["attempts"] == 3
    assert failed["error"]["code"] == "bad_value"


@pytest.mark.parametrize(
    "query",
    [
        "nonsense=1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=",
        f"limit={'9' * 5000}",
        f"limit={'1'.zfill(20)}{'9' * 3}",
        f"limit={'1'.zfill(20)}{'9' * 5000}",
        "before=9223372036854775808",
        "before=1&before=2",
        "status=odd",
        "table=%00",
        "sync=%00",
    ],
)
def test_odd_questions_are_refused(viewer: Caller, query: str) -> None:
    assert error_of(viewer("GET", f"progress?{query}"), 400)["code"] == "bad_request"


def test_the_progress_of_an_unknown_sync_is_not_found(viewer: Caller) -> None:
    error_of(viewer("GET", "progress?sync=none"), 404)


@pytest.mark.parametrize("path", ["", "status", "errors", "syncs", "quarantine"])
def test_parameters_that_are_not_known_are_refused(viewer: Caller, path: str) -> None:
    error = error_of(viewer("GET", f"{path}?stat=late"), 400)
    assert error["where"] == "stat"


# Rows set aside


def test_rows_set_aside_are_told_as_they_are_in_the_file(
    export: Export, viewer: Caller
) -> None:
    set_aside(export)
    [row] = document_of(viewer("GET", "quarantine"))["rows"]
    [stored] = quarantined(export, "account")
    assert row["id"] == stored.pk
    assert row["raw"] == line(0, '"x"', BAD).decode()
    assert row["raw_bytes"] == len(stored.raw)
    assert (row["table"], row["line"], row["code"]) == ("account", 1, "bad_value")
    assert (row["state"], row["column"]) == ("open", "amount")


def test_rows_set_aside_can_be_filtered(export: Export, viewer: Caller) -> None:
    set_aside(export, rows=3)
    row = quarantined(export, "account")[0]
    row.state = "dismissed"
    row.save()
    for query, number in (
        ("", 2),
        ("state=dismissed", 1),
        ("state=all", 3),
        ("table=account", 2),
        ("table=contact", 0),
        (f"sync={export.config.name}", 2),
        ("code=bad_row", 0),
        ("text=no%20number", 2),
        ("text=%25", 0),
        ("limit=1", 1),
    ):
        found = document_of(viewer("GET", f"quarantine?{query}"))["rows"]
        assert len(found) == number, query
    error_of(viewer("GET", "quarantine?state=odd"), 400)


def test_a_hostile_name_stays_a_text(loaded: Export, viewer: Caller) -> None:
    wild = "<script>alert(1)</script>\u202e'\";--"
    SyncTable.objects.filter(entity="account").update(entity=wild)
    answer = viewer("GET", "status")
    names = [table["table"] for table in document_of(answer)["syncs"][0]["tables"]]
    assert wild in names

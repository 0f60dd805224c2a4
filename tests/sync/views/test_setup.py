"""The set-up by its pages: every step, its refusals, and what happens in two tabs."""

from __future__ import annotations

import html
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from pytest_django import DjangoAssertNumQueries, Settings

from sync.engine import drafts
from sync.engine.drafts import STEPS
from sync.models import Event, SetupDraft, SyncConfig
from sync.views.setup import forms, tables
from tests.exports import ExportWriter
from tests.feeds import FeedWriter
from tests.models import HOSTILE, model_json
from tests.people import person, signed_in
from tests.sync.conftest import run_sql

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    root = tmp_path / "exports"
    root.mkdir()
    settings.ROOTS = [root]
    return root


@pytest.fixture
def export(root: Path) -> ExportWriter:
    export = ExportWriter(root / "contoso")
    for table in ("account", "contact", "lead"):
        export.upsert(table, 1)
    export.close_folder()
    return export


@pytest.fixture
def client(db: None) -> Client:
    return signed_in("administrator")


@pytest.fixture
def schemas_dropped(transactional_db: None) -> Iterator[None]:
    """Drop the schemas that a committed test made."""
    yield
    run_sql("DROP SCHEMA IF EXISTS contoso CASCADE")


def address(step: str) -> str:
    return reverse("setup-step", args=[step])


def upload(client: Client, data: bytes, name: str = "model.json") -> Any:
    return client.post(
        address("model"), {"model": SimpleUploadedFile(name, data)}, follow=True
    )


def page(client: Client, step: str, **query: str) -> str:
    answer = client.get(address(step), query)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def draft() -> SetupDraft:
    return SetupDraft.objects.get()


def at(answer: Any) -> str:
    """Return the step to which an answer leads."""
    return str(answer.redirect_chain[-1][0]).rstrip("/").rpartition("/")[2]


def choose(client: Client, *names: str, do: str = "next", **fields: str) -> Any:
    digest = draft().answers["model"]["digest"]
    return client.post(
        address("tables"),
        {"model": digest, "table": list(names), "do": do, **fields},
        follow=True,
    )


TARGET = {
    "name": "contoso",
    "schema": "contoso",
    "bad_rows": "stop",
    "max_bad_rows": "100",
    "empty_text": "null",
    "new_tables": "include",
}


def target(client: Client, **changes: str) -> Any:
    return client.post(address("target"), {**TARGET, **changes}, follow=True)


def to_checks(client: Client, export: ExportWriter) -> None:
    """Answer all steps before the checks, with the export's own model."""
    data = {"path": str(export.root), "read": "model"}
    client.post(address("location"), data)
    choose(client, "account", "contact", "lead")
    assert at(target(client)) == "checks"


def to_start(client: Client, export: ExportWriter) -> None:
    to_checks(client, export)
    client.post(address("checks"), {"do": "check"})
    assert at(client.post(address("checks"), {"do": "next"}, follow=True)) == "start"


def start(client: Client, **fields: str) -> Any:
    return client.post(address("start"), {"name": "contoso", **fields}, follow=True)


# The way


def test_from_an_upload_to_a_sync(client: Client, export: ExportWriter) -> None:
    data = (export.root / "model.json").read_bytes()
    assert at(upload(client, data)) == "tables"
    assert at(choose(client, "account", "contact", "lead")) == "location"
    chosen = {"path": str(export.root), "kind": "directory"}
    assert at(client.post(address("location"), chosen, follow=True)) == "target"
    assert at(target(client, bad_rows="quarantine", max_bad_rows="7")) == "checks"
    assert at(client.post(address("checks"), {"do": "check"}, follow=True)) == "checks"
    assert at(client.post(address("checks"), {"do": "next"}, follow=True)) == "start"
    answer = start(client)

    config = SyncConfig.objects.get()
    assert answer.redirect_chain == [
        (reverse("sync", args=[config.pk]) + "?started=1", 302)
    ]
    assert (config.name, config.schema_name) == ("contoso", "contoso")
    assert (config.location, config.max_bad_rows) == (str(export.root), 7)
    assert (config.include, config.exclude) == ([], [])
    assert config.model_json == ["account", "contact", "lead"]
    event = Event.objects.get()
    assert event.kind == "sync_created"
    assert event.message.endswith("by administrator")
    assert not SetupDraft.objects.exists()
    assert [row.task["args"] for row in OrmQ.objects.all()] == [(config.pk,)]


def test_a_model_read_from_the_export_makes_the_location_known(
    client: Client, export: ExportWriter
) -> None:
    assert "Choose the directory" in client.get(reverse("setup")).content.decode()
    shown = page(client, "location", read="model")
    assert f'value="{export.root}" checked' in shown
    to_start(client, export)
    start(client)
    assert SyncConfig.objects.get().model_json is None


def test_what_was_answered_is_shown_again(client: Client, export: ExportWriter) -> None:
    to_checks(client, export)
    target(client, empty_text="empty", new_tables="ask", max_bad_rows="5")
    choose(client, "account")
    shown = page(client, "target")
    assert 'value="5"' in shown
    assert re.search(r'value="empty"[^>]*checked', shown)
    assert re.search(r'value="ask"[^>]*checked', shown)
    assert page(client, "tables").count(" checked") == 1
    assert f'value="{export.root}" checked' in page(client, "location")


def test_an_unfinished_set_up_is_offered_and_may_be_forgotten(
    client: Client, export: ExportWriter
) -> None:
    upload(client, model_json("account"))
    choose(client, "account")
    shown = client.get(reverse("setup")).content.decode()
    assert "You have begun to set up a sync" in shown
    assert address("location") in shown
    answer = client.post(reverse("setup-restart"), follow=True)
    assert "is forgotten" in answer.content.decode()
    assert not SetupDraft.objects.exists()


def test_each_user_has_a_set_up_of_their_own(client: Client) -> None:
    upload(client, model_json("account"))
    other = signed_in("root")
    assert "You have begun" not in other.get(reverse("setup")).content.decode()
    upload(other, model_json("contact"))
    assert SetupDraft.objects.count() == 2


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_step_that_is_not_ones_turn_leads_to_what_is(
    client: Client, step: str
) -> None:
    if step != "location":
        assert client.get(address(step)).headers["Location"] == reverse("setup")
    upload(client, model_json("account"))
    if step != "tables":
        for answer in (client.get(address(step)), client.post(address(step), {})):
            assert answer.headers["Location"] == address("tables")


def test_there_is_no_other_step(client: Client) -> None:
    assert client.get("/setup/nothing/").status_code == 404


def test_the_steps_say_which_is_the_current_one(
    client: Client, export: ExportWriter
) -> None:
    to_checks(client, export)
    shown = page(client, "target")
    assert shown.count('aria-current="step"') == 1
    assert '<span aria-current="step">Target in PostgreSQL</span>' in shown
    assert shown.count("(done)") == 3
    assert re.search(r'<h2[^>]*tabindex="-1" autofocus>', shown)


# The model


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "line 1, column 2"),
        (b"[]", "must be a JSON object"),
        (b"{}", "no entities"),
        (b'{"entities": []}', "describes no table"),
        (b'{"entities": [{"name": "a"}]}', "entities[0].attributes"),
        (
            b'{"entities": [{"name": "a", "attributes": [{"name": "b"}]}]}',
            "entities[0].attributes[0].dataType",
        ),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "The file is empty"),
    ],
)
def test_what_is_no_model_is_refused_with_its_place(
    client: Client, data: bytes, said: str
) -> None:
    answer = upload(client, data)
    shown = html.unescape(answer.content.decode())
    assert said in shown
    assert 'id="mistakes" role="alert"' in shown
    assert 'href="#id_model"' in shown
    assert not SetupDraft.objects.exists()


def test_no_file_at_all_is_told(client: Client) -> None:
    answer = client.post(address("model"), {})
    assert "Choose a file first" in answer.content.decode()


def test_a_file_that_is_too_large_is_refused_and_not_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "MAX_BYTES", 200_000)
    answer = upload(client, model_json("a") + b" " * 300_000)
    assert "The file is larger than" in answer.content.decode()
    assert not SetupDraft.objects.exists()


def test_a_request_with_many_files_is_refused_before_they_are_stored(
    export: ExportWriter,
) -> None:
    files = {str(n): SimpleUploadedFile("x", b"x") for n in range(2)}
    assert Client().post("/admin/login/", files).status_code == 400


def test_a_file_of_20_mb_is_taken(client: Client) -> None:
    columns = [
        ("Id", "guid"),
        *((f"a_rather_long_name_of_an_attribute_{i}", "string") for i in range(500)),
    ]
    data = model_json(*(f"table_{i}" for i in range(450)), columns=columns)
    assert len(data) > 16_000_000
    began = time.perf_counter()
    assert at(upload(client, data + b" " * (20_000_000 - len(data)))) == "tables"
    sys.stdout.write(f"20 MB uploaded in {time.perf_counter() - began:.2f} s\n")


def test_another_model_keeps_the_other_answers(
    client: Client, export: ExportWriter
) -> None:
    to_checks(client, export)
    upload(client, model_json("account", "task"))
    assert set(draft().answers) == {"model", "location", "target"}
    assert at(choose(client, "account", "task")) == "checks"


# The tables


def test_300_tables_of_500_columns_are_one_light_page(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    columns = [("Id", "guid"), *((f"column_{i}", "string") for i in range(499))]
    many = model_json(*(f"t{i}" for i in range(300)), columns=columns)
    for data in (model_json("a", "b"), many):
        upload(client, data)
        with django_assert_num_queries(5) as seen:  # session, user, rights, draft
            # Of the processor: what else the machine does is not counted.
            began = time.process_time()
            answer = client.get(address("tables"))
            took = time.process_time() - began
        # The bytes of the model stay where they are.
        assert not any('"model_json"' in q["sql"] for q in seen.captured_queries)
    sys.stdout.write(f"300 tables: {len(answer.content)} B in {took:.3f} s\n")
    assert took < 1
    assert answer.content.count(b'type="checkbox"') == 300


def test_the_columns_of_a_table_come_when_asked_for(client: Client) -> None:
    upload(client, model_json("account"))
    where = {"table": "account"}
    whole = client.get(reverse("setup-columns"), where).content.decode()
    part = client.get(
        reverse("setup-columns"), where, headers={"HX-Request": "true"}
    ).content.decode()
    for text in (whole, part):
        assert "timestamp with time zone" in text
    assert "<html" in whole
    assert "<html" not in part
    assert client.get(reverse("setup-columns"), {"table": "x"}).status_code == 404


def test_few_tables_are_included_and_few_left_out_are_excluded(
    client: Client, export: ExportWriter
) -> None:
    to_checks(client, export)
    for names, include, exclude in (
        (["account", "lead"], [], ["contact"]),
        (["account"], ["account"], []),
    ):
        choose(client, *names)
        client.post(address("checks"), {"do": "check"})
        shown = page(client, "start")
        assert f"{len(names)} of 3" in shown
        from sync.engine.drafts import planned

        config = planned(draft())
        assert (config.include, config.exclude) == (include, exclude)


def test_no_table_is_refused(client: Client) -> None:
    upload(client, model_json("account"))
    assert "No table is chosen" in choose(client).content.decode()
    assert draft().answers["tables"] == {"left_out": ["account"]}


def test_a_filter_shows_some_and_decides_nothing_of_the_others(client: Client) -> None:
    upload(client, model_json("account", "contact", "task"))
    choose(client, "account", "task", do="filter", q="TA")
    shown = page(client, "tables", q="TA")
    assert "contact" in shown
    assert "task" in shown
    assert 'value="account"' not in shown
    # contact was unticked, task is ticked; now task is unticked in the filtered list.
    choose(client, "contact", shown_q="TA")
    assert draft().answers["tables"] == {"left_out": ["task"]}


def test_all_and_none_are_of_what_the_filter_matches(client: Client) -> None:
    upload(client, model_json("account", "contact", "task"))
    choose(client, do="none", shown_q="c")
    assert draft().answers["tables"] == {"left_out": ["account", "contact"]}
    choose(client, do="all", shown_q="")
    assert draft().answers["tables"] == {"left_out": []}


def test_many_tables_have_pages_that_remember_what_was_ticked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PER_PAGE", 2)
    upload(client, model_json("a", "b", "c", "d", "e"))
    answer = choose(client, "a", do="page-2", shown_page="1")
    assert "Page 2 of 3" in answer.content.decode()
    choose(client, "c", "d", do="page-3", shown_page="2")
    choose(client, shown_page="3")
    assert draft().answers["tables"] == {"left_out": ["b", "e"]}


def test_what_cannot_be_replicated_is_left_out_at_first(client: Client) -> None:
    data = model_json("good")
    keyless = model_json("keyless", columns=[("name", "string")])
    both = data[:-2] + b"," + keyless.partition(b'"entities": [')[2]
    upload(client, both)
    shown = page(client, "tables")
    assert "Cannot be replicated" in shown
    assert shown.count(" checked") == 1


def test_ticks_for_another_model_are_not_taken(client: Client) -> None:
    upload(client, model_json("account", "contact"))
    old = draft().answers["model"]["digest"]
    upload(client, model_json("lead"))
    answer = client.post(
        address("tables"), {"model": old, "table": ["account"]}, follow=True
    )
    assert "uploaded meanwhile" in answer.content.decode()
    assert "tables" not in draft().answers


# The location


def test_only_what_is_below_the_roots_may_be_chosen(
    client: Client, root: Path, tmp_path: Path
) -> None:
    upload(client, model_json("account"))
    choose(client, "account")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    for path in (
        str(outside),
        f"{root}/../outside",
        f"{root}/link",
        f"{root}/a\0b",
        "/etc",
        "relative",
        f"{root}/\udcff".encode(errors="surrogateescape").decode("latin-1"),
        "",
    ):
        answer = client.post(address("location"), {"path": path}, follow=True)
        assert 'id="mistakes"' in answer.content.decode(), path
        answer = client.get(address("location"), {"in": path})
        assert answer.status_code == 200
    assert "location" not in draft().answers


def test_a_root_that_is_missing_is_told_with_what_to_do(
    client: Client, root: Path
) -> None:
    root.rmdir()
    shown = page(client, "location", read="model")
    assert "does not exist" in shown
    assert "No export and no change feed was found" in shown
    assert "DVSYNC_ROOTS" in shown


def test_the_first_and_last_folder_and_the_marker_are_shown(
    client: Client, export: ExportWriter
) -> None:
    export.close_folder()
    shown = page(client, "location")
    for folder in export.folders:
        assert folder.name in shown


def test_a_directory_that_vanishes_is_told(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    export.root.rename(export.root.with_name("gone"))
    assert page(client, "location")
    assert "no longer there" in start(client).content.decode()
    assert not SyncConfig.objects.exists()
    client.post(address("checks"), {"do": "check"})
    assert "failed" in page(client, "checks")


def test_folders_are_browsed(client: Client, root: Path) -> None:
    (root / "a<b>" / "inner").mkdir(parents=True)
    shown = page(client, "location", **{"in": str(root / "a<b>")})
    assert "inner" in shown
    assert "a<b>" not in shown
    assert "Up one level" in shown
    assert "looks neither like an export nor like a change feed" in shown


def test_an_export_that_is_synced_already_says_so(
    client: Client, export: ExportWriter
) -> None:
    SyncConfig.objects.create(name="first", schema_name="x", location=str(export.root))
    shown = page(client, "location")
    assert "first" in shown
    assert "reads it already" in shown


def test_an_export_without_a_model_needs_an_upload(
    client: Client, export: ExportWriter
) -> None:
    (export.root / "model.json").unlink()
    data = {"path": str(export.root), "read": "model"}
    shown = client.post(address("location"), data).content.decode()
    assert "holds no model.json yet" in shown
    assert not SetupDraft.objects.exists()


# The target


def test_a_free_name_is_suggested(client: Client, export: ExportWriter) -> None:
    SyncConfig.objects.create(name="contoso", schema_name="contoso_2", location="/x")
    to_checks_without_target(client, export)
    assert 'value="contoso_3"' in page(client, "target")


def to_checks_without_target(client: Client, export: ExportWriter) -> None:
    client.post(address("location"), {"path": str(export.root), "read": "model"})
    choose(client, "account", "contact", "lead")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "taken"}, "There is a sync named 'taken' already"),
        ({"schema": "Taken"}, "Another sync uses the schema 'taken'"),
        ({"schema": "public"}, "is reserved"),
        ({"schema": "pg_x"}, "is reserved"),
        ({"schema": "a\tb"}, "no name for a schema"),
        ({"name": ""}, "required"),
        ({"name": "a\u202eb"}, "no name for a sync"),
        ({"name": "x" * 101}, "at most 100"),
        ({"bad_rows": "lose"}, "valid choice"),
        ({"max_bad_rows": "-1"}, "greater than or equal to 0"),
        ({"max_bad_rows": str(2**31)}, "less than or equal to"),
    ],
)
def test_a_wrong_target_is_refused_beside_its_field(
    client: Client, export: ExportWriter, changes: dict[str, str], said: str
) -> None:
    SyncConfig.objects.create(name="taken", schema_name="taken", location="/x")
    to_checks_without_target(client, export)
    shown = html.unescape(target(client, **changes).content.decode())
    assert said in shown
    [field] = changes
    assert f'href="#id_{field}"' in shown
    assert f'id="id_{field}"' in shown
    assert "target" not in draft().answers


# The checks


def test_the_checks_of_other_answers_do_not_count(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    target(client, schema="contoso_other")
    shown = page(client, "checks")
    assert "Something changed since the last checks" in shown
    assert client.get(address("start")).headers["Location"] == address("checks")
    assert at(start(client)) == "checks"
    assert not SyncConfig.objects.exists()


def test_a_failed_check_cannot_be_passed_by(
    client: Client, export: ExportWriter
) -> None:
    to_checks(client, export)
    (export.root / "Changelog" / "changelog.info").write_text("soon")
    client.post(address("checks"), {"do": "check"})
    shown = page(client, "checks")
    assert "✗" in shown
    assert "What to do:" in shown
    assert "Continue" not in shown
    assert at(client.post(address("checks"), {"do": "next"}, follow=True)) == "checks"


def test_warnings_may_be_passed_by(client: Client, export: ExportWriter) -> None:
    to_start(client, export)
    shown = page(client, "checks")
    assert "Continue anyway" in shown
    assert "nothing will be loaded" in shown


def test_to_look_at_the_checks_makes_none(client: Client, export: ExportWriter) -> None:
    to_checks(client, export)
    shown = page(client, "checks")
    assert "data-submit-at-once" in shown
    assert "checks" not in draft().answers


# The start


def test_the_start_says_what_it_will_make(client: Client, export: ExportWriter) -> None:
    to_start(client, export)
    shown = page(client, "start")
    assert "3 of 3" in shown
    assert str(export.root) in shown
    assert "The service does not run" in shown


def test_pressed_twice_it_makes_one_sync(client: Client, export: ExportWriter) -> None:
    to_start(client, export)
    start(client)
    answer = start(client)
    config = SyncConfig.objects.get()
    assert answer.redirect_chain == [(reverse("sync", args=[config.pk]), 302)]
    assert "was created already" in str(list(answer.context["messages"])[-1])


@committed
def test_pressed_in_two_tabs_at_once_it_makes_one_sync(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    barrier = threading.Barrier(2)
    codes: list[int] = []

    def press() -> None:
        browser = signed_in("administrator")
        barrier.wait()
        try:
            answer = browser.post(address("start"), {"name": "contoso"})
            codes.append(answer.status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [302, 302]
    assert SyncConfig.objects.count() == 1


def test_what_another_tab_answered_meanwhile_is_not_started_unseen(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    [seen] = re.findall(r'name="of" value="(\w+)"', page(client, "start"))
    choose(client, "account")
    client.post(address("checks"), {"do": "check"})
    answer = start(client, of=seen)
    assert "in another tab" in answer.content.decode()
    assert not SyncConfig.objects.exists()
    start(client, of=drafts.fingerprint(draft()))
    assert SyncConfig.objects.get().include == ["account"]


def test_a_name_that_was_taken_meanwhile_is_told(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    SyncConfig.objects.create(name="contoso", schema_name="other", location="/x")
    assert "already" in start(client).content.decode()
    assert SetupDraft.objects.exists()


def test_an_export_that_changes_between_the_steps_does_no_harm(
    client: Client, export: ExportWriter
) -> None:
    to_start(client, export)
    export.upsert("task", 1)
    export.close_folder()
    start(client)
    assert SyncConfig.objects.count() == 1


def test_a_form_of_a_finished_set_up_says_so(client: Client) -> None:
    answer = client.post(address("tables"), {"model": "x"}, follow=True)
    assert "There is no set-up any more" in answer.content.decode()


# The first rows


@committed
@pytest.mark.usefixtures("schemas_dropped")
def test_the_first_rows_come_with_a_query_that_works(
    client: Client, export: ExportWriter
) -> None:
    from sync.engine.discovery import poll_once
    from sync.engine.load import sync_table

    to_start(client, export)
    start(client)
    config = SyncConfig.objects.get()
    where = reverse("setup-first-rows", args=[config.pk])
    part = {"HX-Request": "true"}
    waiting = client.get(where, headers=part).content.decode()
    assert "hx-trigger" in waiting
    for table in poll_once(config).due:
        sync_table(table)
    shown = html.unescape(client.get(where, headers=part).content.decode())
    assert "hx-trigger" not in shown
    assert "3 rows in 3 tables" in shown
    queries = re.findall(r"(SELECT .*?;)", shown)
    assert len(queries) == 2
    assert all(run_sql(query) for query in queries)
    assert "<html" in client.get(where).content.decode()


# Strangers


def test_names_of_strangers_stay_text(client: Client, root: Path) -> None:
    columns = [("Id", "guid"), *((name, name) for name in HOSTILE)]
    upload(client, model_json(*HOSTILE, columns=columns), name=HOSTILE[1])
    shown = page(client, "tables")
    shown += client.get(reverse("setup")).content.decode()
    for name in HOSTILE:
        answer = client.get(reverse("setup-columns"), {"table": name})
        assert answer.status_code == 200, name
        shown += answer.content.decode()
    assert "<script>alert" not in shown
    assert "<img src=x" not in shown
    assert ">49{" not in shown
    visible = re.sub(r'value="[^"]*"', "", shown)
    assert "\u202e" not in visible
    choose(client, *HOSTILE[:3])
    assert len(draft().answers["tables"]["left_out"]) == len(HOSTILE) - 3


def test_only_who_may_add_a_sync_sees_any_of_it(export: ExportWriter) -> None:
    for role in ("", "viewer", "operator"):
        browser = signed_in(role)
        for where in (reverse("setup"), address("tables"), reverse("setup-columns")):
            assert browser.get(where).status_code == 403
        for where in (address("model"), reverse("setup-restart"), "/setup/sample/"):
            assert browser.post(where).status_code == 403


def test_every_form_needs_its_token(export: ExportWriter) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(person("administrator"))
    for step in STEPS:
        assert browser.post(address(step), {"path": "x"}).status_code == 403
    assert browser.post("/setup/sample/").status_code == 403


# A change feed

UTILITY = Path(__file__).parents[2] / "data" / "dvsyncutil"


@pytest.fixture
def changes(root: Path) -> FeedWriter:
    feed = FeedWriter(root / "changes")
    feed.table("account", "accountid", "name")
    feed.insert("account", accountid="a", name="Anna")
    feed.insert("lead", leadid="l")
    return feed


def to_feed_target(client: Client, feed: FeedWriter) -> None:
    client.post(address("location"), {"path": str(feed.root), "read": "model"})
    assert at(choose(client, "account")) == "target"


def feed_target(client: Client, **changes: str) -> Any:
    given = {**TARGET, "name": "changes", "schema": "changes", **changes}
    given.pop("empty_text", None)
    return client.post(address("target"), given, follow=True)


def test_a_feed_is_found_and_described(client: Client, changes: FeedWriter) -> None:
    shown = page(client, "location")
    assert "It looks like a <strong>change feed</strong>" in shown
    assert changes.file in shown
    assert "createsync NAME LOCATION" in shown


def test_from_the_model_of_a_feed_to_a_sync(
    client: Client, changes: FeedWriter, schemas_dropped: None
) -> None:
    to_feed_target(client, changes)
    shown = page(client, "target")
    assert "An update of a row that is not there" in shown
    assert "empty cell" not in shown
    assert at(feed_target(client, missing_keys="insert")) == "checks"
    client.post(address("checks"), {"do": "check"})
    checks = page(client, "checks")
    assert "1 log file" in checks
    assert "2024-09-10.log, line 1 is a change of account" in html.unescape(checks)
    assert "Not in the model.json: lead" in checks
    assert "1 row of account" in checks
    client.post(address("checks"), {"do": "next"})
    assert "makes a row of what it tells" in page(client, "start")
    client.post(address("start"), {"name": "changes"})
    config = SyncConfig.objects.get()
    assert (config.kind, config.missing_keys) == ("change-feed", "insert")
    assert config.model_json is None


def test_an_uploaded_model_is_kept_for_a_feed_without_one(
    client: Client, root: Path
) -> None:
    (root / "changes").mkdir()
    sample = (UTILITY / "synapse.json").read_bytes()
    (root / "changes" / "a.log").write_bytes(sample)
    upload(client, (UTILITY / "model.json").read_bytes())
    shown = page(client, "tables")
    assert "accountid" in shown
    assert "versionnumber" not in shown
    choose(client, "account", "contact")
    client.post(address("location"), {"path": str(root / "changes")})
    assert draft().answers["location"]["holds"] == "change-feed"
    feed_target(client, missing_keys="ignore")
    client.post(address("checks"), {"do": "check"})
    assert "the uploaded one counts" in page(client, "checks")
    client.post(address("checks"), {"do": "next"})
    client.post(address("start"), {"name": "changes"})
    config: Any = SyncConfig.objects.get()
    assert config.is_feed
    assert config.model_json["entities"][0]["logicalName"] == "account"


def test_a_place_of_both_kinds_is_asked_about(
    client: Client, export: ExportWriter
) -> None:
    (export.root / "a.log").write_bytes((UTILITY / "synapse.json").read_bytes())
    data = {"path": str(export.root), "read": "model"}
    asked = client.post(address("location"), data).content.decode()
    assert "What the chosen directory holds" in asked
    assert "--kind" not in asked
    client.post(address("location"), {**data, "holds": "change-feed"})
    assert draft().answers["location"]["holds"] == "change-feed"
    client.post(address("location"), {**data, "holds": "synapse-link"})
    assert draft().answers["location"]["holds"] == "synapse-link"


def test_another_model_tells_the_kind_of_an_empty_place_anew(
    client: Client, root: Path
) -> None:
    (root / "new").mkdir()
    upload(client, model_json("account"))
    choose(client, "account")
    client.post(address("location"), {"path": str(root / "new")})
    assert draft().answers["location"]["holds"] == "synapse-link"
    upload(client, (UTILITY / "model.json").read_bytes())
    assert draft().answers["location"]["holds"] == "change-feed"


def test_a_first_line_of_nobody_is_in_the_way(
    client: Client, changes: FeedWriter
) -> None:
    changes.path.write_text("<b>no change</b>\n" + changes.path.read_text())
    to_feed_target(client, changes)
    feed_target(client, missing_keys="ignore")
    client.post(address("checks"), {"do": "check"})
    shown = page(client, "checks")
    assert "line 1 does not say to which table it belongs" in shown
    assert "1 check failed" in shown or "2 checks failed" in shown

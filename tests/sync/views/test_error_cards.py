"""Every error has its words: on the card, on its page, and in docs/errors.md."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth.context_processors import auth
from django.template import Context, Template
from django.test import RequestFactory

from sync.engine import error_help
from sync.engine.error_cards import (
    ErrorCard,
    Place,
    card_of_error,
    card_of_sync,
    card_of_table,
)
from sync.engine.overview import overview
from sync.engine.states import State, Trouble
from sync.errors import PROBLEMS, SourceError, SyncError, TargetError
from sync.models import SyncTable
from sync.tasks.deeds import TABLE_DEEDS
from tests.people import person, signed_in
from tests.sync.conftest import Export, run_sql

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}\N{RIGHT-TO-LEFT OVERRIDE}\x1b['\""


def drawn(card: object, role: str = "operator") -> str:
    """Return the card as a person of a role sees it."""
    request = RequestFactory().get("/tables/1/?status=2")
    request.user = person(role)
    context = Context({"request": request, "card": card, **auth(request)})
    return Template("{% load dvsync %}{% error_card card %}").render(context)


def plain(html: str) -> str:
    """Return the text of some HTML."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture
def table(transactional_db: None, export: Export) -> SyncTable:
    return SyncTable.objects.create(
        config=export.config, entity="account", target_name="account"
    )


# The catalogue and the document


def test_the_document_has_a_section_for_each_code_and_no_other() -> None:
    assert re.findall(r"(?m)^## (\w+)$", DOCUMENT) == list(PROBLEMS)


@pytest.mark.parametrize("code", PROBLEMS)
def test_the_document_says_what_the_catalogue_says(code: str) -> None:
    problem = PROBLEMS[code]
    row = f"| [`{code}`](#{code}) | {problem.title} | {problem.again} |"
    assert row in DOCUMENT
    section = DOCUMENT.partition(f"\n## {code}\n")[2].partition("\n## ")[0]
    assert section.strip().startswith(f"*{problem.title}.*")
    told = error_help.sections()[code]
    assert [p.label for p in told] == ["", "Why", "Check", "Do", "Safe"]
    assert told[-1].pieces == (problem.kept,)
    assert all("".join(p.pieces).strip() for p in told)


@pytest.mark.parametrize("code", PROBLEMS)
def test_the_words_of_a_page_name_no_command(code: str) -> None:
    problem = PROBLEMS[code]
    said = problem.page or problem.remedy
    assert not re.search(r"manage\.py|syncnow|--\w|createsync", said), said
    assert set(problem.deeds) <= set(TABLE_DEEDS)
    assert problem.title == problem.title.strip()
    assert problem.title[-1].isalnum()
    assert problem.kept.endswith(".")


# The card


def test_every_error_has_its_card(table: SyncTable) -> None:
    for code, problem in PROBLEMS.items():
        error = SyncError(code, f"It is {HOSTILE}", where="p/account/f.csv")
        trouble = Trouble(error.code, error.message, error.where, error.remedy)
        html = drawn(card_of_error(trouble, table=table, attempts=3))
        text = plain(html)
        for part in (problem.title, problem.kept, problem.page or problem.remedy, code):
            assert part in text
        assert "folder p · file f.csv" in text
        assert f'href="/errors/{code}/"' in html
        for deed in problem.deeds:
            assert f'action="/tables/{table.pk}/do/{deed}/"' in html
            assert 'name="next" value="/tables/1/?status=2"' in html
        assert html.count("<form") == len(problem.deeds)
        assert "<script>" not in html
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
        assert "{{ 7" in html


def test_who_may_only_look_gets_no_buttons(table: SyncTable) -> None:
    for code in [*PROBLEMS, "of_the_future"]:
        html = drawn(card_of_error(Trouble(code, "m", "", ""), table=table), "viewer")
        assert "<form" not in html
        assert "<button" not in html


def test_every_error_has_its_page(table: SyncTable) -> None:
    client = signed_in("viewer")
    for code, problem in PROBLEMS.items():
        answer = client.get(f"/errors/{code}/")
        text = plain(answer.content.decode())
        assert answer.status_code == 200
        for part in (problem.title, problem.kept, "What to do", code):
            assert part in text
        assert "**" not in text
        assert "`" not in text


def test_an_unknown_error_has_no_page(table: SyncTable) -> None:
    assert signed_in("viewer").get("/errors/of_the_future/").status_code == 404


def test_without_the_documents_a_page_says_what_the_catalogue_says(
    table: SyncTable, settings: object, tmp_path: Path
) -> None:
    error_help.sections.cache_clear()
    settings.BASE_DIR = tmp_path  # type: ignore[attr-defined]
    try:
        text = plain(signed_in("viewer").get("/errors/bad_row/").content.decode())
    finally:
        error_help.sections.cache_clear()
    assert PROBLEMS["bad_row"].remedy in text
    assert PROBLEMS["bad_row"].kept in text


def test_a_card_of_an_unknown_code_tells_what_is_known(table: SyncTable) -> None:
    trouble = Trouble("of_the_future", "Something", "somewhere", "Do this.")
    text = plain(drawn(card_of_error(trouble, table=table)))
    assert "Something went wrong Something Where somewhere" in text
    assert "Do this." in text
    assert "What this error means" not in text


def test_a_remedy_of_the_place_that_knew_better_is_shown() -> None:
    problem = SourceError("file_missing", "m", remedy="Bring it back.")
    trouble = Trouble(problem.code, problem.message, "", problem.remedy)
    assert card_of_error(trouble).remedy == "Bring it back."


def test_commands_are_in_the_fold_and_deeds_before_it() -> None:
    remedy = PROBLEMS["history_lost"].remedy
    card = card_of_error(Trouble("history_lost", "m", "p", remedy))
    assert card.remedy == PROBLEMS["history_lost"].page
    assert card.command == remedy


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("", Place()),
        ("p/t/f.csv", Place("p", "f.csv")),
        ("p/t/f.csv, line 12", Place("p", "f.csv", "12")),
        ("p/t/f, x.csv, line 1, column a, b", Place("p", "f, x.csv", "1", "a, b")),
        ("sales.account", Place("q", text="sales.account")),
        ("q", Place("q")),
        ("/a/b/c/d", Place("q", text="/a/b/c/d")),
    ],
)
def test_a_place_is_told_in_its_parts(where: str, place: Place) -> None:
    assert Place.parse(where, "" if place.partition in {"", "p"} else "q") == place


# What tables and syncs make of it


def card(export: Export, entity: str) -> ErrorCard | None:
    [sync] = overview([export.config.name]).syncs
    [table] = [t for t in sync.tables if t.table.entity == entity]
    return card_of_table(table)


def test_a_failing_table_tells_its_attempts_and_the_next_one(export: Export) -> None:
    export.upsert("account", 1, amount="many")
    name = export.close_folder()
    export.sync()
    found = card(export, "account")
    assert found is not None
    assert (found.code, found.place.partition) == ("bad_value", name)
    assert (found.place.line, found.place.column) == ("1", "amount")
    assert (found.state, found.attempts) == (State.FAILING, 1)
    assert found.next_attempt_at is not None
    assert [deed.name for deed in found.deeds] == ["retry"]


def test_a_table_that_cannot_be_made_has_a_card(export: Export) -> None:
    run_sql(f'CREATE SCHEMA "{export.config.schema_name}"')
    run_sql(f'CREATE TABLE "{export.config.schema_name}".contact (x int)')
    export.upsert("account", 1, name="x")
    export.table("contact")
    export.close_folder()
    export.sync()
    found = card(export, "contact")
    assert found is not None
    assert found.code == "name_taken"
    assert found.place.text == f"{export.config.schema_name}.contact"


def test_tables_that_wait_for_a_word_have_a_card_with_the_deed(export: Export) -> None:
    export.upsert("account", 1, name="x")
    export.close_folder()
    export.sync()
    table = export.entity("account")
    assert card(export, "account") is None
    table.need_refresh("The source copied account anew")
    found = card(export, "account")
    assert found is not None
    assert [deed.name for deed in found.deeds] == ["refresh"]
    assert found.message == "The source copied account anew"
    SyncTable.objects.update(state=SyncTable.State.NEW, refresh_reason="")
    found = card(export, "account")
    assert found is not None
    assert [deed.name for deed in found.deeds] == ["add"]
    # To replicate a table takes more than operating.
    assert "<form" not in drawn(found, "operator")
    assert "<form" in drawn(found, "administrator")


def test_a_sync_whose_export_is_away_has_a_card(export: Export) -> None:
    error = TargetError("source_unreadable", "The share is away", where="/share")
    export.config.record_problem(error)
    [sync] = overview([export.config.name]).syncs
    found = card_of_sync(sync)
    assert found is not None
    text = plain(drawn(sync))
    assert "The source cannot be read The share is away Where /share" in text
    assert "All tables kept their content" in text
    assert "<form" not in drawn(sync)


def test_where_all_is_well_there_is_no_card(export: Export) -> None:
    [sync] = overview([export.config.name]).syncs
    assert drawn(sync).strip() == ""

"""The page of the rows that were set aside, and what may be done to them."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sync.engine import set_aside
from sync.engine.locks import Namespace
from sync.engine.quarantine import reprocess
from sync.engine.removal import remove_sync
from sync.engine.set_aside import Became, Deed, Wanted, decide, listed, shown_raw
from sync.errors import TargetError
from sync.models import Event, QuarantinedRow, SyncConfig
from tests.catalogue.steps import FILE, LF, configure, line, quarantined
from tests.people import signed_in
from tests.sync.conftest import Export
from tests.sync.engine.test_quarantine import bad_line, widen
from tests.sync.engine.test_refresh import in_thread

PAGE, DECIDE = "/quarantine/", "/quarantine/decide/"


@pytest.fixture
def picky(export: Export) -> Export:
    configure(export, bad_rows="quarantine", max_bad_rows=1000)
    export.table("account", ["name", "amount:decimal"])
    return export


def fill(export: Export, rows: int = 3) -> list[int]:
    """Set rows aside; return their ids in the order of the file."""
    for number in range(1, rows + 1):
        export.raw("account", FILE, bad_line(number))
    export.close_folder()
    export.load("account")
    return [row.pk for row in quarantined(export, "account")]


def get(client: Client, query: str = "") -> str:
    answer = client.get(f"{PAGE}{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def post(client: Client, **data: Any) -> Any:
    return client.post(DECIDE, data)


def shown(text: str) -> list[int]:
    """Return the ids of the rows that a page lists."""
    return [int(pk) for pk in re.findall(r'id="row-(\d+)"', text)]


def states() -> dict[int, str]:
    return dict(QuarantinedRow.objects.order_by("pk").values_list("pk", "state"))


# The list


def test_rows_are_listed_newest_first_with_place_and_reason(picky: Export) -> None:
    ids = fill(picky)
    text = get(signed_in("viewer"))
    assert shown(text) == ids[::-1]
    assert "3 rows open" in text
    for part in ("bad_value", FILE, "line 2, column", "no number", picky.config.name):
        assert part in text
    assert "/errors/bad_value/" in text


@pytest.mark.django_db
def test_without_rows_the_page_says_when_there_will_be_some() -> None:
    text = get(signed_in("viewer"))
    assert "No row is set aside" in text
    assert "quarantine</em> for bad rows" in text
    assert "No row matches" in get(signed_in("viewer"), "?q=x")


def test_filters_are_in_the_address(picky: Export) -> None:
    ids = fill(picky)
    QuarantinedRow.objects.filter(pk=ids[0]).update(state="dismissed", code="bad_row")
    table = picky.entity("account").pk
    client = signed_in("viewer")
    for query, found in (
        ("", ids[1:]),
        ("?state=all", ids),
        ("?state=dismissed", ids[:1]),
        ("?state=applied", []),
        (f"?table={table}", ids[1:]),
        (f"?table={table + 1}", []),
        (f"?sync={picky.config.pk}", ids[1:]),
        (f"?sync={picky.config.pk + 1}", []),
        ("?code=bad_row&state=all", ids[:1]),
        ("?q=NO+NUMBER", ids[1:]),
        ("?q=set+aside", ids[1:]),
        ("?q=%25", []),
        ("?q=%00", ids[1:]),
        ("?sync=x&table=-1&state=odd&page=99", ids[1:]),
        (f"?table={'9' * 30}", ids[1:]),
    ):
        assert shown(get(client, query)) == found[::-1], query
    assert "Show all open rows" in get(client, "?state=applied")


def test_a_long_list_has_pages_that_keep_the_filters(picky: Export) -> None:
    [first] = fill(picky, 1)
    row = QuarantinedRow.objects.get(pk=first)
    for number in range(2, 204):
        row.pk, row.line = None, number
        row.save()
    text = get(signed_in("viewer"), "?code=bad_value")
    assert len(shown(text)) == 100
    assert "203 rows open, page 1 of 3" in text
    assert 'href="?code=bad_value&amp;page=2"' in text
    last = get(signed_in("viewer"), "?code=bad_value&page=3")
    assert shown(last) == sorted(states())[:3][::-1]


def test_the_number_of_queries_does_not_grow(picky: Export) -> None:
    client = signed_in("operator")
    counts: list[int] = []
    for _ in range(2):
        for number in range(3):
            name = f"table{len(counts)}{number}"
            picky.table(name, ["name", "amount:decimal"])
            picky.raw(name, FILE, bad_line(number))
        picky.close_folder()
        picky.sync()
        get(client)
        with CaptureQueriesContext(connection) as seen:
            assert len(shown(get(client))) == 3 * (len(counts) + 1)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 12


def test_a_row_of_strangers_is_shown_as_text(picky: Export) -> None:
    wild = '"<script>alert(1)</script>{{ 7 }}\u202e"'
    picky.raw("account", FILE, line(1, wild, "x") + LF)
    picky.raw("account", FILE, b"nul\0and\x1b[2Jand\xffend\n")
    picky.close_folder()
    picky.load("account")
    text = get(signed_in("operator"))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 }}\\u202e" in text
    assert "nul\\x00and\\x1b[2Jand\\xffend" in text
    for sign in ("\0", "\x1b", "\u202e"):
        assert sign not in text


@pytest.mark.django_db
@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("sign", ["a", "ä", "€", "😀", "\udcff"])
def test_a_long_row_is_cut_between_two_characters(
    picky: Export, sign: str, before: int
) -> None:
    fill(picky, 1)
    raw = b"a" * before + sign.encode(errors="surrogateescape") * 4000
    QuarantinedRow.objects.update(raw=raw)
    [row] = listed(Wanted())
    found = shown_raw(row)
    assert (found.cut, found.bytes) == (True, len(raw))
    if sign == "\udcff":
        assert found.text.endswith("\\xff")
        return
    assert set(found.text) <= {"a", sign}
    assert 2044 <= len(found.text.encode()) <= 2048


def test_a_row_of_just_the_limit_is_not_cut(picky: Export) -> None:
    fill(picky, 1)
    QuarantinedRow.objects.update(raw=b"a" * 2048)
    [row] = listed(Wanted())
    assert shown_raw(row) == set_aside.Raw("a" * 2048, False, 2048)


# Who may


def test_a_viewer_sees_no_buttons_and_may_not_decide(picky: Export) -> None:
    ids = fill(picky)
    client = signed_in("viewer")
    text = get(client)
    assert DECIDE in text
    assert "<button" not in text.partition(DECIDE)[2].partition("</form>")[0]
    assert "checkbox" not in text
    assert post(client, only=f"dismiss {ids[0]}").status_code == 403
    assert set(states().values()) == {"open"}


def test_nothing_is_decided_by_a_link(picky: Export) -> None:
    assert signed_in("operator").get(DECIDE).status_code == 405


# One row


def test_one_row_is_dismissed_at_once(picky: Export) -> None:
    ids = fill(picky)
    client = signed_in("operator")
    answer = post(client, only=f"dismiss {ids[1]}", next=f"{PAGE}?state=all")
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"{PAGE}?state=all",
    )
    assert states() == {ids[0]: "open", ids[1]: "dismissed", ids[2]: "open"}
    assert "line 2: dismissed" in get(client)
    assert Event.objects.get(kind="row_dismissed").message.endswith("by operator")


def test_one_row_is_reprocessed_at_once(picky: Export) -> None:
    ids = fill(picky)
    client = signed_in("operator")
    post(client, only=f"reprocess {ids[0]}")
    text = get(client)
    assert "cannot be applied yet" in text
    assert set(states().values()) == {"open"}
    widen(picky)
    post(client, only=f"reprocess {ids[0]}")
    assert states()[ids[0]] == "applied"
    assert "applied. inserted" in get(client)
    assert picky.rows("account", "name")[0] == ("set aside",)


# Many rows


def test_many_rows_are_decided_after_a_page_that_lists_them(picky: Export) -> None:
    ids = fill(picky, 4)
    client = signed_in("operator")
    asked = post(client, ticked="dismiss", row=ids[:2], next=f"{PAGE}?q=x")
    assert asked.status_code == 200
    text = asked.content.decode()
    assert "<h1>Dismiss 2 rows?</h1>" in text
    assert set(states().values()) == {"open"}
    assert f'name="rows" value="{ids[0]},{ids[1]}"' in text
    # What comes meanwhile is not among them.
    fill(picky, 1)
    answer = post(client, listed="dismiss", rows=f"{ids[0]},{ids[1]}", confirmed="yes")
    assert answer.status_code == 302
    assert [states()[pk] for pk in ids] == ["dismissed", "dismissed", "open", "open"]
    assert sorted(states().values()).count("dismissed") == 2
    text = get(client)
    assert "2 rows: 2 dismissed." in text
    assert "What became of each row" in text
    # It is told once.
    assert "What became of each row" not in get(client)


def test_all_that_is_listed_can_be_decided(picky: Export) -> None:
    ids = fill(picky)
    client = signed_in("operator")
    text = get(client)
    [rows] = re.findall(r'name="rows" value="([\d,]+)"', text)
    post(client, listed="dismiss", rows=rows, confirmed="yes")
    assert [states()[pk] for pk in ids] == ["dismissed"] * 3


def test_each_row_is_told_what_became_of_it(picky: Export) -> None:
    ids = fill(picky, 3)
    widen(picky)
    client = signed_in("operator")
    [taken, gone, fine] = ids
    rows = ",".join(map(str, ids))
    post(client, only=f"dismiss {taken}")
    QuarantinedRow.objects.filter(pk=gone).delete()
    post(client, listed="reprocess", rows=rows, confirmed="yes")
    text = get(client)
    for part in (
        "3 rows: 1 applied, 1 was decided by somebody else meanwhile, 1 is not there",
        "Was decided by somebody else meanwhile",
        "Is not there any more",
    ):
        assert part in text
    assert states()[fine] == "applied"


def test_a_busy_table_is_told_and_the_row_stays(picky: Export) -> None:
    ids = fill(picky, 2)
    found: list[Any] = []
    with connection.cursor() as cursor:
        lock = [Namespace.TABLE, picky.entity("account").pk]
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", lock)
        in_thread(lambda: found.extend(decide(ids, Deed.REPROCESS, by="me")))
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    assert [one.became for one in found] == [Became.BUSY, Became.BUSY]
    assert set(states().values()) == {"open"}


def test_rows_whose_sync_is_deleted_meanwhile_are_gone(picky: Export) -> None:
    ids = fill(picky, 2)

    def after_the_deletion(row: QuarantinedRow, **how: Any) -> object:
        if SyncConfig.objects.exists():
            remove_sync(picky.config, drop_tables=False, by="bob")
        return reprocess(row, **how)

    with mock.patch.object(set_aside, "reprocess", after_the_deletion):
        decided = decide(ids, Deed.REPROCESS, by="ann")
    assert [one.became for one in decided] == [Became.GONE, Became.GONE]


def test_what_there_was_no_time_for_is_told(picky: Export) -> None:
    ids = fill(picky, 3)
    found = decide(ids, Deed.DISMISS, by="me", seconds=-1)
    became = [one.became for one in found]
    assert became == [Became.DISMISSED, Became.NOT_REACHED, Became.NOT_REACHED]
    assert list(states().values()) == ["dismissed", "open", "open"]


def test_a_database_that_goes_away_is_told(picky: Export) -> None:
    ids = fill(picky, 1)
    client = signed_in("operator")
    away = TargetError("database_unavailable", "It is away.")
    with mock.patch.object(set_aside, "dismiss", side_effect=away):
        assert post(client, only=f"dismiss {ids[0]}").status_code == 302
    assert "It is away." in get(client)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Nothing was asked for"),
        ({"only": "delete 1"}, "Nothing was asked for"),
        ({"only": "dismiss"}, "No row was chosen"),
        ({"only": "dismiss x"}, "No row was chosen"),
        ({"ticked": "dismiss"}, "No row was chosen"),
        ({"ticked": "dismiss", "row": ["1", "x"]}, "No row was chosen"),
        ({"ticked": "dismiss", "row": ["9" * 30]}, "No row was chosen"),
        ({"listed": "dismiss", "rows": ",,"}, "No row was chosen"),
        (
            {"listed": "dismiss", "rows": ",".join(map(str, range(1, 102)))},
            "too many rows at once",
        ),
    ],
)
@pytest.mark.django_db
def test_what_is_not_a_choice_is_refused_in_words(data: Any, said: str) -> None:
    client = signed_in("operator")
    answer = post(client, **data)
    assert (answer.status_code, answer.headers["Location"]) == (302, PAGE)
    assert said in get(client)


@pytest.mark.django_db
def test_the_way_back_leads_to_no_other_host() -> None:
    client = signed_in("operator")
    for there in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        answer = post(client, only="dismiss 1", next=there)
        assert answer.headers["Location"] == PAGE
        asked = post(client, ticked="dismiss", row=[1, 2], next=there)
        assert "evil" not in asked.content.decode()
        assert "javascript:" not in asked.content.decode()

"""The rules of a change feed, one by one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
import time_machine
from django.conf import settings

from sync.engine import guards, load
from sync.engine.load import sync_table
from sync.engine.outline import outline
from sync.engine.overview import Scope, look
from sync.engine.quarantine import reprocess
from sync.engine.reconcile import reconcile_table
from sync.engine.refresh import refresh_table
from sync.errors import SourceError
from sync.model_json import parse_model
from sync.models import Event, QuarantinedRow
from sync.sources import change_feed, log_files
from sync.target.rebuilt import Comparison, Difference
from tests.sync.conftest import Feed

MakeFeed = Callable[..., Feed]
SAMPLE = Path(__file__).parents[2] / "data" / "dvsyncutil"
NO_DIFFERENCE = Comparison(0, 0, 0, 0, ())


def counts(feed: Feed, entity: str, file: str = "a.log") -> dict[str, int]:
    """Return the counts of a file that are not 0, by their names."""
    [row] = [row for row in feed.progress(entity) if row.partition == file]
    names = ("inserted", "updated", "deleted", "unchanged", "rejected", "missing")
    found = {name: getattr(row, f"rows_{name}") for name in names}
    return {name: count for name, count in found.items() if count}


def events(feed: Feed, kind: str) -> list[Event]:
    return list(feed.config.events.filter(kind=kind).order_by("pk"))


def spool_of(feed: Feed) -> Path:
    """Return where the spool files of a feed are."""
    digest = hashlib.sha256(feed.config.location.encode()).hexdigest()
    return Path(settings.DATA_DIR) / "spool" / digest[:16]


def error_of(feed: Feed, entity: str) -> str:
    """Return the error at which the table stands."""
    [row] = [row for row in feed.progress(entity) if row.error_code]
    return f"{row.error_code} at {row.error_where}"


# What a line does


def test_an_insert_is_the_whole_row(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna", city="Bern")
    feed.insert("account", Id="1", name="Anne")
    feed.sync()
    assert feed.rows("account", "id", "name", "city") == [("1", "Anne", None)]
    feed.check()


def test_an_update_keeps_the_columns_that_it_does_not_tell(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna", city="Bern")
    feed.update("account", Id="1", name="Anne")
    feed.sync()
    assert feed.rows("account", "id", "name", "city") == [("1", "Anne", "Bern")]
    feed.check()


def test_an_update_may_set_a_column_to_null(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna", city="Bern")
    feed.sync()
    feed.update("account", Id="1", name=None)
    feed.sync()
    assert feed.rows("account", "id", "name", "city") == [("1", None, "Bern")]
    feed.check()


def test_a_delete_needs_only_the_key(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna")
    feed.insert("account", Id="2", name="Bert")
    feed.sync()
    feed.delete("account", Id="1")
    feed.sync()
    assert feed.rows("account", "id") == [("2",)]
    assert counts(feed, "account") == {"inserted": 2, "deleted": 1}
    feed.check()


def test_a_row_is_made_again_after_its_delete_without_what_it_had(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna", city="Bern")
    feed.delete("account", Id="1")
    feed.insert("account", Id="1", name="Anne")
    feed.update("account", Id="1", score=1)
    feed.sync()
    assert feed.rows("account", "name", "city", "score") == [("Anne", None, 1)]
    feed.check()


@pytest.mark.parametrize("verb", ["insert", "Insert", "iNSERT"])
def test_verbs_are_read_in_any_case(feed: Feed, verb: str) -> None:
    feed.change(verb, "account", {"Id": "1"})
    feed.sync()
    assert feed.rows("account", "id") == [("1",)]
    feed.check()


def test_a_hundred_updates_of_one_key_are_one_write(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna")
    feed.sync()
    for number in range(100):
        feed.update("account", Id="1", score=number)
    feed.sync()
    assert feed.rows("account", "name", "score") == [("Anna", 99)]
    assert counts(feed, "account") == {"inserted": 1, "updated": 1, "unchanged": 99}
    feed.check()


def test_an_update_that_changes_nothing_is_unchanged(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna")
    feed.sync()
    feed.update("account", Id="1", name="Anna")
    feed.sync()
    assert counts(feed, "account") == {"inserted": 1, "unchanged": 1}
    feed.check()


def test_numbers_keep_their_digits_and_nested_values_become_text(feed: Feed) -> None:
    feed.table("price", "Id", "amount:decimal", "note")
    feed.raw(
        '2024-09-10T12:00:00Z | INSERT | price | {"Id": "1", '
        '"amount": 12345678901234567890.10, "note": {"a": [1.50, "\u00e4"]}}\n'
    )
    feed.sync()
    [(amount, note)] = feed.rows("price", "amount", "note")
    assert str(amount) == "12345678901234567890.10"
    assert note == '{"a":[1.50,"\u00e4"]}'


def test_an_empty_text_is_null_in_a_column_of_another_type(feed: Feed) -> None:
    feed.insert("account", Id="1", name="", score="")
    feed.sync()
    assert feed.rows("account", "name", "score") == [("", None)]
    feed.check()


def test_a_word_for_a_time_is_a_bad_value(feed: Feed) -> None:
    feed.table("visit", "Id", "due:dateTime")
    feed.insert("visit", Id="1", due="2024-01-02T03:04:05Z")
    feed.insert("visit", Id="2", due="now")
    assert feed.sync()["visit"].status == "failed"
    assert error_of(feed, "visit") == "bad_value at a.log, line 2, column due"


# Keys


def test_a_key_of_several_columns_is_known_by_all_of_them(feed: Feed) -> None:
    feed.table("line", "invoice", "number:int64", "text", key=("invoice", "number"))
    feed.insert("line", invoice="a", number=1, text="x")
    feed.insert("line", invoice="a", number="2", text="y")
    feed.insert("line", invoice="b", number=1, text="z")
    feed.sync()
    feed.update("line", invoice="a", number=2, text="changed")
    feed.delete("line", invoice="b", number=1)
    feed.delete("line", invoice="b", number=2)
    feed.update("line", invoice="a", number=1, text="once")
    feed.update("line", invoice="a", number=1, text="twice")
    feed.sync()
    assert sorted(feed.rows("line", "invoice", "number", "text")) == [
        ("a", 1, "twice"),
        ("a", 2, "changed"),
    ]
    assert counts(feed, "line") == {
        "inserted": 3,
        "updated": 2,
        "deleted": 1,
        "unchanged": 2,
        "missing": 1,
    }
    feed.check()
    assert reconcile_table(feed.entity("line")) == NO_DIFFERENCE
    assert refresh_table(feed.entity("line")) == Difference(0, 0, 0)


def test_a_line_without_a_part_of_the_key_is_bad(feed: Feed) -> None:
    feed.table("line", "invoice", "number:int64", key=("invoice", "number"))
    feed.delete("line", invoice="a")
    feed.sync()
    assert error_of(feed, "line") == "bad_row at a.log, line 1, column number"


def test_a_model_of_the_first_dialect_has_the_key_id(make_feed: MakeFeed) -> None:
    feed = make_feed(dialect="cdm")
    feed.table("visit", "Id:guid", "name")
    feed.insert("visit", Id="00000000-0000-0000-0000-00000000000A", name="a")
    feed.update("visit", Id="00000000-0000-0000-0000-00000000000a", name="b")
    feed.sync()
    assert feed.rows("visit", "name") == [("b",)]
    feed.check()


def test_guids_of_the_other_dialects_are_texts(feed: Feed) -> None:
    feed.table("visit", "Id:guid", "owner:lookup")
    feed.insert("visit", Id="vis-001", owner="acc-001")
    feed.sync()
    assert feed.rows("visit", "id", "owner") == [("vis-001", "acc-001")]
    feed.check()


# Keys that are not there


def test_an_update_of_a_missing_key_is_counted_and_ignored(feed: Feed) -> None:
    feed.update("account", Id="1", name="Anna")
    feed.delete("account", Id="2")
    feed.insert("account", Id="3")
    feed.delete("account", Id="3")
    feed.update("account", Id="3", name="Anna")
    feed.sync()
    assert feed.rows("account", "id") == []
    assert counts(feed, "account") == {"unchanged": 5, "missing": 3}
    feed.check()


def test_an_update_of_a_missing_key_may_make_the_row(make_feed: MakeFeed) -> None:
    feed = make_feed(missing_keys="insert")
    feed.update("account", Id="1", name="Anna")
    feed.update("account", Id="1", city="Bern")
    feed.delete("account", Id="2")
    feed.sync()
    assert feed.rows("account", "id", "name", "city") == [("1", "Anna", "Bern")]
    assert counts(feed, "account") == {"inserted": 1, "unchanged": 2, "missing": 1}
    feed.check()


# Lines


def test_a_last_line_without_line_end_is_taken_when_its_json_is_closed(
    feed: Feed,
) -> None:
    feed.insert("account", Id="1", name="Anna")
    line = f'{feed.moment()} | UPDATE | account | {{"Id": "1", "name": "Anne"}}'
    feed.raw(line[:-1])
    feed.sync()
    assert feed.rows("account", "name") == [("Anna",)]
    feed.check()
    feed.raw(line[-1])
    feed.sync()
    assert feed.rows("account", "name") == [("Anne",)]
    feed.check()
    feed.raw("\n")
    feed.update("account", Id="1", name="Annika")
    feed.sync()
    assert feed.rows("account", "name") == [("Annika",)]
    feed.check()


def test_lines_keep_their_numbers_after_one_that_had_no_line_end(
    make_feed: MakeFeed,
) -> None:
    feed = make_feed(bad_rows="quarantine")
    feed.raw('2024-09-10T12:00:00Z | INSERT | account | {"Id": "1"}')
    feed.sync()
    feed.raw("\r\n")
    feed.insert("account", Id="2", colour="red")
    feed.sync()
    assert QuarantinedRow.objects.get(table__config=feed.config).line == 2
    feed.check()


def test_blank_lines_a_bom_and_crlf_are_read(feed: Feed) -> None:
    line = '2024-09-10T12:00:00Z | INSERT | account | {{"Id": "{}"}}\r\n'
    feed.raw(b"\xef\xbb\xbf" + line.format(1).encode())
    feed.raw("\r\n   \n\n")
    feed.raw(line.format(2))
    feed.raw(" \n")
    feed.sync()
    assert feed.rows("account", "id") == [("1",), ("2",)]
    assert counts(feed, "account") == {"inserted": 2}
    feed.check()


def test_names_of_tables_and_columns_are_known_in_another_case(feed: Feed) -> None:
    feed.change("INSERT", "Account", {"id": "1", "NAME": "Anna"})
    feed.sync()
    assert feed.rows("account", "id", "name") == [("1", "Anna")]


@pytest.mark.parametrize(
    "bad",
    [
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2"',
        '2024-09-10T12:00:00Z | UPSERT | account | {"Id": "2"}',
        'yesterday | INSERT | account | {"Id": "2"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "colour": "red"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"name": "Anna"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": null}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "score": "x"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "name": "\\u0000"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "name": "\\ud800"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "Id": "3"}',
        '2024-09-10T12:00:00Z | INSERT | account | {"Id": "2", "score": NaN}',
        '2024-09-10T12:00:00Z | INSERT | account | ["2"]',
    ],
)
class TestABadLine:
    def test_it_stops_its_table_and_no_other(self, feed: Feed, bad: str) -> None:
        feed.insert("account", Id="1")
        feed.raw(f"{bad}\n")
        feed.insert("account", Id="3")
        feed.insert("contact", Id="1")
        results = feed.sync()
        assert results["account"].status == "failed"
        assert feed.rows("contact", "id") == [("1",)]
        assert feed.rows("account", "id") == []
        assert "a.log, line 2" in error_of(feed, "account")
        assert feed.progress("account")[0].applied_offset == 0

    def test_it_is_set_aside_where_that_is_wanted(
        self, make_feed: MakeFeed, bad: str
    ) -> None:
        feed = make_feed(bad_rows="quarantine")
        feed.insert("account", Id="1")
        feed.raw(f"{bad}\n")
        feed.insert("account", Id="3")
        feed.sync()
        assert feed.rows("account", "id") == [("1",), ("3",)]
        assert counts(feed, "account") == {"inserted": 2, "rejected": 1}
        row = QuarantinedRow.objects.get(table__config=feed.config)
        assert (row.file, row.line, bytes(row.raw)) == ("a.log", 2, bad.encode())
        error = reprocess(row).error
        assert error is not None
        assert error.code == "line_out_of_turn"


# Tables and models


def test_lines_of_a_table_that_the_model_does_not_describe_fail_it_alone(
    feed: Feed,
) -> None:
    feed.insert("account", Id="1")
    feed.insert("lead", Id="1", name="Lena")
    results = feed.sync()
    assert results["account"].status == "success"
    assert results["lead"].status == "failed"
    assert error_of(feed, "lead") == "entity_missing at a.log, lead"
    feed.insert("account", Id="2")
    feed.table("lead", "Id", "name")
    results = feed.sync()
    assert results["lead"].status == "success"
    assert feed.rows("lead", "id", "name") == [("1", "Lena")]
    assert feed.rows("account", "id") == [("1",), ("2",)]
    feed.check()


def test_a_column_that_the_model_describes_later_is_added(feed: Feed) -> None:
    feed.insert("contact", Id="1", name="Anna")
    feed.sync()
    feed.table("contact", "Id", "name", "colour")
    feed.update("contact", Id="1", colour="red")
    feed.sync()
    assert feed.rows("contact", "id", "name", "colour") == [("1", "Anna", "red")]
    feed.check()


def test_a_table_that_is_selected_later_gets_its_history(make_feed: MakeFeed) -> None:
    feed = make_feed(exclude=["contact"])
    feed.insert("contact", Id="1", name="Anna")
    feed.insert("account", Id="1")
    feed.sync()
    feed.poll()
    feed.file = "b.log"
    feed.update("contact", Id="1", name="Anne")
    feed.sync()
    assert feed.progress("contact") == []
    feed.config.exclude = []
    feed.config.save()
    feed.sync()
    assert feed.rows("contact", "id", "name") == [("1", "Anne")]
    feed.check()


@pytest.mark.parametrize(
    "line",
    ["no bars at all", "a | b | c", "2024-09-10T12:00:00Z | NOTHING | lead | {}"],
)
def test_a_line_of_nobody_stops_the_feed_until_it_is_mended(
    feed: Feed, line: str
) -> None:
    feed.insert("account", Id="1")
    feed.raw(f"{line}\n")
    feed.insert("account", Id="2")
    feed.file = "b.log"
    feed.insert("contact", Id="1")
    problem = feed.poll().problem
    assert problem is not None
    assert (problem.code, problem.where) == ("line_malformed", "a.log, line 2")
    feed.sync()
    assert feed.rows("account", "id") == [("1",)]
    assert feed.rows("contact", "id") == []
    path = feed.root / "a.log"
    path.write_text(path.read_text().replace(f"{line}\n", ""))
    feed.sync()
    feed.config.refresh_from_db()
    assert feed.config.error_code == ""
    assert feed.rows("account", "id") == [("1",), ("2",)]
    assert feed.rows("contact", "id") == [("1",)]


def test_a_bad_line_that_is_mended_in_its_place_is_applied(feed: Feed) -> None:
    feed.insert("contact", Id="1", name="x" * log_files.HEAD_BYTES)
    feed.insert("account", Id="1")
    feed.insert("account", Id="2", score="x")
    feed.sync()
    path = feed.root / "a.log"
    path.write_text(path.read_text().replace('"x"', " 7 "))
    feed.sync()
    assert feed.rows("account", "id", "score") == [("1", None), ("2", 7)]


def test_a_bad_line_of_a_small_file_is_mended_in_its_place(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.insert("account", Id="2", score="x")
    feed.insert("contact", Id="1")
    feed.sync()
    path = feed.root / "a.log"
    path.write_text(path.read_text().replace('"x"', " 7 "))
    feed.insert("account", Id="3")
    feed.sync()
    assert feed.rows("account", "id", "score") == [("1", None), ("2", 7), ("3", None)]
    assert [p.name for p in feed.config.partitions.all()] == ["a.log"]
    [event] = events(feed, "partition_changed")
    assert "changed in place" in event.message


def test_a_line_that_is_mended_to_another_length_is_told_of(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.insert("account", Id="2", score="x")
    feed.sync()
    path = feed.root / "a.log"
    path.write_text(path.read_text().replace('"x"', "12345678"))
    feed.insert("account", Id="3")
    feed.sync()
    feed.config.refresh_from_db()
    assert feed.config.error_code == "file_changed"
    assert "old length" in feed.config.error_remedy


def test_a_changed_key_is_refused(feed: Feed) -> None:
    feed.insert("contact", Id="1", name="Anna")
    feed.sync()
    feed.table("contact", "Id", "name", key=("name",))
    feed.insert("contact", Id="2", name="Bert")
    feed.sync()
    assert error_of(feed, "contact").startswith("key_changed at ")
    assert feed.rows("contact", "id") == [("1",)]


# Files


def test_a_file_that_grows_is_followed(feed: Feed) -> None:
    for number in range(1, 4):
        feed.insert("account", Id=str(number))
        assert feed.sync()["account"].status == "success"
        feed.check()
    assert counts(feed, "account") == {"inserted": 3}
    assert feed.sync() == {}


def test_files_go_in_the_order_of_their_names(feed: Feed) -> None:
    for name in ("c", "a", "b"):
        feed.file = f"{name}.log"
        feed.insert("account", Id="1", name=name)
    feed.sync()
    assert feed.rows("account", "name") == [("c",)]
    feed.check()


def test_a_file_with_another_ending_is_none(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.file = "b.txt"
    feed.insert("account", Id="2")
    feed.file = ".hidden.log"
    feed.insert("account", Id="3")
    feed.sync()
    assert feed.rows("account", "id") == [("1",)]


def test_a_single_file_may_be_given_by_its_path(make_feed: MakeFeed) -> None:
    feed = make_feed(only="changes.json")
    feed.file = "changes.json"
    feed.insert("account", Id="1")
    feed.file = "other.log"
    feed.insert("account", Id="2")
    feed.sync()
    feed.file = "changes.json"
    feed.insert("account", Id="3")
    feed.sync()
    assert feed.rows("account", "id") == [("1",), ("3",)]


def test_a_rotated_file_is_followed_under_its_new_name(feed: Feed) -> None:
    feed.insert("account", Id="1", name="a")
    feed.sync()
    feed.insert("account", Id="1", name="b")
    feed.rename("a.log", "a.log.1")
    feed.update("account", Id="1", city="Bern")
    feed.sync()
    assert feed.rows("account", "name", "city") == [("b", "Bern")]
    assert [p.partition for p in feed.progress("account")] == ["a.log", "a.log.1"]
    [event] = events(feed, "partition_renamed")
    assert (event.partition, event.level) == ("a.log.1", Event.Level.WARNING)
    assert "a.log is called a.log.1 now" in event.message
    feed.check()


def test_numbered_files_that_all_move_on_are_followed(feed: Feed) -> None:
    for name in ("a-3.log", "a-2.log", "a-1.log", "a.log"):
        feed.file = name
        feed.insert("account", Id=name)
        feed.sync()
    feed.rename("a-3.log", "a-4.log")
    feed.rename("a-2.log", "a-3.log")
    feed.rename("a-1.log", "a-2.log")
    feed.rename("a.log", "a-1.log")
    feed.insert("account", Id="new")
    feed.sync()
    assert {row.rows_inserted for row in feed.progress("account")} == {1}
    feed.check()


def test_numbered_files_are_followed_in_whatever_order_they_were_found(
    feed: Feed,
) -> None:
    for name in ("a-1.log", "a-2.log", "a-3.log", "a.log"):
        feed.file = name
        feed.insert("account", Id=name)
    feed.sync()
    feed.rename("a-3.log", "a-4.log")
    feed.rename("a-2.log", "a-3.log")
    feed.rename("a-1.log", "a-2.log")
    feed.rename("a.log", "a-1.log")
    feed.insert("account", Id="new")
    feed.sync()
    assert {row.rows_inserted for row in feed.progress("account")} == {1}
    feed.check()


def test_two_files_that_change_their_names_with_each_other_are_followed(
    feed: Feed,
) -> None:
    for name in ("a.log", "b.log"):
        feed.file = name
        feed.insert("account", Id=name)
    feed.sync()
    feed.rename("a.log", "c.log")
    feed.rename("b.log", "a.log")
    feed.rename("c.log", "b.log")
    feed.insert("account", Id="new")
    feed.sync()
    assert len(feed.progress("account")) == 2
    feed.check()


@pytest.mark.parametrize("how", ["truncate", "recreate"])
def test_a_file_that_is_cut_or_replaced_is_read_anew(feed: Feed, how: str) -> None:
    feed.insert("account", Id="1", name="a")
    feed.insert("account", Id="2", name="b")
    feed.sync()
    getattr(feed, how)("a.log")
    feed.update("account", Id="1", city="Bern")
    feed.sync()
    assert feed.rows("account", "id", "name", "city") == [
        ("1", "a", "Bern"),
        ("2", "b", None),
    ]
    assert [p.partition for p in feed.progress("account")] == ["a.log", "a.log#1"]
    [event] = events(feed, "partition_renamed")
    assert event.partition == "a.log#1"
    feed.check()


@pytest.mark.parametrize("how", ["truncate", "recreate"])
def test_a_file_that_is_longer_than_what_it_replaced_is_another(
    feed: Feed, how: str
) -> None:
    feed.insert("account", Id="1", name="a")
    feed.sync()
    getattr(feed, how)("a.log")
    for number in range(2, 6):
        feed.insert("account", Id=str(number))
    feed.sync()
    assert len(feed.rows("account", "id")) == 5
    assert [p.partition for p in feed.progress("account")] == ["a.log", "a.log#1"]
    feed.check()


def test_what_was_found_of_a_file_is_applied_when_it_is_replaced(feed: Feed) -> None:
    feed.insert("account", Id="1", name="a")
    feed.poll()
    feed.recreate("a.log")
    feed.update("account", Id="1", city="Bern")
    feed.sync()
    assert feed.rows("account", "name", "city") == [("a", "Bern")]
    feed.check()


def test_a_deleted_file_that_was_applied_is_no_matter(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.sync()
    feed.remove("a.log")
    feed.file = "b.log"
    feed.insert("account", Id="2")
    feed.sync()
    assert feed.rows("account", "id") == [("1",), ("2",)]
    assert not events(feed, "partitions_lost")
    feed.check()


def test_what_was_found_of_a_deleted_file_is_applied(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.poll()
    feed.remove("a.log")
    feed.file = "b.log"
    feed.insert("account", Id="2")
    feed.sync()
    assert feed.rows("account", "id") == [("1",), ("2",)]
    feed.check()


def test_a_file_made_again_under_a_deleted_ones_name_is_another(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.sync()
    feed.remove("a.log")
    feed.poll()
    feed.insert("account", Id="2")
    feed.sync()
    assert [p.partition for p in feed.progress("account")] == ["a.log", "a.log#1"]
    feed.check()


def test_a_deleted_file_without_spool_is_a_lost_history(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.poll()
    feed.remove("a.log")
    shutil.rmtree(spool_of(feed))
    feed.file = "b.log"
    feed.insert("account", Id="2")
    feed.insert("contact", Id="2")
    feed.sync()
    assert error_of(feed, "account") == "history_lost at a.log"
    assert feed.entity("account").state == "parked"
    assert feed.rows("account", "id") == []
    assert feed.rows("contact", "id") == [("2",)]


def test_a_bad_line_of_a_deleted_file_can_still_be_set_aside(feed: Feed) -> None:
    feed.insert("account", Id="1", score="x")
    feed.insert("account", Id="2")
    feed.insert("contact", Id="1")
    feed.poll()
    assert sync_table(feed.entity("account")).status == "failed"
    feed.remove("a.log")
    feed.file = "b.log"
    feed.insert("account", Id="3")
    feed.poll()
    assert sync_table(feed.entity("account")).status == "failed"
    assert error_of(feed, "account").startswith("bad_value at a.log, line 1")
    assert sync_table(feed.entity("contact")).status == "success"
    feed.config.bad_rows = "quarantine"
    feed.config.save()
    assert sync_table(feed.entity("account")).status == "success"
    assert feed.rows("account", "id") == [("2",), ("3",)]
    feed.check()


# Spool files, segments and batches


def test_a_file_of_several_segments_and_batches_is_applied_in_order(
    feed: Feed,
) -> None:
    for number in range(40):
        feed.insert("account", Id=str(number % 3), name=f"{number}")
        feed.update("contact", Id="1", name="x")
    with (
        mock.patch.object(change_feed, "SEGMENT_BYTES", 300),
        mock.patch.object(load, "BATCH_BYTES", 500),
    ):
        results = feed.sync()
    assert results["account"].partitions > 3
    assert results["account"].rows.inserted == 3
    assert counts(feed, "contact") == {"unchanged": 40, "missing": 40}
    feed.check()


def test_spool_files_that_are_gone_are_made_again(feed: Feed) -> None:
    for number in range(10):
        feed.insert("account", Id=str(number))
    with mock.patch.object(change_feed, "SEGMENT_BYTES", 300):
        feed.poll()
    shutil.rmtree(spool_of(feed))
    feed.sync()
    assert len(feed.rows("account", "id")) == 10
    feed.check()


def test_spool_files_are_let_go_once_they_are_applied(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.poll()
    assert list(spool_of(feed).glob("*/*-*"))
    feed.sync()
    feed.insert("contact", Id="1")
    feed.sync()
    feed.insert("contact", Id="2")
    feed.poll()
    assert [p.name.startswith("0-") for p in spool_of(feed).glob("*/*-*")] == [False]


# Guards, reconcile, refresh


def test_a_mass_delete_is_held(feed: Feed) -> None:
    for number in range(4):
        feed.insert("account", Id=str(number))
    feed.sync()
    for number in range(3):
        feed.delete("account", Id=str(number))
    with mock.patch.object(guards, "FEW_DELETES", 2):
        feed.sync()
        assert error_of(feed, "account") == "mass_delete at a.log"
        assert len(feed.rows("account", "id")) == 4
        feed.entity("account").approve("a.log")
        assert sync_table(feed.entity("account")).status == "success"
    assert feed.rows("account", "id") == [("3",)]
    feed.check()


def test_reconcile_finds_no_difference_and_any_that_there_is(feed: Feed) -> None:
    feed.insert("account", Id="1", name="Anna")
    feed.insert("account", Id="2", name="Bert")
    feed.file = "b.log"
    feed.update("account", Id="1", city="Bern")
    feed.sync()
    assert reconcile_table(feed.entity("account")) == NO_DIFFERENCE
    with feed.observer.transaction():
        feed.observer.execute(
            f"UPDATE {feed.config.schema_name}.account SET city = 'Bonn' WHERE id = '1'"
        )
    found = reconcile_table(feed.entity("account"))
    assert found == Comparison(0, 0, 1, 0, ("1",))
    assert refresh_table(feed.entity("account")) == Difference(0, 1, 0)
    feed.ledger.refreshed("account")
    feed.check()


def test_growth_before_what_was_applied_makes_reconcile_refuse_until_a_refresh(
    feed: Feed,
) -> None:
    feed.insert("account", Id="1", name="a")
    feed.insert("contact", Id="1", name="a")
    feed.file = "b.log"
    feed.insert("account", Id="1", name="b")
    feed.sync()
    feed.file = "a.log"
    feed.insert("account", Id="1", name="later")
    feed.insert("contact", Id="1", name="later")
    feed.sync()
    assert feed.rows("account", "name") == [("later",)]
    feed.check()
    assert reconcile_table(feed.entity("contact")) == NO_DIFFERENCE
    with pytest.raises(SourceError) as refused:
        reconcile_table(feed.entity("account"))
    assert refused.value.code == "out_of_order"
    assert refresh_table(feed.entity("account")) == Difference(0, 1, 0)
    feed.ledger.refreshed("account")
    assert feed.rows("account", "name") == [("b",)]
    assert reconcile_table(feed.entity("account")) == NO_DIFFERENCE
    feed.check()


def test_a_refresh_reads_lines_that_were_set_aside_in_their_place(
    make_feed: MakeFeed,
) -> None:
    feed = make_feed(bad_rows="quarantine")
    feed.insert("contact", Id="1", colour="red")
    feed.update("contact", Id="1", name="Anna")
    feed.sync()
    assert feed.rows("contact", "id") == []
    feed.table("contact", "Id", "name", "colour")
    feed.poll()
    assert refresh_table(feed.entity("contact")) == Difference(1, 0, 0)
    assert feed.rows("contact", "name", "colour") == [("Anna", "red")]
    assert counts(feed, "contact") == {"inserted": 1, "unchanged": 1}
    assert not QuarantinedRow.objects.filter(table__config=feed.config).exists()


def test_a_refresh_tells_how_far_it_read_where_only_other_tables_had_lines(
    feed: Feed,
) -> None:
    feed.insert("account", Id="1")
    feed.sync()
    feed.insert("contact", Id="1")
    feed.sync()
    refresh_table(feed.entity("account"))
    feed.ledger.refreshed("account")
    [row] = feed.progress("account")
    assert row.applied_offset == row.end_offset == feed.path.stat().st_size
    feed.check()


def test_a_refresh_is_refused_when_a_file_is_gone(feed: Feed) -> None:
    feed.insert("account", Id="1")
    feed.sync()
    feed.remove("a.log")
    feed.file = "b.log"
    feed.insert("account", Id="2")
    feed.sync()
    with pytest.raises(SourceError) as refused:
        refresh_table(feed.entity("account"))
    assert refused.value.code == "refresh_refused"
    found = reconcile_table(feed.entity("account"))
    assert (found.missing, found.extra, found.stale) == (0, 0, 0)
    feed.check()


# The sample of the original utility


def test_the_sample_ends_in_the_right_two_tables(make_feed: MakeFeed) -> None:
    feed = make_feed(only="synapse.json")
    for name in ("model.json", "synapse.json"):
        shutil.copy(SAMPLE / name, feed.root / name)
    feed.sync()
    assert feed.rows(
        "account", "accountid", "name", "telephone1", "address1_city", "createdon"
    ) == [
        ("acc-001", "Contoso Ltd.", "987-654-3210", "Seattle", None),
        ("acc-002", "Northwind Traders", "555-123-4567", "New York", None),
    ]
    assert feed.rows("contact", "contactid") == []
    file = "synapse.json"
    assert counts(feed, "account", file) == {"inserted": 2, "unchanged": 1}
    assert counts(feed, "contact", file) == {"unchanged": 3, "missing": 1}


def test_the_rows_of_a_minute_are_those_that_were_applied_in_it(feed: Feed) -> None:
    start = datetime(2026, 3, 1, 8, tzinfo=UTC)
    feed.insert("account", Id="1")
    with time_machine.travel(start, tick=False):
        feed.sync()
    feed.insert("account", Id="2")
    feed.insert("account", Id="3")
    with time_machine.travel(start + timedelta(minutes=50), tick=False):
        feed.sync()
        assert rates(feed)[9:] == (1, *[0] * 49, 2)
    feed.insert("account", Id="4")
    with time_machine.travel(start + timedelta(minutes=70), tick=False):
        feed.sync()
        assert rates(feed) == (*[0] * 39, 2, *[0] * 19, 1)
    [row] = feed.progress("account")
    assert len(row.recent) == 2


def rates(feed: Feed) -> tuple[int, ...]:
    [seen] = look(Scope(sync=feed.config.pk, rates=True)).syncs
    return seen.rates


def test_a_table_whose_key_nobody_declared_is_refused_whatever_it_has(
    feed: Feed,
) -> None:
    attributes = [{"logicalName": name, "type": "string"} for name in ("id", "name")]
    model = {"entities": [{"logicalName": "stray", "attributes": attributes}]}
    (feed.root / "model.json").write_text(json.dumps(model))
    feed.insert("stray", id="1", name="Anna")
    feed.insert("stray", id="1", name="Bert")
    results = feed.sync()
    error = results["stray"].error
    assert error is not None
    assert error.code == "unsupported_entity"
    [table] = outline(parse_model(json.dumps(model).encode()), feed=True)
    assert "no attribute that is declared its key" in table.problem
    assert table.key == ""

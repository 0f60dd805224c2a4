from __future__ import annotations

import io
from unittest import mock

import pytest

from sync.engine.load import LoadResult
from sync.management import display
from sync.management.display import Bars, Display, Lines, printable, summary
from sync.models import SourceKind, SyncConfig, SyncTable
from sync.target.winners import RowCounts


def table(number: int = 1) -> SyncTable:
    return SyncTable(pk=number, entity=f"account{number}")


def test_lines_come_now_and_then_and_say_how_far_it_is() -> None:
    lines: list[str] = []
    shown = Lines(lines.append)
    with shown, mock.patch.object(display, "SECONDS_BETWEEN_LINES", 0):
        shown.begin(table(1), 10)
        shown.begin(table(2), 10)
        shown.end(table(1))
        shown.beat(2, 3_000_000)
    assert lines == ["1 tables done, 1 under way, 3 MB read"]


def test_no_line_comes_before_its_time() -> None:
    lines: list[str] = []
    shown = Lines(lines.append)
    shown.beat(1, 100)
    assert lines == []


def test_bars_move_with_the_bytes_and_back_with_a_rollback() -> None:
    stream = io.StringIO()
    with Bars(stream) as bars:
        bars.begin(table(), 100)
        bars.beat(1, 60)
        task = bars._progress.tasks[-1]
        assert (task.completed, task.total) == (60, 100)
        bars.rolled_back(1)
        assert task.completed == 0
        bars.beat(1, 70)
        bars.committed(1)
        bars.rolled_back(1)
        assert task.completed == 70
        total = bars._progress.tasks[0]
        assert (total.completed, total.total) == (70, 100)
        bars.end(table())
        assert len(bars._progress.tasks) == 1
        bars.beat(1, 30)
        assert total.completed == 100


def test_nothing_is_shown_when_nothing_is_wanted() -> None:
    with Display() as quiet:
        quiet.begin(table(), 1)
        quiet.beat(1, 1)
        quiet.end(table())
        assert quiet.pulse(1) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 😀", "größe 😀"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_text(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_site_has_a_wsgi_application() -> None:
    from dvsync_site.wsgi import application

    assert callable(application)


def test_what_was_set_aside_or_told_of_missing_rows_is_said() -> None:
    config = SyncConfig(schema_name="util", kind=SourceKind.CHANGE_FEED)
    contact = SyncTable(config=config, entity="contact", target_name="contact")
    rows = RowCounts(inserted=1, unchanged=2, missing=1, rejected=3)
    line = summary(contact, LoadResult("success", 1, rows))
    assert line == (
        "util.contact: success, 1 log file, 1 inserted, 0 updated, 0 deleted, "
        "2 unchanged, 1 change of missing keys among them, 3 set aside"
    )

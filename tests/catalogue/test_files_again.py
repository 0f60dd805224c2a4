"""Files that are cut at a row's end, come again, or are of another kind."""

from __future__ import annotations

import gzip
import shutil

import pytest

from sync.models import Event
from tests.catalogue.steps import FILE, command, counted, only_failure
from tests.oracle import replay
from tests.sync.conftest import Export


@pytest.mark.fault(
    "F41",
    injected="a file cut in the last cell of a row after it was found",
    outcome="refused for its size; applied when it is whole again",
)
@pytest.mark.parametrize("cut", [1, 3, 60], ids=["newline", "cell", "row"])
def test_a_file_that_was_cut_after_it_was_found_is_not_applied(
    export: Export, cut: int
) -> None:
    export.table("note", ["text"])
    for key in (1, 2):
        export.upsert("note", key, text="one and another")
    folder = export.close_folder()
    export.poll()
    path = export.root / folder / "note" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])

    export.sync()

    assert only_failure(export, "note").error_code == "file_changed"
    assert export.rows("note", "id") == []
    path.write_bytes(whole)
    export.sync()  # the size of the cut file was noted: it is refused once more
    export.sync()
    assert export.rows("note", "text") == [("one and another",)] * 2
    assert counted(export, "note") == 2


@pytest.mark.fault(
    "F44",
    injected="an applied folder is deleted and put again, with the same bytes",
    outcome="nothing happens",
)
def test_a_folder_that_comes_again_with_the_same_bytes_changes_nothing(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    folder = export.close_folder()
    export.load("account")
    place = export.root / folder
    away = export.root.parent / "away"
    shutil.move(place, away)
    export.sync()
    shutil.move(away, place)

    assert export.sync() == {}
    assert command("reconcile", export.config.name) == 0
    assert export.rows("account", "name") == [("a",)]
    assert not Event.objects.filter(kind__contains="lost").exists()


@pytest.mark.fault(
    "F44",
    injected="a file of an applied folder with other bytes",
    outcome="never applied again; reconcile and refresh refuse it",
)
def test_an_applied_file_that_changed_is_refused_where_it_is_read_again(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    folder = export.close_folder()
    export.load("account")
    with (export.root / folder / "account" / FILE).open("ab") as out:
        out.write(b"more\n")

    assert export.sync() == {}
    assert command("reconcile", export.config.name) == 3
    assert command("refreshtable", export.config.name, "account") == 3
    assert export.rows("account", "name") == [("a",)]


@pytest.mark.fault(
    "F59",
    injected="a compressed file in a table's folder",
    outcome="not read, said in an event; it is never unpacked",
)
def test_a_compressed_file_is_not_read_and_said(export: Export) -> None:
    export.upsert("account", 1, name="a")
    bomb = gzip.compress(b"0" * 1_000_000)
    export.raw("account", "2027.csv.gz", bomb)
    export.folder.files["account"].remove("2027.csv.gz")
    export.close_folder()

    export.sync()

    assert export.rows("account", "name") == [("a",)]
    notes = Event.objects.filter(kind="source_note", message__contains="2027.csv.gz")
    assert notes.count() == 1


@pytest.mark.fault(
    "S12",
    injected="runs while the first full copy is spread over several folders",
    outcome="each folder is applied as it comes; nothing has to be undone by hand",
)
def test_a_run_in_the_middle_of_the_first_full_copy_needs_no_repair(
    export: Export,
) -> None:
    for key in range(1, 7):
        export.upsert("account", key, name=f"n{key}", version=100 - key)
        if key % 2 == 0:
            export.close_folder()
            export.sync()

    expected = replay(export)["account"].rows
    assert len(export.rows("account", "id")) == len(expected) == 6

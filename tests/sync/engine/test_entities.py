"""Tables that are new, selected later, or left out for a time."""

from __future__ import annotations

import shutil

import pytest

from sync.engine.configs import edit_config
from sync.engine.decisions import accept_loss
from sync.engine.load import sync_table
from sync.errors import ConfigError
from sync.models import Event
from tests.catalogue.steps import command, configure, event_kinds
from tests.sync.conftest import Export


def grow(export: Export, *, folders: int = 1) -> list[str]:
    """Close folders that have a new row of account and one of contact."""
    closed = []
    for _ in range(folders):
        key = len(export.folders)
        export.upsert("account", key, name=f"a{key}")
        export.upsert("contact", key, name=f"c{key}")
        closed.append(export.close_folder())
    return closed


def names(export: Export, entity: str = "contact") -> list[str]:
    return [name for (name,) in export.rows(entity, "name")]


def purge(export: Export, *folders: str) -> None:
    for folder in folders:
        shutil.rmtree(export.root / folder)


@pytest.fixture
def ask(export: Export) -> Export:
    """Return an export that asks about new tables; account is loaded."""
    configure(export, new_tables="ask")
    export.upsert("account", 1, name="a1")
    export.close_folder()
    export.sync()
    return export


def test_the_tables_of_the_first_look_are_not_asked_about(ask: Export) -> None:
    assert ask.entity("account").state == "active"
    assert names(ask, "account") == ["a1"]


def test_a_new_table_waits_for_a_yes(ask: Export) -> None:
    grow(ask, folders=2)

    ask.sync()
    ask.sync()

    assert ask.entity("contact").state == "new"
    assert ask.entity("contact").columns == []
    assert ask.progress("contact") == []
    waits = Event.objects.filter(config=ask.config, kind="table_waits")
    assert [event.table_name for event in waits] == ["contact"]
    assert names(ask, "account") == ["a1", "a2", "a3"]


def test_a_new_table_comes_along_if_the_policy_says_so(ask: Export) -> None:
    configure(ask, new_tables="include")
    grow(ask, folders=2)

    ask.sync()

    assert names(ask) == ["c2", "c3"]


def test_a_table_that_gets_its_yes_is_filled_from_its_first_folder_on(
    ask: Export,
) -> None:
    grow(ask, folders=2)
    ask.sync()
    grow(ask)

    assert command("editsync", ask.config.name, "--add-table", "contact") == 0
    ask.sync()

    assert names(ask) == ["c2", "c3", "c4"]
    assert ask.entity("contact").state == "active"


def test_a_yes_twice_is_no_change(ask: Export) -> None:
    grow(ask)
    ask.sync()
    table = ask.entity("contact")

    assert edit_config(ask.config, {}, accept=[table]) == ["table contact"]
    assert edit_config(ask.config, {}, accept=[ask.entity("contact")]) == []


def test_a_table_that_was_not_selected_is_not_asked_about(export: Export) -> None:
    configure(export, new_tables="ask", exclude=["contact"])
    grow(export)
    export.sync()

    assert export.entity("contact").state == "active"
    edit_config(export.config, {"exclude": []})
    export.sync()

    assert names(export) == ["c1"]


@pytest.mark.parametrize("globs", [{"include": ["account"]}, {"exclude": ["con*"]}])
def test_a_table_that_is_selected_later_is_filled_from_its_first_folder_on(
    export: Export, globs: dict[str, list[str]]
) -> None:
    configure(export, **globs)
    grow(export, folders=3)
    export.sync()
    assert export.progress("contact") == []
    grow(export)

    edit_config(export.config, {name: [] for name in globs})
    export.sync()

    assert names(export) == ["c1", "c2", "c3", "c4"]


def test_globs_that_were_changed_by_other_means_are_noticed(export: Export) -> None:
    configure(export, exclude=["contact"])
    grow(export, folders=2)
    export.sync()

    configure(export, exclude=[])
    export.poll()
    export.sync()

    assert names(export) == ["c1", "c2"]


def test_a_table_that_was_left_out_for_a_time_loses_nothing(export: Export) -> None:
    grow(export)
    export.sync()
    edit_config(export.config, {"exclude": ["contact"]})
    grow(export, folders=2)
    export.sync()
    assert names(export) == ["c1"]
    export.delete("contact", 1, version=10**6)
    grow(export)

    edit_config(export.config, {"exclude": []})
    export.sync()

    assert names(export) == ["c2", "c3", "c4"]
    assert [row.copy_status for row in export.progress("contact")] == [1, 1, 1, 1]


def test_a_folder_purged_meanwhile_is_lost_for_the_table_that_lacks_it(
    export: Export,
) -> None:
    configure(export, exclude=["contact"])
    folders = grow(export, folders=3)
    export.sync()
    purge(export, folders[1])

    edit_config(export.config, {"exclude": []})
    export.sync()

    assert export.entity("contact").state == "parked"
    assert names(export) == ["c1"]
    assert export.entity("account").state == "active"
    [row] = [r for r in export.progress("contact") if r.copy_status == 2]
    assert (row.partition, row.error_code) == (folders[1], "history_lost")


def test_a_folder_that_is_known_to_be_lost_is_not_passed_over_by_a_later_table(
    export: Export,
) -> None:
    configure(export, exclude=["contact"])
    first = grow(export)
    export.sync()
    lost = grow(export)
    export.poll()
    purge(export, *lost)
    grow(export)
    export.sync()
    assert export.entity("account").state == "parked"
    assert accept_loss(export.config) == ["account"]
    export.sync()
    assert names(export, "account") == ["a1", "a3"]

    edit_config(export.config, {"exclude": []})
    export.sync()

    assert export.entity("contact").state == "parked"
    assert names(export) == ["c1"]
    assert [r.partition for r in export.progress("contact")][:2] == [*first, *lost]
    assert export.entity("account").state == "active"


def test_a_loss_that_was_accepted_does_not_come_back_with_the_table(
    export: Export,
) -> None:
    grow(export)
    export.sync()
    lost = grow(export)
    export.poll()
    purge(export, *lost)
    grow(export)
    export.sync()
    accept_loss(export.config)
    export.sync()

    edit_config(export.config, {"exclude": ["contact"]})
    export.sync()
    edit_config(export.config, {"exclude": []})
    export.sync()

    assert export.entity("contact").state == "active"
    assert names(export) == ["c1", "c3"]


def test_a_folder_purged_after_it_was_applied_is_no_loss_to_a_table_that_returns(
    export: Export,
) -> None:
    folders = grow(export, folders=2)
    export.sync()
    edit_config(export.config, {"exclude": ["contact"]})
    purge(export, *folders)
    grow(export)
    export.sync()

    edit_config(export.config, {"exclude": []})
    export.sync()

    assert names(export) == ["c1", "c2", "c3"]
    assert export.entity("contact").state == "active"


def test_an_edit_says_what_changed_and_writes_nothing_else(export: Export) -> None:
    said = edit_config(
        export.config,
        {"bad_rows": "quarantine", "max_bad_rows": 100, "include": ["a*"]},
    )

    assert said == ["bad_rows quarantine", "include a*"]
    assert "sync_edited" in event_kinds(export)
    export.config.refresh_from_db()
    assert export.config.bad_rows == "quarantine"


def test_an_edit_does_not_undo_what_another_process_wrote(export: Export) -> None:
    mine = type(export.config).objects.get(pk=export.config.pk)
    configure(export, paused=True)

    edit_config(mine, {"max_bad_rows": 7})
    edit_config(mine, {})

    export.config.refresh_from_db()
    assert (export.config.paused, export.config.max_bad_rows) == (True, 7)


def test_a_glob_that_is_none_is_refused_and_nothing_changes(export: Export) -> None:
    with pytest.raises(ConfigError):
        edit_config(export.config, {"max_bad_rows": 7, "include": ["a\nb"]})

    export.config.refresh_from_db()
    assert export.config.max_bad_rows == 100


def test_a_table_of_digits_is_selected_later_like_any_other(export: Export) -> None:
    configure(export, exclude=["0"])
    export.upsert("0", 1, name="zero")
    export.close_folder()
    export.sync()

    edit_config(export.config, {"exclude": []})

    [row] = export.progress("0")
    assert sync_table(export.entity("0")).status == "success"
    assert row.bytes > 0

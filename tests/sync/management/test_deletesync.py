from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from sync.engine import removal
from sync.engine.locks import Namespace
from sync.models import SyncConfig
from tests.sync.conftest import Export, run_sql


@pytest.fixture
def loaded(export: Export) -> Export:
    export.upsert("account", 1, name="Anna")
    export.close_folder()
    export.sync()
    return export


def delete(*arguments: str) -> str:
    out = io.StringIO()
    call_command("deletesync", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refused(*arguments: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        delete(*arguments)
    assert SyncConfig.objects.exists()
    return caught.value.returncode, str(caught.value)


def typing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_the_name_that_is_typed_confirms(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = loaded.config.name
    typing(monkeypatch, f"{name}\n")
    assert delete(name) == f"{name}: deleted; its tables stay\n"
    assert not SyncConfig.objects.exists()
    assert run_sql(f'SELECT count(*) FROM "{name}".account') == [(1,)]


@pytest.mark.parametrize("typed", ["", "yes\n", "export\n"])
def test_another_name_deletes_nothing(
    loaded: Export, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    typing(monkeypatch, typed)
    assert refused(loaded.config.name) == (
        2,
        "That is not its name: nothing was deleted",
    )
    assert not SyncConfig.objects.get().paused


def test_the_tables_go_too_when_that_is_asked(loaded: Export) -> None:
    name = loaded.config.name
    said = delete(name, "--drop-tables", "--yes")
    assert said == f"{name}: deleted; 1 table dropped, the schema {name} too\n"


def test_a_table_in_use_is_exit_code_3(loaded: Export) -> None:
    name = loaded.config.name
    run_sql(f'CREATE VIEW "{name}".seen AS SELECT id FROM "{name}".account')
    code, said = refused(name, "--drop-tables", "--yes")
    assert code == 3
    assert f"{name}.seen" in said
    assert "delete the sync without its tables" in said


def test_a_load_that_goes_on_is_exit_code_6(
    loaded: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 10)).__next__)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            pk = loaded.entity("account").pk
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, %s)", [Namespace.TABLE, pk]
            )
        code, said = refused(loaded.config.name, "--yes")
    finally:
        other.close()
    assert code == 6
    assert "is still loading account" in said


def test_an_unknown_name_is_a_wrong_use(loaded: Export) -> None:
    assert refused("nobody", "--yes")[0] == 2

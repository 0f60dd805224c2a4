"""Neither passwords nor the sound cells of bad rows are told, whatever goes wrong."""

from __future__ import annotations

from tests import processes
from tests.invariants import check_invariants
from tests.sync.conftest import Export

PASSWORD = "canary-of-the-password"
CELL = "canary-of-a-cell"


def test_no_secret_is_told_when_rows_are_bad_and_the_database_is_away(
    export: Export,
) -> None:
    export.upsert("account", 1, name="a")
    export.raw("account", "2026.csv", f'x,,,"{CELL}",1,1,,\n'.encode())
    export.upsert("contact", 1, name="c")
    export.raw("contact", "2026.csv", f'x,"{CELL}"\n'.encode())
    export.close_folder()

    code, out, err = processes.run("syncnow", "-v", "3")
    assert code == 3, err
    url = f"postgres://nobody:{PASSWORD}@127.0.0.1:1/nothing"
    away = processes.run("syncnow", "-v", "3", DATABASE_URL=url)
    assert away[0] == 5, away

    check_invariants(
        export,
        export.config.pk,
        failed=["account", "contact"],
        secrets=[PASSWORD, CELL],
        texts=[out, err, *away[1:]],
    )

from __future__ import annotations

import pytest

from sync.engine.discretion import WITHHELD, discreetly, told
from sync.errors import PROBLEMS, SyncError, discreet
from tests.catalogue.steps import FILE, LF, configure, line, only_failure
from tests.sync.conftest import Export

VALUE = "a value of a row"


def test_the_error_of_one_bad_row_too_many_is_told_without_its_value(
    export: Export,
) -> None:
    configure(export, bad_rows="quarantine", max_bad_rows=0)
    export.table("account", ["name", "amount:decimal"])
    export.raw("account", FILE, line(1, '"x"', VALUE) + LF)
    export.close_folder()
    export.sync()
    row = only_failure(export, "account")
    assert VALUE in row.error_message
    error = SyncError(row.error_code, row.error_message, where=row.error_where)
    for text in (discreet(error), told(row.error_code, row.error_message)):
        assert VALUE not in text


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_the_key_that_postgresql_quotes_is_told_of_no_code(code: str) -> None:
    message = f"PostgreSQL says: it is there (Key (id)=({VALUE}) exists)"
    assert VALUE not in told(code, message)
    assert (code in WITHHELD) is ("it is there" not in told(code, message))


def test_errors_are_found_wherever_they_are_in_a_document() -> None:
    error = {"code": "bad_value", "message": VALUE}
    document = {"a": [{"b": (error, {"message": VALUE})}], "c": error, "code": 1}
    assert discreetly(document)["a"][0]["b"][1] == {"message": VALUE}
    assert VALUE not in str(discreetly(document)["c"])
    assert VALUE not in str(discreetly(document)["a"][0]["b"][0])

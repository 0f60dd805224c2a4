"""I5: a reader that looks on while loads run, and what it may see.

A reader must never meet a part of a load: every state of a table is what the oracle
makes of a beginning of the table's partitions.
"""

from __future__ import annotations

import hashlib
import threading
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests import snapshot as db
from tests.exports import ExportWriter
from tests.oracle import Replica

# How many rows, and a hash of them.
State = tuple[int, str]

ANSWER_SECONDS = 60


class Onlooker:
    """Reads tables of a schema again and again, in a thread and session of its own.

    ``names`` are entities whose tables and columns have their names in lower case.
    """

    def __init__(self, schema: str, *names: str) -> None:
        self.seen: dict[str, list[State]] = {name: [] for name in names}
        self._schema = schema
        self._looks = 0
        self._error: BaseException | None = None
        self._looked = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Wait until a look at every table that begins after this call is done."""
        with self._looked:
            wanted = self._looks + 2
            self._looked.wait_for(
                lambda: self._looks >= wanted or self._error, ANSWER_SECONDS
            )
        assert self._error is None, self._error
        assert self._looks >= wanted

    def check(self, export: ExportWriter) -> None:
        """Raise ``AssertionError`` if a state was seen that is of no beginning.

        Nor may a reader see an earlier beginning after a later one.
        """
        assert self._error is None, self._error
        for name, seen in self.seen.items():
            allowed = prefixes(export, name)
            for state in seen:
                assert state in allowed, (
                    f"I5 {name} was seen with {state[0]} rows, which are not those "
                    f"after any of {len(allowed) - 1} partitions from there on"
                )
                allowed = allowed[allowed.index(state) :]

    def _run(self) -> None:
        try:
            with db.connect() as connection:
                while not self._stop.is_set():
                    for name in self.seen:
                        self._read(connection, name)
                    with self._looked:
                        self._looks += 1
                        self._looked.notify_all()
        except BaseException as error:  # noqa: BLE001 - told by look() and check()
            with self._looked:
                self._error = error
                self._looked.notify_all()

    def _read(self, connection: db.Connection, name: str) -> None:
        relation = sql.Identifier(self._schema, name.lower())
        try:
            cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(relation))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        state = fingerprint({row["id"]: row for row in rows})
        if state not in self.seen[name][-1:]:
            self.seen[name].append(state)


def fingerprint(rows: db.Rows) -> State:
    """Return the count and a hash of rows, whatever their order."""
    text = repr(sorted((k, sorted(r.items())) for k, r in db.content(rows).items()))
    return len(rows), hashlib.sha256(text.encode()).hexdigest()


def prefixes(export: ExportWriter, name: str) -> list[State]:
    """Return the states of a table after each of its complete partitions."""
    replica = Replica()
    states = [fingerprint(replica.rows)]
    for partition in export.complete():
        folder = export.find(partition)
        changes = folder.changes.get(name, [])
        replica.apply(partition, folder.columns.get(name, ()), changes)
        states.append(fingerprint(replica.rows))
    return states

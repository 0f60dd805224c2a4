"""The last step of every load: the chosen changes are applied, and counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from psycopg import Cursor, sql

from sync import faultpoints
from sync.errors import TargetError

# The count that a winner's action goes into.
_COUNTS = {"insert": "inserted", "delete": "deleted", "missing": "missing"}


@dataclass(slots=True)
class RowCounts:
    """What the rows of one partition did; every row read counts once.

    ``missing`` is the part of the unchanged that named a key that is not there.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    missing: int = 0

    def add(self, other: RowCounts) -> None:
        """Add the counts of others."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def subtract(self, other: RowCounts) -> None:
        """Take away the counts of others."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) - getattr(other, name))

    def complete(self, read: int) -> None:
        """Count as unchanged what of the rows read did nothing else."""
        self.unchanged = read - self.inserted - self.updated - self.deleted


_NAMES = tuple(field.name for field in fields(RowCounts))


def counted(
    cursor: Cursor[tuple[object, ...]], counts: dict[int, RowCounts]
) -> set[int]:
    """Put rows of partition, action and number into the counts.

    Return the partitions that have updates.
    """
    updating = set()
    for found, action, number in cursor.fetchall():
        partition = int(str(found))
        if action == "update":
            updating.add(partition)
        else:
            setattr(counts[partition], _COUNTS[str(action)], int(str(number)))
    return updating


class Winners(ABC):
    """Chosen changes, at most one for each key, that wait to be applied."""

    _cursor: Cursor[tuple[object, ...]]

    def apply(self, counts: dict[int, RowCounts], rows: dict[int, int]) -> None:
        """Apply what was chosen, and complete the counts.

        Raises ``TargetError`` when the target did not take what it was given.
        """
        deleted = sum(count.deleted for count in counts.values())
        self._do("delete", self._delete(), deleted)
        faultpoints.reach("rows_deleted")
        for partition, number in self._update():
            counts[partition].updated = number
        faultpoints.reach("rows_updated")
        inserted = sum(count.inserted for count in counts.values())
        self._do("insert", self._insert(), inserted)
        faultpoints.reach("rows_inserted")
        self._finish()
        for partition, read in rows.items():
            counts[partition].complete(read)

    def _do(self, verb: str, statement: sql.Composed, expected: int) -> None:
        self._cursor.execute(statement)
        done = self._cursor.rowcount
        if done != expected:
            message = f"The table let {done} of {expected} rows {verb}"
            raise TargetError("target_altered", message)

    @abstractmethod
    def _delete(self) -> sql.Composed:
        """Return the statement that deletes rows."""

    @abstractmethod
    def _update(self) -> list[tuple[int, int]]:
        """Write what differs; return the rows written by partition."""

    @abstractmethod
    def _insert(self) -> sql.Composed:
        """Return the statement that inserts rows."""

    def _finish(self) -> None:  # noqa: B027 - most need nothing more
        """Write what belongs to it beside the target."""

"""What becomes of rows that cannot be applied: they stop the load, or are set aside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sync.errors import RowError
from sync.target.staging import CopyRefusedError

# A larger row is not set aside: it stops its table.
MAX_RAW = 1024 * 1024
VALUE_SHOWN = 100
MESSAGE_SHOWN = 500

_NO_KEY = "23502"
_BAD_ENCODING = {"22021", "22P05"}
_TOO_BIG = "54"
# Path of the file, and the line on which the row begins.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rejected:
    """One bad row: its place, its bytes as the file has them, and what is wrong."""

    path: str
    line: int
    column: str
    raw: bytes
    code: str
    message: str

    def error(self) -> RowError:
        """Return it as an error."""
        place = [self.path, f"line {self.line}"]
        if self.column:
            place.append(f"column {self.column}")
        return RowError(self.code, self.message, where=", ".join(place))


@dataclass
class BadRows:
    """Meets the bad rows of one load. Without ``room`` the first one is raised.

    With it, so many are collected in ``rows``; one more raises ``RowError``, and so
    does one that is too large to be kept. Rows that were mended are counted in
    ``trimmed``.

    Rows at the places of ``aside`` were set aside before and stay there, whatever is
    in them; they are counted in ``left`` alone.
    """

    room: int | None = None
    aside: Collection[Place] = ()
    trimmed: int = 0
    left: int = 0
    rows: list[Rejected] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._files = {path for path, _ in self.aside}

    def concerns(self, path: str) -> bool:
        """Say whether rows of a file were set aside before."""
        return path in self._files

    def leaves(self, path: str, line: int) -> bool:
        """Say whether the row at this place was set aside before, and count it."""
        was = (path, line) in self.aside
        self.left += was
        return was

    def meet(self, rejected: Rejected) -> None:
        """Take a bad row, or raise it."""
        if self.room is None or len(rejected.raw) > MAX_RAW:
            raise rejected.error()
        if len(self.rows) >= self.room:
            error = rejected.error()
            raise RowError(
                "too_many_bad_rows",
                f"There is no room for another bad row: {error.message}",
                where=error.where,
            )
        self.rows.append(rejected)


def judged(refused: CopyRefusedError) -> tuple[str, str]:
    """Return code and message of a row that PostgreSQL refused, by its SQLSTATE."""
    state = refused.error.sqlstate or ""
    said = said_of(refused)
    if state == _NO_KEY:
        return "bad_row", "The row has no key"
    if state in _BAD_ENCODING:
        return "bad_encoding", f"The row cannot be stored: {said}"
    if state.startswith(_TOO_BIG):
        return "target_limit", f"PostgreSQL cannot hold the row: {said}"
    return "bad_value", f"A value does not convert: {said}"


def said_of(refused: CopyRefusedError) -> str:
    """Return what PostgreSQL says, cut: it may quote a value of any length."""
    return (refused.error.diag.message_primary or str(refused.error))[:MESSAGE_SHOWN]


def shown(text: str) -> str:
    """Return a value for a message, cut where it is long."""
    return repr(text[:VALUE_SHOWN]) + ("…" if len(text) > VALUE_SHOWN else "")

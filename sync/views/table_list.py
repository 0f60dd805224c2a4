"""The tables of a sync as the URL asks for them: filtered, sorted and in pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.http import QueryDict

from sync.engine.overview import TableStatus
from sync.engine.states import WORST_FIRST, State

PER_PAGE = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Column:
    """A column by which one may sort; ``key`` orders the tables."""

    name: str
    heading: str
    key: Callable[[TableStatus], Any]
    # Numbers and times are wanted the greatest first.
    greatest_first: bool = True


def _last_rows(status: TableStatus) -> int:
    table = status.table
    return table.last_inserted + table.last_updated + table.last_deleted


def _total_rows(status: TableStatus) -> int:
    table = status.table
    return table.inserted_total + table.updated_total + table.deleted_total


def _badness(status: TableStatus) -> int:
    return WORST_FIRST.index(status.state)


COLUMNS = (
    Column("table", "Table", lambda t: t.table.entity.lower(), greatest_first=False),
    Column("state", "State", _badness, greatest_first=False),
    Column("loaded", "Applied through", lambda t: t.table.last_loaded_at or _LONG_AGO),
    Column("last", "Last load", _last_rows),
    Column("total", "In total", _total_rows),
    Column("lag", "Lag", lambda t: t.lag),
    Column("size", "Size", lambda t: t.size or 0),
    Column("backlog", "Backlog", lambda t: t.backlog.bytes),
)
DEFAULT = COLUMNS[1]


@dataclass(frozen=True)
class Heading:
    """The heading of a column: ``turns_to`` is the sorting that its link asks for."""

    name: str
    text: str
    turns_to: str
    # In the words of aria-sort; empty when it is sorted by another column.
    sorted: str


@dataclass(frozen=True)
class Choice:
    """A state to filter by, and how many tables have it."""

    slug: str
    word: str
    number: int
    chosen: bool


@dataclass(frozen=True)
class TableList:
    """What the page shows of the tables; ``found`` are those that pass the filters."""

    page: Page[TableStatus]
    headings: list[Heading]
    choices: list[Choice]
    search: str
    total: int
    found: int

    @property
    def narrowed(self) -> bool:
        """Whether some tables are left out."""
        return bool(self.search) or any(choice.chosen for choice in self.choices)


def slug_of(state: State) -> str:
    """Return the state as it is in the URL."""
    return state.name.lower().replace("_", "-")


def table_list(tables: Sequence[TableStatus], wish: QueryDict) -> TableList:
    """Return the tables that the URL asks for; what it asks wrongly is left out."""
    search = wish.get("q", "").strip()
    state, sort = wish.get("state", ""), wish.get("sort", "")
    named = [table for table in tables if _matches(table, search.lower())]
    choices = _choices(named, state)
    if any(choice.chosen for choice in choices):
        named = [table for table in named if slug_of(table.state) == state]
    column, reverse = _sorting(sort)
    # By name among equals.
    ordered = sorted(named, key=lambda table: table.table.entity.lower())
    ordered.sort(key=column.key, reverse=reverse)
    page = Paginator(ordered, PER_PAGE).get_page(wish.get("page"))
    headings = [_heading(each, column, reverse=reverse) for each in COLUMNS]
    return TableList(page, headings, choices, search, len(tables), len(named))


def _matches(status: TableStatus, search: str) -> bool:
    table = status.table
    return search in table.entity.lower() or search in table.target_name.lower()


def _choices(tables: Sequence[TableStatus], wanted: str) -> list[Choice]:
    """Return the states that there are, and the one that is wanted, the worst first."""
    numbers = dict.fromkeys(WORST_FIRST, 0)
    for table in tables:
        numbers[table.state] += 1
    return [
        Choice(slug_of(state), state.value, number, slug_of(state) == wanted)
        for state, number in numbers.items()
        if number or slug_of(state) == wanted
    ]


def _sorting(sort: str) -> tuple[Column, bool]:
    column = next((c for c in COLUMNS if c.name == sort.removeprefix("-")), DEFAULT)
    return column, column.greatest_first is not sort.startswith("-")


def _heading(column: Column, by: Column, *, reverse: bool) -> Heading:
    if column is not by:
        return Heading(column.name, column.heading, column.name, "")
    first = reverse is column.greatest_first
    turns_to = f"-{column.name}" if first else column.name
    order = "descending" if reverse else "ascending"
    return Heading(column.name, column.heading, turns_to, order)

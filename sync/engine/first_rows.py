"""When the first rows of a new sync are there, and a query that shows them."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from sync.models import SyncConfig, SyncTable


@dataclass(frozen=True)
class FirstRows:
    """How far a new sync is: tables with rows, and queries over one of them."""

    tables: int
    rows: int
    table: str
    queries: tuple[str, ...]


def first_rows_of(config: SyncConfig) -> FirstRows | None:
    """Return what arrived so far, None before the first row."""
    filled = SyncTable.objects.filter(config=config, inserted_total__gt=0)
    counts = list(filled.values_list("inserted_total", flat=True))
    # The one with the most rows shows best what there is.
    best = filled.select_related("config").order_by("-inserted_total", "entity").first()
    if best is None:
        return None
    return FirstRows(len(counts), sum(counts), best.label, _queries(best))


def _queries(table: SyncTable) -> tuple[str, ...]:
    relation = table.target().relation
    queries = (
        sql.SQL("SELECT * FROM {} LIMIT 10;").format(relation),
        sql.SQL("SELECT count(*) FROM {};").format(relation),
    )
    return tuple(query.as_string(None) for query in queries)

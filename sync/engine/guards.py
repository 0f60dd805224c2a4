"""Two guards: a source whose versions went back, and a delete of much of a table."""

from __future__ import annotations

from sync.engine.batch import PartitionError, Step
from sync.engine.intake import Applier
from sync.engine.session import raw_cursor
from sync.errors import TargetError
from sync.models import SyncTable
from sync.target.relations import count_rows
from sync.target.winners import RowCounts

# A folder with so many stored keys, all of them older, is no stale re-send.
RESTORED_KEYS = 100
# No load of fewer deletes is ever held.
FEW_DELETES = 1000


def check(
    table: SyncTable,
    steps: list[Step],
    merge: Applier,
    counts: dict[int, RowCounts],
    rows: dict[int, int],
) -> None:
    """Refuse a load that a restored source or a mass delete would make.

    To be asked when the winners are chosen and nothing is applied. Raises
    ``PartitionError`` and ``TargetError``.
    """
    first_of_new_copy = table.base_partition if table.refresh_reason else None
    fewest = {
        number: 1 if step.progress.partition == first_of_new_copy else RESTORED_KEYS
        for number, step in enumerate(steps)
    }
    # A row that was inserted, or a delete, is none of a stored key's older upserts.
    others = {
        number: read
        - counts[number].inserted
        - counts[number].deleted
        - counts[number].missing
        for number, read in rows.items()
    }
    if (number := merge.gone_back(others, fewest)) is not None:
        partition = steps[number].progress
        error = TargetError(
            "versions_went_back",
            f"Every row of {partition.partition} that the table has is older there "
            "than in the table",
            where=partition.partition,
        )
        raise PartitionError(partition, error)
    deleted = sum(
        counts[number].deleted
        for number, step in enumerate(steps)
        if step.progress.partition != table.approved_partition
    )
    share = table.config.max_delete_share
    if deleted <= FEW_DELETES or share >= 100:
        return
    total = count_rows(raw_cursor(), table.target())
    if deleted * 100 > share * total:
        raise TargetError(
            "mass_delete",
            f"The load would delete {deleted} of {total} rows",
            where=steps[0].progress.partition,
        )

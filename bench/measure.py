"""One run: every contender on every step, in turn, and a check after each step."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from psycopg import sql

from bench.contenders import Contender, Dvsync, Psql, Timing
from bench.data import Export, Step
from bench.server import Server, WrongResultError

DVSYNC, MERGED, COPIED = "dvsync", "psql, guarded merge", "psql, COPY and key only"
_TEMPLATE = "bench_template"


@dataclass
class Results:
    """What was measured, by titles of step and contender."""

    steps: list[Step]
    timings: dict[tuple[str, str], list[Timing]] = field(
        default_factory=lambda: defaultdict(list)
    )


def measure(server: Server, directory: Path, rows: int, repeat: int) -> Results:
    """Write the export and let the contenders load it ``repeat`` times."""
    say(f"Writing an export of {rows:,} rows")
    export = Export(directory / "export", rows)
    results = Results(export.write_all())
    dvsync = Dvsync(server, export.root, directory / "dvsync")
    contenders: list[Contender] = [
        dvsync,
        Psql(server, MERGED, "merged"),
        Psql(server, COPIED, "copied"),
    ]
    export.close(1)
    with server.database(_TEMPLATE):
        dvsync.create_sync(_TEMPLATE)
        for turn in range(repeat):
            say(f"Repeat {turn + 1} of {repeat}")
            with server.database(f"bench_{turn}", _TEMPLATE) as database:
                _run(server, export, contenders, results, database, turn)
    return results


def say(text: str) -> None:
    """Tell on stderr what happens now; stdout is for the results."""
    print(text, file=sys.stderr, flush=True)


def _run(
    server: Server,
    export: Export,
    contenders: Sequence[Contender],
    results: Results,
    database: str,
    turn: int,
) -> None:
    for number, step in enumerate(results.steps):
        export.close(number + 1)
        # The last one can only do the first load; it is then out of the way.
        taking_part = contenders if number == 0 else contenders[:2]
        first = (turn + number) % len(taking_part)
        for contender in [*taking_part[first:], *taking_part[:first]]:
            server.settle(database)
            timing = timed(server, contender, database, step)
            results.timings[step.title, contender.title].append(timing)
            say(f"  {step.title}: {contender.title} {timing.seconds:.2f} s")
        verify(server, database, taking_part, step)
        for contender in taking_part[2:]:
            drop = sql.SQL("DROP TABLE {}").format(contender.table)
            server.execute(database, drop)


def timed(server: Server, contender: Contender, database: str, step: Step) -> Timing:
    """Load one step; the CPU time includes the server's."""
    before = server.cpu()
    timing = contender.load(database, step)
    return replace(timing, cpu=timing.cpu + server.cpu() - before)


def verify(
    server: Server, database: str, contenders: Sequence[Contender], step: Step
) -> None:
    """Raise ``WrongResultError`` unless all tables hold the same, right many rows."""
    found = {c.title: server.content(database, c.table) for c in contenders}
    counts = {content.rows for content in found.values()}
    if len(set(found.values())) > 1 or counts != {step.total}:
        raise WrongResultError(
            f"After the {step.title} there should be {step.total} rows, the same in "
            f"all tables, but there are: {found}"
        )

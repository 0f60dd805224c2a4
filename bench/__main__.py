"""The command: ``python -m bench``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import feed, idle, latency, memory, pages, report, slots
from bench.contenders import ROOT
from bench.data import MIN_ROWS
from bench.measure import measure, say
from bench.profile import profile
from bench.server import Server, WrongResultError, running
from dvsync_site.embedded import EmbeddedError

ROWS, REPEAT = 1_000_000, 3
QUICK_ROWS = 20_000

_EXAMPLES = """Examples:
  python -m bench                        1,000,000 rows, 3 repeats
  python -m bench --quick                20,000 rows once: does it work?
  python -m bench --repeat 5 --write     and put the table into docs/performance.md
  python -m bench --memory               load 2 GB; fail above 150 MB resident
  python -m bench --latency              from a closed folder to visible rows
  python -m bench --slots                two clusters poll while all workers load
  python -m bench --idle                 what a poll costs when nothing happened
  python -m bench --pages                what the polled parts of pages cost
  python -m bench --feed                 a change feed beside CSV files, same rows
  python -m bench --profile              which statements the time goes to

"""


class _Parser(argparse.ArgumentParser):
    """A parser whose help begins with examples."""

    def format_help(self) -> str:
        return _EXAMPLES + super().format_help()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with (
            _directory(keep=options.keep) as directory,
            running(directory / "server", keep=options.keep) as server,
        ):
            return _run(options, server, directory)
    except (WrongResultError, EmbeddedError) as error:
        say(f"The benchmark is worth nothing: {error}")
        return 1


def _run(options: argparse.Namespace, server: Server, directory: Path) -> int:
    """Measure what was asked for and deliver it; return the exit code."""
    where = report.machine(server.version())
    measured = f"Measured on {where}."
    rows = options.rows or (QUICK_ROWS if options.quick else ROWS)
    repeat = options.repeat or (1 if options.quick else REPEAT)
    texts: dict[str, Callable[[], str]] = {
        "latency": lambda: latency.latency(server, directory, options.latency),
        "slots": lambda: slots.slots(server, directory, options.slots),
        "idle": lambda: idle.idle(server, directory),
        "pages": lambda: pages.pages(server, directory),
        "profile": lambda: profile(server, directory, rows),
    }
    for name, work in texts.items():
        if getattr(options, name):
            _deliver(name, f"{work()}\n\n{measured}", options)
            return 0
    if options.memory:
        peak, text = memory.peak(server, directory, options.rows or memory.ROWS)
        _deliver("memory", f"{text} {measured}", options)
        return 1 if peak > memory.LIMIT else 0
    if options.feed:
        found = feed.measure(server, directory, rows, repeat)
        _deliver("feed", feed.report(found, where), options)
        return 1 if feed.worst(found) > feed.FACTOR else 0
    results = measure(server, directory, rows, repeat)
    _deliver("speed", report.speed(results, where), options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bench",
        description="Measures manage.py syncnow beside plain psql, on the same data, "
        "the same server and in turn, and checks that both end in the same rows.",
    )
    parser.add_argument(
        "--rows", type=_rows, metavar="N", help=f"rows of the table (default: {ROWS:,})"
    )
    parser.add_argument(
        "--repeat", type=_positive, metavar="N", help=f"repeats (default: {REPEAT})"
    )
    parser.add_argument("--quick", action="store_true", help="few rows, one repeat")
    parser.add_argument(
        "--keep", action="store_true", help="keep the export and the server's data"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the result into docs/performance.md"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--memory", action="store_true", help="measure the memory of a large load"
    )
    mode.add_argument(
        "--latency",
        type=_positive,
        nargs="?",
        const=latency.FOLDERS,
        metavar="FOLDERS",
        help="measure the time from a closed folder to visible rows",
    )
    mode.add_argument(
        "--slots",
        type=_positive,
        nargs="?",
        const=slots.MINUTES,
        metavar="MINUTES",
        help="look whether each slot has its poll while all workers load",
    )
    mode.add_argument(
        "--idle",
        action="store_true",
        help="measure polls of a large export in which nothing happens",
    )
    mode.add_argument(
        "--pages",
        action="store_true",
        help="measure the polled parts of the pages beside a page that says ok",
    )
    mode.add_argument(
        "--feed",
        action="store_true",
        help="measure a change feed beside CSV files of the same rows",
    )
    mode.add_argument(
        "--profile", action="store_true", help="measure the statements of dvsync"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("it must be positive")
    return number


def _rows(text: str) -> int:
    number = _positive(text)
    if number < MIN_ROWS:
        raise argparse.ArgumentTypeError(f"there must be {MIN_ROWS} at least")
    return number


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    """Make a directory for one run, on a real disk: /tmp may be memory."""
    parent = ROOT / "var" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    # Root starts the server as another user, who must be able to reach its data.
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        if keep:
            say(f"Kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _deliver(name: str, text: str, options: argparse.Namespace) -> None:
    print(text)
    if options.write:
        report.write(name, text)


if __name__ == "__main__":
    sys.exit(main())

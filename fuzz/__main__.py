"""The command: ``python -m fuzz``."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz.seeds import dictionary, seeds
from fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "var" / "fuzz"
SECONDS = 60
MAX_LENGTH = 2048

_EXAMPLES = """Examples:
  python -m fuzz                       every target for a minute
  python -m fuzz rows words            two targets
  python -m fuzz names --seconds 600   one target for ten minutes

What was found to be of interest is kept in var/fuzz and is where the next run goes on.
An input that breaks a property is kept there too; give it to the target in a test.

Targets:
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose help begins with examples and targets."""

    def format_help(self) -> str:
        lines = (
            f"  {name:12} {(target.__doc__ or '').strip()}\n"
            for name, target in TARGETS.items()
        )
        return _EXAMPLES + "".join(lines) + "\n" + super().format_help()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets that were asked for; return 1 when a property was broken."""
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("Fuzzing needs atheris: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    broken = [name for name in options.targets if _run(name, options.seconds)]
    print(f"Broken: {', '.join(broken)}" if broken else "Every property held.")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m fuzz",
        description="Searches for inputs that "
        "break what the readers of foreign bytes promise.",
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", type=_target, default=list(TARGETS)
    )
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=SECONDS,
        metavar="N",
        help=f"for each target (default: {SECONDS})",
    )
    return parser


def _target(text: str) -> str:
    if text not in TARGETS:
        raise argparse.ArgumentTypeError(f"it must be one of {', '.join(TARGETS)}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be positive")
    return number


def _run(name: str, seconds: int) -> int:
    """Fuzz one target; return the exit code of its process."""
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = PLACE / f"{name}.dict"
    words.write_text(dictionary(name))
    print(f"{name}: {seconds} s", flush=True)
    return subprocess.run(
        [
            *(sys.executable, "-m", "fuzz.one", name, str(corpus)),
            *(f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}"),
            *(f"-dict={words}", f"-artifact_prefix={PLACE}/{name}-"),
            *("-print_final_stats=1", "-verbosity=1"),
        ],
        cwd=ROOT,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())

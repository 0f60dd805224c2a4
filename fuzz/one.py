"""One target in a process of its own: ``python -m fuzz.one TARGET [of libFuzzer]``.

libFuzzer ends its process. The modules are instrumented while they are imported, so
that it sees which branches an input takes.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sync", "json"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until a property is broken, or as long as libFuzzer is told."""
    program, target, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

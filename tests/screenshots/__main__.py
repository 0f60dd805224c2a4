"""``python -m tests.screenshots``: take the pictures of README and docs anew.

With ``--every DIRECTORY`` every page is taken, for a person to look at.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import django


def main() -> int:
    """Set Django up as for the tests, then take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", metavar="DIRECTORY", type=Path)
    every = parser.parse_args().every
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    # Models can be imported only now.
    from tests.screenshots.every_page import take_every_page
    from tests.screenshots.pictures import take_pictures

    return take_every_page(every) if every else take_pictures()


if __name__ == "__main__":
    sys.exit(main())

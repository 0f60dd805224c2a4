"""``python -m tests.screenshots``: take the pictures of README and docs anew."""

from __future__ import annotations

import os
import sys

import django


def main() -> int:
    """Set Django up as for the tests, then take them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    # Models can be imported only now.
    from tests.screenshots.pictures import take_pictures

    return take_pictures()


if __name__ == "__main__":
    sys.exit(main())

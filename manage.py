#!/usr/bin/env python3
"""Django's command line for dvsync; starts the embedded PostgreSQL when needed."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from dvsync_site import embedded


def main() -> None:
    """Run one management command; what a person must mend ends without traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dvsync_site.settings")
    try:
        embedded.ensure_for_command(sys.argv)
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except embedded.EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(5)


if __name__ == "__main__":
    main()

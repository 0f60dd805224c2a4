"""The site's own settings over a data directory that lives as long as the run."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from dvsync_site import embedded

if "DVSYNC_DATA" not in os.environ:
    # The controller of a run names the directory; its xdist workers inherit it.
    # Not made here, nor by a secret key: mypy reads this file and ends without atexit.
    _data = Path(tempfile.gettempdir(), f"dvsync-tests-{secrets.token_hex(6)}")
    os.environ["DVSYNC_DATA"] = str(_data)
    os.environ.setdefault("DJANGO_SECRET_KEY", "of the tests")

    @atexit.register
    def _remove() -> None:
        # The server first: it would write into the directory while it goes.
        embedded.release(_data, timeout=60)
        shutil.rmtree(_data, ignore_errors=True)


from dvsync_site.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

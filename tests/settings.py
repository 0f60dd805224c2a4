"""The site's own settings over a data directory that lives as long as the run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "DVSYNC_DATA" not in os.environ:
    # The controller of a run makes the directory; its xdist workers inherit it.
    _data = tempfile.mkdtemp(prefix="dvsync-tests-")
    os.environ["DVSYNC_DATA"] = _data
    atexit.register(shutil.rmtree, _data, ignore_errors=True)

from dvsync_site.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

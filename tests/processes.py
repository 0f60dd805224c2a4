"""Running dvsync's commands as processes of their own, on the test's database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent


def database_url() -> str:
    """Return the address of the database that the test uses."""
    settings = connection.settings_dict
    user, password = settings["USER"], settings["PASSWORD"]
    login = user + (f":{quote(password)}" if password else "")
    host = quote(settings["HOST"], safe="")
    return f"postgres://{login}@{host}:{settings['PORT']}/{settings['NAME']}"


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``manage.py`` with its output in pipes."""
    variables: Mapping[str, str] = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run ``manage.py`` and return its exit code, stdout and stderr."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err

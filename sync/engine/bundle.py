"""The support bundle: what others need to know to help, in one file of a few kB.

It holds names, numbers, times and errors: no value of a row, no secret. Every part is
found out by itself, so that one which fails leaves the others.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from sync.engine import bundle_parts
from sync.engine.discretion import discreetly, host_of, told, without_secrets
from sync.engine.service import is_migrated
from sync.engine.session import database_errors
from sync.engine.versions import packages, programs
from sync.errors import SyncError

Part = Callable[[], object]

STATEMENT_TIMEOUT = "20s"
ABOUT = """\
This is a support bundle of dvsync. It holds versions, settings without secrets, the
state of every sync and table, the last errors, the times of the last loads, and the
shape of the exports: names of syncs, tables, folders and files, numbers and times.
It holds no value of a row and no password, token or key. Look through it before you
pass it on: every file is plain text.
"""
_PLAIN_SETTINGS = (
    *("POLL_SECONDS", "LATE_SECONDS", "STALL_SECONDS", "WORKERS", "KEEP_DAYS"),
    *("LOG_FORMAT", "LOG_LEVEL", "DEBUG", "ALLOWED_HOSTS", "TIME_ZONE", "USE_TZ"),
    *("DATA_DIR", "ROOTS", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_USE_TLS"),
    *("EMAIL_USE_SSL", "SESSION_COOKIE_AGE", "SECURE_SSL_REDIRECT"),
)
_ADDRESSES = ("WEBHOOK_URL", "LOAD_WEBHOOK_URL")
# Only whether there is one.
_SECRETS = ("METRICS_TOKEN", "WEBHOOK_SECRET", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD")
_OURS = re.compile(r"(DVSYNC|DJANGO|DATABASE|EMAIL|PG|Q_CLUSTER|FORWARDED)")


def bundle(more: Mapping[str, Part] | None = None) -> bytes:
    """Return the bundle as a zip file; ``more`` are further parts, by their names."""
    parts: dict[str, Part] = {
        "about": _about,
        "settings": _settings,
        "database": bundle_parts.postgres,
        "migrations": _migrations,
        "service": bundle_parts.service,
        "status": bundle_parts.status,
        "errors": bundle_parts.errors,
        "loads": bundle_parts.loads,
        "exports": bundle_parts.exports,
        "tables": bundle_parts.tables,
        **(more or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", ABOUT)
        for name, part in parts.items():
            text = json.dumps(_found(part), indent=1, default=str)
            archive.writestr(f"{name}.json", without_secrets(text))
    return buffer.getvalue()


def file_name(now: datetime | None = None) -> str:
    """Return a name for a bundle of now."""
    return f"dvsync-support-{now or timezone.now():%Y%m%dT%H%M%SZ}.zip"


def _found(part: Part) -> object:
    """Return a part, or why it could not be found out."""
    try:
        if part in _WITHOUT_DATABASE:
            return part()
        with database_errors(), transaction.atomic():
            _limit_time()
            return discreetly(part())
    except SyncError as error:
        said = {"code": error.code, "message": told(error.code, error.message)}
        return {"error": said}
    except Exception as error:  # noqa: BLE001  the other parts matter all the more
        return {"error": {"code": "internal_error", "message": type(error).__name__}}


def _limit_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT]
        )


def _about() -> dict[str, object]:
    return {
        "made_at": timezone.now().isoformat(),
        **programs(),
        "cpus": os.cpu_count(),
        "packages": packages(),
    }


def _settings() -> dict[str, object]:
    """Return settings by an allow-list: what is not named here is not told."""
    database: dict[str, Any] = settings.DATABASES["default"]
    return {
        **{name: getattr(settings, name, None) for name in _PLAIN_SETTINGS},
        **{name: host_of(getattr(settings, name, "")) for name in _ADDRESSES},
        **{f"{name} is set": bool(getattr(settings, name, "")) for name in _SECRETS},
        "ALERT_EMAILS": f"{len(settings.ALERT_EMAILS)} addresses",
        "DATABASE": {name: database.get(name) for name in ("HOST", "PORT", "NAME")},
        "SSLMODE": database.get("OPTIONS", {}).get("sslmode"),
        "environment variables that are set": sorted(filter(_OURS.match, os.environ)),
    }


def _migrations() -> dict[str, object]:
    applied = sorted(MigrationRecorder(connection).applied_migrations())
    return {
        "complete": is_migrated(),
        "applied": [f"{app} {name}" for app, name in applied],
    }


_WITHOUT_DATABASE = {_about, _settings}

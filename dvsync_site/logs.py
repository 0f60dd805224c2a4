"""The log: one line per event, as text for people or as JSON for programs.

``extra={"sync": ..., "table": ..., "partition": ...}`` of a call says what an event
is about. Secrets of the settings never appear in a line, also not in a traceback.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.db import InterfaceError, OperationalError

from sync.printable import printable

FIELDS = ("sync", "table", "partition")
# Processes that run on and on; other commands answer on stdout and log problems only.
SERVICES = ("qcluster", "up", "growexport", "runserver")
HIDDEN = "***"
# What is shorter is no secret, and hiding it would make lines unreadable.
SHORTEST_SECRET = 4

Redact = Callable[[str], str]


def default_level(argv: Sequence[str]) -> str:
    """Return the level of a process that was started with these arguments."""
    service = argv[1:2] and argv[1] in SERVICES
    return "info" if service or "gunicorn" in "".join(argv[:1]) else "warning"


def configuration(
    *, style: str, level: str, with_time: bool, secrets: Iterable[str]
) -> dict[str, Any]:
    """Return the LOGGING setting: everything on stderr, in one format."""
    formatter: dict[str, Any] = {
        "()": JsonFormatter if style == "json" else TextFormatter,
        "redact": redactor(secrets),
    }
    if style == "text":
        formatter["with_time"] = with_time
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"calm": {"()": Calm}},
        "formatters": {"line": formatter},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            # Each page that is not there would be a line, and each probe.
            "django.request": {"level": "ERROR", "filters": ["calm"]},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            # A library that would install a handler of its own when it finds none.
            "django-q": {
                "handlers": ["stderr"],
                "level": "WARNING",
                "propagate": False,
                "filters": ["calm"],
            },
        },
    }


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    """Return the secrets among environment variables, a URL's password included."""
    found = {
        value
        for name, value in environment.items()
        if re.fullmatch(r"(DVSYNC|DJANGO|EMAIL)_.*(TOKEN|SECRET|PASSWORD|KEY)", name)
    }
    url = environment.get("DATABASE_URL", "")
    try:
        password = urlsplit(url).password
    except ValueError:  # the settings refuse it; as much as can be is hidden
        password = url.partition("//")[2]
    return found | {password or "", unquote(password or "")}


def redactor(secrets: Iterable[str]) -> Redact:
    """Return a function that hides these secrets, however they are written."""
    forms = {
        form
        for secret in secrets
        if len(secret) >= SHORTEST_SECRET
        for form in (
            *(secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]),
            *(quote(secret), quote(secret, safe="")),
        )
    }
    if not forms:
        return lambda text: text
    # The longest first: one may be the beginning of another.
    pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
    return lambda text: pattern.sub(HIDDEN, text)


class Calm(logging.Filter):
    """Lets what is no news be one line, or none.

    A database that is away is said without a traceback; a probe's answer that all is
    not well goes to the prober alone.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is worth a line."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OperationalError | InterfaceError):
            said = " ".join(str(error).split())
            record.msg, record.args = f"{record.getMessage()}: {said}", ()
            record.exc_info = record.exc_text = None
        path = getattr(getattr(record, "request", None), "path", "")
        return path not in {"/healthz", "/readyz", "/metrics"} or error is not None


class _LineFormatter(logging.Formatter):
    """What both formats share: the parts of an event, without secrets."""

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def _message(self, record: logging.LogRecord) -> str:
        return self._redact(record.getMessage())

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        values = {name: getattr(record, name, None) for name in FIELDS}
        return {
            name: self._redact(str(value))
            for name, value in values.items()
            if value not in {None, ""}
        }

    def _traceback(self, record: logging.LogRecord) -> str:
        parts = []
        # Not record.exc_text: another handler may have written it there as it was.
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return self._redact("\n".join(parts))


class TextFormatter(_LineFormatter):
    """``12:00:03 WARNING sync.tasks: message (sync=sales table=account)``."""

    def __init__(self, redact: Redact, *, with_time: bool = True) -> None:
        super().__init__(redact)
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the lines of a traceback, safe on a terminal."""
        line = f"{record.levelname} {record.name}: {self._message(record)}"
        if self._with_time:
            line = f"{_moment(record):%Y-%m-%d %H:%M:%S} {line}"
        if fields := self._fields(record):
            line += f" ({' '.join(f'{k}={v}' for k, v in fields.items())})"
        lines = [line, *self._traceback(record).splitlines()]
        return "\n".join(printable(line) for line in lines)


class JsonFormatter(_LineFormatter):
    """One JSON object in a line: time, level, logger, message, and what there is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; characters outside ASCII are escaped."""
        event = json_event(
            _moment(record), record.levelname, record.name, self._message(record)
        )
        event |= self._fields(record)
        if traceback := self._traceback(record):
            event["exception"] = traceback
        return json.dumps(event)


def json_event(
    time: dt.datetime, level: str, logger: str, message: str
) -> dict[str, str]:
    """Return the parts that each event has in JSON."""
    moment = time.astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return {
        "time": moment.replace("+00:00", "Z"),
        "level": level,
        "logger": logger,
        "message": message,
    }


def _moment(record: logging.LogRecord) -> dt.datetime:
    return dt.datetime.fromtimestamp(record.created, dt.UTC)


def environment_secrets() -> set[str]:
    """Return the secrets of this process's environment."""
    return secrets_of(os.environ)

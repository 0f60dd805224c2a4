"""The log's formats, what they hide, and which process says how much."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dvsync_site import logs

ROOT = Path(__file__).resolve().parents[2]
CANARY = "c4n4ry/@'\"\\é%"


def record(
    message: str = "it is done", *arguments: object, **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord(
        "sync.tasks", logging.WARNING, __file__, 1, message, arguments, None
    )
    made.created = 1_772_352_901.123
    vars(made).update(extra)
    return made


def as_text(made: logging.LogRecord, *secrets: str) -> str:
    return logs.TextFormatter(logs.redactor(secrets)).format(made)


def as_json(made: logging.LogRecord, *secrets: str) -> dict[str, str]:
    line = logs.JsonFormatter(logs.redactor(secrets)).format(made)
    assert "\n" not in line
    event: dict[str, str] = json.loads(line)
    return event


def failed(text: str) -> logging.LogRecord:
    try:
        raise ValueError(text)
    except ValueError:
        made = record("it failed: %s", text)
        made.exc_info = sys.exc_info()
    return made


def test_a_line_of_text_says_when_what_and_where() -> None:
    made = record("%d rows", 3, sync="sales", table="account", partition="p")
    assert as_text(made) == (
        "2026-03-01 08:15:01 WARNING sync.tasks: 3 rows "
        "(sync=sales table=account partition=p)"
    )


def test_a_line_has_no_time_where_somebody_else_adds_it() -> None:
    formatter = logs.TextFormatter(str, with_time=False)
    assert formatter.format(record()) == "WARNING sync.tasks: it is done"


def test_an_object_has_the_same_and_only_the_fields_that_are_there() -> None:
    assert as_json(record(sync="sales", table="", partition=None)) == {
        "time": "2026-03-01T08:15:01.123Z",
        "level": "WARNING",
        "logger": "sync.tasks",
        "message": "it is done",
        "sync": "sales",
    }


def test_texts_of_strangers_obey_nothing_and_stay_one_line() -> None:
    made = record("bad\n2026 forged \x1b[2J", table="a\x1b]0;x\x07")
    line = as_text(made)
    assert line.isprintable()
    assert "bad\\n2026 forged \\x1b[2J" in line
    assert as_json(made)["message"] == "bad\n2026 forged \x1b[2J"


def test_a_traceback_follows_its_line_or_is_a_part_of_the_object() -> None:
    made = failed("x\x1b[2J")
    first, *rest = as_text(made).splitlines()
    assert first.endswith("it failed: x\\x1b[2J")
    assert rest[0] == "Traceback (most recent call last):"
    assert all(line.isprintable() for line in rest)
    assert as_json(made)["exception"].endswith("ValueError: x\x1b[2J")


def test_a_stack_is_shown_on_request() -> None:
    assert "Stack" in as_json(record(stack_info="Stack of x"))["exception"]


@pytest.mark.parametrize("form", [CANARY, repr(CANARY), json.dumps(CANARY)])
def test_a_secret_is_in_no_line_and_no_traceback(form: str) -> None:
    made = failed(f"<{form}>")
    vars(made)["sync"] = form
    for text in (as_text(made, CANARY), *as_json(made, CANARY).values()):
        assert "c4n4ry" not in text
    assert as_json(made, CANARY)["sync"].strip("'\"") == "***"


def test_a_traceback_that_another_handler_wrote_down_is_not_taken_over() -> None:
    made = failed(CANARY)
    logging.Formatter().format(made)
    assert "c4n4ry" in str(made.exc_text)
    assert "c4n4ry" not in as_text(made, CANARY)


def test_a_secret_that_contains_another_one_is_hidden_whole() -> None:
    hide = logs.redactor(["canary", "canary-bird"])
    assert hide("a canary-bird and a canary") == "a *** and a ***"


def test_without_secrets_texts_stay_as_they_are() -> None:
    assert logs.redactor(["", "abc"])("abc") == "abc"


def test_the_secrets_are_passwords_tokens_and_keys_of_the_environment() -> None:
    assert logs.secrets_of(
        {
            "DATABASE_URL": "postgres://ann:p%40ssword@db/crm",
            "DVSYNC_METRICS_TOKEN": "token",
            "DVSYNC_WEBHOOK_SECRET": "signing",
            "DJANGO_SECRET_KEY": "key",
            "DVSYNC_DATA": "/data",
            "HOME": "/home",
        }
    ) - {""} == {"p%40ssword", "p@ssword", "token", "signing", "key"}


def test_of_an_address_that_cannot_be_read_as_much_as_possible_is_hidden() -> None:
    assert "[canary" in logs.secrets_of({"DATABASE_URL": "postgres://[canary"})


@pytest.mark.parametrize(
    ("argv", "level"),
    [
        (["manage.py", "qcluster"], "info"),
        (["manage.py", "up", "--demo"], "info"),
        (["/x/bin/gunicorn", "dvsync_site.wsgi"], "info"),
        (["/x/gunicorn/__main__.py"], "info"),
        (["manage.py", "syncnow"], "warning"),
        (["manage.py"], "warning"),
        ([], "warning"),
    ],
)
def test_only_what_runs_for_ever_says_what_is_usual(
    argv: list[str], level: str
) -> None:
    assert logs.default_level(argv) == level


LOGGING = """
import logging, sys
sys.argv = ["manage.py", *sys.argv[1:]]
import django
django.setup()
import django_q.conf
from django.conf import settings
for name in ("sync.tasks", "django-q", "django.request"):
    log = logging.getLogger(name)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        log.log(level, "said %s", name)
secrets = [settings.SECRET_KEY, settings.DATABASES["default"]["PASSWORD"]]
secrets += [settings.METRICS_TOKEN, settings.WEBHOOK_SECRET]
try:
    raise ValueError(secrets)
except ValueError:
    logging.getLogger("sync").exception("secrets: %s", secrets)
"""


def logged(tmp_path: Path, command: str, **variables: str) -> str:
    token = tmp_path / "token"
    token.write_text("canary-of-a-file")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dvsync_site.settings",
        "DATABASE_URL": "postgres://ann:canary%40word@db.example/crm",
        "DJANGO_SECRET_KEY": "canary-key",
        "DVSYNC_METRICS_TOKEN_FILE": str(token),
        "DVSYNC_WEBHOOK_SECRET": "canary-signing",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_of_the_settings_reaches_the_log(tmp_path: Path, style: str) -> None:
    said = logged(tmp_path, "qcluster", DVSYNC_LOG_FORMAT=style)
    assert "canary" not in said
    assert "['***', '***', '***', '***']" in said


def test_a_service_logs_what_is_usual_and_its_library_only_problems(
    tmp_path: Path,
) -> None:
    lines = logged(tmp_path, "qcluster", DVSYNC_LOG_TIME="no").splitlines()
    assert lines[:6] == [
        "INFO sync.tasks: said sync.tasks",
        "WARNING sync.tasks: said sync.tasks",
        "ERROR sync.tasks: said sync.tasks",
        "WARNING django-q: said django-q",
        "ERROR django-q: said django-q",
        "ERROR django.request: said django.request",
    ]


def test_other_commands_log_problems_only_unless_told(tmp_path: Path) -> None:
    assert "INFO" not in logged(tmp_path, "syncnow")
    assert "INFO sync.tasks" in logged(tmp_path, "syncnow", DVSYNC_LOG_LEVEL="info")


def test_json_by_setting_is_json_in_every_line(tmp_path: Path) -> None:
    said = logged(tmp_path, "qcluster", DVSYNC_LOG_FORMAT="json").splitlines()
    events = [json.loads(line) for line in said]
    assert {"exception"} == set(events[-1]) - set(events[0])

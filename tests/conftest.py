"""What every test shares: the embedded PostgreSQL of the run, and its inputs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.conf import settings
from django.test import TransactionTestCase
from psycopg.conninfo import make_conninfo

from dvsync_site import embedded
from tests.sync.conftest import export, feed, make_export, make_feed
from tests.tidying import empty_tables

__all__ = ["export", "feed", "make_export", "make_feed"]


@pytest.fixture(autouse=True, scope="session")
def _quick_teardown() -> Iterator[None]:
    """Let tests that commit leave empty tables in a tenth of the time."""

    def teardown(_: TransactionTestCase) -> None:
        empty_tables()

    with mock.patch.object(TransactionTestCase, "_fixture_teardown", teardown):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Start the server, or attach to it: pytest does not pass through manage.py.

    A shell ignores Ctrl-C for what it runs in the background, and so would the
    commands that tests stop by it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if embedded.in_use():
        try:
            embedded.ensure(settings.DATA_DIR)
        except embedded.EmbeddedError as error:
            pytest.exit(str(error), returncode=5)


def pytest_report_header() -> str:
    """Say which PostgreSQL the tests meet."""
    database: dict[str, Any] = settings.DATABASES["default"]
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    address = {name: database[key] or None for name, key in names.items()}
    with psycopg.connect(make_conninfo("dbname=postgres", **address)) as connection:
        version = connection.info.parameter_status("server_version")
    return f"PostgreSQL: {version}"

"""Fixtures of the tests with real clusters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests import service as running
from tests.own_server import make_migrated, new_directory
from tests.service import Service


@pytest.fixture
def service(tmp_path: Path, transactional_db: None) -> Iterator[Service]:
    """Return a service without clusters; those that a test adds end with it."""
    with running.service(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def migrated(django_db_blocker: DjangoDbBlocker) -> Iterator[Path]:
    """Return the home of a stopped server with dvsync's tables, to be copied."""
    directory = new_directory()
    with django_db_blocker.unblock():
        yield make_migrated(directory)
    shutil.rmtree(directory, ignore_errors=True)

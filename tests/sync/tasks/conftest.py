"""Fixtures of the tests with real clusters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import service as running
from tests.service import Service


@pytest.fixture
def service(tmp_path: Path, transactional_db: None) -> Iterator[Service]:
    """Return a service without clusters; those that a test adds end with it."""
    with running.service(tmp_path) as made:
        yield made

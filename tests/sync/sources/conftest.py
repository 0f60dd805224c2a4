"""Fixtures of the reading side's tests: they need a directory and no database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.sources.places import NOW, Export, at


@pytest.fixture
def export(tmp_path: Path) -> Iterator[Export]:
    """Return an export in a directory, shortly after its open folder was opened."""
    with at(NOW):
        yield Export(tmp_path)

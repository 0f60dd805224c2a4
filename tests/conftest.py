"""What every test shares: the embedded PostgreSQL of the run, and an export."""

from __future__ import annotations

import pytest
from django.conf import settings

from dvsync_site import embedded
from tests.sync.conftest import export, make_export

__all__ = ["export", "make_export"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Start the server, or attach to it: pytest does not pass through manage.py."""
    if embedded.in_use():
        try:
            embedded.ensure(settings.DATA_DIR)
        except embedded.EmbeddedError as error:
            pytest.exit(str(error), returncode=5)

"""A receiver of alerts for the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests import receivers


@pytest.fixture
def hook(settings: Settings) -> Iterator[receivers.Webhook]:
    """Return a receiver to which all alerts go."""
    settings.ALERT_EMAILS = []
    settings.WEBHOOK_SECRET = "canary-of-the-secret"
    with receivers.webhook() as server:
        settings.WEBHOOK_URL = server.url
        yield server

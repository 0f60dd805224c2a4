"""A test message is sent from the list of receivers."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.messages import get_messages
from django.urls import reverse
from pytest_django import Settings

from sync.models import Receiver
from tests import receivers
from tests.people import signed_in

pytestmark = pytest.mark.django_db
LIST = reverse("admin:sync_receiver_changelist")


@pytest.fixture
def listed() -> list[Receiver]:
    return [Receiver.objects.create(name=name) for name in ("webhook", "email")]


def send(role: str, listed: list[Receiver]) -> list[str]:
    chosen = [receiver.pk for receiver in listed]
    data = {"action": "send_test", ACTION_CHECKBOX_NAME: chosen}
    answer: Any = signed_in(role).post(LIST, data)
    assert answer.status_code == 302
    return sorted(map(str, get_messages(answer.wsgi_request)))


def test_of_each_receiver_it_is_told_whether_it_heard(
    listed: list[Receiver], settings: Settings
) -> None:
    settings.ALERT_EMAILS = []
    with receivers.webhook() as hook:
        settings.WEBHOOK_URL = hook.url
        assert send("operator", listed) == [
            "email is not configured any more, so nothing was sent.",
            "webhook: the test message arrived.",
        ]
        assert [document["event"] for document in hook.documents] == ["test"]
        hook.status = 403
        [told] = send("operator", listed[:1])
    assert told.startswith("webhook: ")
    assert "403" in told


def test_a_viewer_is_not_offered_it(listed: list[Receiver], settings: Settings) -> None:
    with receivers.webhook() as hook:
        settings.WEBHOOK_URL = hook.url
        assert "send_test" not in signed_in("viewer").get(LIST).content.decode()
        data = {"action": "send_test", ACTION_CHECKBOX_NAME: ["webhook"]}
        signed_in("viewer").post(LIST, data)
    assert hook.documents == []

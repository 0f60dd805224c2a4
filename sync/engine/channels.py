"""The ways in which people are told: a webhook, and e-mail."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from typing import Protocol

from django.conf import settings
from django.core.mail import EmailMessage

from sync.engine import letters
from sync.engine.letters import News
from sync.engine.webhook import WebhookError, post

WEBHOOK, EMAIL = "webhook", "email"


class UndeliveredError(Exception):
    """A message did not arrive; the text holds no secret."""


class Channel(Protocol):
    """One way to tell. Used from threads: it asks no database."""

    name: str

    def send(self, news: Sequence[News]) -> None:
        """Tell news; raises ``UndeliveredError``."""
        ...

    def send_test(self) -> None:
        """Send a message that says nothing but that it arrived."""
        ...


def configured() -> list[Channel]:
    """Return the channels that the settings name."""
    channels: list[Channel] = []
    if settings.WEBHOOK_URL:
        channels.append(Webhook(settings.WEBHOOK_URL))
    if settings.ALERT_EMAILS:
        channels.append(Email(settings.ALERT_EMAILS))
    return channels


class Webhook:
    """A server that takes signed JSON."""

    def __init__(self, url: str, name: str = WEBHOOK) -> None:
        self.name = name
        self._url = url

    def send(self, news: Sequence[News]) -> None:
        """Post all news as one document."""
        self._post(letters.alert(news))

    def send_test(self) -> None:
        """Post a document without incidents."""
        self._post(letters.document("test", incidents=[]))

    def _post(self, document: dict[str, object]) -> None:
        try:
            post(self._url, document, settings.WEBHOOK_SECRET)
        except WebhookError as error:
            raise UndeliveredError(str(error)) from None


class Email:
    """Mail to some addresses, through Django's mail settings."""

    def __init__(self, addresses: Sequence[str], name: str = EMAIL) -> None:
        self.name = name
        self._addresses = list(addresses)

    def send(self, news: Sequence[News]) -> None:
        """Send all news as one mail."""
        self._mail(letters.subject(news), letters.text(news))

    def send_test(self) -> None:
        """Send a mail that says it is a test."""
        self._mail("[dvsync] test", "This is a test of dvsync's alerts.\n")

    def _mail(self, subject: str, body: str) -> None:
        mail = EmailMessage(subject, body, to=self._addresses)
        try:
            mail.send()
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # Not its text, in which a server may repeat what it was told.
            code = getattr(error, "smtp_code", "")
            said = f"{type(error).__name__} {code}".strip()
            server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
            raise UndeliveredError(f"The mail server {server}: {said}") from None

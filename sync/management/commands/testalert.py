"""``manage.py testalert``: see whether alerts would arrive."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from sync.engine.channels import Channel, UndeliveredError, Webhook, configured
from sync.management.base import TABLES_FAILED, USAGE, DvsyncCommand


class Command(DvsyncCommand):
    """Send a test message over every configured channel."""

    help = (
        "Sends a test message to the webhook, by e-mail and to the webhook of loads, "
        "if they are configured, and says of each whether it arrived."
    )
    epilog = "Exit codes: 0 all arrived; 2 nothing is configured; 3 one did not arrive."
    examples = ("testalert",)
    needs_database = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the messages and report."""
        channels = configured()
        if settings.LOAD_WEBHOOK_URL:
            channels.append(Webhook(settings.LOAD_WEBHOOK_URL, "load webhook"))
        if not channels:
            raise CommandError(
                "Nothing is configured. Set DVSYNC_WEBHOOK_URL, DVSYNC_ALERT_EMAILS "
                "or DVSYNC_LOAD_WEBHOOK_URL.",
                returncode=USAGE,
            )
        arrived = [self._try(channel) for channel in channels]
        if not all(arrived):
            raise CommandError("Not all messages arrived.", returncode=TABLES_FAILED)

    def _try(self, channel: Channel) -> bool:
        try:
            channel.send_test()
        except UndeliveredError as error:
            self.stdout.write(f"{channel.name}: {error}")
            return False
        self.stdout.write(f"{channel.name}: arrived")
        return True

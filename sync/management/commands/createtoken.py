"""``manage.py createtoken``: a key to the JSON API for a user."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from sync.management.base import USAGE, DvsyncCommand
from sync.management.display import printable
from sync.management.switching import person
from sync.models import ApiToken
from sync.views.access import VIEW

LONGEST_DAYS = 36_500
LONGEST_NAME = ApiToken._meta.get_field("name").max_length or 100


class Command(DvsyncCommand):
    """Make a token of a user for the JSON API."""

    help = (
        "Makes a token with which programs use the JSON API (docs/api.md) as this "
        "user, with the permissions that the user has at that time. It is printed "
        "once and not kept: only its digest is. The admin lists and revokes tokens."
    )
    epilog = "Exit codes: 0 made; 2 unknown or inactive user, wrong use; 5 no database."
    examples = (
        "createtoken grafana",
        "createtoken alice --name 'nightly job' --days 90",
        "createtoken ci > token.txt",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("user", metavar="USER", help="the name of the user")
        parser.add_argument(
            "--name",
            type=_name,
            metavar="TEXT",
            help="what the token is for (default: who made it)",
        )
        parser.add_argument(
            "--days",
            type=_days,
            metavar="N",
            help="how long it is good for (default: until it is revoked)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the token; it alone goes to stdout."""
        user = self._user(options["user"])
        days = options["days"]
        expires_at = timezone.now() + timedelta(days=days) if days else None
        name = options["name"] or f"made by {person()}"[:LONGEST_NAME]
        token, text = ApiToken.make(user, name, expires_at)
        self.stdout.write(text)
        until = f"until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else "for ever"
        self.say(
            f"Token {token.pk} of {printable(user.username)}, good {until}. It is "
            "shown this once; the admin revokes it."
        )
        if not user.has_perm(VIEW):
            self.say(
                "Warning: the user has no role, so the token may nothing yet: give the "
                "user the group viewer, operator or administrator in the admin."
            )

    def _user(self, name: str) -> User:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(
                f"There is no user named {printable(name)!r}. Make one in the admin, "
                "or with manage.py createsuperuser.",
                returncode=USAGE,
            )
        if not user.is_active:
            raise CommandError(
                f"The user {printable(name)!r} is not active, so a token would open "
                "nothing. Activate the user in the admin.",
                returncode=USAGE,
            )
        return user


def _name(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_NAME or not text.isprintable():
        raise ArgumentTypeError(f"a name has 1 to {LONGEST_NAME} printable characters")
    return text


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= LONGEST_DAYS:
        raise ArgumentTypeError(f"{text!r} is no number of days from 1 on")
    return int(text)

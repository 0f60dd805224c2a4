"""What belongs to users: their tokens, and a set-up that they have begun."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models
from django.utils import timezone

PREFIX = "dvsync_"
NOTED_EVERY = timedelta(minutes=1)


class ApiToken(models.Model):
    """A key to the JSON API with the permissions of its user.

    Only its digest is kept; it has too many random bits to be guessed from that.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=100, help_text="What it is for.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["user", "name", "pk"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def make(
        cls, user: AbstractBaseUser, name: str, expires_at: datetime | None = None
    ) -> tuple[ApiToken, str]:
        """Make a token; return it with its text, which is not kept anywhere."""
        text = PREFIX + secrets.token_urlsafe(32)
        digest = cls.digest_of(text)
        return cls.objects.create(
            user=user, name=name, digest=digest, expires_at=expires_at
        ), text

    @classmethod
    def of_text(cls, text: str) -> ApiToken | None:
        """Return the token of a text with its user; None if that may not sign in."""
        tokens = cls.objects.select_related("user").filter(user__is_active=True)
        return tokens.filter(digest=cls.digest_of(text)).first()

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    def record_use(self) -> None:
        """Take note that it was used; not more often than once a minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at >= NOTED_EVERY:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)

    @staticmethod
    def digest_of(text: str) -> str:
        """Return what is kept of a token's text."""
        return hashlib.sha256(text.encode()).hexdigest()


class SetupDraft(models.Model):
    """A sync that a user has begun to set up; each user has one at the most."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="setup_draft"
    )
    model_json = models.BinaryField(
        null=True, blank=True, help_text="The uploaded model.json as it came."
    )
    file_name = models.TextField(blank=True)
    answers = models.JSONField(
        default=dict, blank=True, help_text="What was answered, by step."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "set-up"

    def __str__(self) -> str:
        return f"set-up of {self.user}"

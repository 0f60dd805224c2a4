"""The site as an installed app, so that its commands are found."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """The part of dvsync that starts things."""

    name = "dvsync_site"
    label = "dvsync_site"

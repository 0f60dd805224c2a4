"""The WSGI application of the site."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dvsync_site.settings")
application = get_wsgi_application()

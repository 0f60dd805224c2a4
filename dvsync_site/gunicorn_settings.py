"""How gunicorn serves the site: ``gunicorn -c python:dvsync_site.gunicorn_settings``.

What is given on gunicorn's command line goes before, for example ``--bind``.
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dvsync_site.settings")

from django.conf import settings

wsgi_app = "dvsync_site.wsgi"
bind = "127.0.0.1:8080"
worker_class = "gthread"
workers = 1
threads = 8
graceful_timeout = 15
# Its socket would be the same file for every dvsync of a user.
control_socket_disable = True
accesslog = None
# Gunicorn's own events in the format of all others.
_quiet = {"level": "WARNING", "handlers": [], "propagate": True}
logconfig_dict = {
    **settings.LOGGING,
    "loggers": {
        **settings.LOGGING["loggers"],
        "gunicorn.error": _quiet,
        "gunicorn.access": _quiet,
    },
}

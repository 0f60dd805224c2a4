"""Settings of the dvsync site, read once from the environment.

Every variable is described in docs/settings.md. A wrong value ends the start
with ``ImproperlyConfigured``. Nothing is started here: for the embedded
PostgreSQL only its address is computed.
"""

from __future__ import annotations

import os
import secrets
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ
from django.core.exceptions import ImproperlyConfigured

from dvsync_site import embedded, logs, security
from dvsync_site.embedded_places import homes

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()


def _check_files() -> None:
    """Refuse a ..._FILE that cannot be read, before its setting is asked for."""
    ours = ("DVSYNC_", "DJANGO_", "DATABASE_URL", "EMAIL_URL")
    for name, path in os.environ.items():
        if name.endswith("_FILE") and name.startswith(ours):
            try:
                Path(path).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ImproperlyConfigured(
                    f"{name}={path} cannot be read: {error}"
                ) from error


_check_files()


def _data_dir() -> Path:
    return Path(env.str("DVSYNC_DATA", default=str(BASE_DIR / "var"))).absolute()


def _positive(name: str, default: int) -> int:
    text = env.str(name, default=str(default)).strip()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ImproperlyConfigured(f"{name} must be a positive number, not {text!r}.")
    return int(text)


def _flag(name: str, *, default: bool = False) -> bool:
    text = env.str(name, default=str(default)).strip().lower()
    if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")
    return text in {"true", "1", "yes", "on"}


def _secret_key(data_dir: Path) -> str:
    """Return DJANGO_SECRET_KEY, or the key that the first start wrote."""
    if key := env.str("DJANGO_SECRET_KEY", default=""):
        return str(key)
    path = data_dir / "secret_key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Written beside and linked, so that two first starts agree on one key.
        draft = data_dir / f".secret_key.{os.getpid()}"
        if not path.exists():
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(50))
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data directory {data_dir} cannot be written ({error.strerror}). "
            "Set DVSYNC_DATA to a directory of your own, or set DJANGO_SECRET_KEY."
        ) from error


# A network that swallows everything must not hold a process for ever.
_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def _database() -> dict[str, object]:
    url = env.str("DATABASE_URL", default="") or embedded.default_url(DATA_DIR)
    try:
        config: dict[str, object] = environ.Env.db_url_config(url)
    except (ImproperlyConfigured, ValueError):
        config = {}
    if config.get("ENGINE") != "django.db.backends.postgresql":
        # Not the reason, which may quote the password.
        raise ImproperlyConfigured(
            "DATABASE_URL must be of the form postgres://user:password@host:port/name, "
            "with other characters than letters and digits in percent code (@ is %40)."
        )
    # libpq writes the folder of a socket as host in percent code; so may a user.
    config["HOST"] = unquote(str(config["HOST"]))
    config["CONN_MAX_AGE"] = 60
    config["CONN_HEALTH_CHECKS"] = True
    options = config.setdefault("OPTIONS", {})
    if isinstance(options, dict):
        for name, value in _NETWORK.items():
            options.setdefault(name, value)
    return config


def _database_homes(host: str) -> tuple[Path, ...]:
    ours = host.startswith("/") and host == str(embedded.socket_dir(DATA_DIR))
    return homes(DATA_DIR) if ours else ()


def _poll_seconds() -> int:
    seconds = _positive("DVSYNC_POLL_SECONDS", 20)
    if seconds < 5 or 60 % seconds:
        raise ImproperlyConfigured(
            "DVSYNC_POLL_SECONDS must be 5, 6, 10, 12, 15, 20, 30 or 60, "
            f"not {seconds}."
        )
    return seconds


def _choice(name: str, *values: str) -> str:
    text = str(env.str(name, default=values[0])).strip().lower()
    if text not in values:
        raise ImproperlyConfigured(
            f"{name} must be {' or '.join(dict.fromkeys(values))}, not {text!r}."
        )
    return text


def _web_address(name: str) -> str:
    text = str(env.str(name, default="")).strip()
    if text and not text.startswith(("http://", "https://")):
        raise ImproperlyConfigured(f"{name} must begin with http:// or https://.")
    return text


def _mail() -> dict[str, Any]:
    """Return Django's mail settings; without EMAIL_URL the server is localhost."""
    try:
        mail: dict[str, Any] = env.email_url("EMAIL_URL", default="smtp://localhost:25")
    except (ImproperlyConfigured, ValueError):
        # Not the reason, which may quote the password.
        raise ImproperlyConfigured(
            "EMAIL_URL must be of the form smtp+tls://user:password@host:587."
        ) from None
    mail.pop("OPTIONS", None)
    mail["EMAIL_PORT"] = mail["EMAIL_PORT"] or 25
    return mail


def _addresses(name: str) -> list[str]:
    addresses = [text.strip() for text in env.list(name, default=[])]
    for address in addresses:
        if "@" not in address or not address.isprintable() or " " in address:
            raise ImproperlyConfigured(
                f"{name} must be addresses with commas between, not {address!r}."
            )
    return addresses


def _roots() -> list[Path]:
    """Return the directories below which the pages offer exports."""
    texts = env.str("DVSYNC_ROOTS", default="").split(os.pathsep)
    paths = [Path(text.strip()).expanduser() for text in texts if text.strip()]
    for path in paths:
        if not path.is_absolute():
            raise ImproperlyConfigured(
                f"DVSYNC_ROOTS must be absolute paths with {os.pathsep!r} between, "
                f"not {str(path)!r}."
            )
    return paths or [DATA_DIR / "exports"]


DATA_DIR = _data_dir()
ROOTS = _roots()
POLL_SECONDS = _poll_seconds()
LATE_SECONDS = _positive("DVSYNC_LATE_SECONDS", 300)
STALL_SECONDS = _positive("DVSYNC_STALL_SECONDS", 600)
WORKERS = _positive("DVSYNC_WORKERS", 2)
# A file of a secret often ends with a line end.
METRICS_TOKEN = str(env.str("DVSYNC_METRICS_TOKEN", default="")).strip()
LOG_FORMAT = _choice("DVSYNC_LOG_FORMAT", "text", "json")
LOG_LEVEL = _choice(
    *("DVSYNC_LOG_LEVEL", logs.default_level(sys.argv)),
    *("debug", "info", "warning", "error"),
)
WEBHOOK_URL = _web_address("DVSYNC_WEBHOOK_URL")
WEBHOOK_SECRET = env.str("DVSYNC_WEBHOOK_SECRET", default="")
LOAD_WEBHOOK_URL = _web_address("DVSYNC_LOAD_WEBHOOK_URL")
ALERT_EMAILS = _addresses("DVSYNC_ALERT_EMAILS")
KEEP_DAYS = _positive("DVSYNC_KEEP_DAYS", 90)
DEBUG = _flag("DJANGO_DEBUG")
SECRET_KEY = _secret_key(DATA_DIR)
HTTPS = _flag("DVSYNC_HTTPS")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
DATABASES = {"default": _database()}
# Where the embedded server's files may be: its role may not ask that.
DATABASE_HOMES = _database_homes(str(DATABASES["default"]["HOST"]))

INSTALLED_APPS = [
    "dvsync_site.apps.SiteConfig",  # first: its qcluster is not django-q2's
    "django_q",  # before sync, which takes its schedules out of the admin
    "sync.apps.SyncAppConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_htmx",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "sync.middleware.probes_first",
    # The headers first: static files and refused requests have them too.
    "django.middleware.security.SecurityMiddleware",
    "dvsync_site.security.more_headers",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # A region of a page is asked for every two seconds. What BREACH would guess from
    # the sizes of answers, the CSRF token, is masked anew in each; Django also adds
    # bytes by chance.
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "sync.middleware.time_zone",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "dvsync_site.urls"
WSGI_APPLICATION = "dvsync_site.wsgi.application"
LOGIN_URL = "admin:login"
vars().update(security.settings(https=HTTPS, hosts=ALLOWED_HOSTS))
# A model.json is read from its upload; what is larger than any is thrown away unread.
FILE_UPLOAD_HANDLERS = ["sync.views.setup.forms.LimitedUpload"]
# No form has more than one, and who sent it is known only when all of them are stored.
DATA_UPLOAD_MAX_NUMBER_FILES = 1
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# django-q2 wants a timeout; a load has none.
warnings.filterwarnings("ignore", message="Retry and timeout are misconfigured")
# The poll has a cluster of its own, so that no load delays it. A load may take hours:
# its watchdog ends it, not a timeout. Neither is run again by django-q2, for the
# next poll does that. A load's row of the queue is taken for a week at the most.
Q_CLUSTER = {
    "name": "poll",
    "orm": "default",
    "broker_class": "sync.tasks.broker.ServiceBroker",
    "workers": 1,
    "timeout": 60,
    "retry": 180,
    # The broker hands out no more than there are free workers. The limit itself must
    # never be met: a pusher that waits there notices nothing any more.
    "queue_limit": 1000,
    "bulk": 1,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": -1,
    "recycle": 500,
    "log_level": "WARNING",
    "ALT_CLUSTERS": {
        "sync": {
            "workers": WORKERS,
            "scheduler": False,
            "timeout": None,
            "retry": 7 * 24 * 3600,
        },
    },
}

vars().update(_mail())
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DVSYNC_ALERT_FROM", default="dvsync@localhost")

# What may come from a file instead is named here too.
LOGGING = logs.configuration(
    style=LOG_FORMAT,
    level=LOG_LEVEL,
    with_time=_flag("DVSYNC_LOG_TIME", default=True),
    secrets={
        *logs.environment_secrets(),
        *(SECRET_KEY, METRICS_TOKEN, WEBHOOK_SECRET),
        str(vars().get("EMAIL_HOST_PASSWORD") or ""),
        str(DATABASES["default"]["PASSWORD"]),
    },
)

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# The files are served from the packages: no collectstatic step to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

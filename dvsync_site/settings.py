"""Settings of the dvsync site, read once from the environment.

Every variable is described in docs/settings.md. A wrong value ends the start
with ``ImproperlyConfigured``. Nothing is started here: for the embedded
PostgreSQL only its address is computed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import unquote

import environ
from django.core.exceptions import ImproperlyConfigured

from dvsync_site import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()


def _data_dir() -> Path:
    return Path(env.str("DVSYNC_DATA", default=str(BASE_DIR / "var"))).absolute()


def _positive(name: str, default: int) -> int:
    text = env.str(name, default=str(default)).strip()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ImproperlyConfigured(f"{name} must be a positive number, not {text!r}.")
    return int(text)


def _flag(name: str) -> bool:
    text = env.str(name, default="false").strip().lower()
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


# A network that swallows everything must not hold a command for ever.
CONNECT_SECONDS = 10


def _database() -> dict[str, object]:
    url = env.str("DATABASE_URL", default="") or embedded.default_url(DATA_DIR)
    config: dict[str, object] = environ.Env.db_url_config(url)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_URL must be of the form postgres://user:password@host:port/name."
        )
    # libpq writes the folder of a socket as host in percent code; so may a user.
    config["HOST"] = unquote(str(config["HOST"]))
    config["CONN_MAX_AGE"] = 60
    config["CONN_HEALTH_CHECKS"] = True
    options = config.setdefault("OPTIONS", {})
    if isinstance(options, dict):
        options.setdefault("connect_timeout", CONNECT_SECONDS)
    return config


DATA_DIR = _data_dir()
STALL_SECONDS = _positive("DVSYNC_STALL_SECONDS", 600)
DEBUG = _flag("DJANGO_DEBUG")
SECRET_KEY = _secret_key(DATA_DIR)
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
DATABASES = {"default": _database()}

INSTALLED_APPS = [
    "dvsync_site.apps.SiteConfig",
    "sync.apps.SyncAppConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator")
]

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# The files are served from the packages: no collectstatic step to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

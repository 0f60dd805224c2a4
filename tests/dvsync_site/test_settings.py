from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRINT = (
    "from django.conf import settings as s; d = s.DATABASES['default']; "
    "print(d['HOST'], d['PORT'], d['NAME'], d['USER'], len(s.SECRET_KEY))"
)


def run(
    tmp_path: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with an environment of its own."""
    unset = {"DATABASE_URL", "DJANGO_SECRET_KEY"}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in unset},
        "DVSYNC_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "dvsync_site.settings",
        **variables,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Read the settings and print some."""
    return run(tmp_path, "-c", PRINT, **variables)


def refused(tmp_path: Path, **variables: str) -> str:
    """Start a command whose settings are wrong and return what it says."""
    done = run(tmp_path, "manage.py", "check", **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_embedded_server_is_the_default(tmp_path: Path) -> None:
    host, _, name, *_ = start(tmp_path).stdout.split()
    assert host.startswith("/")
    assert name == "dvsync"


def test_a_database_url_is_followed(tmp_path: Path) -> None:
    url = "postgres://ann:s%23cret@db.example:6543/crm"
    assert start(tmp_path, DATABASE_URL=url).stdout.split()[:4] == [
        "db.example",
        "6543",
        "crm",
        "ann",
    ]


def test_a_socket_folder_may_be_written_in_percent_code(tmp_path: Path) -> None:
    url = "postgres://ann@%2Fvar%2Frun%2Fpostgresql/crm"
    assert start(tmp_path, DATABASE_URL=url).stdout.startswith("/var/run/postgresql ")


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    assert "postgres://" in refused(tmp_path, DATABASE_URL="mysql://a@b/c")


@pytest.mark.parametrize("value", ["soon", "0", "-5", "1.5"])
def test_a_wrong_number_is_refused_by_name(tmp_path: Path, value: str) -> None:
    said = refused(tmp_path, DVSYNC_STALL_SECONDS=value)
    assert "DVSYNC_STALL_SECONDS" in said
    assert value in said


def test_a_wrong_flag_is_refused_by_name(tmp_path: Path) -> None:
    assert "DJANGO_DEBUG" in refused(tmp_path, DJANGO_DEBUG="perhaps")


def test_the_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    start(tmp_path)
    path = tmp_path / "data" / "secret_key"
    first = path.read_text()
    assert len(first) >= 50
    assert path.stat().st_mode & 0o077 == 0
    start(tmp_path)
    assert path.read_text() == first


def test_the_secret_key_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("k" * 60)
    done = start(tmp_path, DJANGO_SECRET_KEY_FILE=str(secret))
    assert done.stdout.split()[-1] == "60"
    assert not (tmp_path / "data" / "secret_key").exists()


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused(tmp_path, DVSYNC_DATA=str(tmp_path / "file" / "data"))
    assert "DVSYNC_DATA" in said


PRINT_ROOTS = "from django.conf import settings as s; print(*s.ROOTS)"


def test_exports_are_offered_from_the_data_directory(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", PRINT_ROOTS)
    assert done.stdout.strip() == str(tmp_path / "data" / "exports")


def test_other_directories_may_be_named(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", PRINT_ROOTS, DVSYNC_ROOTS=f"{tmp_path}/a: /b :")
    assert done.stdout.split() == [f"{tmp_path}/a", "/b"]


def test_a_directory_that_depends_on_where_one_is_is_refused(tmp_path: Path) -> None:
    assert "absolute paths" in refused(tmp_path, DVSYNC_ROOTS="/a:exports")

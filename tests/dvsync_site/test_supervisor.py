"""The supervisor, with real processes that crash, hang, and do not want to end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dvsync_site import supervisor_output
from dvsync_site.supervisor import Service, _Runner
from dvsync_site.supervisor_guard import Guard
from dvsync_site.supervisor_output import CUT, LONGEST_LINE, Output, lines_of

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import json, pathlib, sys
from dvsync_site.supervisor import Service, Supervisor
from dvsync_site.supervisor_output import Output

class Check:
    every = 0.05
    def __init__(self, file):
        self.file = pathlib.Path(file)
    def __call__(self, life):
        return self.file.read_text() if self.file.exists() else None

options = json.loads(sys.argv[1])
check = Check(options["sick"]) if "sick" in options else None
output = Output(sys.stdout, style=options["style"])
services = [Service(n, [sys.executable, "-c", *c], {}, check)
            for n, c in options["services"].items()]
services += [Service("none", ["/no/such/program"])] * options.get("none", 0)
code = Supervisor(services, output, grace=options["grace"]).run()
output.close()
sys.exit(code)
"""
# Small services. Each has a word in its arguments by which it is found.
ENDS = "print('hello', flush=True)"
RUNS = "import time; print('runs', flush=True); time.sleep(999)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {RUNS}"
# Its child outlives it, and ends by nothing but SIGKILL.
LEAVES = (
    "import subprocess, sys; "
    "subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]]).pid; {then}"
)
PARENT = LEAVES.format(then=RUNS)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def processes(word: str) -> list[int]:
    """Return the living processes with this word on their command line."""
    ps = ["ps", "-axww", "-o", "pid=,stat=,args="]
    listed = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(pid) for pid, stat, args in lines if word in args and stat[0] != "Z"]


def parent_of(pid: int) -> int:
    ps = ["ps", "-o", "ppid=", "-p", str(pid)]
    done = subprocess.run(ps, capture_output=True, text=True, check=False)
    return int(done.stdout or 0)


class Run:
    """A supervisor as a process of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.word = str(tmp_path)
        self.log = tmp_path / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        services: dict[str, list[str]],
        *,
        style: str = "text",
        grace: float = 60,
        **options: Any,
    ) -> Run:
        """Start the services; their programs get the word as last argument."""
        named = {name: [*code, self.word] for name, code in services.items()}
        options |= {"services": named, "style": style, "grace": grace}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(options)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def text(self) -> str:
        return self.log.read_text()

    def says(self, text: str, times: int = 1) -> Run:
        """Wait until it said this so often."""
        wait_until(lambda: self.text().count(text) >= times)
        return self

    def signal(self, number: signal.Signals) -> Run:
        assert self.process is not None
        self.process.send_signal(number)
        return self

    def code(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pid in processes(self.word):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.end()


def test_a_service_that_ends_without_error_is_started_again(run: Run) -> None:
    run.start({"web": [ENDS]}).says("| hello", times=3)
    assert "ended (exit code 0)" in run.text()


def test_one_that_ends_again_and_again_is_started_ever_later(run: Run) -> None:
    run.start({"web": [ENDS]}).says("next start in", times=3)
    pauses = [line.split()[-2] for line in run.text().splitlines() if "next" in line]
    assert pauses[:3] == ["0.5", "1", "2"]


def test_the_pause_grows_to_half_a_minute_and_is_short_again_after_a_good_life() -> (
    None
):
    guard = Guard(0)
    guard.end()
    runner = _Runner(Service("web", ["web"]), Output(io.StringIO()), guard)
    pauses = [runner._back_off(1.0) for _ in range(10)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert runner._back_off(61.0) == 0.5
    assert runner._back_off(1.0) == 1


def test_the_others_go_on_when_one_cannot_be_started(run: Run) -> None:
    run.start({"web": [RUNS]}, none=1).says("cannot be started", times=2)
    run.says("| runs")
    assert run.text().count("| runs") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_are_stopped_on_request(run: Run, number: signal.Signals) -> None:
    run.start({"web": [RUNS], "poll": [RUNS]}).says("runs", times=2)
    assert run.signal(number).code() == 0
    assert processes(run.word) == []
    assert run.text().count("ended (signal 15)") == 2


def test_one_that_does_not_listen_is_killed_after_its_grace(run: Run) -> None:
    run.start({"web": [DEAF], "poll": [RUNS]}, grace=0.3).says("runs", times=2)
    assert run.signal(signal.SIGTERM).code() == 0
    assert processes(run.word) == []
    assert "did not stop in time" in run.text()


def test_a_stopped_one_is_killed_too(run: Run) -> None:
    run.start({"web": [RUNS]}, grace=0.3).says("runs")
    [pid] = [p for p in processes(run.word) if run.process and p != run.process.pid]
    os.kill(pid, signal.SIGSTOP)
    assert run.signal(signal.SIGTERM).code() == 0
    assert processes(run.word) == []


def test_a_second_request_kills_at_once(run: Run) -> None:
    run.start({"web": [DEAF]}, grace=9999).says("runs")
    run.signal(signal.SIGINT).says("stopping")
    assert run.signal(signal.SIGINT).code() == 0
    assert processes(run.word) == []


def test_the_children_of_a_service_end_with_it(run: Run) -> None:
    run.start({"web": [PARENT, DEAF]}).says("runs", times=2)
    assert run.signal(signal.SIGTERM).code() == 0
    assert processes(run.word) == []


def test_what_a_crash_leaves_is_killed_before_the_next_start(
    run: Run, tmp_path: Path
) -> None:
    note = f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')"
    orphan = f"import os; {note}; {DEAF}"
    waits = LEAVES.format(then="import time; time.sleep(2)")
    run.start({"web": [waits, orphan]}).says("started", times=3)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) >= 2
    assert int(pids[0]) not in processes(run.word)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_nothing_is_left_when_the_supervisor_is_killed(run: Run) -> None:
    run.start({"web": [RUNS], "poll": [RUNS]}).says("runs", times=2)
    run.signal(signal.SIGKILL).code()
    wait_until(lambda: processes(run.word) == [])


def test_not_even_what_does_not_listen_is_left_when_the_supervisor_is_killed(
    run: Run,
) -> None:
    services = {"web": [DEAF], "poll": [PARENT, DEAF]}
    run.start(services, grace=0.3).says("runs", times=3)
    run.signal(signal.SIGKILL).code()
    wait_until(lambda: processes(run.word) == [])


def test_a_supervisor_does_without_a_guard_that_was_killed(run: Run) -> None:
    run.start({"web": [ENDS]}).says("| hello")
    assert run.process is not None
    guards = processes("supervisor_guard.py")
    ours = [pid for pid in guards if parent_of(pid) == run.process.pid]
    os.kill(ours[0], signal.SIGKILL)
    run.says("| hello", times=3)
    assert run.signal(signal.SIGTERM).code() == 0


def test_what_a_check_condemns_is_killed_and_started_again(
    run: Run, tmp_path: Path
) -> None:
    sick = tmp_path / "sick"
    run.start({"web": [PARENT, DEAF]}, sick=str(sick)).says("runs", times=2)
    before = processes(run.word)
    draft = tmp_path / "draft"
    draft.write_text("no answer")
    draft.rename(sick)
    run.says("no answer: killing it")
    sick.unlink(missing_ok=True)
    run.says("runs", times=4)
    assert run.process is not None
    assert set(before) & set(processes(run.word)) == {run.process.pid}


def test_a_line_says_when_and_of_whom_and_obeys_nothing(run: Run) -> None:
    code = "import time; print('a\\x1b[2Jb\\tc', flush=True); time.sleep(999)"
    run.start({"poll": [code]}).says("| a")
    [line] = [line for line in run.text().splitlines() if "| a" in line]
    assert line[8:] == " poll  | a\\x1b[2Jb  c"
    assert line[2] == line[5] == ":"


def test_in_json_each_line_is_an_object_and_objects_pass_unchanged(run: Run) -> None:
    code = (
        "import time; print('{ \"level\": \"INFO\" }'); print('plain {'); "
        "print('{\"cut\": '); print('[1]', flush=True); time.sleep(999)"
    )
    run.start({"poll": [code]}, style="json").says("[1]")
    run.signal(signal.SIGTERM).code()
    lines = run.text().splitlines()
    assert '{ "level": "INFO" }' in lines
    events = [json.loads(line) for line in lines]
    said = [e["message"] for e in events if e.get("logger") == "poll"]
    assert [text for text in said if not text.startswith(("started", "ended"))] == [
        "plain {",
        '{"cut": ',
        "[1]",
    ]
    assert {"time", "level", "logger", "message"} <= set(events[0])


def pipe_with(content: bytes) -> io.BufferedReader:
    """Return a pipe's end; the content is written as fast as it is read."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(content)

    threading.Thread(target=write).start()
    return os.fdopen(reading, "rb")


def test_a_line_without_end_is_cut_and_the_next_one_is_whole() -> None:
    with pipe_with(b"x" * 3_000_000 + b"\nnext\r\nlast \xff") as pipe:
        first, second, third = lines_of(pipe)
    assert first == "x" * LONGEST_LINE + CUT
    assert second == "next"
    assert third == "last \\xff"


def test_a_long_line_that_ends_in_one_block_is_cut_too() -> None:
    with pipe_with(b"x" * (LONGEST_LINE + 1) + b"\nnext\n") as pipe:
        assert [len(line) for line in lines_of(pipe)] == [
            LONGEST_LINE + len(CUT),
            4,
        ]


def test_nobody_waits_for_a_reader_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor_output, "WAITING_LINES", 5)
    monkeypatch.setattr(supervisor_output, "PATIENCE", 0.01)
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        output = Output(stream)
        for _ in range(2000):
            output.event("web", "x" * 1000)
        with pipe_with(b"line\n" * 2000) as pipe:
            output.follow("web", pipe).join(60)
            output.close(0.01)
        lines: list[str] = []
        while not any("lines were dropped" in line for line in lines):
            lines.append(reader.readline())
        output.close()


def test_a_reader_that_is_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    output = Output(stream)
    output.event("web", "to nobody")
    output.event("web", "to nobody again")
    output.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_unless_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    first = Output(coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    second = Output(plain)
    for output in (first, second):
        output.event("web", "started")
        output.close()
    assert coloured.getvalue().startswith("\x1b[36m")
    assert "\x1b" not in plain.getvalue()


def test_secrets_of_the_settings_are_hidden_in_what_services_say() -> None:
    stream = io.StringIO()
    output = Output(stream, redact=lambda text: text.replace("canary", "***"))
    output.event("web", "the canary sings")
    output.close()
    assert "the *** sings" in stream.getvalue()

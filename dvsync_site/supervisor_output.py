"""What a supervisor and its services say, line by line, each with its name."""

from __future__ import annotations

import datetime as dt
import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, NamedTuple, TextIO

from dvsync_site.logs import Redact, json_event
from sync.printable import printable

# A longer line is cut: no service may fill the supervisor's memory.
LONGEST_LINE = 64 * 1024
CUT = " [line cut]"
BLOCK = 64 * 1024
# Lines that wait while nobody reads the output, and how long a service then waits.
WAITING_LINES = 10_000
PATIENCE = 5.0
COLOURS = (36, 32, 35, 34, 33)
NAME_WIDTH = 5


class _Line(NamedTuple):
    name: str
    text: str
    own: bool  # the supervisor's, about the service


class Output:
    """Writes the lines of all services to one stream, from a thread of its own.

    A stream that nobody reads holds up no service: lines are dropped then, and
    counted.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        style: str = "text",
        redact: Redact = str,
    ) -> None:
        self._stream = stream
        self._json = style == "json"
        self._redact = redact
        self._colour = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}
        self._lines: queue.Queue[_Line | None] = queue.Queue(WAITING_LINES)
        self._dropped = 0
        self._stuck = False  # nobody reads: no line waits any more
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    def event(self, name: str, text: str) -> None:
        """Say something about a service; never waits."""
        self._put(_Line(name, text, own=True), 0)

    def follow(self, name: str, pipe: IO[bytes]) -> threading.Thread:
        """Start to read a service's output until its end; the pipe is closed then."""
        thread = threading.Thread(target=self._follow, args=(name, pipe), daemon=True)
        thread.start()
        return thread

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, but do not wait longer for a reader that is away."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=timeout)
            self._writer.join(timeout)

    def _follow(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in lines_of(pipe):
                self._put(_Line(name, line, own=False), PATIENCE)

    def _put(self, line: _Line, patience: float) -> None:
        try:
            self._lines.put(line, patience > 0 and not self._stuck, patience)
        except queue.Full:
            self._dropped += 1
            self._stuck = self._stuck or patience > 0

    def _write_all(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                self._write(line)
                self._stuck = False
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    text = f"{dropped} lines were dropped: nobody read them"
                    self._write(_Line("up", text, own=True))
        except (OSError, ValueError):  # the reader is gone; the services go on
            while self._lines.get() is not None:
                pass

    def _write(self, line: _Line) -> None:
        text = self._as_json(line) if self._json else self._as_text(line)
        self._stream.write(text + "\n")
        if self._lines.empty():
            self._stream.flush()

    def _as_json(self, line: _Line) -> str:
        text = self._redact(line.text)
        if not line.own and _is_json_object(text):
            return text
        event = json_event(dt.datetime.now(dt.UTC), "INFO", line.name, text)
        return json.dumps(event)

    def _as_text(self, line: _Line) -> str:
        # Astimezone without a zone: a person compares it with the clock on the wall.
        moment = f"{dt.datetime.now(dt.UTC).astimezone():%H:%M:%S}"
        text = printable(self._redact(line.text).expandtabs())
        prefix = f"{moment} {line.name:{NAME_WIDTH}} {'*' if line.own else '|'}"
        if self._colour:
            number = self._colours.setdefault(
                line.name, COLOURS[len(self._colours) % len(COLOURS)]
            )
            prefix = f"\x1b[{number}m{prefix}\x1b[0m"
        return f"{prefix} {text}"


def lines_of(pipe: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a pipe; too long ones are cut."""
    rest = b""
    cut = False  # what is left of a long line is not wanted
    while block := os.read(pipe.fileno(), BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if not cut:
                yield _decoded(line)
            cut = False
        if len(rest) > LONGEST_LINE:
            if not cut:
                yield _decoded(rest)
            rest, cut = b"", True
    if rest and not cut:
        yield _decoded(rest)


def _decoded(line: bytes) -> str:
    text = line[:LONGEST_LINE].decode(errors="backslashreplace").rstrip("\r")
    return text + CUT if len(line) > LONGEST_LINE else text


def _is_json_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False

"""A network between a loader and the test's PostgreSQL that breaks where it is told.

The proxy reads what the client says message by message; the protocol is plain because
its address switches encryption off. One fault is armed at a time and happens once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from django.db import connection

from tests.processes import database_url

PLAIN = {"sslmode": "disable", "gssencmode": "disable"}
COMMIT = (b"Q", b"COMMIT\0")
NEGOTIATIONS = {80877103, 80877104}  # requests for SSL and GSSAPI


class Proxy:
    """Forwards connections of 127.0.0.1 to the test's server until it is closed.

    ``struck`` is set once the armed fault has happened.
    """

    def __init__(self) -> None:
        connection.ensure_connection()
        info = connection.connection.info
        self._server = (info.host, info.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.struck = threading.Event()
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._fault: Fault | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    # Its address

    def url(self) -> str:
        """Return the DATABASE_URL that leads through the proxy."""
        login, _, database = database_url().rpartition("@")
        name = database.rpartition("/")[2]
        options = "&".join(f"{key}={value}" for key, value in PLAIN.items())
        return f"{login}@127.0.0.1:{self.port}/{name}?{options}"

    def settings(self, direct: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a Django connection that leads through the proxy."""
        options = {**direct["OPTIONS"], **PLAIN}
        return {**direct, "HOST": "127.0.0.1", "PORT": self.port, "OPTIONS": options}

    # Its faults

    def cut_before(self, number: int) -> None:
        """Cut the connection on which the n-th message from now is sent."""
        self._arm(_AtMessage(number))

    def lose_answer_to_commit(self, number: int = 1, *, of_load: bool = False) -> None:
        """Let the server do the n-th COMMIT from now, and cut before its answer.

        ``of_load`` counts those of transactions with a COPY alone.
        """
        self._arm(_AtCommit(number, Line.cut, of_load=of_load))

    def freeze_answer_to_commit(self) -> None:
        """Let the server do the next COMMIT of a COPY, and freeze before its answer."""
        self._arm(_AtCommit(1, Line.freeze, of_load=True))

    def cut_in_copy(self, size: int) -> None:
        """Cut the connection on which so many bytes of COPY were sent."""
        self._arm(_InCopy(size, Line.cut))

    def freeze_in_copy(self, size: int) -> None:
        """Forward nothing more of a connection after so many bytes of COPY.

        Its sockets stay open until ``thaw`` or the proxy's end.
        """
        self._arm(_InCopy(size, Line.freeze))

    def thaw(self) -> None:
        """Break what is frozen, as a network does that comes back too late."""
        for line in list(self._lines):
            line.cut()

    def _arm(self, fault: Fault) -> None:
        self.struck.clear()
        self._fault = fault

    def meet(self, line: Line, kind: bytes, body: bytes) -> None:
        """Let the armed fault look at a client's message before it is forwarded."""
        with self._lock:
            action = self._fault(line, kind, body) if self._fault else None
            if action:
                self._fault = None
                self.struck.set()  # before the client can feel it
                action(line)

    # Its life

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept
        self._thread.join()
        self._listener.close()
        self.thaw()
        for line in self._lines:
            line.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._closing:
                    client.close()
                    return
                self._forget_ended()
                line = Line(self, client, self._connect())
                self._lines.append(line)
                line.start()

    def _forget_ended(self) -> None:
        for line in [line for line in self._lines if line.ended]:
            self._lines.remove(line)
            line.close()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


class Line:
    """One connection through the proxy: two sockets, a thread for each direction."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket
    ) -> None:
        self.before_answer: Callable[[Line], None] | None = None
        self._frozen = False
        self._proxy = proxy
        self._ends = (client, server)
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._client_to_server, self._server_to_client)
        ]

    def start(self) -> None:
        """Begin to forward."""
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        """Break the connection in both directions."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Forward nothing from now on, not even the end of one side."""
        self._frozen = True

    @property
    def ended(self) -> bool:
        """Whether both sides know that the connection is broken."""
        return not self._frozen and not any(t.is_alive() for t in self._threads)

    def close(self) -> None:
        """Give the sockets back when nobody waits on them any more."""
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _client_to_server(self) -> None:
        client, server = self._ends
        with suppress(OSError):
            for kind, body, message in _messages(client):
                self._proxy.meet(self, kind, body)
                if self._frozen:
                    return
                server.sendall(message)
        if not self._frozen:
            self.cut()

    def _server_to_client(self) -> None:
        client, server = self._ends
        with suppress(OSError):
            while data := server.recv(65536):
                if self.before_answer:
                    self.before_answer(self)
                if self._frozen:
                    return
                client.sendall(data)
        if not self._frozen:
            self.cut()


Action = Callable[[Line], None]
# What is done at a client's message, if anything; asked before it is forwarded.
Fault = Callable[[Line, bytes, bytes], Action | None]


class _AtMessage:
    """Cuts at the n-th message."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, line: Line, kind: bytes, body: bytes) -> Action | None:
        self._left -= 1
        return None if self._left else Line.cut


class _AtCommit:
    """Acts after the n-th COMMIT: what the server says next is its answer."""

    def __init__(self, number: int, action: Action, *, of_load: bool) -> None:
        self._left = number
        self._action = action
        self._of_load = of_load
        self._copied: Line | None = None

    def __call__(self, line: Line, kind: bytes, body: bytes) -> Action | None:
        if kind == b"d":
            self._copied = line
        if (kind, body) == COMMIT and (self._copied is line or not self._of_load):
            self._left -= 1
            self._copied = None
        return None if self._left else self._await_answer

    def _await_answer(self, line: Line) -> None:
        line.before_answer = self._action


class _InCopy:
    """Acts when so many bytes of COPY were met."""

    def __init__(self, size: int, action: Action) -> None:
        self._left = size
        self._action = action

    def __call__(self, line: Line, kind: bytes, body: bytes) -> Action | None:
        self._left -= len(body) if kind == b"d" else 0
        return None if self._left > 0 else self._action


def _messages(client: socket.socket) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Read a client's messages: kind (none at the start), body, and all of it."""
    started = False
    with client.makefile("rb") as stream:
        while head := stream.read(5 if started else 4):
            size = int.from_bytes(head[-4:]) - 4
            body = stream.read(size)
            yield head[:-4], body, head + body
            started = started or int.from_bytes(body[:4]) not in NEGOTIATIONS

"""Servers that take what dvsync sends: HTTP and mail, well-behaved or not."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class Webhook(ThreadingHTTPServer):
    """Remembers what was posted; answers ``status``, or behaves as ``manner`` says.

    ``silent`` never answers, ``drip`` answers a byte at a time without an end,
    ``redirect`` points to ``/elsewhere``, ``babble`` answers without an end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.manner = "answer"
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=canary-of-the-url"

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.posts]


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        getattr(self, self.server.manner)()

    def do_GET(self) -> None:
        self.server.posts.append((self.path, {}, b""))
        self.answer()

    def answer(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()

    def redirect(self) -> None:
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def silent(self) -> None:
        self.server.over.wait(60)

    def drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._write_on(b"x", 0.05)

    def babble(self) -> None:
        self.send_response(200)
        self.end_headers()
        self._write_on(b"x" * 65536, 0)

    def _write_on(self, data: bytes, pause: float) -> None:
        try:
            while not self.server.over.wait(pause):
                self.wfile.write(data)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that remembers mails; after ``refuse`` it takes none."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[str] = []
        self.refuse = False
        self.gate = threading.Event()
        self.gate.set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox
    REPLIES: ClassVar = {b"DATA": "354 go on", b"QUIT": "221 bye"}

    def handle(self) -> None:
        self.server.gate.wait(60)
        self._say("220 here")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"MAIL" and self.server.refuse:
                self._say("550 canary-of-the-mail-server")
                continue
            self._say(self.REPLIES.get(verb, "250 ok"))
            if verb == b"DATA":
                self._take()
            if verb == b"QUIT":
                return

    def _take(self) -> None:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line.decode())
        self.server.mails.append("".join(lines))
        self._say("250 taken")

    def _say(self, reply: str) -> None:
        self.wfile.write(f"{reply}\r\n".encode())


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join()

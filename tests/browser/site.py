"""The site as a server for browsers: all of its middleware, on the test's database."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer
from django.test.testcases import LiveServerThread, QuietWSGIRequestHandler

HOST = "localhost"
PATIENCE_SECONDS = 20.0


class _Server(ThreadedWSGIServer):
    """Knows its open connections, which a browser keeps for its next request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        # Last: the connection to the database is closed by now.
        self.open.discard(request)


class _Thread(LiveServerThread):
    def _create_server(self, connections_override: Any = None) -> _Server:
        # Its port is taken again at once when it comes back.
        return _Server(
            (self.host, self.port),
            QuietWSGIRequestHandler,
            allow_reuse_address=True,
            connections_override=connections_override,
        )


class Site:
    """The site under an address of its own, until it is stopped.

    Static files come through the middleware too, unlike those of ``live_server``.
    """

    def __init__(self) -> None:
        self._port = 0
        self._thread: _Thread | None = None
        self._running = 0
        self._lock = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        self._thread = thread = _Thread(HOST, cast(Any, self._counted), port=self._port)
        thread.daemon = True
        thread.start()
        thread.is_ready.wait()
        if thread.error:
            raise thread.error
        self._port = thread.port

    def stop(self) -> None:
        """End it, with every connection that is open; what it answers is answered."""
        assert self._thread
        server = self._thread.httpd
        self._thread.terminate()
        self.settle()
        assert isinstance(server, _Server)
        for connection in [*server.open]:
            with suppress(OSError):  # it was closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + PATIENCE_SECONDS
        while server.open and time.monotonic() < end:
            time.sleep(0.01)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Let nothing answer under the address for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def settle(self) -> None:
        """Wait until no request is at work."""
        with self._lock:
            idle = self._lock.wait_for(lambda: not self._running, PATIENCE_SECONDS)
        assert idle, "a request does not end"

    def _counted(self, with_media: Any) -> Any:
        """Return the application; not Django's, which serves files of the folder."""
        application = WSGIHandler()

        def counted(environ: Any, start_response: Any) -> Any:
            with self._lock:
                self._running += 1
            try:
                return application(environ, start_response)
            finally:
                with self._lock:
                    self._running -= 1
                    self._lock.notify_all()

        return counted

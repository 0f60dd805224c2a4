"""Posting a signed JSON document to somebody else's server, within a few seconds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

# From the first look for its address to the first line of its answer.
TOTAL_SECONDS = 5.0
SIGNATURE = "X-Dvsync-Signature"


class WebhookError(Exception):
    """The receiver did not take it; the text names scheme and host alone."""


def post(url: str, document: Mapping[str, object], secret: str = "") -> None:
    """Post a document; raise ``WebhookError`` unless the answer is 2xx in time.

    With a ``secret`` it is signed. A redirect is not followed, and nothing of the
    answer but its status is read.
    """
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    try:
        attempt = _Attempt(urlsplit(url), body, secret)
    except (ValueError, http.client.InvalidURL):
        raise WebhookError("The address of the webhook is no valid URL") from None
    status = attempt.status()
    if not 200 <= status < 300:
        raise WebhookError(f"{attempt.receiver} answered {status}")


def sign(body: bytes, secret: str, moment: int) -> str:
    """Return the value of the signature's header for a body sent at a moment."""
    signed = f"{moment}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class _Attempt:
    """One request in a thread of its own, which is cut off when time is up.

    A time-out of the socket is not enough: it begins anew with every byte.
    """

    def __init__(self, url: SplitResult, body: bytes, secret: str) -> None:
        self.receiver = f"{url.scheme}://{url.hostname}"
        secure = url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        # Longer than is waited for it: only the thread that nobody waits for meets it.
        timeout = 2 * TOTAL_SECONDS
        self._connection = kind(url.hostname or "", url.port, timeout=timeout)
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._body = body
        self._headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "dvsync",
            "Connection": "close",
            **_login(url),
        }
        if secret:
            self._headers[SIGNATURE] = sign(body, secret, int(time.time()))
        self._status = 0
        self._problem = ""

    def status(self) -> int:
        """Send it and return the status of the answer."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        thread.join(TOTAL_SECONDS)
        if thread.is_alive():
            self._cut_off()
            raise WebhookError(
                f"{self.receiver} did not answer within {TOTAL_SECONDS:g} seconds"
            )
        if self._problem:
            raise WebhookError(f"{self.receiver} cannot be reached: {self._problem}")
        return self._status

    def _run(self) -> None:
        try:
            self._connection.request("POST", self._path, self._body, self._headers)
            self._status = self._connection.getresponse().status
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Not its text: that may hold parts of the address.
            self._problem = type(error).__name__
        finally:
            self._connection.close()

    def _cut_off(self) -> None:
        line = self._connection.sock
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _login(url: SplitResult) -> dict[str, str]:
    """Return the header for a user and password in the address."""
    if url.username is None:
        return {}
    login = f"{unquote(url.username)}:{unquote(url.password or '')}"
    code = base64.b64encode(login.encode()).decode()
    return {"Authorization": f"Basic {code}"}

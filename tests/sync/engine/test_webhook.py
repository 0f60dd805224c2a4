"""A post arrives signed, or fails within its time, whatever the receiver does."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync.engine import webhook
from sync.engine.webhook import WebhookError, post
from tests import receivers

SECRET = "canary-of-the-secret"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def receiver() -> Iterator[receivers.Webhook]:
    with receivers.webhook() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.3)


def refused(url: str) -> str:
    with pytest.raises(WebhookError) as caught:
        post(url, {"a": 1}, SECRET)
    return str(caught.value)


def test_a_document_arrives_as_json_with_its_signature(
    receiver: receivers.Webhook,
) -> None:
    post(receiver.url, {"name": "ä\U0001f642"}, SECRET)

    [(path, headers, body)] = receiver.posts
    assert path == "/hook?token=canary-of-the-url"
    assert receiver.documents == [{"name": "ä\U0001f642"}]
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    moment, digest = headers["X-Dvsync-Signature"].split(",")
    signed = moment.removeprefix("t=").encode() + b"." + body
    wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert digest == f"v1={wanted}"


def test_the_example_of_the_documents_tells_genuine_messages_from_others(
    receiver: receivers.Webhook,
) -> None:
    text = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "alerts.md", "exec"), names)  # noqa: S102
    is_genuine = names["is_genuine"]

    post(receiver.url, {"a": 1}, SECRET)

    [(_, headers, body)] = receiver.posts
    header = headers["X-Dvsync-Signature"]
    assert is_genuine(body, header, SECRET)
    assert not is_genuine(body + b" ", header, SECRET)
    assert not is_genuine(body, header, "another")
    assert not is_genuine(body, header.replace("v1=", "v1=\xe4"), SECRET)
    for forged in ("", "t=,v1=", "nonsense", "t=1,v1=" + "0" * 64):
        assert not is_genuine(body, forged, SECRET)
    assert not is_genuine(body, webhook.sign(body, SECRET, 1), SECRET), "replayed"


def test_without_a_secret_there_is_no_signature(receiver: receivers.Webhook) -> None:
    post(receiver.url, {})
    assert "X-Dvsync-Signature" not in receiver.posts[0][1]


def test_a_login_in_the_address_is_sent_and_not_told(
    receiver: receivers.Webhook,
) -> None:
    url = receiver.url.replace("http://", "http://ann:p%40w@")
    post(url, {})
    assert receiver.posts[0][1]["Authorization"] == "Basic YW5uOnBAdw=="
    receiver.status = 500
    assert refused(url) == "http://127.0.0.1 answered 500"


@pytest.mark.parametrize("status", [300, 302, 400, 404, 429, 500, 503])
def test_every_answer_but_2xx_is_a_failure(
    receiver: receivers.Webhook, status: int
) -> None:
    receiver.status = status
    assert refused(receiver.url) == f"http://127.0.0.1 answered {status}"


def test_a_redirect_is_not_followed(receiver: receivers.Webhook) -> None:
    receiver.manner = "redirect"
    assert "answered 307" in refused(receiver.url)
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("manner", ["silent", "drip"])
def test_a_receiver_that_does_not_come_to_an_end_is_cut_off(
    receiver: receivers.Webhook, impatient: None, manner: str
) -> None:
    receiver.manner = manner
    assert "did not answer within 0.3 seconds" in refused(receiver.url)


def test_an_answer_without_end_is_not_read(receiver: receivers.Webhook) -> None:
    receiver.manner = "babble"
    post(receiver.url, {})
    assert len(receiver.posts) == 1


def test_nobody_there_is_a_failure_that_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://ann:canary-of-the-url@127.0.0.1:{free.getsockname()[1]}/canary-of-the-url"
        with caplog.at_level(logging.DEBUG):
            said = refused(url)
    assert said == "http://127.0.0.1 cannot be reached: ConnectionRefusedError"
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://[canary/",
        "http://host:canary/",
        "http://127.0.0.1/canary\n",
        "http://canary canary/",
        "http:///canary",
    ],
)
def test_an_address_that_is_none_is_a_failure_that_does_not_tell_it(url: str) -> None:
    said = refused(url)
    assert "/canary" not in said
    assert ":canary" not in said


def test_a_lone_surrogate_of_a_strangers_name_stops_nothing(
    receiver: receivers.Webhook,
) -> None:
    post(receiver.url, {"name": "\ud800"})
    assert receiver.documents == [{"name": "?"}]

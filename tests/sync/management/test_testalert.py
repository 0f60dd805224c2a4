"""``testalert`` says of each channel whether its message arrived."""

from __future__ import annotations

import pytest

from tests import processes, receivers

NOTHING = {
    "DVSYNC_WEBHOOK_URL": "",
    "DVSYNC_LOAD_WEBHOOK_URL": "",
    "DVSYNC_ALERT_EMAILS": "",
}
pytestmark = pytest.mark.django_db(transaction=True)


def run(**variables: str) -> tuple[int, str, str]:
    return processes.run("testalert", **{**NOTHING, **variables})


def test_a_message_goes_over_every_channel() -> None:
    with receivers.webhook() as hook, receivers.mailbox() as mails:
        code, out, err = run(
            DVSYNC_WEBHOOK_URL=hook.url,
            DVSYNC_LOAD_WEBHOOK_URL=hook.url,
            DVSYNC_ALERT_EMAILS="ann@example.com, bob@example.com",
            DVSYNC_ALERT_FROM="dvsync@example.com",
            EMAIL_URL=f"smtp://127.0.0.1:{mails.port}",
        )
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "webhook: arrived",
        "email: arrived",
        "load webhook: arrived",
    ]
    assert [document["event"] for document in hook.documents] == ["test", "test"]
    assert hook.documents[0]["incidents"] == []
    [mail] = mails.mails
    assert "From: dvsync@example.com" in mail
    assert "To: ann@example.com, bob@example.com" in mail


def test_one_that_does_not_arrive_ends_in_3_without_telling_a_secret() -> None:
    with receivers.webhook() as hook, receivers.mailbox() as mails:
        hook.status = 403
        code, out, err = run(
            DVSYNC_WEBHOOK_URL=hook.url,
            DVSYNC_WEBHOOK_SECRET="canary-of-the-secret",
            DVSYNC_ALERT_EMAILS="ann@example.com",
            EMAIL_URL=f"smtp://127.0.0.1:{mails.port}",
        )
    assert code == 3
    assert out.splitlines() == [
        "webhook: http://127.0.0.1 answered 403",
        "email: arrived",
    ]
    assert "canary" not in out + err


def test_when_nothing_is_configured_it_says_what_could_be() -> None:
    code, _, err = run()
    assert code == 2
    assert "DVSYNC_WEBHOOK_URL" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMAIL_URL", "smtp://ann:canary@host:port"),
        ("EMAIL_URL", "carrier-pigeon://ann:canary@host"),
        ("DVSYNC_ALERT_EMAILS", "ann"),
        ("DVSYNC_ALERT_EMAILS", "ann@example.com\nBcc: eve@example.com"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    code, _, err = run(**{name: value})
    assert code == 2
    assert name in err
    assert "canary" not in err
    assert "Traceback" not in err

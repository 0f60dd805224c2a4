"""An incident is told once, daily while it lasts, and when it ends; none is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django import Settings

from sync.engine import delivery, letters, webhook
from sync.engine.alerts import Alarm, deliver, review
from sync.models import Incident, Notice, Receiver, SyncConfig, SyncTable
from tests import receivers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def config() -> SyncConfig:
    config = SyncConfig.objects.create(name="sales", location="/x", schema_name="sales")
    for entity in ("account", "contact"):
        SyncTable.objects.create(config=config, entity=entity, target_name=entity)
    return config


@pytest.fixture
def mails(settings: Settings) -> Iterator[receivers.Mailbox]:
    settings.WEBHOOK_URL = ""
    settings.ALERT_EMAILS = ["ann@example.com", "bob@example.com"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    with receivers.mailbox() as server:
        settings.EMAIL_PORT = server.port
        yield server


@pytest.fixture(autouse=True)
def nothing_underway() -> Iterator[None]:
    delivery._underway.clear()
    yield
    delivery._underway.clear()


def alarm(config: SyncConfig, table: str = "account", **values: str) -> Alarm:
    wanted = {"kind": "failing", "code": "bad_row", "message": "m"} | values
    return Alarm(config.pk, table, **wanted)


def told(hook: receivers.Webhook) -> list[tuple[str, str, str]]:
    """Return event, table and kind of all incidents that were posted, in order."""
    return [
        (incident["event"], incident["table"], incident["kind"])
        for document in hook.documents
        for incident in document["incidents"]
    ]


def later(**span: float) -> Any:
    return time_machine.travel(timezone.now() + timedelta(**span), tick=True)


def test_an_incident_is_told_once_and_its_end_once(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    for _ in range(3):
        review([alarm(config)])
        deliver()
    assert told(hook) == [("opened", "account", "failing")]
    for _ in range(3):
        review([])
        deliver()
    assert told(hook)[1:] == [("recovered", "account", "failing")]
    assert Incident.objects.get().closed_at is not None


def test_what_comes_again_is_another_incident(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    for alarms in ([alarm(config)], [], [alarm(config)]):
        review(alarms)
        deliver()
    assert [event for event, *_ in told(hook)] == ["opened", "recovered", "opened"]
    assert Incident.objects.count() == 2


def test_a_message_says_all_that_is_known(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    texts = {"message": "what", "where": "there", "remedy": "do it"}
    review([alarm(config, **texts)])
    deliver()
    [document] = hook.documents
    [incident] = document["incidents"]
    assert document["schema_version"] == 1
    assert document["event"] == "alert"
    known = Incident.objects.get()
    assert incident == {
        "id": known.pk,
        "event": "opened",
        "sync": "sales",
        "table": "account",
        "kind": "failing",
        "code": "bad_row",
        **texts,
        "opened_at": known.opened_at.isoformat(),
        "closed_at": None,
    }
    assert "X-Dvsync-Signature" in hook.posts[0][1]


def test_an_incident_that_gets_graver_is_told_again_once(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    for kind in ("failing", "action_required", "failing", "action_required"):
        review([alarm(config, kind=kind)])
        deliver()
    assert told(hook) == [
        ("opened", "account", "failing"),
        ("opened", "account", "action_required"),
    ]
    review([])
    deliver()
    assert told(hook)[2:] == [("recovered", "account", "action_required")]
    assert Incident.objects.count() == 1


def test_of_several_troubles_of_a_table_the_gravest_is_told(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    kinds = ("late", "action_required", "failing")
    review([alarm(config, kind=kind) for kind in kinds])
    deliver()
    assert told(hook) == [("opened", "account", "action_required")]


def test_a_sync_and_its_tables_have_incidents_of_their_own(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    review([alarm(config, ""), alarm(config, "account"), alarm(config, "contact")])
    deliver()
    assert sorted(table for _, table, _ in told(hook)) == ["", "account", "contact"]
    assert len(hook.posts) == 1
    review([alarm(config, "contact")])
    deliver()
    assert sorted(told(hook)[3:]) == [
        ("recovered", "", "failing"),
        ("recovered", "account", "failing"),
    ]


def test_one_open_incident_of_a_table_is_all_that_the_database_takes(
    config: SyncConfig,
) -> None:
    Incident.objects.create(config=config, table_name="account", kind="late")
    with pytest.raises(IntegrityError), transaction.atomic():
        Incident.objects.create(config=config, table_name="account", kind="failing")


def test_it_is_told_again_every_day_while_it_lasts(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    review([alarm(config)])
    deliver()
    for days in (0.9, 1.1, 1.2, 2.2):
        with later(days=days):
            review([alarm(config)])
            deliver()
    events = [event for event, *_ in told(hook)]
    assert events == ["opened", "reminder", "reminder"]


def test_what_is_said_of_an_incident_is_what_is_wrong_now(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    review([alarm(config, message="first")])
    review([alarm(config, message="second", code="bad_value")])
    deliver()
    [incident] = hook.documents[0]["incidents"]
    assert (incident["message"], incident["code"]) == ("second", "bad_value")


@pytest.mark.parametrize("how", ["table", "sync", "globs", "gone"])
def test_an_incident_that_nobody_wants_to_hear_of_ends_unsaid(
    config: SyncConfig, hook: receivers.Webhook, how: str
) -> None:
    review([alarm(config)])
    deliver()
    if how == "table":
        config.tables.filter(entity="account").update(state="paused")
    elif how == "sync":
        SyncConfig.objects.update(paused=True)
    elif how == "globs":
        SyncConfig.objects.update(exclude=["acc*"])
    else:
        config.tables.filter(entity="account").delete()
    review([])
    deliver()
    assert [event for event, *_ in told(hook)] == ["opened"]
    assert Incident.objects.get().muted

    # Paused no more, and still wrong: that is told.
    SyncConfig.objects.update(paused=False, exclude=[])
    review([alarm(config)])
    deliver()
    assert [event for event, *_ in told(hook)] == ["opened", "opened"]


def test_a_receiver_that_fails_gets_everything_later_and_only_once(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    hook.status = 500
    review([alarm(config)])
    deliver()
    review([alarm(config), alarm(config, "contact")])
    deliver()
    assert len(hook.posts) == 1, "it is left alone for a while"
    assert not Notice.objects.exists()

    hook.status = 200
    hook.posts.clear()
    with later(minutes=2):
        deliver()
        deliver()
    assert sorted(told(hook)) == [
        ("opened", "account", "failing"),
        ("opened", "contact", "failing"),
    ]
    assert Receiver.objects.get().failures == 0


def test_what_ended_while_the_receiver_was_away_is_told_in_one_message(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    hook.status = 500
    review([alarm(config)])
    deliver()
    review([])
    hook.status = 200
    hook.posts.clear()
    with later(minutes=2):
        deliver()
        deliver()
    [incident] = hook.documents[0]["incidents"]
    assert incident["event"] == "recovered"
    assert incident["closed_at"] > incident["opened_at"]
    assert len(hook.posts) == 1


def test_a_receiver_that_stays_away_is_asked_less_and_less(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    hook.status = 500
    review([alarm(config)])
    waits = []
    now = timezone.now()
    for _ in range(9):
        with time_machine.travel(now, tick=False):
            deliver()
        receiver = Receiver.objects.get()
        assert receiver.next_attempt_at is not None
        waits.append((receiver.next_attempt_at - now).total_seconds() / 60)
        now = receiver.next_attempt_at
    assert 0.9 <= waits[0] <= 1
    assert 54 <= waits[-1] <= 60
    assert waits == sorted(waits) or min(waits[6:]) >= 54
    assert len(hook.posts) == 9


def test_a_message_whose_success_was_not_recorded_comes_again(
    config: SyncConfig, hook: receivers.Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(Exception):
        pass

    def crash(*_: object) -> None:
        raise CrashError

    review([alarm(config)])
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "_record", crash)
        with pytest.raises(CrashError):
            deliver()
    deliver()
    first, second = hook.documents
    assert first["incidents"] == second["incidents"]


def test_a_receiver_that_is_new_is_not_told_of_what_is_over(
    config: SyncConfig, hook: receivers.Webhook
) -> None:
    review([alarm(config), alarm(config, "contact")])
    review([alarm(config, "contact")])
    deliver()
    assert told(hook) == [("opened", "contact", "failing")]


@pytest.mark.parametrize("manner", ["silent", "drip"])
def test_a_receiver_without_an_end_does_not_hold_up_the_poll(
    config: SyncConfig,
    hook: receivers.Webhook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    manner: str,
) -> None:
    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.2)
    hook.manner = manner
    review([alarm(config)])
    with caplog.at_level(logging.DEBUG):
        deliver()
    assert "did not answer" in Receiver.objects.get().problem
    assert "did not answer" in caplog.text
    assert "canary" not in caplog.text + Receiver.objects.get().problem


def test_three_hundred_tables_make_one_message(
    config: SyncConfig,
    hook: receivers.Webhook,
    mails: receivers.Mailbox,
    settings: Settings,
) -> None:
    settings.WEBHOOK_URL = hook.url
    names = [f"table{number}" for number in range(300)]
    SyncTable.objects.bulk_create(
        SyncTable(config=config, entity=name, target_name=name) for name in names
    )
    review([alarm(config, name, code="permission_denied") for name in names])
    deliver()
    assert len(told(hook)) == 300
    assert len(hook.posts) == len(mails.mails) == 1
    assert "Subject: [dvsync] 300 opened (sales: table0" in mails.mails[0]
    assert "and 200 more" in mails.mails[0]
    review([])
    deliver()
    assert len(hook.posts) == len(mails.mails) == 2


def test_more_than_one_message_holds_comes_in_the_next(
    config: SyncConfig, hook: receivers.Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST", 2)
    review([alarm(config, f"t{number}") for number in range(3)])
    deliver()
    deliver()
    deliver()
    assert [len(document["incidents"]) for document in hook.documents] == [2, 1]


def test_a_mail_has_plain_words_and_goes_to_everybody(
    config: SyncConfig, mails: receivers.Mailbox
) -> None:
    texts = {"message": "cut off", "where": "f/1.csv, line 3", "remedy": "copy again"}
    review([alarm(config, kind="action_required", **texts)])
    deliver()
    deliver()
    [mail] = mails.mails
    assert "To: ann@example.com, bob@example.com" in mail
    assert "Subject: [dvsync] sales: account: action required" in mail
    assert 'Content-Type: text/plain; charset="utf-8"' in mail
    for said in ("(bad_row)", "cut off", "where: f/1.csv", "to do: copy again"):
        assert said in mail
    review([])
    deliver()
    assert "Subject: [dvsync] sales: account: recovered" in mails.mails[1]


def test_names_of_strangers_put_no_header_into_a_mail(
    config: SyncConfig, mails: receivers.Mailbox
) -> None:
    name = "x\r\nBcc: eve@example.com\r\n\r\n\u202ehidden\x1b[2J"
    review([alarm(config, name, message=name, where=name, remedy=name)])
    deliver()
    [mail] = mails.mails
    assert not any(line.startswith("Bcc:") for line in mail.splitlines())
    assert "\x1b" not in mail
    subject = letters.subject([letters.News(Incident.objects.get(), "opened")])
    assert subject.isprintable()


def test_a_mail_server_that_refuses_tells_no_secret_of_its_own(
    config: SyncConfig, mails: receivers.Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mails.refuse = True
    review([alarm(config)])
    deliver()
    receiver = Receiver.objects.get()
    assert receiver.problem.startswith("The mail server 127.0.0.1:")
    assert receiver.problem.endswith(": SMTPSenderRefused 550")
    assert "canary" not in caplog.text
    mails.refuse = False
    with later(minutes=2):
        deliver()
    assert len(mails.mails) == 1


def test_a_mail_server_that_takes_its_time_is_waited_for_by_the_next_poll(
    config: SyncConfig, mails: receivers.Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 0.1)
    mails.gate.clear()
    review([alarm(config)])
    deliver()
    deliver()
    assert not Notice.objects.exists()
    mails.gate.set()
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 30)
    deliver()
    deliver()
    assert len(mails.mails) == 1
    assert Notice.objects.count() == 1


def test_a_mail_server_that_never_comes_to_an_end_is_given_up(
    config: SyncConfig, mails: receivers.Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(delivery, "GIVEN_UP_SECONDS", 0)
    mails.gate.clear()
    review([alarm(config)])
    deliver()
    assert Receiver.objects.get().failures == 1
    mails.gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("alerts by"):
            thread.join()


def test_one_receiver_that_fails_does_not_keep_the_other_from_hearing(
    config: SyncConfig,
    hook: receivers.Webhook,
    mails: receivers.Mailbox,
    settings: Settings,
) -> None:
    settings.WEBHOOK_URL = hook.url
    hook.status = 500
    review([alarm(config)])
    deliver()
    assert len(mails.mails) == 1
    hook.status = 200
    hook.posts.clear()
    with later(minutes=2):
        deliver()
    assert told(hook) == [("opened", "account", "failing")]
    assert len(mails.mails) == 1


def test_a_sync_that_is_deleted_while_it_is_told_of_breaks_nothing(
    config: SyncConfig, mails: receivers.Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 0.1)
    mails.gate.clear()
    review([alarm(config)])
    deliver()
    config.delete()
    mails.gate.set()
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 30)
    deliver()
    assert Receiver.objects.get().failures == 0
    assert not Notice.objects.exists()


def test_without_a_channel_incidents_are_remembered_and_nothing_is_sent(
    config: SyncConfig, settings: Settings
) -> None:
    settings.WEBHOOK_URL, settings.ALERT_EMAILS = "", []
    review([alarm(config, message="nul \0 and \ud800")])
    deliver()
    assert Incident.objects.get().message == "nul \ufffd and ?"
    assert not Receiver.objects.exists()

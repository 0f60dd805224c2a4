from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from sync.models import DataSyncProgress
from tests.sync.conftest import Export

MODELS = [
    "syncconfig",
    "syncpartition",
    "synctable",
    "datasyncprogress",
    "quarantinedrow",
    "event",
]


@pytest.fixture
def admin(transactional_db: None) -> Client:
    User.objects.create_superuser("alice", password="secret")
    client = Client()
    assert client.login(username="alice", password="secret")
    return client


@pytest.fixture
def filled(export: Export) -> Export:
    script = b"<script>alert(1)</script>,,,,,,,\n"
    export.config.bad_rows = "quarantine"
    export.config.save()
    export.raw("contact", "2026.csv", script)
    export.table("contact")
    export.close_folder()
    export.sync()
    export.config.bad_rows = "stop"
    export.config.save()
    export.upsert("account", 1, name="a")
    export.raw("account", "2026.csv", script)
    export.close_folder()
    export.sync()
    return export


@pytest.mark.parametrize("model", MODELS)
def test_every_list_shows_its_rows_and_finds_them(
    admin: Client, filled: Export, model: str
) -> None:
    for query in ({}, {"q": "a"}):
        page = admin.get(reverse(f"admin:sync_{model}_changelist"), query)
        assert page.status_code == 200
    text = admin.get(reverse(f"admin:sync_{model}_changelist")).content.decode()
    assert filled.config.name in text


@pytest.mark.parametrize("model", sorted({*MODELS} - {"syncconfig"}))
def test_nothing_can_be_added(admin: Client, model: str) -> None:
    assert admin.get(reverse(f"admin:sync_{model}_add")).status_code == 403


@pytest.mark.parametrize("model", sorted({*MODELS} - {"syncconfig"}))
def test_nothing_can_be_changed_or_deleted(
    admin: Client, filled: Export, model: str
) -> None:
    """A sync can, of which tests/sync/admin/test_syncs.py tells."""
    pk = apps.get_model("sync", model).objects.first().pk
    change = reverse(f"admin:sync_{model}_change", args=[pk])
    assert admin.get(change).status_code == 200
    assert admin.post(change, {"name": "other"}).status_code == 403
    delete = reverse(f"admin:sync_{model}_delete", args=[pk])
    assert admin.post(delete, {"post": "yes"}).status_code == 403


def test_bytes_of_an_export_are_shown_as_text(admin: Client, filled: Export) -> None:
    [row] = DataSyncProgress.objects.filter(copy_status=2)
    assert "<script>" in row.error_message
    url = reverse("admin:sync_datasyncprogress_change", args=[row.pk])
    text = admin.get(url).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "path", ["/", "/admin/", *(f"/admin/sync/{model}/" for model in MODELS)]
)
@pytest.mark.django_db
def test_a_stranger_is_sent_to_the_login(path: str) -> None:
    page = Client().get(path, follow=True)
    assert page.redirect_chain
    assert page.redirect_chain[-1][0].startswith("/admin/login/")


@pytest.mark.parametrize("model", MODELS)
def test_staff_without_permission_sees_nothing(
    transactional_db: None, model: str
) -> None:
    User.objects.create_user("bob", password="secret", is_staff=True)
    client = Client()
    client.login(username="bob", password="secret")
    url = reverse(f"admin:sync_{model}_changelist")
    assert client.get(url).status_code == 403


def test_a_long_list_needs_few_queries(
    admin: Client, export: Export, django_assert_max_num_queries: object
) -> None:
    export.poll()
    DataSyncProgress.objects.bulk_create(
        DataSyncProgress(config=export.config, partition=f"p{n}", table_name="account")
        for n in range(300)
    )
    url = reverse("admin:sync_datasyncprogress_changelist")
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        assert admin.get(url).status_code == 200

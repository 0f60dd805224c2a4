"""The time zone that a person chooses, and where it is seen: on pages, nowhere else."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sync.engine.time_zones import COOKIE, zone_names
from sync.models import ApiToken, DataSyncProgress, Event, SyncConfig, SyncTable
from tests.people import person, signed_in
from tests.sync.conftest import Export

pytestmark = pytest.mark.django_db(transaction=True)
WINTER = datetime(2026, 3, 1, 8, 15, 1, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
# Not within the ISO 8601 of an attribute.
A_TIME = re.compile(r'(?<!\d)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [^<"\s)]*')


@pytest.fixture
def loaded(export: Export) -> Export:
    """Return an export of which account was loaded in winter; lead fails."""
    export.upsert("account", 1, name="a")
    export.close_folder()
    export.sync()
    export.raw("lead", "2026.csv", b'"1","","",broken,,,,\n')
    export.close_folder()
    export.sync()
    SyncConfig.objects.update(created_at=WINTER, checked_at=WINTER)
    SyncTable.objects.filter(entity="account").update(last_loaded_at=WINTER)
    rows = DataSyncProgress.objects
    rows.filter(copy_status=1).update(finished_at=WINTER, started_at=WINTER)
    rows.filter(copy_status=2).update(next_attempt_at=SUMMER, started_at=SUMMER)
    Event.objects.update(happened_at=SUMMER)
    return export


def viewer(zone: str = "") -> Client:
    client = signed_in("viewer")
    if zone:
        client.cookies[COOKIE] = zone
    return client


def text_of(client: Client, address: str, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200, address
    return unescape(answer.content.decode())


def choose(client: Client, zone: str, way_back: str = "") -> Any:
    return client.post("/preferences/", {"zone": zone, "next": way_back})


# The page


def test_a_zone_is_chosen_and_one_is_led_back() -> None:
    client = viewer()
    text = text_of(client, "/preferences/?next=/quarantine/")
    assert '<option value="UTC" selected>' in text
    assert '<input type="hidden" name="next" value="/quarantine/">' in text
    answer = choose(client, "America/New_York", "/quarantine/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/quarantine/")
    text = text_of(client, "/quarantine/")
    assert "These pages show times in America/New_York." in text
    assert "Times in America/New_York</a>" in text
    text = text_of(client, "/preferences/")
    assert '<option value="America/New_York" selected>' in text


@pytest.mark.parametrize("https", [False, True])
def test_the_cookie_is_for_our_server_alone(settings: Settings, https: bool) -> None:
    settings.SESSION_COOKIE_SECURE = https
    cookie = choose(viewer(), "Europe/Berlin").cookies[COOKIE]
    assert cookie.value == "Europe/Berlin"
    assert cookie["max-age"] == 365 * 24 * 3600
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert bool(cookie["secure"]) is https


def test_one_goes_back_to_utc() -> None:
    client = viewer("Europe/Berlin")
    choose(client, "UTC")
    assert "Times in UTC</a>" in text_of(client, "/")


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "x\0", "<b>", "x" * 100_000]
)
def test_what_is_no_zone_is_refused_and_changes_nothing(zone: str) -> None:
    answer = choose(viewer(), zone, "/quarantine/")
    assert answer.status_code == 422
    assert COOKIE not in answer.cookies
    text = answer.content.decode()
    assert '<p class="errornote" role="alert">' in text
    assert 'name="next" value="/quarantine/"' in text
    assert "<b>" not in text


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "x:y"])
def test_one_is_led_to_pages_of_ours_only(wanted: str) -> None:
    assert choose(viewer(), "UTC", wanted).headers["Location"] == "/preferences/"


def test_every_zone_is_offered_once_in_its_area() -> None:
    text = text_of(viewer(), "/preferences/")
    offered = re.findall(r'<option value="([^"]+)"', text)
    assert offered[0] == "UTC"
    assert sorted(offered) == sorted(zone_names())
    assert '<option value="America/New_York">New York</option>' in text
    assert '<optgroup label="Europe">' in text


def test_the_foot_of_a_page_leads_here_and_back() -> None:
    text = text_of(viewer(), "/?state=late")
    assert 'href="/preferences/?next=%2F%3Fstate%3Dlate">Times in UTC</a>' in text
    text = text_of(viewer(), "/preferences/?next=/")
    assert 'href="/preferences/">Times in UTC</a>' in text


def test_who_may_see_nothing_has_no_link_to_it() -> None:
    answer = signed_in().get("/")
    assert answer.status_code == 403
    assert "/preferences/" not in answer.content.decode()


# Where it is seen


def pages(loaded: Export) -> list[str]:
    """Return every page and region that shows a time."""
    sync = loaded.config.pk
    tables = SyncTable.objects.values_list("pk", flat=True)
    return [
        *("/", "/live/", "/errors/", f"/syncs/{sync}/", f"/syncs/{sync}/live/"),
        *(f"/syncs/{sync}/{part}/" for part in ("timeline", "schema", "settings")),
        *(f"/tables/{pk}/{part}" for pk in tables for part in ("", "?part=events")),
        *(f"/tables/{pk}/live/" for pk in tables),
    ]


def every_time(client: Client, loaded: Export) -> set[str]:
    texts = [text_of(client, path) for path in pages(loaded)]
    return {time for text in texts for time in A_TIME.findall(text)}


def zones_of(times: set[str]) -> set[str]:
    return {time.rpartition(" ")[2] for time in times}


def test_all_pages_show_times_in_utc_until_one_chooses(loaded: Export) -> None:
    found = every_time(viewer(), loaded)
    assert {"2026-03-01 08:15:01 UTC", "2026-07-01 22:30:00 UTC"} <= found
    assert zones_of(found) == {"UTC"}


def test_all_pages_show_times_in_the_zone_that_was_chosen(loaded: Export) -> None:
    found = every_time(viewer("Europe/Berlin"), loaded)
    assert {"2026-03-01 09:15:01 CET", "2026-07-02 00:30:00 CEST"} <= found
    assert zones_of(found) == {"CET", "CEST"}


def test_a_zone_without_letters_is_told_by_its_offset(loaded: Export) -> None:
    found = every_time(viewer("Asia/Kathmandu"), loaded)
    assert {"2026-03-01 14:00:01 +0545", "2026-07-02 04:15:00 +0545"} <= found
    assert zones_of(found) == {"+0545"}


def test_no_page_says_utc_in_another_zone(loaded: Export) -> None:
    for path in pages(loaded):
        assert "UTC" not in text_of(viewer("Europe/Berlin"), path), path


@pytest.mark.parametrize("cookie", ["../../etc/passwd", "x" * 4000, "Europe/Berlin\0"])
def test_with_a_hostile_cookie_all_pages_are_as_without(
    loaded: Export, cookie: str
) -> None:
    assert zones_of(every_time(viewer(cookie), loaded)) == {"UTC"}


def test_a_region_has_the_zone_of_its_page(loaded: Export) -> None:
    path = reverse("sync-live", args=[loaded.config.pk])
    htmx = {"HX-Request": "true"}
    text = text_of(viewer("Europe/Berlin"), path, **htmx)
    assert 'datetime="2026-03-01T09:15+01:00"' in text  # a row's, and its tooltip
    assert 'title="2026-03-01 09:15:01 CET"' in text
    assert 'datetime="2026-03-01T08:15Z"' in text_of(viewer(), path, **htmx)


def test_machines_read_the_same_time_in_every_zone(loaded: Export) -> None:
    path = reverse("sync-timeline", args=[loaded.config.pk])
    for zone in ("", "Europe/Berlin", "Asia/Kathmandu"):
        text = text_of(viewer(zone), path)
        assert 'datetime="2026-03-01T08:15:01+00:00"' in text


def test_names_of_folders_are_names(loaded: Export) -> None:
    table = SyncTable.objects.get(entity="account")
    name = table.last_partition
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\dZ", name)
    for path in (f"/syncs/{loaded.config.pk}/", f"/tables/{table.pk}/"):
        assert name in text_of(viewer("Asia/Kathmandu"), path)


def test_what_a_zone_has_no_day_for_is_shown_in_utc(loaded: Export) -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    loaded.config.partitions.update(closed_at=last)
    Event.objects.update(happened_at=last)
    SyncTable.objects.update(last_loaded_at=last)
    found = every_time(viewer("Asia/Tokyo"), loaded)
    assert "9999-12-31 23:59:59 UTC" in found


def test_a_page_that_is_not_there_does_not_lead_back_to_itself(
    transactional_db: None,
) -> None:
    page = viewer().get("/nowhere/")
    assert page.status_code == 404
    assert "nowhere" not in page.content.decode()


# Where it is not


def test_a_downloaded_timeline_is_in_utc(loaded: Export) -> None:
    path = reverse("sync-timeline-download", args=[loaded.config.pk])
    plain = text_of(viewer(), path)
    assert "2026-03-01T08:15:01+00:00" in plain
    assert text_of(viewer("Europe/Berlin"), path) == plain


def test_the_support_bundle_is_in_utc(loaded: Export) -> None:
    client = signed_in("operator")
    client.cookies[COOKIE] = "Asia/Kathmandu"
    answer: Any = client.get("/support-bundle/download/")
    with zipfile.ZipFile(io.BytesIO(answer.getvalue())) as bundle:
        text = "".join(bundle.read(name).decode() for name in bundle.namelist())
    offsets = re.findall(r"T\d\d:\d\d:\d\d(?:\.\d+)?([+-]\d\d:?\d\d|Z)", text)
    assert set(offsets) <= {"+00:00", "Z"}
    assert "2026-03-01T08:15:01" in text
    assert "14:00:01" not in text


def test_the_api_answers_in_utc(loaded: Export) -> None:
    _, key = ApiToken.make(person("operator"), "t")
    client = Client(headers={"Authorization": f"Bearer {key}"})
    path = reverse("api-progress")
    plain = text_of(client, path)
    assert "2026-03-01T08:15:01+00:00" in plain
    client.cookies[COOKIE] = "Europe/Berlin"
    assert text_of(client, path) == plain


def test_the_admin_says_that_it_is_in_utc(loaded: Export) -> None:
    config = f"syncconfig/{loaded.config.pk}/change/"
    for path in ("syncconfig/", "event/", config):
        text = text_of(viewer("Asia/Kathmandu"), f"/admin/sync/{path}")
        assert '<p class="quiet">Times in UTC</p>' in text
        assert "Kathmandu" not in text
        assert re.search(r"March 1, 2026, 8:15 a.m.|July 1, 2026, 10:30 p.m.", text)

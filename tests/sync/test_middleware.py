"""The time zone of a request: what the cookie names, never longer than the request."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils import timezone

from sync.engine import time_zones
from sync.engine.time_zones import COOKIE, clock, zone_named
from sync.middleware import time_zone

HOSTILE = [
    "",
    "Mars/Olympus",
    "europe/berlin ",
    "../../etc/passwd",
    "Europe/../Europe/Berlin",
    "/usr/share/zoneinfo/Europe/Berlin",
    "Europe",
    "Europe/Berlin\0",
    "\0",
    "x" * 100_000,
    "Europe/" * 10_000,
    "\ud800",
    "\N{RIGHT-TO-LEFT OVERRIDE}Europe/Berlin",
    "<script>alert(1)</script>",
    "localtime",
    "posixrules",
    "Factory",
    "zone.tab",
]


def zone_of(value: str | None, path: str = "/") -> str:
    """Return the zone in which a request with this cookie is answered."""
    request = RequestFactory().get(path)
    if value is not None:
        request.COOKIES[COOKIE] = value
    return answer(request)


def answer(request: HttpRequest) -> str:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(timezone.get_current_timezone()))

    return time_zone(view)(request).content.decode()


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Argentina/Ushuaia"]
)
def test_the_cookie_names_the_zone_of_a_request(name: str) -> None:
    assert zone_of(name) == name
    assert str(timezone.get_current_timezone()) == "UTC"


def test_without_a_cookie_it_is_utc() -> None:
    assert zone_of(None) == "UTC"


@pytest.mark.parametrize("sent", ["Europe/Berlin", '"Europe/Berlin"'])
def test_a_browser_may_send_the_cookie_with_quotes(sent: str) -> None:
    request = RequestFactory().get("/", headers={"Cookie": f"{COOKIE}={sent}"})
    assert answer(request) == "Europe/Berlin"


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:30])
def test_any_other_cookie_means_utc(value: str) -> None:
    assert zone_of(value) == "UTC"


@pytest.mark.parametrize("path", ["/admin/", "/admin/sync/event/"])
def test_the_admin_stays_in_utc(path: str) -> None:
    assert zone_of("Europe/Berlin", path) == "UTC"


def test_the_zone_ends_with_a_request_that_fails() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        assert str(timezone.get_current_timezone()) == "Europe/Berlin"
        raise LookupError

    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = "Europe/Berlin"
    with pytest.raises(LookupError):
        time_zone(view)(request)
    assert str(timezone.get_current_timezone()) == "UTC"


def test_a_zone_whose_file_went_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = frozenset({"UTC", "Europe/Atlantis"})
    monkeypatch.setattr(time_zones, "zone_names", lambda: names)
    assert zone_named("Europe/Atlantis") is None
    assert zone_of("Europe/Atlantis") == "UTC"


@pytest.mark.parametrize(
    ("zone", "moment", "said"),
    [
        ("UTC", "2026-03-01T08:15:01.999", "2026-03-01 08:15:01 UTC"),
        ("Europe/Berlin", "2026-03-01T08:15:01", "2026-03-01 09:15:01 CET"),
        ("Europe/Berlin", "2026-03-29T00:59:59", "2026-03-29 01:59:59 CET"),
        ("Europe/Berlin", "2026-03-29T01:00:00", "2026-03-29 03:00:00 CEST"),
        ("Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25 02:30:00 CEST"),
        ("Europe/Berlin", "2026-10-25T01:30:00", "2026-10-25 02:30:00 CET"),
        ("Asia/Kathmandu", "2026-03-01T18:15:00", "2026-03-02 00:00:00 +0545"),
        ("America/Sao_Paulo", "2026-03-01T01:00:00", "2026-02-28 22:00:00 -03"),
        # What a folder of a stranger may be called.
        ("Europe/Berlin", "9999-12-31T23:59:59", "9999-12-31 23:59:59 UTC"),
        ("America/New_York", "0001-01-01T00:00:00", "0001-01-01 00:00:00 UTC"),
    ],
)
def test_a_clock_names_its_zone(zone: str, moment: str, said: str) -> None:
    with timezone.override(ZoneInfo(zone)):
        assert clock(datetime.fromisoformat(moment).replace(tzinfo=UTC)) == said


def test_without_a_zone_a_clock_is_in_utc() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert clock(noon) == "2026-03-01 12:00:00 UTC"

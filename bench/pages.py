"""What the polled regions of the pages cost, beside a view that does nothing."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from bench.contenders import ROOT
from bench.latency import manage
from bench.measure import say
from bench.server import Server, WrongResultError

TABLES, FOLDERS, ROUNDS = 300, 300, 60
DATABASE = "bench_pages"
HEALTH, NOTHING = "/healthz, without a login", "a signed-in page that says ok"
OVERVIEW, SYNC = "overview", f"tables of a sync, 100 of {TABLES}"


def pages(server: Server, directory: Path) -> str:
    """Ask for every region in turn; return what it cost, as Markdown."""
    with server.database(DATABASE) as database:
        environment = {
            **os.environ,
            "DATABASE_URL": server.url(database),
            "DVSYNC_DATA": str(directory / "dvsync"),
            "DJANGO_SETTINGS_MODULE": "dvsync_site.settings",
        }
        manage(environment, "migrate", "--verbosity", "0")
        done = subprocess.run(
            [sys.executable, "-m", "bench.pages"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise WrongResultError("the pages could not be asked for")
    return _report(json.loads(done.stdout))


def _report(found: dict[str, tuple[list[float], int]]) -> str:
    base = median(found[NOTHING][0])
    lines = [
        f"A sync of {TABLES} tables with {TABLES * FOLDERS:,} progress rows; each page "
        f"asked for {ROUNDS} times in turn, by an operator.",
        "",
        "| page | p50 ms | p95 ms | to a page that says ok | kB compressed |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (seconds, size) in found.items():
        p95 = quantiles(seconds, n=20, method="inclusive")[-1]
        lines.append(
            f"| {name} | {median(seconds) * 1000:.1f} | {p95 * 1000:.1f} "
            f"| {median(seconds) / base:.1f} | {size / 1000:.1f} |"
        )
    return "\n".join(lines)


def _ask() -> dict[str, tuple[list[float], int]]:
    """Make the crowd and ask for the pages in turn: seconds, and bytes compressed."""
    import django

    django.setup()
    from django.contrib.auth.models import Group, User
    from django.db import connection
    from django.http import HttpRequest, HttpResponse
    from django.test import Client, override_settings
    from django.urls import include, path

    from bench.crowd import make_crowd
    from sync.views.access import VIEW, needs

    @needs(VIEW)
    def nothing(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    class Urls:
        urlpatterns = (
            path("ok/", nothing),
            path("", include("dvsync_site.urls")),
        )

    say(f"Making {TABLES} tables")
    config = make_crowd(TABLES, folders=FOLDERS)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    user = User.objects.create_user("operator")
    user.groups.add(Group.objects.get(name="operator"))
    paths = {
        HEALTH: "/healthz",
        NOTHING: "/ok/",
        OVERVIEW: "/live/",
        SYNC: f"/syncs/{config.pk}/live/",
    }
    with override_settings(ROOT_URLCONF=Urls, ALLOWED_HOSTS=["*"]):
        client = Client(headers={"HX-Request": "true"})
        client.force_login(user)
        return _measure(paths, lambda path: bytes(client.get(path).content))


def _measure(
    paths: dict[str, str], get: Callable[[str], bytes]
) -> dict[str, tuple[list[float], int]]:
    sizes = {name: len(gzip.compress(get(path))) for name, path in paths.items()}
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS):
        for name, path in paths.items():
            began = time.perf_counter()
            get(path)
            seconds[name].append(time.perf_counter() - began)
    return {name: (seconds[name], sizes[name]) for name in paths}


if __name__ == "__main__":
    json.dump(_ask(), sys.stdout)

"""Every example of docs/api.md is asked of a real server, and answered like that."""

from __future__ import annotations

import json
import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from sync.api import urls
from sync.models import ApiToken, QuarantinedRow
from tests.catalogue.steps import FILE, LF, ago, configure, line
from tests.exports import ExportWriter
from tests.people import person
from tests.sync.conftest import Export

TEXT = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(curl .*?)```\n+```json\n(.*?)```", TEXT, re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
FOLDER = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\dZ")
# They are told by an example elsewhere in the document.
ABBREVIATED = {"sync", "settings"}
# What differs from one installation to the next.
VARIES = {"id", "sync_id", "table_id", "version", "location", "bytes", "raw_bytes"}


@pytest.fixture
def world(make_export: Any, tmp_path: Path, settings: Settings) -> Export:
    """Return the export of the examples: one table is fine, one parked, one picky."""
    settings.ROOTS = [tmp_path]
    export: Export = make_export(start=ago(minutes=15), step=timedelta(minutes=5))
    configure(export, name="sales", schema_name="sales", bad_rows="quarantine")
    for key in (1, 2):
        export.upsert("account", key, name="a")
    export.close_folder()
    export.table("lead", ["name", "amount:decimal"])
    export.raw("lead", FILE, line(1, '"x"', "twelve") + LF)
    export.close_folder()
    export.sync()
    configure(export, bad_rows="stop")
    export.table("contact", ["name", "amount:decimal"])
    export.raw("contact", FILE, line(1, '"x"', "twelve") + LF)
    export.close_folder()
    for _ in range(3):
        export.sync()
    crm = ExportWriter(tmp_path / "crm")
    crm.upsert("account", 1, name="a")
    (tmp_path / "model.json").write_text("", encoding="utf-8")
    crm.upsert("contact", 1, name="a")
    crm.close_folder()
    model = json.loads((crm.root / "model.json").read_text("utf-8"))
    model["entities"] = model["entities"][:1]
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    return export


def real(text: str, world: Export, server: str, token: str) -> str:
    """Return the line of an example with what is there in place of what it names."""
    [row] = QuarantinedRow.objects.all()
    changes = {
        r"\$DVSYNC": server,
        r"\$TOKEN": token,
        r"/data/exports": str(world.root.parent),
        r"@model.json": f"@{world.root.parent}/model.json",
        r"/syncs/1\b": f"/syncs/{world.config.pk}",
        r"/tables/1\b": f"/tables/{world.entity('account').pk}",
        r"/tables/2\b": f"/tables/{world.entity('contact').pk}",
        r"\[17\]": f"[{row.pk}]",
    }
    for old, new in changes.items():
        text = re.sub(old, lambda _, new=new: new, text)  # type: ignore[misc]
    return text


def curl(line: str) -> tuple[int, Any]:
    """Do what curl would do; return status and document."""
    words = iter(shlex.split(line.replace("\\\n", " "))[1:])
    method, headers, data, url = None, {}, None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in {"-d", "--data-binary"}:
            given = next(words)
            read = given.startswith("@")
            data = Path(given[1:]).read_bytes() if read else given.encode()
        else:
            url = word
    assert url.startswith("http://"), url
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_every_example_is_answered_as_the_document_says(
    world: Export, live_server: LiveServer
) -> None:
    """In their order, for some of them change something."""
    user = person("administrator")
    User.objects.filter(pk=user.pk).update(username="alice")
    token = ApiToken.make(user, "test")[1]
    assert len(EXAMPLES) > 12
    wrong = []
    for asked, answered in EXAMPLES:
        status, found = curl(real(asked, world, live_server.url, token))
        expected = json.loads(answered)
        assert ("error" in expected) is (status >= 400), (asked, found)
        wrong += [f"{asked} {what}" for what in differences(expected, found, "")]
    assert wrong == []


def differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    """Say where an answer is not the documented one, but for what differs anyway."""
    key = path.rpartition(".")[2]
    if type(expected) is not type(found):
        yield f"{path}: {found!r}"
    elif isinstance(expected, dict):
        more = found.keys() - expected.keys() if expected else set()
        if expected.keys() - found.keys() or (more and key not in ABBREVIATED):
            yield f"{path}: has {list(found)}"
        for name in expected.keys() & found.keys():
            yield from differences(expected[name], found[name], f"{path}.{name}")
    elif isinstance(expected, list):
        yield from of_lists(expected, found, path)
    elif not is_like(expected, found, key):
        yield f"{path}: {found!r}"


def of_lists(expected: list[Any], found: list[Any], path: str) -> Iterator[str]:
    """Say where a list does not begin as the documented one."""
    if len(found) < len(expected):
        yield f"{path}: {found!r}"
    for one, other in zip(expected, found, strict=False):
        yield from differences(one, other, f"{path}.item")


def is_like(expected: Any, found: Any, key: str) -> bool:
    """Say whether a value is the documented one, or differs anyway."""
    if key in VARIES or isinstance(expected, float):
        return True
    if not isinstance(expected, str):
        return bool(found == expected)
    if key in {"raw", "message"}:
        return str(found).startswith(expected.rstrip("…"))
    return _plain(str(found)) == _plain(expected)


def _plain(text: str) -> str:
    return FOLDER.sub("FOLDER", TIME.sub("TIME", text))


def test_every_address_is_documented() -> None:
    for pattern in urls.urlpatterns:
        if pattern.name == "api-nowhere":
            continue
        path = "/api/v1/" + str(pattern.pattern).replace("<int:pk>", "ID")
        for method in pattern.callback.calls:  # type: ignore[attr-defined]
            said = (f"{method} {path}`", f"{method} {path}` ", f"$DVSYNC{path}\n")
            joined = f"`GET` and `POST {path}`"
            assert any(text in TEXT for text in (*said, joined)), (method, path)


def test_every_status_that_is_answered_is_documented() -> None:
    api = Path(urls.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in api.glob("*.py"))
    statuses = set(re.findall(r"\b(4\d\d|50\d)\b", code))
    assert statuses >= {"400", "401", "403", "404", "405", "409", "411", "413", "415"}
    for status in statuses:
        assert f"| {status} |" in TEXT, status

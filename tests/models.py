"""Bytes of model.json files, as tests of the set-up need them."""

from __future__ import annotations

import json
from collections.abc import Iterable

COLUMNS = (
    ("Id", "guid"),
    ("SinkModifiedOn", "dateTime"),
    ("name", "string"),
    ("versionnumber", "int64"),
    ("IsDelete", "boolean"),
)
# Names as an attacker would choose them, in as far as model.json may hold them.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE sync_setupdraft; --",
    "{{ 7*7 }}{% debug %}",
    "javascript:alert(1)",
    "\u202egpj.exe",
    "a\u2028b",
    "[a-z]*?",
    "&lt;b&gt;&amp;",
    "../../etc/passwd",
    "http://evil.example/x?a=1&b=2#c",
)


def model_json(
    *names: str, columns: Iterable[tuple[str, str]] = COLUMNS, kind: str = "LocalEntity"
) -> bytes:
    """Return a model.json with these entities."""
    attributes = [{"name": name, "dataType": type_} for name, type_ in columns]
    entities = [
        {"$type": kind, "name": name, "attributes": attributes} for name in names
    ]
    return json.dumps({"name": "cdm", "version": "1.0", "entities": entities}).encode()

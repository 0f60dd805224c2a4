"""Uploading a model.json: what it holds, without storing anything."""

from __future__ import annotations

from django.http import HttpRequest

from sync.api.answers import Answer
from sync.api.asking import body, parameters
from sync.engine.outline import TableOutline, outline
from sync.model_json import MAX_BYTES, parse_model


def look_into(request: HttpRequest) -> Answer:
    """Tell the tables and columns of a model.json, and what they are in PostgreSQL."""
    parameters(request)
    model = parse_model(body(request, MAX_BYTES))
    found = [_table(table) for table in outline(model)]
    return Answer({"tables": found, "warnings": list(model.warnings)})


def _table(table: TableOutline) -> dict[str, object]:
    types = {a.name: a.data_type for a in table.entity.attributes}
    return {
        "table": table.entity.name,
        "target": table.name,
        "key": table.key,
        "problem": str(table.error) if table.error else None,
        "columns": [
            {"name": c.attribute, "type": types[c.attribute], "column": c.name}
            | {"sql": c.type}
            for c in table.columns
        ],
    }

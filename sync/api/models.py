"""Uploading a model.json: what it holds, without storing anything."""

from __future__ import annotations

from django.http import HttpRequest

from sync.api.answers import Answer
from sync.api.asking import body, parameters
from sync.engine.kinds import is_of_feed
from sync.engine.outline import TableOutline, column_outlines, outline
from sync.model_json import MAX_BYTES, Model, parse_model


def look_into(request: HttpRequest) -> Answer:
    """Tell the tables and columns of a model.json, and what they are in PostgreSQL."""
    parameters(request)
    model = parse_model(body(request, MAX_BYTES))
    found = [_table(table, model) for table in outline(model, feed=is_of_feed(model))]
    return Answer({"tables": found, "warnings": list(model.warnings)})


def _table(table: TableOutline, model: Model) -> dict[str, object]:
    entity = model.entity(table.entity)
    columns = column_outlines(entity, feed=is_of_feed(model)) if entity else []
    return {
        "table": table.entity,
        "target": table.name,
        "key": table.key or None,
        "problem": table.problem or None,
        "warnings": list(table.warnings),
        "columns": [
            {
                "name": column.attribute,
                "type": column.data_type,
                "column": column.name or None,
                "sql": column.type,
            }
            for column in columns
        ],
    }

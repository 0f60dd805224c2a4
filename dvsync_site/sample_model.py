"""model.json and the option set files of a sample export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from dvsync_site.sample_tables import Table
from dvsync_site.sample_values import Column, quote

CONTAINER = (
    "https://contoso.dfs.core.windows.net:443/"
    "dataverse-contoso-unq0123456789abcdef0123456789abc"
)
Json = dict[str, object]


def model(entities: Iterable[Json]) -> bytes:
    """Return the text of a model.json."""
    head = {"name": "cdm", "description": "cdm", "version": "1.0"}
    return json.dumps({**head, "entities": list(entities)}).encode()


def entity(
    table: Table,
    columns: Sequence[Column],
    *,
    folder: str,
    parts: Sequence[str],
    completed: str,
) -> Json:
    """Return one table's entry; parts are its file names without .csv."""
    return {
        "$type": "LocalEntity",
        "name": table.name,
        "description": table.name,
        "annotations": [
            {"name": "Athena:PartitionGranularity", "value": "Year"},
            {"name": "Athena:InitialSyncState", "value": "Completed"},
            {"name": "Athena:InitialSyncDataCompletedTime", "value": completed},
        ],
        "attributes": [_attribute(column) for column in columns],
        "partitions": [_partition(folder, table.name, part) for part in parts],
    }


def _attribute(column: Column) -> Json:
    attribute: Json = {
        "name": column.name,
        "dataType": column.type,
        "maxLength": column.length,
    }
    if column.length > 0:
        attribute["cdm:traits"] = [
            _trait("is.constrained", maximumLength=column.length)
        ]
    elif column.type == "decimal":
        shape = _trait("is.dataFormat.numeric.shaped", precision=38, scale=column.scale)
        attribute["cdm:traits"] = [shape]
    return attribute


def _trait(name: str, **arguments: object) -> Json:
    pairs = [{"name": key, "value": value} for key, value in arguments.items()]
    return {"traitReference": name, "arguments": pairs}


def _partition(folder: str, table: str, part: str) -> Json:
    return {
        "name": part,
        "location": f"{CONTAINER}/{folder}/{table}/{part}.csv",
        "cdm:traits": [_trait("is.partition.format.CSV", raggedRight="true")],
        "fileFormatSettings": {
            "$type": "CsvFormatSettings",
            "columnHeaders": False,
            "delimiter": ",",
            "quoteStyle": "QuoteStyle.Csv",
            "csvStyle": "CsvStyle.QuoteAlways",
            "encoding": "UTF-8",
        },
        "annotations": [
            {"name": "Athena:PartitionYear", "value": part.partition("_")[0]}
        ],
    }


def option_sets(tables: Iterable[tuple[Table, Sequence[Column]]]) -> dict[str, bytes]:
    """Return the five files of OptionsetMetadata by name."""
    lines: dict[str, list[str]] = {
        f"{kind}Metadata.csv": []
        for kind in ("Optionset", "GlobalOptionset", "State", "Status", "Target")
    }
    for table, columns in tables:
        for column in columns:
            for code, english, german in column.labels:
                for label in ("1033", english), ("1031", german):
                    file, cells = _label(table, column.name, code, *label)
                    lines[file].append(",".join(cells))
            lines["TargetMetadata.csv"] += [
                ",".join(map(quote, (table.name, column.name, target, f"{target}id")))
                for target in column.targets
            ]
    return {
        file: "".join(f"{line}\n" for line in made).encode()
        for file, made in lines.items()
    }


def _label(
    table: Table, column: str, code: int, language: str, label: str
) -> tuple[str, list[str]]:
    """Return file name and cells of one label of a choice."""
    entity, option, text = (
        quote(table.name),
        str(code),
        ["False", language, quote(label)],
    )
    if column == "statecode":
        return "StateMetadata.csv", [entity, option, *text]
    if column == "statuscode":
        # Status 1 belongs to state 0, and so on.
        return "StatusMetadata.csv", [entity, str(code - 1), option, *text]
    if table.table_id:
        set_ = [quote(column), option, *text, quote(f"{table.name}_{column}")]
        return "GlobalOptionsetMetadata.csv", [*set_, entity, quote(label.split()[0])]
    return "OptionsetMetadata.csv", [entity, quote(column), option, *text]

"""The sample export is repeatable, has the documented shape, and knows its truth."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import re
import struct
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command

from dvsync_site.management.commands.makeexport import Command
from dvsync_site.sample_export import ExportSummary, SampleExport, write_export
from dvsync_site.sample_tables import ODD_TEXTS

Row = dict[str, str | None]


class Line(NamedTuple):
    folder: int
    sink: dt.datetime
    deleted: bool
    version: int | None
    row: Row


def entities(directory: Path, folder: str) -> dict[str, Any]:
    model = json.loads((directory / folder / "model.json").read_bytes())
    return {entity["name"]: entity for entity in model["entities"]}


def names(entity: dict[str, Any]) -> list[str]:
    return [attribute["name"] for attribute in entity["attributes"]]


def records(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file, strict=True)


def lines(export: SampleExport, table: str) -> list[Line]:
    """Read all closed folders of a table, in the order of their time."""
    made = []
    for number, folder in enumerate(export.closed):
        columns = names(entities(export.directory, folder)[table])
        for path in sorted((export.directory / folder / table).glob("*.csv")):
            for cells in records(path):
                row = {
                    name: cell or None
                    for name, cell in zip(columns, cells, strict=True)
                }
                sink = dt.datetime.strptime(
                    f"{row['SinkModifiedOn']} +0000", "%m/%d/%Y %I:%M:%S %p %z"
                )
                version = int(row.get("versionnumber") or 0) or None
                deleted = row["IsDelete"] == "True"
                made.append(Line(number, sink, deleted, version, row))
    return sorted(made, key=lambda line: line[:3])


def fold(
    history: list[Line], *, versioned: bool
) -> tuple[dict[str, Row], Counter[str]]:
    """Apply the lines one by one, the way a person would, and count what happened."""
    state: dict[str, tuple[int, Row | None]] = {}
    last_folder: dict[str, int] = {}
    seen: Counter[str] = Counter()
    for line in history:
        id_ = str(line.row["Id"])
        seen["again in one folder"] += last_folder.get(id_) == line.folder
        last_folder[id_] = line.folder
        known, row = state.get(id_, (-1, None))
        if line.deleted:
            seen["delete" if line.version else "delete without version"] += 1
            seen["ghost"] += known < 0
            state[id_] = max(known, line.version or 0), None
            continue
        version = line.version or 0
        if versioned and (version < known or (version == known and row is None)):
            seen["stale"] += 1
            continue
        if known >= 0:
            kind = "re-create" if row is None else "update"
            seen["re-send" if version == known and versioned else kind] += 1
        state[id_] = version, line.row
    return {id_: row for id_, (_, row) in state.items() if row is not None}, seen


def fingerprint(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def make(
    directory: Path, folders: int, *, tables: int, rows: int, seed: int = 1
) -> SampleExport:
    export = SampleExport(directory, tables=tables, rows=rows, seed=seed)
    export.write_initial()
    for _ in range(folders - 1):
        export.write_changes()
    return export


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> SampleExport:
    directory = tmp_path_factory.mktemp("sample") / "export"
    return make(directory, 8, tables=16, rows=700, seed=3)


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    summary = write_export(one, tables=7, rows=50, folders=4, seed=1)
    assert write_export(two, tables=7, rows=50, folders=4, seed=1) == summary
    write_export(other, tables=7, rows=50, folders=4, seed=2)
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(other)


def test_summary_counts_what_was_written(tmp_path: Path) -> None:
    summary = write_export(tmp_path, tables=3, rows=40, folders=3, seed=1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    tables = [p for p in tmp_path.glob("2*/*/*.csv") if "Metadata" not in p.name]
    assert summary == ExportSummary(
        folders=3,
        tables=3,
        rows=sum(1 for path in tables for _ in records(path)),
        bytes=sum(path.stat().st_size for path in files),
        marker=(tmp_path / "Changelog" / "changelog.info").read_text(),
    )


def test_every_row_has_the_columns_of_its_model(export: SampleExport) -> None:
    for folder in export.closed:
        model = entities(export.directory, folder)
        assert list(model) == export.tables == sorted(model)
        for table, entity in model.items():
            width = len(names(entity))
            parts = [part["name"] for part in entity["partitions"]]
            files = sorted((export.directory / folder / table).glob("*.csv"))
            assert parts == [path.stem for path in files]
            assert {len(r) for path in files for r in records(path)} <= {width}
            assert (
                entity["partitions"] or not (export.directory / folder / table).exists()
            )


def test_values_are_written_as_documented(export: SampleExport) -> None:
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    forms = {
        "guid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "int64": r"-?\d+",
        "decimal": r"-?\d+(\.\d+)?",
        "double": r"-?\d+(\.\d+)?(E-\d+)?",
        "boolean": r"True|False",
        "dateTime": rf'"{stamp}(\.\d{{7}})?Z?"',
        "dateTimeOffset": rf'"{stamp}\.\d{{7}}\+00:00"',
        "string": r'"(?s:.*)"',
    }
    sink = re.compile(r'"\d\d?/\d\d?/\d{4} \d\d?:\d\d:\d\d [AP]M"')
    cell = re.compile(r'("(?:[^"]|"")*"|[^",\n]*)([,\n])')
    model = entities(export.directory, export.closed[0])
    for table, entity in model.items():
        types = [(a["name"], a["dataType"]) for a in entity["attributes"]]
        for path in (export.directory / export.closed[0] / table).glob("*.csv"):
            cells = [m[0] for m in cell.findall(path.read_text(encoding="utf-8"))]
            for i, value in enumerate(cells[: len(cells) // len(types) * len(types)]):
                name, type_ = types[i % len(types)]
                form = sink if name.startswith("Sink") else re.compile(forms[type_])
                assert not value or form.fullmatch(value), (table, name, value)


def test_texts_survive(export: SampleExport) -> None:
    seen = {row["description"] for _, row in export.expected_rows("account")}
    assert set(ODD_TEXTS) <= seen
    assert set(ODD_TEXTS) <= {
        line.row["description"] for line in lines(export, "account")
    }


def test_column_order_is_the_frame(export: SampleExport) -> None:
    account = names(entities(export.directory, export.closed[-1])["account"])
    assert account[:3] == ["Id", "SinkCreatedOn", "SinkModifiedOn"]
    assert account[-5:] == [
        "versionnumber",
        "createdon",
        "modifiedon",
        "IsDelete",
        "new_segment",
    ]
    assert "new_segment" not in names(
        entities(export.directory, export.closed[1])["account"]
    )
    assert "new_segment" in names(
        entities(export.directory, export.closed[2])["account"]
    )
    assert export.columns("account") == account
    assert export.columns("teammembership")[-2:] == ["versionnumber", "IsDelete"]
    assert "versionnumber" not in export.columns("mserp_inventwarehouseentity")


def test_files_are_named_after_the_year_of_creation(export: SampleExport) -> None:
    first = export.directory / export.closed[0]
    assert {p.stem for p in (first / "currency").glob("*.csv")} >= {"1900", "1900_001"}
    assert {p.name[:1] for p in (first / "teammembership").iterdir()} == {"1"}
    years = {p.stem for p in (first / "account").glob("*.csv")}
    assert {"2024", "2025", "2025_001", "2026"} <= years
    at = names(entities(export.directory, export.closed[0])["account"]).index(
        "createdon"
    )
    for path in (first / "account").glob("*.csv"):
        assert {record[at][:4] for record in records(path)} == {path.stem[:4]}


def test_deletes_have_no_body(export: SampleExport) -> None:
    deletes = [line for line in lines(export, "account") if line.deleted]
    filled = {"Id", "SinkCreatedOn", "SinkModifiedOn", "IsDelete"}
    assert {frozenset(k for k, v in d.row.items() if v) for d in deletes} == {
        frozenset(filled)
    }
    deletes = [line for line in lines(export, "custtable") if line.deleted]
    assert all(line.version and not line.row["sysrowversion"] for line in deletes)


def test_finance_ids_hold_table_and_recid(export: SampleExport) -> None:
    for id_, row in export.expected_rows("custtable"):
        assert int(id_[:8], 16) == 10347
        (recid,) = struct.unpack("<Q", uuid.UUID(id_).bytes[8:16])
        assert row["recid"] == str(recid)
        assert row["sysrowversion"] == row["versionnumber"]


def check_truth(export: SampleExport) -> Counter[str]:
    """Compare what the export expects with what its files amount to."""
    total: Counter[str] = Counter()
    for table in export.tables:
        columns = export.columns(table)
        versioned = "versionnumber" in columns
        folded, seen = fold(lines(export, table), versioned=versioned)
        # A column added later is NULL in rows that were not sent again.
        empty: Row = dict.fromkeys(columns)
        expected = dict(export.expected_rows(table))
        assert expected == {id_: {**empty, **row} for id_, row in folded.items()}
        total += seen
    return total


def test_expected_rows_are_what_the_files_amount_to(export: SampleExport) -> None:
    assert set(check_truth(export)) >= {
        "update",
        "delete",
        "delete without version",
        "ghost",
        "stale",
        "re-send",
        "re-create",
        "again in one folder",
    }


@pytest.mark.parametrize("seed", range(5))
def test_expected_rows_hold_for_busy_exports(tmp_path: Path, seed: int) -> None:
    """Few rows, many changes, folders of seconds: every odd history occurs."""
    export = SampleExport(tmp_path, tables=10, rows=9, seed=seed)
    export.write_initial()
    opens = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
    for step in range(1, 6):
        export.write_changes(150, opens=opens + dt.timedelta(seconds=step * step * 3))
        check_truth(export)


def test_expected_rows_hold_for_big_folders(tmp_path: Path) -> None:
    export = SampleExport(tmp_path, tables=2, rows=2500)
    export.write_initial()
    export.write_changes(6000)
    check_truth(export)


def test_versionless_deletes_and_re_creates_are_folders_apart(
    export: SampleExport,
) -> None:
    for table in export.tables:
        deleted: dict[str, tuple[int, dt.datetime]] = {}
        newest: dict[str, int] = {}
        for line in lines(export, table):
            id_, version = str(line.row["Id"]), line.version or 0
            if line.deleted and not line.version:
                deleted[id_] = line.folder, line.sink
            elif id_ in deleted and version > newest.get(id_, 0):
                folder, sink = deleted.pop(id_)
                assert line.folder > folder
                assert line.sink > sink
            newest[id_] = max(version, newest.get(id_, 0))


def test_some_tables_rest_in_some_folders(export: SampleExport) -> None:
    folders = [export.directory / name for name in export.closed]
    present = [
        (folder / table).exists() for folder in folders for table in export.tables
    ]
    assert all(present[: len(export.tables)])
    assert not all(present)


def test_open_folder_is_not_part_of_the_truth(export: SampleExport) -> None:
    open_ = export.directory / export.marker
    assert (open_ / "model.json").read_bytes() == b""
    assert export.marker > max(export.closed)
    found = 0
    for table in export.tables:
        truth = {row["SinkModifiedOn"] for _, row in export.expected_rows(table)}
        for path in (open_ / table).glob("*.csv"):
            for record in records(path):
                found += 1
                assert record[2] not in truth
    assert found


def test_root_files(export: SampleExport) -> None:
    root, last = export.directory, export.closed[-1]
    assert (root / "Changelog" / "changelog.info").read_text() == export.marker
    log = (root / "Changelog" / "Synapse.log").read_text()
    assert log.split(",") == export.closed
    assert (root / "model.json").read_bytes() == (
        root / last / "model.json"
    ).read_bytes()
    for folder in [*export.closed, export.marker]:
        assert re.fullmatch(r"2026-03-01T\d\d\.\d\d\.0[012]Z", folder)
        assert len(list((root / folder / "OptionsetMetadata").iterdir())) == 5
    service = root / "Microsoft.Athena.TrickleFeedService"
    for table in export.tables:
        assert (service / f"{table}-model.json").exists()
    assert not list(root.rglob("*.draft"))


def test_option_set_files_have_their_columns(export: SampleExport) -> None:
    folder = export.directory / export.closed[0] / "OptionsetMetadata"
    widths = {
        "OptionsetMetadata.csv": 6,
        "GlobalOptionsetMetadata.csv": 8,
        "StateMetadata.csv": 5,
        "StatusMetadata.csv": 6,
        "TargetMetadata.csv": 4,
    }
    for name, width in widths.items():
        assert {len(record) for record in records(folder / name)} == {width}


def test_marker_is_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    plain = SampleExport._write

    def write(self: SampleExport, name: str, content: bytes) -> None:
        written.append(name)
        plain(self, name, content)

    monkeypatch.setattr(SampleExport, "_write", write)
    make(tmp_path, 2, tables=2, rows=5)
    marked = [i for i, name in enumerate(written) if name == "Changelog/changelog.info"]
    assert len(marked) == 2
    assert marked[-1] == len(written) - 1


def test_an_export_goes_on_after_a_restart(tmp_path: Path) -> None:
    kept, restarted = tmp_path / "kept", tmp_path / "restarted"
    one = make(kept, 5, tables=6, rows=60)
    make(restarted, 3, tables=6, rows=60)
    two = SampleExport.resume(restarted)
    two.write_changes()
    # A writer that is killed leaves rows in the open folder, and more.
    for path in (restarted / two.marker).glob("*/*.csv"):
        path.write_bytes(path.read_bytes() + b"half a li")
    (restarted / "2026-03-01T23.00.00Z" / "account").mkdir(parents=True)
    two = SampleExport.resume(restarted)
    two.write_changes()
    assert fingerprint(kept) == fingerprint(restarted)
    assert two.summary() == one.summary()
    assert {t: dict(two.expected_rows(t)) for t in two.tables} == {
        t: dict(one.expected_rows(t)) for t in one.tables
    }


def test_a_restart_ignores_a_folder_that_was_noted_but_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, killed = tmp_path / "kept", tmp_path / "killed"
    make(kept, 3, tables=4, rows=30)
    export = make(killed, 2, tables=4, rows=30)
    plain = SampleExport._write

    def write(self: SampleExport, name: str, content: bytes) -> None:
        if name == "Changelog/changelog.info":
            raise KeyboardInterrupt
        plain(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(SampleExport, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            export.write_changes()
    SampleExport.resume(killed).write_changes()
    assert fingerprint(kept) == fingerprint(killed)


def test_changes_are_counted_and_folders_named_as_asked(tmp_path: Path) -> None:
    export = SampleExport(
        tmp_path, tables=3, rows=20, start=dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
    )
    export.write_initial()
    before = export.summary().rows
    first = export.marker
    opens = dt.datetime(2026, 11, 22, 9, 20, 7, tzinfo=dt.UTC)
    assert export.write_changes(101, opens=opens) == first
    assert export.marker == "2026-11-22T09.20.07Z"
    early = sum(
        1 for p in (tmp_path / export.marker).glob("[a-z]*/*.csv") for _ in records(p)
    )
    assert export.summary().rows - before - early == 101
    export.write_changes(0, opens=opens + dt.timedelta(seconds=1))
    assert export.closed[-1] == "2026-11-22T09.20.07Z"


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SampleExport(tmp_path, tables=0)
    with pytest.raises(ValueError, match="folders"):
        write_export(tmp_path, folders=0)
    export = SampleExport(tmp_path, tables=1, rows=1)
    with pytest.raises(RuntimeError, match="write_initial"):
        export.write_changes()
    export.write_initial()
    with pytest.raises(FileExistsError):
        export.write_initial()
    with pytest.raises(ValueError, match="backwards"):
        export.write_changes(1, opens=dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
    with pytest.raises(ValueError, match="backwards"):
        export.write_changes(-1)


def test_command_prints_the_path_and_a_summary(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    directory = tmp_path / "new" / "export"
    call_command(
        Command(), str(directory), "--tables=2", "--rows=10", stdout=out, stderr=err
    )
    assert out.getvalue() == f"{directory}\n"
    assert "Tables: 2." in err.getvalue()
    assert "Closed folders: 6." in err.getvalue()
    other = tmp_path / "other"
    write_export(other, tables=2, rows=10, folders=6, seed=1)
    assert fingerprint(directory) == fingerprint(other)


def test_command_refuses_a_directory_in_use(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for target in (tmp_path, file, file / "below"):
        with pytest.raises(CommandError, match="not an empty directory") as caught:
            call_command(Command(), str(target))
        assert caught.value.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_command_says_what_the_system_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SampleExport) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SampleExport, "write_initial", fail)
    with pytest.raises(CommandError, match="No space left"):
        call_command(Command(), str(tmp_path / "x"))


@pytest.mark.parametrize("name", ["tables", "rows", "folders"])
def test_command_refuses_bad_numbers(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match=f"--{name} must be") as caught:
        call_command(Command(), str(tmp_path / "new"), f"--{name}=0")
    assert caught.value.returncode == 2
    assert not (tmp_path / "new").exists()


def test_help_starts_with_examples() -> None:
    parser = Command().create_parser("manage.py", "makeexport")
    text = parser.format_help()
    assert text.startswith("Examples:\n  manage.py makeexport var/export\n")
    assert text.index("usage:") < text.index("Writes a sample export")

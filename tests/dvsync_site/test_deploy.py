"""What docs/deploy/ holds works as docs/operations.md says."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from dvsync_site import embedded, embedded_keeper
from dvsync_site.sample_export import SampleExport
from tests import processes

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy"


def superuser(database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=str(settings.DATABASES["default"]["HOST"]),
        port=embedded_keeper.PORT,
        user=embedded_keeper.SUPERUSER,
        dbname=database,
        autocommit=True,
    )


@pytest.fixture
def granted() -> Iterator[tuple[str, str]]:
    """Return a database and a role that got what the script gives, by their names."""
    name = f"grants_{secrets.token_hex(4)}"
    # The embedded server has a role named dvsync, who may more.
    script = (DEPLOY / "grants.sql").read_text().replace("dvsync", name)
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with superuser(name) as inside:
                # A hardened server: nothing is everybody's.
                for statement in (
                    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
                    f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
                ):
                    inside.execute(statement.encode())
                inside.execute(script.encode())
            yield name, name
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
            connection.execute(
                sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name))
            )


@pytest.mark.skipif(not embedded.in_use(), reason="needs the embedded PostgreSQL")
def test_a_role_that_the_script_grants_no_more_can_do_everything(
    granted: tuple[str, str], tmp_path: Path
) -> None:
    database, role = granted
    host = quote(str(settings.DATABASES["default"]["HOST"]), safe="")
    url = f"postgres://{role}@{host}:{embedded_keeper.PORT}/{database}"
    export = SampleExport(tmp_path / "export", tables=3, rows=50)
    export.write_initial()
    export.write_changes()
    for command in (
        ("migrate", "--verbosity=0"),
        ("createsync", "sales", str(export.directory)),
        ("syncnow",),
        ("refreshtable", "sales", export.tables[0]),
        ("reconcile", "sales"),
    ):
        code, out, err = processes.run(*command, DATABASE_URL=url)
        assert code == 0, (command, out, err)
    code, out, _ = processes.run("syncnow", "--json", DATABASE_URL=url)
    tables = json.loads(out)["syncs"][0]["tables"]
    assert {table["status"] for table in tables} == {"unchanged"}
    with superuser(database) as connection:
        table = sql.Identifier("sales", export.tables[0])
        query = sql.SQL("SELECT count(*) FROM {}").format(table)
        row = connection.execute(query).fetchone()
        assert row == (len(list(export.expected_rows(export.tables[0]))),)


@pytest.mark.parametrize("name", ["web", "poll", "sync"])
def test_the_units_stop_the_first_process_alone_and_start_it_again(name: str) -> None:
    unit = (DEPLOY / f"dvsync-{name}.service").read_text()
    for line in ("KillMode=mixed", "Restart=always", "TimeoutStopSec=30"):
        assert f"\n{line}\n" in unit
    assert ("Q_CLUSTER_NAME=sync" in unit) == (name == "sync")

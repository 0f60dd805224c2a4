"""What docs/deploy/ holds works as docs/operations.md says."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
needs_embedded = pytest.mark.skipif(
    not embedded.in_use(), reason="needs the embedded PostgreSQL"
)


def superuser(database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=str(settings.DATABASES["default"]["HOST"]),
        port=embedded_keeper.PORT,
        user=embedded_keeper.SUPERUSER,
        dbname=database,
        autocommit=True,
    )


def grants(role: str) -> bytes:
    """Return the script for a role of another name.

    The embedded server has a role named dvsync, who may more.
    """
    return (DEPLOY / "grants.sql").read_text().replace("dvsync", role).encode()


@contextmanager
def new_database(name: str) -> Iterator[str]:
    """Make a database of a hardened server: nothing is everybody's."""
    identifier = sql.Identifier(name)
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        try:
            with superuser(name) as inside:
                for statement in (
                    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
                    f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
                ):
                    inside.execute(statement.encode())
            yield name
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier)
            )


@contextmanager
def new_roles(*names: str) -> Iterator[None]:
    """Drop these roles afterwards."""
    try:
        yield
    finally:
        with superuser("postgres") as connection:
            for name in names:
                connection.execute(
                    sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name))
                )


@pytest.fixture
def granted() -> Iterator[tuple[str, str]]:
    """Return a database and a role that got what the script gives, by their names."""
    name = f"grants_{secrets.token_hex(4)}"
    with new_roles(name), new_database(name):
        with superuser(name) as inside:
            inside.execute(grants(name))
        yield name, name


@needs_embedded
def test_the_script_may_be_run_again_and_in_a_second_database() -> None:
    role = f"grants_{secrets.token_hex(4)}"
    with (
        new_roles(role),
        new_database(f"{role}_a") as first,
        new_database(f"{role}_b") as second,
    ):
        for number, database in enumerate((first, first, second)):
            with superuser(database) as inside:
                inside.execute(grants(role))
                if number == 0:
                    # What was changed since stays.
                    inside.execute(f"ALTER ROLE {role} CONNECTION LIMIT 7".encode())
                inside.execute(f"SET ROLE {role}".encode())
                inside.execute("CREATE SCHEMA sales")
                inside.execute("CREATE TEMPORARY TABLE staged (id int)")
                inside.execute("CREATE TABLE public.ours (id int)")
                inside.execute("DROP SCHEMA sales")
                inside.execute("DROP TABLE public.ours")
        with superuser(second) as inside:
            query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s"
            assert inside.execute(query, [role]).fetchone() == (7,)


@needs_embedded
def test_the_owner_of_the_database_who_may_make_roles_can_run_the_script() -> None:
    name = f"grants_{secrets.token_hex(4)}"
    owner = f"{name}_owner"
    with new_roles(name, owner), new_database(name), superuser(name) as inside:
        inside.execute(f"CREATE ROLE {owner} CREATEROLE".encode())
        inside.execute(f"ALTER DATABASE {name} OWNER TO {owner}".encode())
        inside.execute(f"SET ROLE {owner}".encode())
        inside.execute(grants(name))


@needs_embedded
def test_the_script_says_so_when_its_user_may_not_give_the_rights() -> None:
    name = f"grants_{secrets.token_hex(4)}"
    stranger = f"{name}_stranger"
    with new_roles(name, stranger), new_database(name), superuser(name) as inside:
        inside.execute(f"CREATE ROLE {stranger} CREATEROLE".encode())
        # So much that PostgreSQL only warns.
        for statement in (
            f"GRANT TEMPORARY ON DATABASE {name} TO {stranger}",
            f"GRANT USAGE ON SCHEMA public TO {stranger}",
            f"SET ROLE {stranger}",
        ):
            inside.execute(statement.encode())
        with pytest.raises(psycopg.errors.RaiseException, match="as the owner of"):
            inside.execute(grants(name))


@needs_embedded
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


@pytest.mark.parametrize("name", ["-web", "-poll", "-sync", ""])
def test_the_units_stop_the_first_process_alone_and_start_it_again(name: str) -> None:
    unit = (DEPLOY / f"dvsync{name}.service").read_text()
    for line in ("KillMode=mixed", "Restart=always"):
        assert f"\n{line}\n" in unit
    [limit] = re.findall(r"\nTimeoutStopSec=(\d+)\n", unit)
    assert int(limit) >= (30 if name else 60)
    assert ("Q_CLUSTER_NAME=sync" in unit) == (name == "-sync")


def test_the_command_for_hosts_with_units_has_their_settings(tmp_path: Path) -> None:
    unit = (DEPLOY / "dvsync.service").read_text()
    script = (DEPLOY / "dvsync").read_text()
    assert "\nEnvironmentFile=/etc/dvsync.env\n" in unit
    assert "Environment=DVSYNC_DATA=/var/lib/dvsync " in unit
    assert "\nexport DVSYNC_DATA=/var/lib/dvsync\n" in script

    settings_file = tmp_path / "dvsync.env"
    settings_file.write_text("DATABASE_URL='postgres://a:$b&%40@c/d'\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("getent", "echo dvsync:x:1:1::/srv/dvsync:/bin/false"),
        ("runuser", 'echo "$DATABASE_URL" "$DVSYNC_DATA" "$HOME" "$@"'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-s", "syncnow", "two words"],
        input=script.replace("/etc/dvsync.env", str(settings_file)),
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (
        "postgres://a:$b&%40@c/d /var/lib/dvsync /srv/dvsync -u dvsync -- "
        "/srv/dvsync/.venv/bin/python /srv/dvsync/manage.py syncnow two words"
    )

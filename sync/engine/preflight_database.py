"""The checks of PostgreSQL before a sync: version, encoding, privileges, disk.

Each returns what it found; it raises ``Remark`` or ``TargetError`` otherwise.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings
from django.db import connection

from sync.engine.preflight_results import Remark, State
from sync.engine.session import database_errors, raw_cursor

OLDEST_POSTGRESQL = 150_000


def connect() -> str:
    """Check that it answers, and is new enough."""
    with database_errors():
        raw_cursor().execute("SELECT 1")
        version = connection.pg_version  # type: ignore[attr-defined]
    told = _ask("SHOW server_version")
    if version < OLDEST_POSTGRESQL:
        raise Remark(State.FAILED, f"PostgreSQL {told}", "Use PostgreSQL 15 or newer.")
    return f"PostgreSQL {told}, database {_ask('SELECT current_database()')}"


def encoding() -> str:
    """Check that it is in UTF-8."""
    found = _ask("SHOW server_encoding")
    if found != "UTF8":
        raise Remark(
            State.FAILED,
            f"The database is in {found}",
            "Use a database in UTF8: createdb --encoding UTF8 --template template0",
        )
    return "UTF8"


def privileges(schema: str) -> str:
    """Check that the role may make the schema and what loads need."""
    exists = _ask("SELECT to_regnamespace(quote_ident(%s))::text", schema)
    lacking = []
    if exists:
        may = "SELECT has_schema_privilege(%s, 'CREATE')::text"
        if _ask(may, schema) != "true":
            lacking.append(f"CREATE on the schema {schema}")
    elif _lacks("CREATE"):
        lacking.append("CREATE on the database")
    if _lacks("TEMPORARY"):
        lacking.append("TEMPORARY on the database")
    if lacking:
        role = _ask("SELECT current_user")
        raise Remark(
            State.FAILED,
            f"The role {role} lacks {' and '.join(lacking)}",
            "Let an administrator of the database run docs/deploy/grants.sql.",
        )
    made = "is there" if exists else "can be made"
    return f"The schema {schema} {made}; temporary tables can be made"


def _ask(query: str, *parameters: str) -> str:
    with database_errors():
        row = raw_cursor().execute(query, parameters).fetchone()
    return str(row[0]) if row and row[0] is not None else ""


def _lacks(privilege: str) -> bool:
    """Say whether the role lacks a privilege on the database."""
    query = "SELECT has_database_privilege(current_database(), %s)::text"
    return _ask(query, privilege) != "true"


def free_space() -> int | None:
    """Return the free bytes of PostgreSQL's disk if that is one of this machine."""
    home = next((home for home in settings.DATABASE_HOMES if home.exists()), None)
    try:
        return shutil.disk_usage(home or _data_directory()).free
    except OSError:
        return None


def _data_directory() -> Path:
    """Return where a server of this machine has its files, if it may be asked."""
    may = "SELECT pg_has_role(current_user, 'pg_read_all_settings', 'member')::text"
    local = raw_cursor().connection.info.host.startswith("/")
    if not local or _ask(may) != "true":
        raise FileNotFoundError
    return Path(_ask("SHOW data_directory"))

"""What PostgreSQL has now: schemas, the target relations, and who uses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from psycopg import Cursor, sql

from sync.errors import TargetError
from sync.target.tables import Column, Table

# What may turn a write into another one, unseen.
_INTERFERING = (
    "a rule",
    "a trigger before each row",
    "row security that applies to dvsync",
    "child tables",
)


def schema_exists(cursor: Cursor[tuple[object, ...]], schema: str) -> bool:
    """Say whether the database has the schema."""
    cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
    return cursor.fetchone() is not None


def inspect(cursor: Cursor[tuple[object, ...]], table: Table) -> dict[str, str] | None:
    """Return name and type of each column that the relation has now.

    None when there is no relation of that name. Raises ``TargetError`` when there
    is one that is no ordinary table, or one on which a write may not do what it
    says: a rule, a trigger before a row, row security, or a child table.
    """
    cursor.execute(
        "SELECT c.relkind, c.oid FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [table.schema, table.name],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    kind, oid = row
    where = f"{table.schema}.{table.name}"
    if kind != "r":
        raise TargetError("name_taken", f"{where} is no ordinary table", where=where)
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = %(oid)s), "
        "EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %(oid)s "
        "AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype::int & 3 = 3), "
        "row_security_active(%(oid)s::oid), "
        "EXISTS (SELECT FROM pg_inherits WHERE inhparent = %(oid)s)",
        {"oid": oid},
    )
    found = cursor.fetchone() or ()
    for has, what in zip(found, _INTERFERING, strict=True):
        if has:
            raise TargetError("target_altered", f"{where} has {what}", where=where)
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    )
    return {str(name): str(type_) for name, type_ in cursor.fetchall()}


def check_unaltered(table: Table, found: dict[str, str] | None) -> None:
    """Raise ``TargetError`` unless the relation still has the table's columns."""
    where = f"{table.schema}.{table.name}"
    if not table.columns:
        if found is not None:
            raise TargetError(
                "name_taken", f"{where} exists and was not made by dvsync", where=where
            )
        return
    if found is None:
        raise TargetError("target_altered", f"{where} is gone", where=where)
    for column in table.columns:
        type_ = found.get(column.name)
        if type_ is None:
            message = f"{where} has no column {column.name} any more"
        elif type_ != column.type:
            message = f"{where}.{column.name} is {type_} now, not {column.type}"
        else:
            continue
        raise TargetError("target_altered", message, where=f"{where}.{column.name}")


def views_on(
    cursor: Cursor[tuple[object, ...]], table: Table, columns: Iterable[Column]
) -> list[str]:
    """Return the views that use one of the columns, as schema.name."""
    cursor.execute(
        "SELECT DISTINCT n.nspname || '.' || v.relname FROM pg_depend d "
        "JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass "
        "JOIN pg_class v ON v.oid = r.ev_class "
        "JOIN pg_namespace n ON n.oid = v.relnamespace "
        "JOIN pg_class t ON t.oid = d.refobjid AND v.oid <> t.oid "
        "JOIN pg_namespace s ON s.oid = t.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid "
        "WHERE s.nspname = %s AND t.relname = %s AND a.attname = ANY(%s) ORDER BY 1",
        [table.schema, table.name, [column.name for column in columns]],
    )
    return [str(name) for (name,) in cursor.fetchall()]


def count_rows(cursor: Cursor[tuple[object, ...]], table: Table) -> int:
    """Return the number of rows in the table."""
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table.relation))
    row = cursor.fetchone()
    return int(str(row[0])) if row else 0


def size_of(cursor: Cursor[tuple[object, ...]], table: Table) -> int:
    """Return the bytes that the table takes on disk, its indexes not counted."""
    cursor.execute(
        "SELECT pg_table_size(c.oid) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [table.schema, table.name],
    )
    row = cursor.fetchone()
    return int(str(row[0])) if row else 0


def storage_of(cursor: Cursor[tuple[object, ...]], table: Table) -> object:
    """Return what names the table's storage now; a rewrite gives it another."""
    cursor.execute(
        "SELECT c.oid, pg_relation_filenode(c.oid) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [table.schema, table.name],
    )
    return cursor.fetchone()


def dependents(
    cursor: Cursor[tuple[object, ...]], schema: str, names: Sequence[str]
) -> list[str]:
    """Return the views and tables that use any of these tables, as schema.name.

    They are what keeps PostgreSQL from dropping the tables; the tables themselves,
    which go together, are not among them.
    """
    cursor.execute(
        "WITH ours AS (SELECT c.oid FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = ANY(%s)) "
        "SELECT DISTINCT n.nspname || '.' || c.relname FROM ("
        "SELECT r.ev_class AS oid FROM pg_depend d "
        "JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass "
        "WHERE d.refclassid = 'pg_class'::regclass "
        "AND d.refobjid IN (SELECT oid FROM ours) "
        "UNION SELECT conrelid FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid IN (SELECT oid FROM ours) "
        "UNION SELECT inhrelid FROM pg_inherits "
        "WHERE inhparent IN (SELECT oid FROM ours)) used "
        "JOIN pg_class c ON c.oid = used.oid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE used.oid NOT IN (SELECT oid FROM ours) ORDER BY 1",
        [schema, list(names)],
    )
    return [str(name) for (name,) in cursor.fetchall()]


def is_ours(cursor: Cursor[tuple[object, ...]], table: Table) -> bool:
    """Say whether the relation is an ordinary table with all of the table's columns."""
    cursor.execute(
        "SELECT c.relkind::text, array_agg(a.attname::text) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid "
        "AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname = %s AND c.relname = %s GROUP BY c.relkind",
        [table.schema, table.name],
    )
    row = cursor.fetchone()
    if row is None or row[0] != "r":
        return False
    there = set(cast("list[str]", row[1]))
    return there.issuperset(column.name for column in table.columns)


def existing(
    cursor: Cursor[tuple[object, ...]], schema: str, names: Sequence[str]
) -> set[str]:
    """Return those of the names that are relations of the schema, of any kind."""
    cursor.execute(
        "SELECT c.relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = ANY(%s)",
        [schema, list(names)],
    )
    return {str(name) for (name,) in cursor.fetchall()}

"""Real errors of a real PostgreSQL, as errors of dvsync."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from psycopg import Connection, Cursor, sql
from psycopg.conninfo import make_conninfo

from sync.errors import PROBLEMS, TargetError
from sync.target.failures import from_postgres

Raw = Cursor[tuple[object, ...]]
Session = Connection[tuple[object, ...]]


@pytest.fixture
def cursor(db: None) -> Iterator[Raw]:
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        yield raw


def conninfo(**changes: str | int) -> str:
    info = connection.connection.info
    return make_conninfo(info.dsn, password=info.password, **changes)


@contextmanager
def session(**changes: str | int) -> Iterator[Session]:
    """Open one more connection to the same database, in autocommit."""
    other = psycopg.connect(conninfo(**changes), autocommit=True)
    try:
        yield other
    finally:
        other.close()


def raised(action: Callable[[], object]) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        action()
    return caught.value


def failure(cursor: Raw, statement: str) -> TargetError:
    return from_postgres(raised(lambda: cursor.execute(statement.encode())))


def transient(code: str) -> bool:
    return not PROBLEMS[code].permanent


class TestStatements:
    def test_a_missing_privilege(self, cursor: Raw) -> None:
        cursor.execute("CREATE TABLE private_table (id integer)")
        cursor.execute("REVOKE ALL ON private_table FROM CURRENT_USER")

        error = failure(cursor, "SELECT * FROM private_table")

        assert error.code == "permission_denied"
        assert error.permanent
        assert "private_table" in error.message

    def test_a_schema_that_may_not_be_used(self, cursor: Raw) -> None:
        cursor.execute("CREATE SCHEMA private_schema")
        cursor.execute("REVOKE ALL ON SCHEMA private_schema FROM CURRENT_USER")

        error = failure(cursor, "CREATE TABLE private_schema.t ()")

        assert error.code == "permission_denied"

    @pytest.mark.fault(
        "F22", injected="a read-only transaction", outcome="told as such"
    )
    def test_a_read_only_session(self, cursor: Raw) -> None:
        cursor.execute("SET LOCAL transaction_read_only = on")

        error = failure(cursor, "CREATE TABLE t ()")

        assert error.code == "read_only"
        assert "read-only" in error.message

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO altered VALUES (1), (1)",
            "INSERT INTO altered VALUES (NULL)",
            "INSERT INTO altered VALUES (-1)",
            "INSERT INTO altered VALUES (2, 7)",
        ],
    )
    def test_a_constraint_that_a_user_added(self, cursor: Raw, statement: str) -> None:
        cursor.execute(
            "CREATE TABLE altered (id integer PRIMARY KEY CHECK (id > 0), "
            "parent integer REFERENCES altered)"
        )

        error = failure(cursor, statement)

        assert error.code == "target_altered"
        assert error.permanent

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM nowhere",
            "ALTER TABLE nowhere ADD COLUMN a text",
            "SELECT nothing FROM django_migrations",
            "UPDATE django_migrations SET name = 1.5::numeric, id = true",
        ],
    )
    def test_a_table_or_column_that_is_not_there_or_not_as_it_was(
        self, cursor: Raw, statement: str
    ) -> None:
        assert failure(cursor, statement).code == "target_altered"

    @pytest.mark.parametrize(
        "statement", ["CREATE TABLE django_migrations ()", "CREATE SCHEMA public"]
    )
    def test_a_name_that_is_taken(self, cursor: Raw, statement: str) -> None:
        assert failure(cursor, statement).code == "name_taken"

    @pytest.mark.fault(
        "F23", injected="DROP SCHEMA", outcome="told as an altered target"
    )
    def test_a_schema_that_was_dropped(self, cursor: Raw) -> None:
        error = failure(cursor, "CREATE TABLE nowhere.t ()")

        assert error.code in {"target_altered", "database_refused"}
        assert error.permanent

    def test_too_many_columns(self, cursor: Raw) -> None:
        columns = ", ".join(f"c{number} text" for number in range(1601))

        error = failure(cursor, f"CREATE TABLE wide ({columns})")

        assert error.code == "target_limit"
        assert error.permanent

    @pytest.mark.fault(
        "F26",
        injected="a column added to 1,599 live and one dropped",
        outcome="told as a limit of the target",
    )
    def test_too_many_columns_that_were_dropped_again(self, cursor: Raw) -> None:
        columns = ", ".join(f"c{number} text" for number in range(1600))
        cursor.execute(f"CREATE TABLE wide ({columns})".encode())
        cursor.execute("ALTER TABLE wide DROP COLUMN c7")

        error = failure(cursor, "ALTER TABLE wide ADD COLUMN d text")

        assert error.code == "target_limit"

    @pytest.mark.fault(
        "F27",
        injected="600 texts of 30 characters in a row",
        outcome="told as a limit of the target",
    )
    def test_a_row_that_is_too_big(self, cursor: Raw) -> None:
        columns = ", ".join(f"c{number} text" for number in range(600))
        cursor.execute(f"CREATE TABLE wide ({columns})".encode())
        values = ", ".join(["repeat('x', 30)"] * 600)

        error = failure(cursor, f"INSERT INTO wide VALUES ({values})")

        assert error.code == "target_limit"
        assert error.permanent

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 1 / 0",
            "SELECT 'x'::integer",
            "SELECT no_such_function()",
            "SELEC 1",
            "DO $$ BEGIN RAISE EXCEPTION 'of a trigger'; END $$",
        ],
    )
    def test_any_other_refusal_is_permanent_and_told_in_postgresqls_words(
        self, cursor: Raw, statement: str
    ) -> None:
        cause = raised(lambda: cursor.execute(statement.encode()))
        error = from_postgres(cause)

        assert error.code == "database_refused"
        assert error.permanent
        assert cause.diag.message_primary is not None
        assert cause.diag.message_primary in error.message

    @pytest.mark.fault(
        "F19",
        injected="a statement time-out of 20 ms",
        outcome="told as transient: tried again",
    )
    def test_a_statement_that_took_too_long(self, cursor: Raw) -> None:
        cursor.execute("SET LOCAL statement_timeout = '20ms'")

        error = failure(cursor, "SELECT pg_sleep(60)")

        assert not error.permanent

    def test_a_transaction_that_failed_before(self, cursor: Raw) -> None:
        failure(cursor, "SELECT 1 / 0")

        assert failure(cursor, "SELECT 1").permanent

    def test_a_value_that_psycopg_itself_refuses_is_no_lost_connection(
        self, cursor: Raw
    ) -> None:
        """It has no SQLSTATE, like the errors of a connection."""
        cause = raised(lambda: cursor.execute("SELECT %s", ["a\0b"]))
        error = from_postgres(cause)

        assert cause.sqlstate is None
        assert error.permanent
        assert error.code != "database_unavailable"

    def test_the_place_is_kept(self, cursor: Raw) -> None:
        cause = raised(lambda: cursor.execute("SELECT 1 / 0"))

        error = from_postgres(cause, "sales.account")

        assert error.where == "sales.account"
        assert "sales.account" in str(error)

    def test_the_remedy_is_that_of_the_code(self, cursor: Raw) -> None:
        error = failure(cursor, "SELECT * FROM nowhere")

        assert error.remedy == PROBLEMS["target_altered"].remedy


class TestLocks:
    def test_a_lock_that_is_not_had_in_time(self, cursor: Raw) -> None:
        with session() as other:
            other.execute("SELECT pg_advisory_lock(20261122, 1)")
            cursor.execute("SET LOCAL lock_timeout = '20ms'")

            error = failure(cursor, "SELECT pg_advisory_xact_lock(20261122, 1)")

        assert error.code == "table_locked"
        assert not error.permanent

    def test_a_table_that_another_session_has_locked(self, cursor: Raw) -> None:
        with session() as other, other.transaction():
            other.execute("LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")

            error = failure(cursor, "LOCK TABLE django_migrations NOWAIT")

        assert error.code == "table_locked"

    @pytest.mark.fault(
        "F18",
        injected="two sessions that wait for each other",
        outcome="told as transient: tried again",
    )
    def test_a_deadlock(self, cursor: Raw) -> None:
        errors: list[psycopg.Error] = []

        def wait_for(waiting: Raw, number: int) -> None:
            try:
                waiting.execute("SELECT pg_advisory_xact_lock(20261122, %s)", [number])
            except psycopg.Error as error:
                errors.append(error)

        cursor.execute("SELECT pg_advisory_xact_lock(20261122, 2)")
        with session() as other, other.transaction(force_rollback=True):
            rival = other.cursor()
            rival.execute("SELECT pg_advisory_xact_lock(20261122, 3)")
            thread = threading.Thread(target=wait_for, args=(rival, 2))
            thread.start()
            wait_for(cursor, 3)
            connection.connection.rollback()
            thread.join()

        (cause,) = errors
        error = from_postgres(cause)
        assert error.code == "database_conflict"
        assert not error.permanent

    def test_a_transaction_that_cannot_be_serialised(self, cursor: Raw) -> None:
        table = sql.Identifier(f"conflict_{uuid4().hex}")
        add = sql.SQL("UPDATE {} SET a = a + 1").format(table)
        with session() as other, session() as rival:
            other.execute(sql.SQL("CREATE TABLE {} AS SELECT 1 AS a").format(table))
            try:
                rival.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                rival.execute("SELECT count(*) FROM pg_class")
                other.execute(add)

                error = from_postgres(raised(lambda: rival.execute(add)))
            finally:
                rival.rollback()
                other.execute(sql.SQL("DROP TABLE {}").format(table))

        assert error.code == "database_conflict"
        assert not error.permanent


class TestConnections:
    def test_a_port_where_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

            error = from_postgres(
                raised(lambda: psycopg.connect(host="127.0.0.1", port=port))
            )

        assert error.code == "database_unavailable"
        assert not error.permanent
        assert error.message.strip()

    @pytest.mark.fault(
        "F31",
        injected="a server that hangs up",
        outcome="told as unavailable: tried again",
    )
    @pytest.mark.timeout(30)
    def test_a_server_that_hangs_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            hanging_up = threading.Thread(target=lambda: server.accept()[0].close())
            hanging_up.start()

            error = from_postgres(
                raised(
                    lambda: psycopg.connect(
                        host="127.0.0.1", port=port, sslmode="disable"
                    )
                )
            )

            hanging_up.join()

        assert error.code == "database_unavailable"

    def test_a_database_that_is_not_there(self, cursor: Raw) -> None:
        name = f"nowhere_{uuid4().hex}"

        error = from_postgres(raised(lambda: psycopg.connect(conninfo(dbname=name))))

        assert error.code == "database_unavailable"
        assert name in error.message

    @pytest.mark.fault(
        "F20",
        injected="a database with a connection limit of 0",
        outcome="told as unavailable: tried again",
    )
    def test_too_many_connections(self, cursor: Raw) -> None:
        name = f"test_full_{uuid4().hex}"
        database = sql.Identifier(name)
        with session() as other:
            other.execute(
                sql.SQL("CREATE DATABASE {} CONNECTION LIMIT 0").format(database)
            )
            try:
                error = from_postgres(
                    raised(lambda: psycopg.connect(conninfo(dbname=name)))
                )
            finally:
                other.execute(sql.SQL("DROP DATABASE {}").format(database))

        assert error.code == "database_unavailable"
        assert not error.permanent

    def test_a_backend_that_an_administrator_ended(self, cursor: Raw) -> None:
        with session() as other:
            end(cursor, other)

            error = from_postgres(raised(lambda: other.execute("SELECT 1")))

        assert error.code == "database_unavailable"
        assert not error.permanent

    def test_a_connection_that_was_lost_before(self, cursor: Raw) -> None:
        with session() as other:
            end(cursor, other)
            raised(lambda: other.execute("SELECT 1"))

            error = from_postgres(raised(lambda: other.execute("SELECT 1")))

        assert error.code == "database_unavailable"
        assert not error.permanent

    def test_a_connection_that_was_closed(self, cursor: Raw) -> None:
        with session() as other:
            other.close()

            error = from_postgres(raised(lambda: other.execute("SELECT 1")))

        assert error.code == "database_unavailable"

    @pytest.mark.fault(
        "F10",
        injected="pg_terminate_backend in the middle of COPY",
        outcome="told as unavailable: tried again",
    )
    def test_a_backend_that_ended_in_the_middle_of_a_copy(self, cursor: Raw) -> None:
        with session() as other:
            other.execute("CREATE TEMPORARY TABLE t (a text)")

            error = from_postgres(raised(lambda: copy_while_ended(cursor, other)))

        assert error.code == "database_unavailable"

    def test_a_statement_that_a_person_cancelled(self, cursor: Raw) -> None:
        with session() as other, session() as third:
            cancelling = threading.Thread(target=cancel_sleep, args=(third, other))
            cancelling.start()

            error = from_postgres(raised(lambda: other.execute("SELECT pg_sleep(60)")))

            cancelling.join()

        assert not error.permanent


def end(cursor: Raw, other: Session) -> None:
    cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [other.info.backend_pid])
    assert cursor.fetchone() == (True,)


def copy_while_ended(cursor: Raw, other: Session) -> None:
    with other.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write("a\n")
        end(cursor, other)
        for _ in range(1000):
            copy.write("b" * 10_000 + "\n")


def cancel_sleep(third: Session, other: Session) -> None:
    """Cancel what the other session does, once it sleeps."""
    cancelled = None
    while not cancelled:
        cancelled = third.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
            "WHERE pid = %s AND wait_event = 'PgSleep'",
            [other.info.backend_pid],
        ).fetchone()


# What cannot be brought about here without harm to the server.
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (psycopg.errors.DiskFull, "disk_full"),
        (psycopg.errors.OutOfMemory, "disk_full"),
        (psycopg.errors.IoError, "disk_full"),
        (psycopg.errors.TooManyConnections, "database_unavailable"),
        (psycopg.errors.CannotConnectNow, "database_unavailable"),
        (psycopg.errors.CrashShutdown, "database_unavailable"),
        (psycopg.errors.AdminShutdown, "database_unavailable"),
        (psycopg.errors.ConnectionFailure, "database_unavailable"),
        (psycopg.errors.DeadlockDetected, "database_conflict"),
        (psycopg.errors.ObjectInUse, "table_locked"),
    ],
)
def test_what_passes_by_itself_is_transient(
    kind: type[psycopg.Error], code: str
) -> None:
    error = from_postgres(kind("said so"))

    assert error.code == code
    assert not error.permanent
    assert "said so" in error.message


@pytest.mark.parametrize("prefix", ["08", "40", "53", "55", "57"])
def test_every_state_of_a_transient_class_is_transient(prefix: str) -> None:
    """The classes that docs/architecture.md names."""
    states = {k for k in psycopg.errors._sqlcodes if k.startswith(prefix)}

    assert states
    for state in states:
        assert not from_postgres(psycopg.errors.lookup(state)("x")).permanent, state


@pytest.mark.parametrize("prefix", ["0A", "22", "23", "42", "54"])
def test_every_state_of_a_permanent_class_is_permanent(prefix: str) -> None:
    states = {k for k in psycopg.errors._sqlcodes if k.startswith(prefix)}

    assert states
    for state in states:
        assert from_postgres(psycopg.errors.lookup(state)("x")).permanent, state


def test_every_code_is_of_the_catalogue() -> None:
    for kind in psycopg.errors._sqlcodes.values():
        error = from_postgres(kind("x"))

        assert error.code in PROBLEMS
        assert error.permanent is not transient(error.code)

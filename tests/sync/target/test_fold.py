"""The fold of changes: as if every line had been applied alone, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import Cursor, Rollback, sql

from sync.engine.session import prepare_session
from sync.errors import TargetError
from sync.target.fold import Fold
from sync.target.line_staging import LineStaging
from sync.target.staging import RELATION
from sync.target.tables import Column, Table
from sync.target.winners import RowCounts

Raw = Cursor[tuple[object, ...]]
Row = tuple[str | None, ...]

SCHEMA = "fold_test"
LAST = "9999-12-31 23:59:59.999999+00"


@dataclass(frozen=True)
class Shape:
    """A table: its columns' types, and which of them are its key."""

    types: tuple[str, ...]
    keys: tuple[int, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns, named so that no name of another table can be meant."""
        return tuple(
            Column(f"a{n}", f"col {n}", kind) for n, kind in enumerate(self.types)
        )

    @property
    def table(self) -> Table:
        return Table(SCHEMA, "t", self.columns)

    def key(self, values: Sequence[str | None]) -> Row:
        return tuple(values[position] for position in self.keys)


SHAPES = (
    Shape(("integer", "text", "integer"), (0,)),
    Shape(("text", "text", "timestamp with time zone", "boolean"), (0,)),
    Shape(("text", "integer", "text", "numeric"), (2, 1)),
    Shape(("integer", "text"), (0, 1)),
)
VALUES = {
    "integer": ("1", "2", "3"),
    "text": ("", "a", "A", "\\N"),
    "timestamp with time zone": ("2024-09-10 12:05:30+00", LAST),
    "boolean": ("true", "false"),
    "numeric": ("1", "1.0", "1.00"),
}


@dataclass(frozen=True)
class Change:
    """One line; ``told`` are the columns that it has."""

    verb: str
    values: Row
    told: frozenset[int]
    partition: int = 1

    def copied(self, shape: Shape) -> bytes:
        """Return it as COPY's text format has it."""
        bits = "".join(str(int(n in self.told)) for n in range(len(shape.types)))
        cells = [
            r"\N"
            if value is None or n not in self.told
            else value.replace("\\", r"\\").replace("\t", r"\t")
            for n, value in enumerate(self.values)
        ]
        told = bits if self.verb == "U" else r"\N"
        return "\t".join([self.verb, told, *cells]).encode() + b"\n"


@dataclass
class Slow:
    """Applies line after line, and knows what they came to."""

    shape: Shape
    rows: dict[Row, Row]
    insert_unknown: bool
    last: dict[Row, int] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = dict(self.rows)

    def apply(self, change: Change) -> None:
        key = self.shape.key(change.values)
        old = self.rows.get(key)
        told = tuple(
            value if n in change.told else None for n, value in enumerate(change.values)
        )
        if change.verb == "I" or (
            change.verb == "U" and old is None and self.insert_unknown
        ):
            self.rows[key] = told
        elif old is None:
            number = self.missing.get(change.partition, 0)
            self.missing[change.partition] = number + 1
            return
        elif change.verb == "D":
            del self.rows[key]
        else:
            self.rows[key] = tuple(
                new if n in change.told else was
                for n, (was, new) in enumerate(zip(old, told, strict=True))
            )
        self.last[key] = change.partition

    def counts(self, lines: Mapping[int, int]) -> dict[int, RowCounts]:
        found = {partition: RowCounts() for partition in lines}
        for key, partition in self.last.items():
            before, after = self.before.get(key), self.rows.get(key)
            if before is None and after is not None:
                found[partition].inserted += 1
            elif before is not None and after is None:
                found[partition].deleted += 1
            elif before != after:
                found[partition].updated += 1
        for partition, count in found.items():
            count.missing = self.missing.get(partition, 0)
            count.complete(lines[partition])
        return found


@pytest.fixture
def cursor(db: None) -> Iterator[Raw]:
    """A cursor in a load's session."""
    connection.ensure_connection()
    with connection.connection.cursor() as raw:
        prepare_session(raw)
        yield raw


@contextmanager
def undone(cursor: Raw) -> Iterator[None]:
    """Undo what is done within it."""
    with cursor.connection.transaction() as transaction:
        yield
        raise Rollback(transaction)


def create(cursor: Raw, shape: Shape, rows: Mapping[Row, Row]) -> None:
    """Make the target with rows in it."""
    columns = shape.columns
    definitions = [
        sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type))
        for c in columns
    ]
    keys = sql.SQL(", ").join(sql.Identifier(columns[key].name) for key in shape.keys)
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    cursor.execute(
        sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
            shape.table.relation, sql.SQL(", ").join(definitions), keys
        )
    )
    if not rows:
        return
    for row in rows.values():
        cursor.execute(
            sql.SQL("INSERT INTO {} VALUES ({})").format(
                shape.table.relation, sql.SQL(", ").join(map(sql.Literal, row))
            )
        )


def content(cursor: Raw, shape: Shape) -> dict[Row, Row]:
    texts = (
        sql.SQL("{}::text").format(sql.Identifier(column.name))
        for column in shape.columns
    )
    query = sql.SQL("SELECT {} FROM {}")
    cursor.execute(query.format(sql.SQL(", ").join(texts), shape.table.relation))
    rows = [
        tuple(None if value is None else str(value) for value in row)
        for row in cursor.fetchall()
    ]
    return {shape.key(row): row for row in rows}


def fold(
    cursor: Raw,
    shape: Shape,
    changes: Sequence[Change],
    *,
    insert_unknown: bool = False,
    partitioned: bool = True,
) -> dict[int, RowCounts]:
    """Apply changes in one load; return the counts of each partition."""
    staging = LineStaging(cursor, shape.columns, shape.keys, partitioned=partitioned)
    staging.create()
    lines: dict[int, int] = {}
    for number in dict.fromkeys(change.partition for change in changes):
        ours = [change for change in changes if change.partition == number]
        staging.begin_partition(number)
        lines[number] = staging.copy_lines(change.copied(shape) for change in ours)
    folding = Fold(cursor, staging, shape.table, insert_unknown=insert_unknown)
    counts = folding.choose(lines)
    chosen = {n: (c.inserted, c.deleted, c.missing) for n, c in counts.items()}
    folding.apply(counts, lines)
    assert chosen == {n: (c.inserted, c.deleted, c.missing) for n, c in counts.items()}
    folding.drop()
    staging.drop()
    return counts


@st.composite
def histories(draw: st.DrawFn) -> tuple[Shape, dict[Row, Row], list[Change]]:
    shape = draw(st.sampled_from(SHAPES))

    def values() -> Row:
        return tuple(
            draw(
                st.sampled_from(VALUES[kind][:2])
                if n in shape.keys
                else st.none() | st.sampled_from(VALUES[kind])
            )
            for n, kind in enumerate(shape.types)
        )

    rows = {}
    for _ in range(draw(st.integers(0, 3))):
        row = values()
        rows[shape.key(row)] = row
    positions = frozenset(range(len(shape.types)))
    changes = []
    partition = 1
    for _ in range(draw(st.integers(0, 14))):
        partition += draw(st.sampled_from([0, 0, 0, 1]))
        verb = draw(st.sampled_from("IUUUD"))
        told = draw(st.frozensets(st.sampled_from(sorted(positions))))
        told = told.union(shape.keys)
        changes.append(Change(verb, values(), told, partition))
    return shape, rows, changes


def of(verb: str, *values: str | None, told: str = "", partition: int = 1) -> Change:
    """Return a change of the first shape; ``told`` are its columns, all if empty."""
    columns = frozenset(map(int, told)) if told else frozenset(range(len(values)))
    return Change(verb, values, columns, partition)


per_example = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
    ],
)
FIRST = SHAPES[0]
OLD: dict[Row, Row] = {("1",): ("1", "a", "5")}


class TestAnyHistory:
    @per_example
    @given(histories(), st.booleans(), st.booleans())
    @example((FIRST, {}, [of("U", "1", "a", "2"), of("D", "1", "a", "2")]), True, True)
    def test_it_is_that_of_line_after_line(
        self,
        cursor: Raw,
        history: tuple[Shape, dict[Row, Row], list[Change]],
        insert_unknown: bool,
        partitioned: bool,
    ) -> None:
        shape, rows, changes = history
        if not partitioned:
            changes = [Change(c.verb, c.values, c.told, 0) for c in changes]
        slow = Slow(shape, dict(rows), insert_unknown)
        lines: dict[int, int] = {}
        for change in changes:
            slow.apply(change)
            lines[change.partition] = lines.get(change.partition, 0) + 1
        with undone(cursor):
            create(cursor, shape, rows)
            counts = fold(
                cursor,
                shape,
                changes,
                insert_unknown=insert_unknown,
                partitioned=partitioned,
            )

            assert content(cursor, shape) == slow.rows
            assert counts == slow.counts(lines)

    @per_example
    @given(histories(), st.booleans(), st.integers(0, 14))
    def test_two_loads_end_in_the_same_rows_as_one(
        self,
        cursor: Raw,
        history: tuple[Shape, dict[Row, Row], list[Change]],
        insert_unknown: bool,
        cut: int,
    ) -> None:
        shape, rows, changes = history
        slow = Slow(shape, dict(rows), insert_unknown)
        for change in changes:
            slow.apply(change)
        with undone(cursor):
            create(cursor, shape, rows)
            missing = 0
            for part in (changes[:cut], changes[cut:]):
                counts = fold(cursor, shape, part, insert_unknown=insert_unknown)
                missing += sum(count.missing for count in counts.values())

            assert content(cursor, shape) == slow.rows
            assert missing == sum(slow.missing.values())


class TestOneKey:
    @pytest.fixture(autouse=True)
    def target(self, cursor: Raw) -> None:
        create(cursor, FIRST, OLD)

    def test_a_hundred_updates_of_a_row_are_one_write(self, cursor: Raw) -> None:
        cursor.execute("CREATE TEMPORARY TABLE written (what text)")
        cursor.execute(
            "CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO pg_temp.written VALUES (TG_OP); RETURN NULL; END'"
        )
        cursor.execute(
            sql.SQL(
                "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {} "
                "FOR EACH ROW EXECUTE FUNCTION pg_temp.note()"
            ).format(FIRST.table.relation)
        )
        changes = [
            of("U", "1", f"t{n}", str(n), told=f"0{1 + n % 2}") for n in range(100)
        ]
        counts = fold(cursor, FIRST, changes)

        assert content(cursor, FIRST) == {("1",): ("1", "t98", "99")}
        assert counts == {1: RowCounts(updated=1, unchanged=99)}
        assert cursor.execute("SELECT what FROM written").fetchall() == [("UPDATE",)]

    def test_an_update_that_changes_nothing_is_no_write(self, cursor: Raw) -> None:
        query = sql.SQL("SELECT xmin, ctid FROM {}").format(FIRST.table.relation)
        before = cursor.execute(query).fetchall()
        changes = [
            of("U", "1", "b", None, told="01"),
            of("U", "1", "a", None, told="01"),
        ]

        assert fold(cursor, FIRST, changes) == {1: RowCounts(unchanged=2)}
        assert cursor.execute(query).fetchall() == before

    @pytest.mark.parametrize(
        ("changes", "row", "counts"),
        [
            ([of("I", "1", "x", None, told="01")], ("1", "x", None), {1: "u"}),
            ([of("D", "1", None, None), of("U", "1", "x", "9")], None, {1: "dm"}),
            (
                [of("D", "1", None, None), of("I", "1", "a", "5")],
                ("1", "a", "5"),
                {1: "--"},
            ),
            ([of("I", "1", "x", "9"), of("D", "1", None, None)], None, {1: "d-"}),
            (
                [
                    of("U", "1", "x", None, told="01"),
                    of("U", "1", None, "7", told="02", partition=2),
                ],
                *(("1", "x", "7"), {1: "-", 2: "u"}),
            ),
            (
                [
                    of("D", "1", None, None),
                    of("D", "1", None, None, partition=2),
                    of("U", "1", "x", "9", partition=2),
                ],
                *(None, {1: "d", 2: "mm"}),
            ),
            (
                [
                    of("D", "1", None, None),
                    of("I", "1", "x", None, told="01", partition=2),
                    of("U", "1", None, "7", told="02", partition=3),
                ],
                *(("1", "x", "7"), {1: "-", 2: "-", 3: "u"}),
            ),
        ],
    )
    def test_each_line_counts_once_where_it_stands(
        self,
        cursor: Raw,
        changes: list[Change],
        row: Row | None,
        counts: dict[int, str],
    ) -> None:
        found = fold(cursor, FIRST, changes)

        assert content(cursor, FIRST) == ({("1",): row} if row else {})
        for number, letters in counts.items():
            assert found[number] == RowCounts(
                updated=letters.count("u"),
                deleted=letters.count("d"),
                unchanged=letters.count("-") + letters.count("m"),
                missing=letters.count("m"),
            )

    @pytest.mark.parametrize("insert_unknown", [True, False])
    def test_an_update_of_an_unknown_row_is_missing_or_makes_it(
        self, cursor: Raw, insert_unknown: bool
    ) -> None:
        changes = [
            of("U", "2", "x", None, told="01"),
            of("U", "2", None, "3", told="02"),
        ]
        counts = fold(cursor, FIRST, changes, insert_unknown=insert_unknown)

        if insert_unknown:
            assert counts == {1: RowCounts(inserted=1, unchanged=1)}
            assert content(cursor, FIRST)["2",] == ("2", "x", "3")
        else:
            assert counts == {1: RowCounts(unchanged=2, missing=2)}
            assert content(cursor, FIRST) == OLD

    @pytest.mark.parametrize("insert_unknown", [True, False])
    def test_a_delete_of_an_unknown_row_is_missing(
        self, cursor: Raw, insert_unknown: bool
    ) -> None:
        counts = fold(
            cursor, FIRST, [of("D", "2", None, None)], insert_unknown=insert_unknown
        )

        assert counts == {1: RowCounts(unchanged=1, missing=1)}
        assert content(cursor, FIRST) == OLD

    def test_a_load_of_nothing_does_nothing(self, cursor: Raw) -> None:
        assert fold(cursor, FIRST, []) == {}
        assert content(cursor, FIRST) == OLD

    @pytest.mark.parametrize(
        ("event", "change"),
        [("INSERT", of("I", "2", "b", "6")), ("DELETE", of("D", "1", None, None))],
    )
    def test_a_target_that_does_not_take_its_rows_is_an_error(
        self, cursor: Raw, event: str, change: Change
    ) -> None:
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN NULL; END'"
        )
        cursor.execute(
            sql.SQL(
                "CREATE TRIGGER refuse BEFORE {} ON {} FOR EACH ROW "
                "EXECUTE FUNCTION pg_temp.refuse()"
            ).format(sql.SQL(event), FIRST.table.relation)
        )
        with pytest.raises(TargetError) as caught:
            fold(cursor, FIRST, [change])

        assert caught.value.code == "target_altered"


class TestTables:
    def test_a_moment_past_the_last_year_is_the_last_one_also_when_it_is_folded(
        self, cursor: Raw
    ) -> None:
        shape = Shape(("integer", "timestamp with time zone", "text"), (0,))
        create(cursor, shape, {})
        late = "9999-12-31T23:59:59.9999999Z"
        fold(cursor, shape, [of("I", "1", late, None)])
        assert content(cursor, shape) == {("1",): ("1", LAST, None)}
        again = [
            of("U", "1", late, None, told="01"),
            of("U", "1", late, None, told="01"),
        ]

        assert fold(cursor, shape, again) == {1: RowCounts(unchanged=2)}

    def test_a_table_of_keys_alone_is_never_updated(self, cursor: Raw) -> None:
        shape = Shape(("integer", "text"), (1, 0))
        create(cursor, shape, {("a", "1"): ("1", "a")})
        changes = [of("U", "1", "a"), of("I", "1", "a"), of("U", "2", "a")]

        assert fold(cursor, shape, changes) == {1: RowCounts(unchanged=3, missing=1)}

    def test_an_equal_number_that_is_written_otherwise_is_an_update(
        self, cursor: Raw
    ) -> None:
        shape = Shape(("integer", "numeric"), (0,))
        create(cursor, shape, {("1",): ("1", "1.0")})

        assert fold(cursor, shape, [of("U", "1", "1.00")]) == {1: RowCounts(updated=1)}
        assert content(cursor, shape) == {("1",): ("1", "1.00")}

    @pytest.mark.parametrize("width", [100, 1597])
    def test_the_changes_of_a_wide_table_are_folded(
        self, cursor: Raw, width: int
    ) -> None:
        shape = Shape(("integer",) * width, (0,))
        nothing: list[str | None] = [None] * (width - 1)
        create(cursor, shape, {("1",): ("1", *nothing)})
        changes = [
            Change("U", ("1", *[str(n)] * (width - 1)), frozenset({0, n}))
            for n in range(1, width, 7)
        ]

        counts = fold(cursor, shape, changes)
        assert counts == {1: RowCounts(updated=1, unchanged=len(changes) - 1)}
        row = content(cursor, shape)["1",]
        assert row[1:] == tuple(str(n) if n % 7 == 1 else None for n in range(1, width))

    def test_the_staging_table_is_gone_after_a_drop(self, cursor: Raw) -> None:
        create(cursor, FIRST, OLD)
        fold(cursor, FIRST, [of("U", "1", "x", "9")])
        found = cursor.execute(
            "SELECT to_regclass('pg_temp.dvsync_winners'), "
            "to_regclass('pg_temp.dvsync_operations'), to_regclass(%s)",
            [RELATION.as_string(cursor)],
        ).fetchall()

        assert found == [(None, None, None)]

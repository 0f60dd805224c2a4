"""How the cells of a sample export are made: from hashes, a batch of rows at a time.

Nothing is remembered per row: the same seed, table, row and version always give
the same cells. A column makes the cells of a whole batch with one comprehension,
which is what makes the generator fast enough for benchmarks.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

MASK = (1 << 64) - 1
UTC = dt.UTC
FIRST_RECID = 5637144576
# Rows that a lookup may point to: the first ones of the other table.
LOOKUP_ROWS = 97
QUOTED_TYPES = {"string", "dateTime", "dateTimeOffset"}


def key_of(*parts: object) -> int:
    """Return a number that depends on every part, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(numbers: Iterable[int], key: int) -> list[int]:
    """Scatter the numbers over 64 bits; different numbers never meet."""
    return [
        (
            y := ((x := (n * 0x9E3779B97F4A7C15 + key) & MASK) ^ x >> 31)
            * 0xBF58476D1CE4E5B9
            & MASK
        )
        ^ y >> 29
        for n in numbers
    ]


class Dice:
    """Repeatable chance."""

    def __init__(self, *parts: object) -> None:
        self._state = key_of(*parts)

    def roll(self, sides: int) -> int:
        """Return a number from 0 to sides - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & MASK
        return (self._state >> 32) % sides


def quote(text: str | None) -> str:
    """Return a quoted CSV cell; None is the empty cell."""
    return "" if text is None else '"' + text.replace('"', '""') + '"'


def unquote(cell: str) -> str | None:
    """Return the value of a CSV cell; the empty cell is None."""
    if cell.startswith('"'):
        return cell[1:-1].replace('""', '"')
    return cell or None


def moment(seconds: int) -> dt.datetime:
    """Return the UTC time of a Unix time."""
    return dt.datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=8192)
def us_time(seconds: int) -> str:
    """Write a time the way of the Sink columns, such as 6/28/2026 4:34:35 PM."""
    t = moment(seconds)
    half = "AM" if t.hour < 12 else "PM"
    clock = f"{(t.hour + 11) % 12 + 1}:{t.minute:02d}:{t.second:02d} {half}"
    return f'"{t.month}/{t.day}/{t.year} {clock}"'


@lru_cache(maxsize=8192)
def iso_time(seconds: int) -> str:
    """Write a time as 2026-06-25T16:21:12Z."""
    return f'"{moment(seconds):%Y-%m-%dT%H:%M:%SZ}"'


def guids(hashes: Iterable[int]) -> list[str]:
    """Return ids of Dataverse rows; different hashes have different ids."""
    texts = [f"{h:016x}" for h in hashes]
    return [f"{s[:8]}-{s[8:12]}-f011-{s[12:]}-000d3a29c1e4" for s in texts]


def recid_guids(table_id: int, rows: Iterable[int]) -> list[str]:
    """Return ids of Finance and Operations rows: table id and RecId in a guid."""
    texts = [(FIRST_RECID + row).to_bytes(8, "little").hex() for row in rows]
    return [f"{table_id:08x}-0000-0000-{s[:4]}-{s[4:]}" for s in texts]


class Calendar:
    """The creation times of rows, more of them in the last full year."""

    def __init__(self, start: int) -> None:
        first = moment(start)
        self.days: list[str] = []
        self.years: list[str] = []
        for back in range(5, -1, -1):
            year = first.year - back
            step = max(1, 2 ** (back - 2))
            day = dt.date(year, 1, 1)
            while day.year == year and day < first.date():
                copies = 2 if back <= 1 else 1
                self.days += [f'"{day}T'] * copies
                self.years += [str(year)] * copies
                day += dt.timedelta(days=step)
        self.clocks = [
            f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}"
            for s in range(25000, 65000, 41)
        ]
        # Rows that are born while the export runs, just before it started.
        self.new_year = str(moment(start - 600).year)
        self.new = [iso_time(start - i - 1)[:-2] for i in range(600)]

    def created(
        self, rows: list[int], births: list[int], first_rows: int
    ) -> list[tuple[str, str]]:
        """Return year and begin of the creation time, without its end and quote."""
        days, years, clocks, new = self.days, self.years, self.clocks, self.new
        n, m = len(days), len(clocks)
        return [
            (years[h % n], days[h % n] + clocks[(h >> 20) % m])
            if row < first_rows
            else (self.new_year, new[h % 600])
            for row, h in zip(rows, births, strict=True)
        ]


@dataclass(frozen=True)
class Batch:
    """Some rows of one table, and what the columns make their cells of."""

    seed: int
    rows: list[int]
    versions: list[int]
    sinks: list[int]
    births: list[int]  # a hash of the row
    hashes: list[int]  # a hash of the row and its version
    ids: list[str]
    created: list[tuple[str, str]]  # year, creation time without its end
    first_change: int  # versions below are of the initial copy
    start: int
    calendar: Calendar


Cells = Callable[[Batch], list[str]]


@dataclass(frozen=True)
class Column:
    """One attribute of model.json, and the maker of its cells."""

    name: str
    type: str
    cells: Cells
    length: int = -1
    scale: int = 6
    labels: tuple[tuple[int, str, str], ...] = ()  # code, English, German
    targets: tuple[str, ...] = ()


def _shift(name: str) -> int:
    """Return which bits of the hash a column looks at."""
    return zlib.crc32(name.encode()) % 23


def pick(
    name: str, type_: str, values: Sequence[str | None], length: int = -1
) -> Column:
    """Make a column that picks one of the values; None is NULL."""
    if type_ in QUOTED_TYPES:
        pool = [quote(value) for value in values]
    else:
        pool = [value or "" for value in values]
    n, shift = len(pool), _shift(name)
    return Column(
        name, type_, lambda b: [pool[(h >> shift) % n] for h in b.hashes], length
    )


def text(name: str, length: int, *values: str | None) -> Column:
    """Make a text column that picks one of the values."""
    return pick(name, "string", values, length)


def words(
    name: str, length: int, first: Sequence[str], second: Sequence[str]
) -> Column:
    """Make a text column of two words."""
    heads = [quote(word)[:-1] + " " for word in first]
    tails = [quote(word)[1:] for word in second]
    n, m, shift = len(heads), len(tails), _shift(name)
    return Column(
        name,
        "string",
        lambda b: [
            heads[(h >> shift) % n] + tails[(h >> shift + 9) % m] for h in b.hashes
        ],
        length,
    )


def serial(name: str, length: int, pattern: str) -> Column:
    """Make a text column that numbers the rows, such as C-{:06d}."""
    form = f'"{pattern}"'.format
    return Column(name, "string", lambda b: [form(row) for row in b.rows], length)


def number(name: str, limit: int, first: int = 0) -> Column:
    """Make a whole number column."""
    shift = _shift(name)
    return Column(
        name,
        "int64",
        lambda b: [str(first + (h >> shift) % limit) for h in b.hashes],
    )


def amount(name: str, limit: int, type_: str = "decimal", scale: int = 6) -> Column:
    """Make a decimal column; now and then negative, tiny or empty."""
    shift = _shift(name)
    ends = [f".{i:02d}".ljust(scale + 1, "0") for i in range(0, 100, 3)]
    ends += ["", ".5", ".000001" if scale >= 6 else ".01"]
    n = len(ends)

    def cells(b: Batch) -> list[str]:
        made = [str((x := h >> shift) % limit) + ends[(x >> 13) % n] for h in b.hashes]
        for i, h in enumerate(b.hashes):
            if not h & 31:
                made[i] = "" if h & 32 else "-1" + made[i]
        return made

    return Column(name, type_, cells, scale=scale)


def codes(name: str, *labels: tuple[int, str, str]) -> Column:
    """Make a choice column with its labels."""
    made = pick(name, "int64", [str(code) for code, _, _ in labels])
    return Column(name, "int64", made.cells, labels=labels)


@lru_cache(maxsize=256)
def _lookup_pool(seed: int, table: str) -> list[str]:
    return ["", *guids(mix(range(LOOKUP_ROWS), key_of(seed, table)))]


def lookup(name: str, *targets: str) -> list[Column]:
    """Make a lookup; with several targets, the column that names the table too."""
    shift, kinds = _shift(name), len(targets)

    def cells(b: Batch) -> list[str]:
        pools = [_lookup_pool(b.seed, table) for table in targets]
        n = LOOKUP_ROWS + 1
        return [pools[(x := h >> shift) % kinds][(x >> 3) % n] for h in b.hashes]

    def tables(b: Batch) -> list[str]:
        # An empty lookup names no table.
        n = LOOKUP_ROWS + 1
        return [
            quoted[x % kinds] if (x >> 3) % n else ""
            for x in [h >> shift for h in b.hashes]
        ]

    quoted = [quote(table) for table in targets]
    columns = [Column(name, "guid", cells, targets=targets)]
    if kinds > 1:
        columns.append(Column(f"{name}_entitytype", "string", tables, 128))
    return columns

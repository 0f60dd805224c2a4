"""The tables of a sample export: Dataverse, Finance and Operations, and custom ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dvsync_site.sample_values import (
    FIRST_RECID,
    Batch,
    Calendar,
    Column,
    Dice,
    amount,
    codes,
    guids,
    iso_time,
    key_of,
    lookup,
    mix,
    number,
    pick,
    recid_guids,
    serial,
    text,
    us_time,
    words,
)

# What an export may hold and a careless reader breaks on.
ODD_TEXTS = (
    None,
    "Plain text",
    'Says "hello", twice',
    "Two\nlines, one comma",
    "Windows\r\nline end",
    "C:\\temp\\new\\",
    'backslash and quote \\"',
    "Zürich, Straße 5; naïve café",
    "Thanks 👍🏽 👩‍👩‍👧",
    "שלום עולם, مرحبا بالعالم",
    "日本語のテキスト",
    "NULL",
    "tab\there, space at the end ",
    "'; drop table account; --",
    None,
    "100 % \\N \\t {json: [1,2]}",
)
STREETS = ("Main St.", "Hauptstraße", "Rue de l'Église", 'Calle "Mayor"', "Elm Way")
CITIES = ("Seattle", "München", "Zürich", "Kraków", "Łódź", "São Paulo", "東京")
FIRST_NAMES = ("Ada", "Bjørn", "Chloë", "David", "Eve", "Fatima", "Göran", "Noor")
LAST_NAMES = ("Smith", "O'Brien", "García, Jr.", "Müller", "Nguyễn", "Øre", "Лебедев")
COMPANIES = ("Contoso", "Fabrikam", "Adventure Works", "Tailspin", "Wide World")
COMPANY_ENDS = ("Ltd.", "GmbH", "S.A., Paris", '"Outlet"', "Inc.", "AB", "& Sons")
ITEMS = ("Chair", "Desk", "Lamp", 'Screen 24"', "Cable, 2 m", "Dock", "Bag")
DAYS = tuple(f"2025-0{m}-{d:02d}" for m in range(1, 10) for d in range(1, 29, 3))
# The forms of dateTime, see section 5.2 of the format.
LOCAL_DAYS = tuple(f"{day}T00:00:00.0000000" for day in DAYS)
ZULU_TIMES = tuple(f"{day}T16:21:12Z" for day in DAYS)
FNO_TIMES = (
    "1900-01-01T00:00:00.0000000Z",
    *(f"{day}T08:30:59.{i * 123457 % 10**7:07d}Z" for i, day in enumerate(DAYS)),
)
FNO_DAYS = (
    "1900-01-01T00:00:00.0000000",
    "2154-12-31T00:00:00.0000000",
    "9999-12-31T00:00:00.0000000Z",
    *LOCAL_DAYS,
)
STATE = codes("statecode", (0, "Active", "Aktiv"), (1, "Inactive", "Inaktiv"))
STATUS = codes("statuscode", (1, "Active", "Aktiv"), (2, "Inactive", "Inaktiv"))
FLAGS = ("True", "False", "False", None)

Created = Literal["years", "1900", "never"]


@dataclass(frozen=True)
class Table:
    """One entity: its columns in file order, and how its changes are written."""

    name: str
    own: Sequence[Column]
    late: tuple[tuple[int, Column], ...] = ()  # number of the folder that adds it
    table_id: int = 0  # of Finance and Operations tables
    created: Created = "years"
    versioned: bool = True  # has a column versionnumber
    versioned_deletes: bool = True  # and fills it on deletes

    def columns(self, folder: int) -> list[Column]:
        """Return the columns of a folder, in the order of section 7."""
        frame = [Column("Id", "guid", lambda b: b.ids)]
        frame += [Column(f"Sink{n}On", "dateTime", _sink) for n in _SINKS]
        frame += self.own
        if self.versioned:
            frame.append(VERSION)
        if self.created != "never":
            frame.append(Column("createdon", "dateTimeOffset", self._created))
            frame.append(Column("modifiedon", "dateTime", _modified))
        frame.append(Column("IsDelete", "boolean", self._not_deleted))
        return frame + [column for number, column in self.late if number <= folder]

    def batch(
        self,
        rows: list[int],
        versions: list[int],
        sinks: list[int],
        origin: Origin,
    ) -> Batch:
        """Return these rows, ready for the columns."""
        births = mix(rows, key_of(origin.seed, self.name))
        both = [b + v * 0x2545F491 for b, v in zip(births, versions, strict=True)]
        return Batch(
            seed=origin.seed,
            rows=rows,
            versions=versions,
            sinks=sinks,
            births=births,
            hashes=mix(both, 0),
            ids=recid_guids(self.table_id, rows) if self.table_id else guids(births),
            created=origin.calendar.created(rows, births, origin.rows),
            first_change=origin.first_change,
            start=origin.start,
            calendar=origin.calendar,
        )

    def parts(self, batch: Batch) -> list[str]:
        """Return the name of the file, without .csv, that each row belongs to."""
        if self.created == "never":
            return ["1"] * len(batch.rows)
        if self.created == "1900":
            return ["1900"] * len(batch.rows)
        return [year for year, _ in batch.created]

    def delete_cells(self, id_: str, version: int, sink: int) -> dict[str, str]:
        """Return the cells of a delete that are not empty."""
        filled = {
            "Id": id_,
            "SinkCreatedOn": us_time(sink),
            "SinkModifiedOn": us_time(sink),
            "IsDelete": "True",
        }
        if self.versioned_deletes:
            filled["versionnumber"] = str(version)
        if self.table_id:
            filled["createdon"] = '"0001-01-01T00:00:00.0000000"'
        return filled

    def _created(self, batch: Batch) -> list[str]:
        if self.created == "1900":
            return ['"1900-01-01T00:00:00.0000000+00:00"'] * len(batch.rows)
        return [begin + '.0000000+00:00"' for _, begin in batch.created]

    def _not_deleted(self, batch: Batch) -> list[str]:
        # Flat Dataverse samples say False, Finance and Operations ones nothing.
        return ["" if self.table_id else "False"] * len(batch.rows)


@dataclass(frozen=True)
class Origin:
    """What all rows of an export have in common."""

    seed: int
    rows: int  # of the initial copy, per table
    start: int  # Unix time
    first_version: int
    calendar: Calendar

    @property
    def first_change(self) -> int:
        """Return the first versionnumber after the initial copy."""
        return self.first_version + self.rows + 1024

    def version(self, row: int) -> int:
        """Return the versionnumber of a row of the initial copy: not in order."""
        return self.first_version + (row ^ 0x155)

    def sink(self, row: int) -> int:
        """Return when a row of the initial copy was written: within ten minutes."""
        return self.start + 5 + row * 600 // self.rows


_SINKS = ("Created", "Modified")


def _sink(batch: Batch) -> list[str]:
    return [us_time(sink) for sink in batch.sinks]


def _modified(batch: Batch) -> list[str]:
    days, clocks = batch.calendar.days, batch.calendar.clocks
    n, m, first, start = len(days), len(clocks), batch.first_change, batch.start
    return [
        f'{days[(d := b % n) + (h >> 7) % (n - d)]}{clocks[(h >> 11) % m]}Z"'
        if version < first
        else iso_time(start + (version - first) // 32 % 86400)
        for b, h, version in zip(
            batch.births, batch.hashes, batch.versions, strict=True
        )
    ]


VERSION = Column("versionnumber", "int64", lambda b: [str(v) for v in b.versions])


def _fno(*own: Column, table_id: int) -> list[Column]:
    """Return the columns with those that every Finance and Operations table has."""
    return [
        *own,
        pick("modifieddatetime", "dateTime", FNO_TIMES),
        text("modifiedby", 20, "Admin", "dbo", "Ada", None),
        text("dataareaid", 4, "usmf", "demf", "dat", "usmf"),
        pick("recversion", "int64", ("1", "1126458873", "2098177419")),
        pick("partition", "int64", (str(FIRST_RECID),)),
        Column("sysrowversion", "int64", VERSION.cells),
        Column("recid", "int64", lambda b: [str(FIRST_RECID + r) for r in b.rows]),
        pick("tableid", "int64", (str(table_id),)),
        pick("sysdatastatecode", "int64", ("0", "0", "0", "1")),
    ]


def _dataverse() -> list[Table]:
    owner = lookup("ownerid", "systemuser", "team")
    account = [
        words("name", 160, COMPANIES, COMPANY_ENDS),
        serial("accountnumber", 20, "A-{:07d}"),
        words("address1_line1", 250, ("12", "7b,", "1045"), STREETS),
        text("address1_city", 80, *CITIES, None),
        amount("revenue", 9_000_000, scale=4),
        number("numberofemployees", 20_000),
        codes(
            "industrycode",
            (1, "Accounting", "Buchhaltung"),
            (2, "Agriculture, fishing", "Landwirtschaft"),
            (3, 'Retail "B2C"', "Einzelhandel"),
        ),
        pick("creditonhold", "boolean", FLAGS),
        pick("lastonholdtime", "dateTime", (None, *ZULU_TIMES)),
        text("description", -1, *ODD_TEXTS),
        *owner,
        STATE,
        STATUS,
    ]
    contact = [
        words("fullname", 160, FIRST_NAMES, LAST_NAMES),
        serial("emailaddress1", 100, "person{}@example.com"),
        pick("birthdate", "dateTime", (None, *LOCAL_DAYS)),
        *lookup("parentcustomerid", "account", "contact"),
        text("new_interests", 4000, "1;3;7", "2", None, "1;2;3;4"),
        pick("address1_latitude", "double", ("47.6", "1E-05", "-0.5", None, "12")),
        pick("donotemail", "boolean", FLAGS),
        text("description", -1, *ODD_TEXTS),
        *owner,
        STATE,
        STATUS,
    ]
    opportunity = [
        words("name", 300, ITEMS, COMPANY_ENDS),
        amount("estimatedvalue", 500_000, scale=4),
        pick("estimatedclosedate", "dateTime", (None, *LOCAL_DAYS)),
        number("closeprobability", 101),
        *lookup("parentaccountid", "account"),
        text("description", 2000, *ODD_TEXTS),
        *owner,
        STATE,
        STATUS,
    ]
    systemuser = [
        words("fullname", 200, FIRST_NAMES, LAST_NAMES),
        serial("domainname", 1024, "user{}@contoso.com"),
        pick("isdisabled", "boolean", FLAGS),
        *lookup("businessunitid", "businessunit"),
    ]
    membership = [
        *lookup("systemuserid", "systemuser"),
        *lookup("teamid", "team"),
    ]
    email = [
        words(
            "subject", 800, ("RE:", "FW:", "Offer,"), ("👍🏽 sale", "שלום", "Zürich, 5")
        ),
        text("description", -1, *ODD_TEXTS, "A longer mail. " * 80, None),
        *lookup("regardingobjectid", "account", "contact", "opportunity"),
        number("attachmentcount", 5),
        pick("senton", "dateTime", (*ZULU_TIMES, *FNO_TIMES[1:])),
        *owner,
        STATE,
        STATUS,
    ]
    segment = text("new_segment", 50, "A", "B, new", None)
    return [
        Table("account", account, ((2, segment),), versioned_deletes=False),
        Table("teammembership", membership, created="never"),
        Table("opportunity", opportunity),
        Table("contact", contact, versioned_deletes=False),
        Table("systemuser", systemuser),
        Table("email", email, ((4, number("new_score", 100)),)),
    ]


def _finance() -> list[Table]:
    status = codes(
        "salesstatus",
        (0, "None", "Kein"),
        (1, "Open order", "Offen"),
        (3, "Invoiced", "Fakturiert"),
    )
    cust = [
        serial("accountnum", 20, "US-{:06d}"),
        number("party", 97, FIRST_RECID),
        text("custgroup", 10, "10", "20", "INT, DE", None),
        text("currency", 3, "USD", "EUR", "JPY"),
        amount("creditmax", 100_000),
        codes("blocked", (0, "No", "Nein"), (2, "All", "Alle")),
        text("memo", 1999, *ODD_TEXTS),
    ]
    sales = [
        serial("salesid", 20, "SO-{:08d}"),
        text("custaccount", 20, *(f"US-{i:06d}" for i in range(97))),
        status,
        pick("receiptdaterequested", "dateTime", FNO_DAYS),
        text("deliveryname", 100, *ODD_TEXTS),
        pick("mcrordertotal", "decimal", ("0", "-1", "12.500000", "0.000001", None)),
    ]
    line = [
        text("salesid", 20, *(f"SO-{i:08d}" for i in range(97))),
        amount("linenum", 100, scale=16),
        text("itemid", 20, *(f"D{i:04d}" for i in range(41))),
        words("name", 1000, ITEMS, COMPANY_ENDS),
        amount("salesqty", 1000),
        amount("salesprice", 5000),
        status,
        pick("shippingdateconfirmed", "dateTime", FNO_DAYS),
    ]
    trans = [
        text("itemid", 20, *(f"D{i:04d}" for i in range(41))),
        codes("statusissue", (0, "None", "Kein"), (1, "Sold", "Verkauft")),
        pick("datephysical", "dateTime", FNO_DAYS),
        amount("qty", 500),
        amount("costamountposted", 20_000),
        text("inventdimid", 20, *(f"00000{i}" for i in range(29))),
        number("inventtransorigin", 10**6, FIRST_RECID),
        text("voucher", 20, "INV-001", None, "INV-002"),
    ]
    currency = [
        serial("currencycode", 10, "X{:03d}"),
        text("txt", 120, "US Dollar", "Euro", "Złoty", "Yen, ¥"),
        amount("roundingprecision", 2, scale=16),
        number("iseuro", 2),
    ]
    warehouse = [
        serial("mserp_warehouseid", 10, "W{:05d}"),
        words("mserp_warehousename", 60, CITIES, ("North", "South, 2")),
        pick("mserp_isrefilled", "boolean", FLAGS),
        number("Level_", 9),
    ]
    colour = text("new_colour", 20, "red", "blue, dark", None)
    return [
        Table("custtable", _fno(*cust, table_id=10347), table_id=10347),
        Table(
            "salestable",
            _fno(*sales, table_id=11035),
            ((3, colour),),
            table_id=11035,
            versioned_deletes=False,
        ),
        Table("inventtrans", _fno(*trans, table_id=4277), table_id=4277),
        Table(
            "currency",
            _fno(*currency, table_id=4136),
            table_id=4136,
            created="1900",
        ),
        Table("mserp_inventwarehouseentity", warehouse, versioned=False),
        Table("salesline", _fno(*line, table_id=11047), table_id=11047),
    ]


def _custom(number_: int, seed: int) -> Table:
    """Return a custom table whose columns depend on its number."""
    dice = Dice(seed, "table", number_)
    kit: list[list[Column]] = [
        [serial("new_code", 20, "P{:06d}")],
        [amount("new_budget", 1_000_000)],
        [pick("new_duedate", "dateTime", (None, *LOCAL_DAYS))],
        [pick("new_reviewed", "dateTime", (None, *ZULU_TIMES))],
        [text("new_notes", -1, *ODD_TEXTS)],
        [pick("new_active", "boolean", FLAGS)],
        [number("new_points", 5000)],
        [codes("new_phase", (100000000, "Plan", "Plan"), (100000001, "Do", "Tun"))],
        [amount("new_rate", 10, "double", 3)],
        lookup("new_accountid", "account"),
        lookup("ownerid", "systemuser", "team"),
        [STATE, STATUS],
    ]
    own = [words("new_name", 100, ITEMS, CITIES)]
    for columns in kit:
        if dice.roll(3):
            own += columns
    base = ("project", "device", "visit", "contract", "survey")[number_ % 5]
    late = ((2 + number_ % 4, text("new_added", 40, "x", "y, z", None)),)
    return Table(
        f"new_{base}{number_:02d}",
        own,
        late if number_ % 3 == 0 else (),
        versioned_deletes=number_ % 2 == 0,
    )


def tables(count: int, seed: int) -> list[Table]:
    """Return the first tables of the catalogue, then numbered custom ones."""
    pairs = zip(_dataverse(), _finance(), strict=True)
    known = [table for pair in pairs for table in pair]
    custom = [_custom(number, seed) for number in range(len(known) + 1, count + 1)]
    return [*known, *custom][:count]

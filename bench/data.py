"""Writes the export that is measured: a full copy of one table, a delta, a tick.

The table has the shapes that cost time when they are read: guids, dates in the US
form, timestamps of seven digits, decimals, and quoted text with newlines. The same
number of rows gives the same bytes. Nothing is kept in memory but a chunk of lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import batched, groupby
from math import gcd
from pathlib import Path

TABLE = "account"
# Name and data type in model.json, in the order of the cells.
ATTRIBUTES = (
    ("Id", "guid"),
    ("SinkCreatedOn", "dateTime"),
    ("SinkModifiedOn", "dateTime"),
    ("name", "string"),
    ("description", "string"),
    ("ownerid", "guid"),
    ("numberofemployees", "int64"),
    ("donotemail", "boolean"),
    ("creditonhold", "boolean"),
    ("revenue", "decimal"),
    ("exchangerate", "decimal"),
    ("versionnumber", "int64"),
    ("createdon", "dateTimeOffset"),
    ("modifiedon", "dateTime"),
    ("IsDelete", "boolean"),
)

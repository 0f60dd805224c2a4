"""What a CSV file says, byte by byte: slow, plain, and without code of the engine.

The rule of the format document, 5: a record ends at LF, CR LF or CR outside quotes, and
every quote character switches between inside and outside.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SlowRecord:
    """One record: the line on which it begins, its bytes, and how it ends."""

    line: int
    raw: bytes
    closed: bool = True
    ended: bool = True


def slow_records(data: bytes) -> list[SlowRecord]:
    """Cut a file into its records."""
    found: list[SlowRecord] = []
    raw, inside, line, lines, at = b"", False, 1, 0, 0
    while at < len(data):
        byte = data[at : at + 1]
        at += 1
        if byte == b'"':
            inside = not inside
        if byte == b"\r" and data[at : at + 1] == b"\n":
            byte, at = b"\r\n", at + 1
        if byte not in {b"\n", b"\r", b"\r\n"} or inside:
            raw += byte
            lines += byte.endswith(b"\n")
            continue
        found.append(SlowRecord(line, raw))
        line, lines, raw = line + lines + 1, 0, b""
    if raw:
        found.append(SlowRecord(line, raw, closed=not inside, ended=False))
    return found


def slow_cells(raw: bytes) -> list[bytes]:
    """Cut a record into its cells, as they are written."""
    cells, inside = [b""], False
    for number in raw:
        byte = bytes([number])
        inside ^= byte == b'"'
        if byte == b"," and not inside:
            cells.append(b"")
        else:
            cells[-1] += byte
    return cells


def slow_value(cell: bytes) -> bytes:
    """Return what COPY reads in a cell: without quotes, doubled ones being one."""
    value, inside, at = b"", False, 0
    while at < len(cell):
        byte = cell[at : at + 1]
        at += 1
        if byte != b'"':
            value += byte
        elif inside and cell[at : at + 1] == b'"':
            value += b'"'
            at += 1
        else:
            inside = not inside
    return value


def slow_words(value: bytes) -> list[bytes]:
    """Return the runs of letters in a value, in lower case."""
    letters = (chr(byte) if chr(byte).isascii() else " " for byte in value)
    plain = "".join(c if c.isalpha() else " " for c in letters)
    return [word.encode() for word in plain.lower().split()]

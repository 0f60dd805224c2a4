"""Words that PostgreSQL takes for a time, but not for one that the source meant.

``now`` would be the time of the load. Such a cell must be found before it is loaded,
and files of gigabytes have text in which the words stand for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

WORDS = tuple(b"now today tomorrow yesterday epoch infinity allballs".split())

_WORD = re.compile(rb"(?<![a-z])(?:" + b"|".join(WORDS) + rb")(?![a-z])")
_LOWER = bytes(range(256)).lower()
_NO_LETTERS = bytes(byte for byte in range(256) if not bytes([byte]).isalpha())
# PostgreSQL refuses a time with more than these, however much else is between them.
_MOST_LETTERS = 153
_NO_LETTERS_NOR_DIGITS = bytes(b for b in range(256) if not bytes([b]).isalnum())
# What is looked at on either side of a word; with its quotes it is much shorter itself:
# of three quotes in a row, COPY keeps one.
_CONTEXT = 256
_LETTERS_KEPT = max(map(len, WORDS)) - 1
# All the words by themselves that PostgreSQL knows in a time, zones aside.
_KNOWN = frozenset(
    (
        *WORDS,
        *b"ad am at bc dow doy dst isodow isoyear jd julian mm on pm".split(),
        *b"d h j m s t y".split(),
        *b"sun sunday mon monday tue tues tuesday wed weds wednesday".split(),
        *b"thu thur thurs thursday fri friday sat saturday".split(),
        *b"jan january feb february mar march apr april may jun june jul july".split(),
        *b"aug august sep sept september oct october nov november dec december".split(),
    )
)


def is_word(cell: bytes) -> bool:
    """Say whether a cell, as it is written, holds one of the words."""
    return _WORD.search(_unquoted(cell).lower()) is not None


def may_hold_word(raw: bytes) -> bool:
    """Say quickly whether bytes may hold one; where it says no, there is none."""
    letters = raw.translate(_LOWER, _NO_LETTERS)
    return any(word in letters for word in WORDS)


class WordWatch:
    """Says whether bytes may hold one of the words as a time; fed block by block.

    It errs on the side of yes: where it says no, no cell is one.
    """

    def __init__(self) -> None:
        self._found = False
        self._letters = self._tail = b""
        self._due = 0

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if self._found:
            return
        # Nearly every block ends here: letters alone are few, and quickly searched.
        letters = self._letters + block.translate(_LOWER, _NO_LETTERS)
        if any(word in letters for word in WORDS):
            self._due = len(block) + 2 * _CONTEXT
        if self._due > 0:
            # What is near the end waits for what comes after it.
            text = (self._tail + block).lower()
            self._found = _suspicious(text, self._judged, len(text) - _CONTEXT)
            self._due -= len(block)
        self._letters = letters[-_LETTERS_KEPT:]
        self._tail = (self._tail + block[-2 * _CONTEXT :])[-2 * _CONTEXT :]

    @property
    def suspicious(self) -> bool:
        """Whether what was fed may hold a word, if it is the whole file."""
        if self._found or self._due <= 0:
            return self._found
        return _suspicious(self._tail.lower(), self._judged, len(self._tail))

    @property
    def _judged(self) -> int:
        """How much of the tail was looked at before, and is there as context."""
        return max(0, len(self._tail) - _CONTEXT)


def _suspicious(text: bytes, start: int, end: int) -> bool:
    unquoted = text.replace(b'"', b"")
    for word in WORDS:
        # PostgreSQL drops quotes in the middle of a cell: n"ow" is a word, too.
        if unquoted.count(word) > text.count(word):
            return True
        for position in _positions(text, word, start, end):
            if _could_be_time(text, position, word):
                return True
    return False


def _positions(text: bytes, word: bytes, start: int, end: int) -> Iterator[int]:
    """Find where a word begins that is no piece of a longer one."""
    position = text.find(word, start)
    while 0 <= position < end:
        after = position + len(word)
        if not (
            text[after : after + 1].isalpha()
            or text[max(0, position - 1) : position].isalpha()
        ):
            yield position
        position = text.find(word, after)


def _could_be_time(text: bytes, position: int, word: bytes) -> bool:
    """Say whether PostgreSQL might read what surrounds a word as a time.

    A comma or a line end may be inside quotes: then it is a part of a cell, of which
    the same is asked.
    """
    end = position + len(word)
    before: list[bytes] = re.split(
        rb"[,\r\n]", text[max(0, position - _CONTEXT) : position]
    )
    after: list[bytes] = re.split(rb"[,\r\n]", text[end : end + _CONTEXT])
    part = (before[-1] + word + after[0]).strip(b'"')
    if len(part.translate(None, _NO_LETTERS_NOR_DIGITS)) > _MOST_LETTERS:
        return False
    if b'"' in part:
        return True
    # The first and the last one may be pieces of longer words.
    words = part.split()[len(before) == 1 : -1 if len(after) == 1 else None]
    # Only one may be a time zone, which has any name.
    return sum(other.isalpha() and other not in _KNOWN for other in words) <= 1


def _unquoted(cell: bytes) -> bytes:
    """Return what COPY makes of a cell."""
    if b'"' not in cell:
        return cell
    first, *parts = cell.split(b'"')
    inner = parts[:-1]
    # Every second part is outside quotes: an empty one there is a doubled quote.
    texts = [
        b'"' if index % 2 and not part else part for index, part in enumerate(inner)
    ]
    return b"".join([first, *texts, *parts[-1:]])

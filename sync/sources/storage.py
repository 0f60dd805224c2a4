"""The places that hold an export, behind one small interface.

Paths are relative to the export's root and use ``/``. They come from listings
and from model.json, so they are not trusted: no implementation may leave its
root, whatever the path says.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from sync.errors import SourceError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Kind(Enum):
    """What an entry of a folder is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"
    OTHER = "special file"
    UNNAMEABLE = "name with bytes that are no text"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder; ``size`` in bytes for a file, else 0.

    ``identity`` stays with a file when it gets another name, "" where none is known.
    ``modified`` is another number when somebody wrote to it, and no time to order by.
    """

    name: str
    kind: Kind
    size: int = 0
    identity: str = field(default="", compare=False)
    modified: int = field(default=0, compare=False)


class Storage(Protocol):
    """Reading access to one export. All methods raise ``SourceError``."""

    def entries(self, path: str = "") -> list[Entry]:
        """List a folder, in name order."""
        ...

    def read(self, path: str, limit: int) -> bytes | None:
        """Return at most ``limit`` bytes of a file, None when it is absent."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file as an unbuffered stream of bytes."""
        ...


class Directory:
    """An export in a local directory. No symbolic link below the root is followed.

    Each step of a path is opened relative to the one before, without following
    links, so that a link that is put there meanwhile leads nowhere either.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def entries(self, path: str = "") -> list[Entry]:
        """List a folder, in name order."""
        with self._folder(path) as folder:
            try:
                with os.scandir(folder) as found:
                    entries = [_entry(item) for item in found]
            except OSError as error:
                _refuse(path or str(self.root), error)
        return sorted(entries, key=lambda entry: entry.name)

    def read(self, path: str, limit: int) -> bytes | None:
        """Return at most ``limit`` bytes of a file, None when it is absent."""
        try:
            stream = self.open(path)
        except SourceError as error:
            if error.code == "file_missing":
                return None
            raise
        chunks = []
        with stream:
            try:
                while limit > 0 and (chunk := stream.read(min(limit, 1 << 20))):
                    chunks.append(chunk)
                    limit -= len(chunk)
            except OSError as error:
                _refuse(path, error)
        return b"".join(chunks)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file as an unbuffered stream of bytes."""
        parent, _, name = path.rpartition("/")
        with self._folder(parent) as folder:
            # O_NONBLOCK: a named pipe would wait for its writer for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = _open(name, flags, folder, path)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise SourceError(
                "file_missing", f"{path} is not a regular file", where=path
            )
        return os.fdopen(handle, "rb", buffering=0)

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        try:
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                "source_unreadable",
                f"The directory {self.root} cannot be read: {error.strerror}",
                where=str(self.root),
            ) from error
        try:
            for name in path.split("/") if path else ():
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                child = _open(name, flags, handle, path)
                os.close(handle)
                handle = child
            yield handle
        finally:
            os.close(handle)


def _entry(item: os.DirEntry[str]) -> Entry:
    if not _is_text(item.name) or _CONTROL.search(item.name):
        shown = os.fsencode(item.name).decode(errors="backslashreplace")
        return Entry(ascii(shown)[1:-1], Kind.UNNAMEABLE)
    if item.is_symlink():
        return Entry(item.name, Kind.LINK)
    if item.is_dir(follow_symlinks=False):
        return Entry(item.name, Kind.FOLDER)
    if item.is_file(follow_symlinks=False):
        try:
            found = item.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed since it was listed
            return Entry(item.name, Kind.OTHER)
        identity = f"{found.st_dev}:{found.st_ino}"
        return Entry(item.name, Kind.FILE, found.st_size, identity, found.st_mtime_ns)
    return Entry(item.name, Kind.OTHER)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(name: str, flags: int, folder: int, path: str) -> int:
    odd = path.startswith("/") or "\0" in path or "\\" in path or not _is_text(path)
    if odd or name in {"", ".", ".."}:
        shown = repr(path)
        raise SourceError("unsafe_path", f"{shown} is not a plain path", where=shown)
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR} and _is_link(name, folder):
            raise SourceError(
                "unsafe_path", f"{path} goes through a symbolic link", where=path
            ) from error
        _refuse(path, error)


def _is_link(name: str, folder: int) -> bool:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_ISLNK(mode)


def _refuse(path: str, error: OSError) -> NoReturn:
    # No file can have a name that is too long for its file system.
    missing = error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
    code = "file_missing" if missing else "file_unreadable"
    verb = "is missing" if missing else f"cannot be read: {error.strerror}"
    raise SourceError(code, f"{path} {verb}", where=path) from error

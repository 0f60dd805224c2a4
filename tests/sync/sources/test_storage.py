"""A directory as the place of an export: nothing outside it is ever read."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync.errors import SourceError
from sync.sources.storage import Directory, Entry, Kind

SECRET = b"the canary outside the root"
INSIDE = b"a row of the export"
# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Place:
    """An export's root with a secret beside it."""

    base: Path

    def __post_init__(self) -> None:
        self.root = self.base / "export"
        self.outside = self.base / "outside"
        self.canary = self.outside / "canary.csv"
        (self.root / "account").mkdir(parents=True)
        self.outside.mkdir()
        self.canary.write_bytes(SECRET)
        (self.base / "canary.csv").write_bytes(SECRET)
        self.file = self.root / "account" / "2026.csv"
        self.file.write_bytes(INSIDE)
        (self.root / "model.json").write_bytes(b"{}")
        self.storage = Directory(self.root)

    def link(self, path: str, to: str | Path) -> None:
        (self.root / path).symlink_to(to)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A root that is full of links to the outside."""
    place = Place(tmp_path_factory.mktemp("maze"))
    place.link("link", place.outside)
    place.link("link.csv", place.canary)
    place.link("up", "..")
    place.link("chain", "link")
    place.link("account/link.csv", "../../outside/canary.csv")
    place.link("account/link", "../../outside")
    place.link("slash", "/")
    return place


def read(storage: Directory, path: str) -> bytes | None:
    return storage.read(path, 1 << 20)


def opened(storage: Directory, path: str) -> bytes:
    with storage.open(path) as stream:
        return stream.read()


def listed(storage: Directory, path: str) -> list[str]:
    return [entry.name for entry in storage.entries(path)]


ACCESSES: list[Callable[[Directory, str], object]] = [read, opened, listed]
every_access = pytest.mark.parametrize("access", ACCESSES)


def refusal(access: Callable[[Directory, str], object], *args: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        access(*args)  # type: ignore[arg-type]
    return caught.value


class TestReading:
    def test_a_file_is_read(self, place: Place) -> None:
        assert read(place.storage, "account/2026.csv") == INSIDE

    def test_a_file_is_opened(self, place: Place) -> None:
        assert opened(place.storage, "account/2026.csv") == INSIDE

    def test_a_root_given_as_text_is_the_same(self, place: Place) -> None:
        assert read(Directory(str(place.root)), "account/2026.csv") == INSIDE

    def test_an_opened_file_is_unbuffered(self, place: Place) -> None:
        with place.storage.open("account/2026.csv") as stream:
            stream.read(1)

            assert os.lseek(stream.fileno(), 0, os.SEEK_CUR) == 1

    def test_an_opened_file_is_not_inherited_by_other_processes(
        self, place: Place
    ) -> None:
        with place.storage.open("account/2026.csv") as stream:
            assert not os.get_inheritable(stream.fileno())

    @pytest.mark.parametrize("limit", [0, 1, len(INSIDE) - 1])
    def test_no_more_than_the_limit_is_read(self, place: Place, limit: int) -> None:
        assert place.storage.read("account/2026.csv", limit) == INSIDE[:limit]

    def test_a_file_of_several_mebibytes_is_read_whole(self, place: Place) -> None:
        content = os.urandom(3 * 2**20 + 7)
        place.file.write_bytes(content)

        assert place.storage.read("account/2026.csv", 1 << 30) == content

    def test_an_empty_file_is_not_an_absent_one(self, place: Place) -> None:
        place.file.write_bytes(b"")

        assert read(place.storage, "account/2026.csv") == b""

    @pytest.mark.parametrize("path", ["x.csv", "account/x.csv", "x/y/z.csv"])
    def test_an_absent_file_is_read_as_none(self, place: Place, path: str) -> None:
        assert read(place.storage, path) is None

    def test_an_absent_file_cannot_be_opened(self, place: Place) -> None:
        error = refusal(opened, place.storage, "account/x.csv")

        assert error.code == "file_missing"
        assert "account/x.csv" in str(error)

    def test_a_file_below_a_file_is_absent(self, place: Place) -> None:
        assert read(place.storage, "model.json/2026.csv") is None

    def test_names_beyond_ascii_are_read(self, place: Place) -> None:
        (place.root / "größe 😀").mkdir()
        (place.root / "größe 😀" / "ä.csv").write_bytes(INSIDE)

        assert read(place.storage, "größe 😀/ä.csv") == INSIDE

    def test_names_are_never_decoded(self, place: Place) -> None:
        (place.root / "account" / "2026%2Ecsv").write_bytes(b"other")

        assert read(place.storage, "account/2026%2Ecsv") == b"other"

    def test_the_root_itself_may_be_a_link(self, place: Place) -> None:
        alias = place.base / "alias"
        alias.symlink_to(place.root)

        assert read(Directory(alias), "account/2026.csv") == INSIDE

    def test_no_handle_stays_open(self, place: Place) -> None:
        place.link("account/link.csv", place.canary)
        before = len(list(Path("/proc/self/fd").iterdir()))

        for path in ("account/2026.csv", "account/x", "account/link.csv", "a/../b", ""):
            for access in ACCESSES:
                try:
                    access(place.storage, path)
                except SourceError:
                    continue

        assert len(list(Path("/proc/self/fd").iterdir())) == before


def entry_of(place: Place, name: str) -> Entry:
    """Return the entry of a file of the account's folder."""
    (found,) = (e for e in place.storage.entries("account") if e.name == name)
    return found


class TestListing:
    def test_a_folder_is_listed_in_name_order(self, place: Place) -> None:
        for name in ("b.csv", "10.csv", "9.csv", "a.csv"):
            (place.root / "account" / name).write_bytes(b"12345")

        assert place.storage.entries("account") == [
            Entry("10.csv", Kind.FILE, 5),
            Entry("2026.csv", Kind.FILE, len(INSIDE)),
            Entry("9.csv", Kind.FILE, 5),
            Entry("a.csv", Kind.FILE, 5),
            Entry("b.csv", Kind.FILE, 5),
        ]

    def test_the_root_is_listed_without_a_path(self, place: Place) -> None:
        assert place.storage.entries() == [
            Entry("account", Kind.FOLDER),
            Entry("model.json", Kind.FILE, 2),
        ]

    def test_an_empty_folder_has_no_entries(self, place: Place) -> None:
        (place.root / "empty").mkdir()

        assert place.storage.entries("empty") == []

    def test_a_folder_named_like_a_file_is_a_folder(self, place: Place) -> None:
        (place.root / "account" / "x.csv").mkdir()

        assert Entry("x.csv", Kind.FOLDER) in place.storage.entries("account")

    def test_links_are_listed_as_links_whatever_they_point_to(
        self, place: Place
    ) -> None:
        (place.root / "links").mkdir()
        place.link("links/file", place.canary)
        place.link("links/folder", place.outside)
        place.link("links/nothing", "nowhere")
        place.link("links/self", "self")

        assert {entry.kind for entry in place.storage.entries("links")} == {Kind.LINK}

    def test_the_size_of_a_links_target_is_not_told(self, place: Place) -> None:
        place.link("link.csv", place.canary)

        assert Entry("link.csv", Kind.LINK, 0) in place.storage.entries()

    def test_a_pipe_is_listed_as_a_special_file(self, place: Place) -> None:
        os.mkfifo(place.root / "pipe.csv")

        assert Entry("pipe.csv", Kind.OTHER) in place.storage.entries()

    def test_a_socket_is_listed_as_a_special_file(self, place: Place) -> None:
        with (
            tempfile.TemporaryDirectory(dir="/tmp") as short,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.bind(f"{short}/s.csv")

            assert Directory(short).entries() == [Entry("s.csv", Kind.OTHER)]

    def test_a_device_is_listed_as_a_special_file(self) -> None:
        assert Entry("null", Kind.OTHER) in Directory("/dev").entries()

    def test_a_file_keeps_its_identity_with_another_name(self, place: Place) -> None:
        before = entry_of(place, "2026.csv")
        place.file.rename(place.root / "account" / "old.csv")
        place.file.write_bytes(INSIDE)

        assert before.identity
        assert entry_of(place, "old.csv").identity == before.identity
        assert entry_of(place, "2026.csv").identity != before.identity

    def test_writing_to_a_file_keeps_its_identity(self, place: Place) -> None:
        before = entry_of(place, "2026.csv")
        os.utime(place.file, ns=(1, before.modified - 1))
        changed = entry_of(place, "2026.csv")
        with place.file.open("ab") as stream:
            stream.write(INSIDE)
        grown = entry_of(place, "2026.csv")

        assert {e.identity for e in (before, changed, grown)} == {before.identity}
        assert len({e.modified for e in (before, changed, grown)}) == 3

    def test_an_entry_that_nobody_touches_is_told_alike(self, place: Place) -> None:
        first, second = entry_of(place, "2026.csv"), entry_of(place, "2026.csv")

        assert (first.identity, first.modified) == (second.identity, second.modified)

    def test_only_files_have_an_identity(self, place: Place) -> None:
        place.link("link.csv", place.canary)
        os.mkfifo(place.root / "pipe.csv")

        told = {e.name: (e.identity, e.modified) for e in place.storage.entries()}
        for name in ("link.csv", "pipe.csv", "account"):
            assert told[name] == ("", 0)

    def test_entries_are_compared_by_what_they_hold_alone(self) -> None:
        one = Entry("a", Kind.FILE, 1, "1:2", 3)

        assert one == Entry("a", Kind.FILE, 1, "4:5", 6)
        assert one != Entry("a", Kind.FILE, 2, "1:2", 3)

    def test_a_missing_folder_cannot_be_listed(self, place: Place) -> None:
        assert "nowhere" in str(refusal(listed, place.storage, "nowhere"))

    def test_a_file_cannot_be_listed(self, place: Place) -> None:
        refusal(listed, place.storage, "model.json")

    @every_access
    def test_a_missing_root_is_an_unreadable_source(
        self, tmp_path: Path, access: Callable[[Directory, str], object]
    ) -> None:
        storage = Directory(tmp_path / "gone")

        error = refusal(access, storage, "" if access is listed else "model.json")

        assert error.code == "source_unreadable"
        assert not error.permanent
        assert str(tmp_path / "gone") in str(error)

    def test_a_root_that_is_a_file_is_an_unreadable_source(self, place: Place) -> None:
        error = refusal(listed, Directory(place.file), "")

        assert error.code == "source_unreadable"


class TestSpecialFiles:
    @pytest.mark.fault(
        "F43",
        injected="a named pipe in the place of a file",
        outcome="refused, without hanging",
    )
    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("access", [read, opened])
    def test_a_pipe_without_a_writer_does_not_hang(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        os.mkfifo(place.root / "pipe.csv")

        assert_no_content(access, place.storage, "pipe.csv")

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("access", [read, opened])
    def test_a_pipe_with_a_writer_is_not_read(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        os.mkfifo(place.root / "pipe.csv")
        writer = os.open(place.root / "pipe.csv", os.O_RDWR)
        try:
            os.write(writer, SECRET)

            assert_no_content(access, place.storage, "pipe.csv")
        finally:
            os.close(writer)

    @pytest.mark.timeout(10)
    def test_a_pipe_is_no_folder(self, place: Place) -> None:
        os.mkfifo(place.root / "pipe")

        refusal(listed, place.storage, "pipe")
        assert_no_content(read, place.storage, "pipe/x.csv")

    @pytest.mark.fault(
        "F43", injected="a device in the place of a file", outcome="refused"
    )
    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("access", [read, opened])
    @pytest.mark.parametrize("device", ["zero", "null"])
    def test_a_device_is_not_read(
        self, access: Callable[[Directory, str], object], device: str
    ) -> None:
        assert_no_content(access, Directory("/dev"), device)

    @pytest.mark.parametrize("access", [read, opened])
    def test_a_folder_is_not_read_as_a_file(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        (place.root / "account" / "x.csv").mkdir()

        assert_no_content(access, place.storage, "account/x.csv")


def assert_no_content(
    access: Callable[[Directory, str], object], storage: Directory, path: str
) -> None:
    try:
        found = access(storage, path)
    except SourceError:
        return
    assert found is None


NOT_PLAIN = [
    "..",
    "../canary.csv",
    "../outside/canary.csv",
    "account/../../outside/canary.csv",
    "account/../account/2026.csv",
    "account/..",
    "./account/2026.csv",
    "account/./2026.csv",
    ".",
    "/account/2026.csv",
    "/model.json",
    "//account",
    "/",
    "account//2026.csv",
    "account/",
    "account/2026.csv\0",
    "\0",
    "account\0/2026.csv",
    "account/2026.csv\0../../canary.csv",
]


class TestContainment:
    @pytest.mark.fault(
        "F55", injected="paths with .., empty parts and the like", outcome="refused"
    )
    @every_access
    @pytest.mark.parametrize("path", NOT_PLAIN)
    def test_a_path_that_is_not_plain_is_refused(
        self, place: Place, access: Callable[[Directory, str], object], path: str
    ) -> None:
        error = refusal(access, place.storage, path)

        assert error.code == "unsafe_path"
        assert error.permanent

    @pytest.mark.fault("F55", injected="absolute paths", outcome="refused")
    @every_access
    def test_an_absolute_path_is_refused(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        refusal(access, place.storage, str(place.canary))

    @pytest.mark.parametrize("access", [read, opened])
    @pytest.mark.parametrize("name", ["a\\b.csv", "..\\canary.csv"])
    def test_a_backslash_is_refused_even_where_a_file_has_it_in_its_name(
        self, place: Place, access: Callable[[Directory, str], object], name: str
    ) -> None:
        (place.root / name).write_bytes(INSIDE)

        refusal(access, place.storage, name)

    @pytest.mark.parametrize("access", [read, opened])
    def test_the_empty_path_is_no_file(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        refusal(access, place.storage, "")

    @pytest.mark.fault(
        "F43", injected="a link that leads out of the export", outcome="refused"
    )
    @pytest.mark.fault(
        "F55", injected="a link that leads out of the export", outcome="refused"
    )
    @pytest.mark.parametrize("access", [read, opened])
    @pytest.mark.parametrize(
        "path",
        [
            "link.csv",
            "link/canary.csv",
            "chain/canary.csv",
            "up/canary.csv",
            "up/outside/canary.csv",
            "account/link.csv",
            "account/link/canary.csv",
            "slash/etc/passwd",
        ],
    )
    def test_a_link_to_the_outside_is_refused(
        self, maze: Place, access: Callable[[Directory, str], object], path: str
    ) -> None:
        assert refusal(access, maze.storage, path).code == "unsafe_path"

    @pytest.mark.parametrize("path", ["link", "chain", "up", "account/link", "slash"])
    def test_a_link_to_a_folder_outside_is_not_listed(
        self, maze: Place, path: str
    ) -> None:
        assert refusal(listed, maze.storage, path).code == "unsafe_path"

    @pytest.mark.parametrize("access", [read, opened])
    def test_a_link_to_the_inside_is_refused_too(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        place.link("account/alias.csv", "2026.csv")

        error = refusal(access, place.storage, "account/alias.csv")

        assert error.code == "unsafe_path"
        assert "account/alias.csv" in str(error)

    @pytest.mark.parametrize("access", [read, opened])
    def test_a_folder_in_the_middle_that_links_to_the_inside_is_refused_too(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        place.link("alias", "account")

        assert refusal(access, place.storage, "alias/2026.csv").code == "unsafe_path"

    @pytest.mark.parametrize("access", [read, opened])
    @pytest.mark.parametrize("target", ["nowhere", "alias.csv"])
    def test_a_link_to_nothing_or_to_itself_is_refused(
        self, place: Place, access: Callable[[Directory, str], object], target: str
    ) -> None:
        place.link("alias.csv", target)

        assert refusal(access, place.storage, "alias.csv").code == "unsafe_path"

    def test_a_link_put_in_the_place_of_a_folder_meanwhile_leads_nowhere(
        self, place: Place
    ) -> None:
        """The race that a check of the whole path before opening it would lose."""
        (place.outside / "2026.csv").write_bytes(SECRET)
        folder, away = place.root / "account", place.root / "away"
        with Racing(lambda: swap(folder, away, place.outside)):
            for _ in range(3000):
                assert outcome(place.storage, "account/2026.csv") in {INSIDE, None}

    @pytest.mark.fault(
        "F55",
        injected="a link put in a file's place between check and use",
        outcome="leads nowhere",
    )
    def test_a_link_put_in_the_place_of_a_file_meanwhile_leads_nowhere(
        self, place: Place
    ) -> None:
        away = place.root / "away"
        with Racing(lambda: swap(place.file, away, place.canary)):
            for _ in range(3000):
                assert outcome(place.storage, "account/2026.csv") in {INSIDE, None}

    @pytest.mark.fault(
        "F55", injected="any path", outcome="never reaches a file outside"
    )
    @every_access
    @unhurried
    @given(
        st.lists(
            st.sampled_from(
                [
                    *("..", ".", "", "/", "\0", "\\", "..\\", "%2e%2e", "%2f", "~"),
                    *("account", "2026.csv", "canary.csv", "outside", "export"),
                    *("link", "link.csv", "up", "chain", "slash", "tmp", "\udc80"),
                ]
            )
            | st.text(max_size=4),
            max_size=7,
        ),
        st.sampled_from(["/", "//", "\\", "/./", ""]),
    )
    @example(["..", "outside", "canary.csv"], "/")
    def test_no_path_ever_reaches_the_outside(
        self,
        maze: Place,
        access: Callable[[Directory, str], object],
        parts: list[str],
        separator: str,
    ) -> None:
        path = separator.join(parts)

        try:
            found = access(maze.storage, path)
        except SourceError:
            return
        assert found != SECRET
        assert not (isinstance(found, list) and {"canary.csv", "export"} & {*found})

    @every_access
    @unhurried
    @given(st.data())
    def test_the_true_path_of_the_canary_in_any_disguise_does_not_reach_it(
        self,
        maze: Place,
        access: Callable[[Directory, str], object],
        data: st.DataObject,
    ) -> None:
        climbs = data.draw(st.integers(0, 12))
        head = data.draw(st.sampled_from(["", "/", "account/", "file://", "up/"]))
        target = data.draw(st.sampled_from([maze.canary, maze.outside]))
        tail = data.draw(st.sampled_from(["", "/", "/.", "\0", "\0.csv"]))

        path = head + "../" * climbs + str(target)[1:] + tail
        assert_no_content(access, maze.storage, path)

    @every_access
    def test_a_text_that_no_file_system_can_hold_is_refused(
        self, place: Place, access: Callable[[Directory, str], object]
    ) -> None:
        assert_no_content(access, place.storage, "\ud800.csv")

    @every_access
    @pytest.mark.parametrize("path", ["x" * 300, "x/" * 5000 + "x"])
    def test_a_path_that_is_too_long_is_refused_or_absent(
        self, place: Place, access: Callable[[Directory, str], object], path: str
    ) -> None:
        assert_no_content(access, place.storage, path)

    def test_a_file_whose_name_is_too_long_is_absent(self, place: Place) -> None:
        """No later attempt could find it."""
        assert read(place.storage, f"account/{'x' * 256}") is None
        assert refusal(opened, place.storage, "x" * 256).permanent


def outcome(storage: Directory, path: str) -> bytes | None:
    try:
        return read(storage, path)
    except SourceError:
        return None


def swap(path: Path, away: Path, outside: Path) -> None:
    path.rename(away)
    path.symlink_to(outside)
    path.unlink()
    away.rename(path)


class Racing:
    """Do something over and over in another thread, for the time of the block."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            self._action()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


UNPRIVILEGED = """
import os, sys
from sync.errors import SourceError
from sync.sources.storage import Directory

root, access, path = sys.argv[1:]
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
storage = Directory(root)
try:
    if access == "list":
        storage.entries(path)
    elif access == "read":
        storage.read(path, 100)
    else:
        storage.open(path).close()
except SourceError as error:
    sys.stdout.write(f"{error.code} {error.permanent} {error}")
else:
    sys.stdout.write("it was readable")
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A root that any user may enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    (path / "account").mkdir(mode=0o755)
    (path / "account" / "2026.csv").write_bytes(INSIDE)
    yield path
    for item in path.rglob("*"):
        item.chmod(0o755)
    shutil.rmtree(path)


def unprivileged(root: Path, access: str, path: str) -> str:
    command = [sys.executable, "-c", UNPRIVILEGED, str(root), access, path]
    project = Path(__file__).parents[3]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=project, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestPermissions:
    def test_what_may_be_read_is_read(self, public: Path) -> None:
        said = unprivileged(public, "read", "account/2026.csv")

        assert said == "it was readable"

    @pytest.mark.parametrize("access", ["read", "open"])
    def test_an_unreadable_file_is_not_taken_for_an_absent_one(
        self, public: Path, access: str
    ) -> None:
        (public / "account" / "2026.csv").chmod(0)

        said = unprivileged(public, access, "account/2026.csv")

        assert said.startswith("file_unreadable False ")
        assert "account/2026.csv" in said

    @pytest.mark.parametrize("access", ["read", "open"])
    def test_a_file_in_an_unreadable_folder_is_not_taken_for_an_absent_one(
        self, public: Path, access: str
    ) -> None:
        (public / "account").chmod(0)

        said = unprivileged(public, access, "account/2026.csv")

        assert said.startswith("file_unreadable False ")

    def test_an_unreadable_folder_is_not_taken_for_an_empty_one(
        self, public: Path
    ) -> None:
        (public / "account").chmod(0)

        assert unprivileged(public, "list", "account").startswith("file_unreadable")

    def test_an_unreadable_root_is_an_unreadable_source(self, public: Path) -> None:
        public.chmod(0)
        try:
            said = unprivileged(public, "list", "")
        finally:
            public.chmod(0o755)

        assert said.startswith("source_unreadable False ")


@pytest.mark.fault(
    "F57", injected="a folder of thousands of entries", outcome="listed whole"
)
def test_a_listing_of_thousands_of_entries_is_quick(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number}.csv").touch()
    start = time.monotonic()

    assert len(Directory(tmp_path).entries()) == 5000

    assert time.monotonic() - start < 2

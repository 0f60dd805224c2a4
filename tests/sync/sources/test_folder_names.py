"""The times in folder names, and the names in Synapse.log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.sources.folder_names import folder_time
from tests.sync.sources.places import unhurried

folder_names = st.from_regex(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}[.:][0-9]{2}[.:][0-9]{2}"
    r"(\.[0-9]{1,7})?[Zz]?\Z"
)


class TestFolderTime:
    @pytest.mark.parametrize(
        ("name", "moment"),
        [
            ("2026-03-01T08.15.01Z", "2026-03-01 08:15:01"),
            ("2026-03-01T08:15:01Z", "2026-03-01 08:15:01"),
            ("2026-03-01T08.15.01", "2026-03-01 08:15:01"),
            ("2026-03-01T08:15:01.123Z", "2026-03-01 08:15:01.123000"),
            ("2026-03-01T08:15:01.123z", "2026-03-01 08:15:01.123000"),
            ("2026-03-01T08.15.01.5Z", "2026-03-01 08:15:01.500000"),
            ("2026-03-01T08.15.01.000001Z", "2026-03-01 08:15:01.000001"),
            ("2026-03-01T08.15.01.0000000Z", "2026-03-01 08:15:01"),
            ("2024-02-29T23.59.59Z", "2024-02-29 23:59:59"),
            ("2026-01-01T00.00.00Z", "2026-01-01 00:00:00"),
        ],
    )
    def test_every_form_is_read_as_utc(self, name: str, moment: str) -> None:
        assert str(folder_time(name)) == f"{moment}+00:00"

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "account",
            "Changelog",
            "2026",
            "2026-03-01",
            "2026-03-01T08.15Z",
            "2026-03-01 08.15.01Z",
            "2026-03-01t08.15.01Z",
            "2026-03-01T08-15-01Z",
            "2026-03-01T081501Z",
            "26-03-01T08.15.01Z",
            "12026-03-01T08.15.01Z",
            "2026-3-1T8.15.1Z",
            "2026-00-01T08.15.01Z",
            "2026-13-01T08.15.01Z",
            "2026-03-00T08.15.01Z",
            "2026-03-32T08.15.01Z",
            "2026-02-29T08.15.01Z",
            "2026-03-01T24.00.00Z",
            "2026-03-01T08.60.00Z",
            "2026-03-01T08.15.60Z",
            "0000-03-01T08.15.01Z",
            "2026-03-01T08.15.01.Z",
            "2026-03-01T08.15.01.12345678Z",
            "2026-03-01T08.15.01ZZ",
            "2026-03-01T08.15.01+00:00",
            "2026-03-01T08.15.01Z\n",
            " 2026-03-01T08.15.01Z",
            "2026-03-01T08.15.01Z ",
            "2026-03-01T08.15.01Z/",
            "2026-03-01T08.15.01Z.tmp",
            ".2026-03-01T08.15.01Z",
            "x2026-03-01T08.15.01Z",
            "\u0662\u0660\u0662\u0666-03-01T08.15.01Z",
            "2026-03-01T08.15.0\uff11Z",
            "\u00b2026-03-01T08.15.01Z",
            "2026-03-01T08\u202415\u202401Z",
            "-026-03-01T08.15.01Z",
            "+026-03-01T08.15.01Z",
        ],
    )
    def test_other_names_hold_no_time(self, name: str) -> None:
        assert folder_time(name) is None

    @unhurried
    @given(st.text())
    def test_any_text_holds_a_time_or_none(self, name: str) -> None:
        assert folder_time(name) is None or name[:4].isdecimal()

    @unhurried
    @given(folder_names)
    @example("2024-02-30T00.00.00Z")
    @example("0000-01-01T00.00.00Z")
    @example("9999-12-31T23.59.59.9999999Z")
    def test_what_has_the_form_holds_the_time_that_its_digits_say(
        self, name: str
    ) -> None:
        found = folder_time(name)

        at = (0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)
        try:
            expected = datetime(*(int(name[i:j]) for i, j in at), tzinfo=UTC)  # type: ignore[arg-type,misc]
        except ValueError:
            assert found is None
        else:
            assert found is not None
            assert found.replace(microsecond=0) == expected

    @unhurried
    @given(
        folder_names,
        st.text(min_size=1, max_size=3),
    )
    @example("2026-03-01T08.15.01Z", "\n")
    @example("2026-03-01T08.15.01Z", "\0")
    def test_nothing_may_stand_before_a_name_or_after_its_z(
        self, name: str, more: str
    ) -> None:
        assert folder_time(more + name) is None
        assert folder_time(name.rstrip("Zz") + "Z" + more) is None

    @unhurried
    @given(st.datetimes(timezones=st.just(UTC)))
    def test_a_written_time_is_read_again(self, moment: datetime) -> None:
        whole = moment.replace(microsecond=0)
        text = whole.isoformat().replace("+00:00", "Z")

        assert folder_time(text) == whole
        assert folder_time(text.replace(":", ".")) == whole

    @unhurried
    @given(st.lists(st.integers(0, 9_999_999), min_size=2, max_size=2, unique=True))
    def test_a_later_fraction_is_never_an_earlier_time(self, ticks: list[int]) -> None:
        first, second = (
            folder_time(f"2026-03-01T08.15.01.{tick:07}Z") for tick in sorted(ticks)
        )

        assert first is not None
        assert second is not None
        assert first <= second

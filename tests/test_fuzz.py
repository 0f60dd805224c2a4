"""The targets of fuzzing hold for what fuzzing begins with, and for simple inputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.seeds import dictionary, seeds
from fuzz.targets import TARGETS, BrokenError, holds
from tests.sync.sources.places import unhurried


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    assert seeds(name)
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@unhurried
@given(data=st.binary(max_size=80))
def test_a_target_holds_for_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_its_property_and_has_words(name: str) -> None:
    assert (TARGETS[name].__doc__ or "").endswith(".")
    assert all(line[0] == line[-1] == '"' for line in dictionary(name).splitlines())


def test_a_broken_property_is_raised() -> None:
    with pytest.raises(BrokenError, match="the sky is green"):
        holds(False, "the sky is green")

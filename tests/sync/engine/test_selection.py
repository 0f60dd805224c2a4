from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.engine.selection import globs_for
from sync.errors import ConfigError
from sync.models import SyncConfig
from tests.models import HOSTILE


def chosen(entities: list[str], left_out: set[str]) -> list[str]:
    include, exclude = globs_for(entities, left_out)
    config = SyncConfig(include=include, exclude=exclude)
    return [entity for entity in entities if config.selects(entity)]


def test_all_tables_need_no_glob_so_that_new_ones_come_along() -> None:
    assert globs_for(["account", "contact"], set()) == ([], [])


def test_when_most_are_chosen_the_others_are_excluded() -> None:
    assert globs_for(["a", "b", "c"], {"b"}) == ([], ["b"])


def test_when_few_are_chosen_these_are_included() -> None:
    assert globs_for(["a", "b", "c"], {"b", "c"}) == (["a"], [])


def test_no_table_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="No table is chosen"):
        globs_for(["a"], {"a"})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_never_taken_for_a_pattern(name: str) -> None:
    others = ["account", "b", "z", "abc"]
    assert chosen([name, *others], {name}) == others
    assert chosen([name, *others], set(others)) == [name]


def test_names_that_differ_in_case_come_along_together() -> None:
    entities = ["Account", "account", "contact"]
    with pytest.raises(ConfigError, match="but for case"):
        globs_for(entities, {"account"})
    assert chosen(entities, {"account", "Account"}) == ["contact"]


def test_signs_that_cannot_be_seen_do_not_choose_another_table() -> None:
    with pytest.raises(ConfigError, match="cannot be seen"):
        globs_for(["a\u2028b", "a-b", "c"], {"a\u2028b"})


@given(st.data())
def test_the_globs_select_what_was_ticked(data: st.DataObject) -> None:
    names = st.text(alphabet="ab*?[]!-\u2028İß", min_size=1, max_size=4)
    entities = data.draw(st.lists(names, unique=True, min_size=1, max_size=6))
    out = data.draw(st.sets(st.sampled_from(entities)))
    try:
        found = chosen(entities, out)
    except ConfigError:
        return
    assert found == [entity for entity in entities if entity not in out]


SIGNS = st.text(st.sampled_from("aAbß.*?[]!-\\|"), max_size=5)


@given(st.lists(SIGNS, max_size=4), st.lists(SIGNS, max_size=4), SIGNS)
def test_many_globs_select_what_each_of_them_would(
    include: list[str], exclude: list[str], entity: str
) -> None:
    def fits(globs: list[str]) -> bool:
        return any(fnmatchcase(entity.lower(), glob.lower()) for glob in globs)

    wanted = (not include or fits(include)) and not fits(exclude)
    assert SyncConfig(include=include, exclude=exclude).selects(entity) is wanted

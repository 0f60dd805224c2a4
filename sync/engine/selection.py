"""Chosen tables as globs: what a person ticked, as a sync remembers it."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence

from sync.errors import ConfigError
from sync.models import SyncConfig


def globs_for(
    entities: Sequence[str], left_out: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the globs to include and to exclude that select all but ``left_out``.

    Without any left out there are none; when few are, the globs exclude these: tables
    that appear later come along. Raises ``ConfigError`` when no globs can say it.
    """
    out = [entity for entity in entities if entity in left_out]
    chosen = [entity for entity in entities if entity not in left_out]
    if not chosen:
        raise ConfigError("No table is chosen", remedy="Choose one at the least.")
    include: list[str] = []
    exclude: list[str] = []
    if len(out) <= len(chosen):
        exclude = [_escaped(entity) for entity in out]
    else:
        include = [_escaped(entity) for entity in chosen]
    _check(include, exclude, chosen, out)
    return include, exclude


def _check(
    include: list[str], exclude: list[str], chosen: list[str], out: list[str]
) -> None:
    """Refuse globs that select other tables: case does not matter to them."""
    # Most tables are found without a glob being tried on each.
    folded_out = {entity.lower() for entity in out}
    plain = all(entity.isprintable() for entity in (*chosen, *out))
    if plain and folded_out.isdisjoint(entity.lower() for entity in chosen):
        return
    config = SyncConfig(include=include, exclude=exclude)
    wrong = [entity for entity in chosen if not config.selects(entity)]
    wrong += [entity for entity in out if config.selects(entity)]
    if wrong:
        raise ConfigError(
            f"{wrong[0]} has the name of another table but for case, or for signs "
            "that cannot be seen: both come along, or none of them",
            where=wrong[0],
        )


def _escaped(entity: str) -> str:
    """Return a glob for one name; a sign that no glob may have is matched by any."""
    return "".join(glob.escape(sign) if sign.isprintable() else "?" for sign in entity)

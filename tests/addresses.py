"""Every address of the site, as the resolver knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True)
class Address:
    """A name with its namespace (``admin:index``), and the names of its parts."""

    name: str
    parts: tuple[str, ...]
    route: str

    def filled(self, part: str = "1") -> str:
        """Return a path to it; whether there is such a thing is another question."""
        path = self.route
        for name in self.parts:
            for kind in ("", "int:", "slug:", "path:", "str:", "uuid:"):
                path = path.replace(f"<{kind}{name}>", part)
        return f"/{path}"


def addresses() -> list[Address]:
    """Return all of them that have a name, in their order."""
    return [address for address in _walk(get_resolver(), "", "") if address.name]


def _walk(resolver: URLResolver, prefix: str, namespace: str) -> Iterator[Address]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            name = f"{namespace}{entry.name}" if entry.name else ""
            yield Address(name, tuple(_parts(entry, resolver)), route)
        else:
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, route, inner)


def _parts(entry: URLPattern, resolver: URLResolver) -> list[Any]:
    return [*resolver.pattern.converters, *entry.pattern.converters]

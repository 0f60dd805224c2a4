"""What a request asks for: parameters of the address, and a body of JSON.

What is not known is refused, so that a misspelt name is not passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from sync.api.answers import Refusal

BODY_BYTES = 64 * 1024
LARGEST = 2**63 - 1
MOST = 100


@dataclass(frozen=True)
class Field:
    """A field of a body: what it must be, in words, and whether a value is that."""

    words: str
    fits: Callable[[Any], bool]


TEXT = Field("a text", lambda value: isinstance(value, str))
TEXTS = Field(
    "a list of texts",
    lambda value: (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ),
)
NUMBERS = Field(
    f"a list of 1 to {MOST} numbers",
    lambda value: (
        isinstance(value, list)
        and 0 < len(value) <= MOST
        and all(_is_number(n, 1, LARGEST) for n in value)
    ),
)
OBJECT = Field("an object", lambda value: isinstance(value, dict))


def choice(values: Sequence[str]) -> Field:
    """Return a field that has one of these values."""
    return Field(f"one of {', '.join(values)}", lambda value: value in list(values))


def number(low: int, high: int) -> Field:
    """Return a field that is a whole number within limits."""
    words = f"a whole number from {low} to {high}"
    return Field(words, lambda value: _is_number(value, low, high))


def _is_number(value: object, low: int, high: int) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and low <= value <= high  # type: ignore[operator]


# The address


def parameters(request: HttpRequest, *known: str) -> dict[str, str]:
    """Return the parameters of the address; unknown or repeated ones are refused."""
    found: dict[str, str] = {}
    for name, values in request.GET.lists():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise _bad(f"There is no parameter {name!r} here: {allowed}", name)
        if len(values) > 1 or "\0" in str(values[0]):
            raise _bad(f"{name} must be given once, and as a text", name)
        found[name] = str(values[0])
    return found


def whole(given: Mapping[str, str], name: str, default: int, high: int) -> int:
    """Return a parameter that is a number from 1 on."""
    text = given.get(name, str(default))
    digits = text.isascii() and text.isdigit()
    if not digits or len(text) > len(str(LARGEST)) or not 1 <= int(text) <= high:
        raise _bad(f"{name} must be a whole number from 1 to {high}", name)
    return int(text)


# The body


def body(request: HttpRequest, limit: int = BODY_BYTES) -> bytes:
    """Return the bytes of a JSON body; more than ``limit`` are refused unread."""
    length = request.headers.get("Content-Length", "")
    if not length.isdigit():
        raise Refusal(411, "length_required", "There is no body, or no Content-Length")
    if request.content_type != "application/json":
        raise Refusal(
            415,
            "unsupported_media_type",
            "The body must be JSON",
            remedy="Send Content-Type: application/json.",
        )
    # Not .body, whose own limit is that of forms.
    data = b"" if int(length[:20]) > limit else request.read(limit + 1)
    if int(length[:20]) > limit or len(data) > limit:
        raise Refusal(413, "too_large", f"The body is larger than {limit} bytes")
    return bytes(data)


def fields(
    request: HttpRequest,
    known: Mapping[str, Field],
    *,
    required: Collection[str] = (),
    limit: int = BODY_BYTES,
) -> dict[str, Any]:
    """Return the fields of a body, each of which is what it must be."""
    found = _object(body(request, limit))
    for name, value in found.items():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise _wrong(f"There is no field {name!r} here: {allowed}", name)
        if not known[name].fits(value):
            raise _wrong(f"{name} must be {known[name].words}", name)
    for name in required:
        if name not in found:
            raise _wrong(f"{name} is missing: {known[name].words}", name)
    return found


def required_fields(request: HttpRequest, known: Mapping[str, Field]) -> dict[str, Any]:
    """Return the fields of a body that must have all of them."""
    return fields(request, known, required=known)


def optional_fields(request: HttpRequest, known: Mapping[str, Field]) -> dict[str, Any]:
    """Return the fields of a body that need not be there at all.

    Where nothing can be said, a body that says something is refused.
    """
    return fields(request, known) if _has_body(request) else {}


def _has_body(request: HttpRequest) -> bool:
    length = request.headers.get("Content-Length") or "0"
    return length != "0" or "Transfer-Encoding" in request.headers


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            data, object_pairs_hook=_pairs, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise _bad("The body is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError as well
        raise _bad(f"The body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _bad("The body must be an object")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _bad(message: str, where: str = "") -> Refusal:
    return Refusal(400, "bad_request", message, where=where)


def _wrong(message: str, where: str) -> Refusal:
    return Refusal(422, "bad_field", message, where=where)

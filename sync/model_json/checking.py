"""Reading a model.json's text, and refusing what is not as it must be.

Every refusal names the exact place, such as ``entities[3].attributes[7].dataType``.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from sync.errors import ModelError
from sync.model_json.parts import MAX_BYTES, MAX_NAME

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def load(data: bytes) -> object:
    """Return the document; raise ``ModelError`` when the bytes are none."""
    if len(data) > MAX_BYTES:
        raise ModelError(f"model.json is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise ModelError(f"model.json is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ModelError("model.json is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ModelError(
            f"model.json is not valid JSON: {error.msg}",
            where=f"model.json, line {error.lineno}, column {error.colno}",
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise ModelError(f"model.json is not valid JSON: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twin = next(n for n, _ in pairs if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise ModelError(f"model.json has the key {twin[:100]!r} twice in one object")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ModelError(f"model.json holds {name}, which is not JSON")


def object_at(item: object, path: str) -> dict[str, object]:
    """Return an object of the document; ``path`` is where it is."""
    if not isinstance(item, dict):
        refuse(path, "must be an object", item)
    return item


def list_at(
    parent: dict[str, object], key: str, path: str, limit: int | None
) -> list[object]:
    """Return a list of an object, with at most ``limit`` items."""
    where = f"{path}.{key}" if path else key
    if key not in parent:
        raise ModelError(f"model.json has no {where}", where=where)
    value = parent[key]
    if not isinstance(value, list):
        refuse(where, "must be a list", value)
    if limit is not None and len(value) > limit:
        raise ModelError(
            f"model.json: {where} has {len(value)} items, more than {limit}",
            where=where,
        )
    return value


def name_at(item: dict[str, object], path: str, key: str = "name") -> str:
    """Return a name of an object, checked."""
    return checked_name(item.get(key), f"{path}.{key}")


def checked_name(name: object, path: str) -> str:
    """Return a name, or refuse what is none."""
    if not isinstance(name, str) or not name.strip():
        refuse(path, "must be a non-empty string", name)
    if _UNSAFE.search(name) or len(name.encode()) > MAX_NAME:
        refuse(
            path,
            f"must have at most {MAX_NAME} bytes and no control character",
            name,
        )
    return name


def refuse_twins(names: list[str], path: str, key: str = ".name") -> None:
    """Refuse names of which one occurs twice."""
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twins = (i for i, n in enumerate(names) if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        index = next(twins)
        refuse(f"{path}[{index}]{key}", "occurs a second time", names[index])


def refuse(path: str, rule: str, value: object) -> NoReturn:
    """Raise ``ModelError``: what is at a path breaks a rule."""
    shown = repr(value) if isinstance(value, str) else type(value).__name__
    if value is None:
        shown = "missing or null"
    subject = f"model.json: {path}" if path else "model.json"
    raise ModelError(f"{subject} {rule}, not {shown[:100]}", where=path)

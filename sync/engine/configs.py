"""Creating a sync: every check that can be made before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import IntegrityError, connection, transaction

from sync.engine import first_model
from sync.engine.history import catch_up
from sync.engine.kinds import detected_kind
from sync.engine.locks import Namespace, lock
from sync.errors import ConfigError
from sync.model_json import MAX_BYTES
from sync.models import (
    EmptyText,
    Event,
    MissingKeys,
    SourceKind,
    SyncConfig,
    SyncTable,
)
from sync.sources.folder_models import MODEL
from sync.target.tables import MAX_NAME, choose_name

_REMEDY = (
    "Give the directory that holds Changelog/changelog.info, or the directory of the "
    "log files, or one log file."
)
_OF_ONE_KIND = (
    (
        "missing_keys",
        SourceKind.CHANGE_FEED,
        MissingKeys.IGNORE,
        "An export has no missing keys: its changes are whole rows",
    ),
    (
        "empty_text",
        SourceKind.SYNAPSE_LINK,
        EmptyText.NULL,
        "A change feed has no empty cells: it says null or an empty text",
    ),
)
RESERVED_SCHEMAS = frozenset({"public", "information_schema"})


class TakenError(ConfigError):
    """What another sync has cannot be had a second time: its name, its schema."""


@dataclass(frozen=True)
class NewSync:
    """A sync that was created, what it would replicate now, and what to know."""

    config: SyncConfig
    tables: tuple[str, ...]
    warnings: tuple[str, ...]


def create_config(
    name: str,
    location: str,
    *,
    schema: str = "",
    kind: str = "",
    model_json: bytes | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    policies: Mapping[str, object] | None = None,
    by: str = "",
) -> NewSync:
    """Check everything and create the sync; raises ``ConfigError`` with the reason.

    Without a ``kind`` it is told by what is there. ``model_json`` tells the tables of
    an export while it has no folder yet, and those of a change feed whose directory has
    no model.json. ``policies`` are further fields of the sync. ``by`` is who does it.
    """
    config = SyncConfig(
        name=_checked_name(name),
        location=_checked_location(location),
        schema_name=_checked_schema(schema or name),
        include=_checked_globs(include),
        exclude=_checked_globs(exclude),
        **(policies or {}),
    )
    given = first_model.parsed(model_json)
    config.kind = kind or detected_kind(config.location, given)
    _check_policies(config, policies or {})
    model = first_model.find(config, model_json, given)
    check_name(config.name)
    check_schema(config.schema_name)
    try:
        with transaction.atomic():
            config.save()
            said = f"{config.location} by {by}" if by else config.location
            Event.record(config, "sync_created", said)
    except IntegrityError as error:
        raise TakenError(f"A sync like {name!r} was created just now") from error
    entities = [entity.name for entity in model.entities] if model else []
    selected = tuple(entity for entity in entities if config.selects(entity))
    warnings = model.warnings if model else ()
    if entities and not selected:
        warnings = (*warnings, "The globs select none of the tables known so far")
    return NewSync(config, selected, warnings)


def unasked(*, feed: bool) -> frozenset[str]:
    """Return the policies that a kind of source, a feed or an export, cannot use."""
    kind = SourceKind.CHANGE_FEED if feed else SourceKind.SYNAPSE_LINK
    return frozenset(name for name, of, _, _ in _OF_ONE_KIND if of != kind)


def check_name(name: str) -> str:
    """Return the name if a new sync may have it; raises ``ConfigError``."""
    if SyncConfig.objects.filter(name=_checked_name(name)).exists():
        raise TakenError(f"There is a sync named {name!r} already")
    return name


def check_schema(schema: str) -> str:
    """Return the schema's name if a new sync may have it; raises ``ConfigError``."""
    name = _checked_schema(schema)
    if SyncConfig.objects.filter(schema_name=name).exists():
        raise TakenError(
            f"Another sync uses the schema {name!r}",
            remedy="Choose another one with --schema.",
        )
    return name


def edit_config(
    config: SyncConfig,
    changes: Mapping[str, object],
    *,
    accept: Sequence[SyncTable] = (),
    by: str = "",
) -> list[str]:
    """Change fields of a sync, and replicate tables that waited for a yes.

    Return what changed, in words; the event says ``by`` whom. Tables that are selected
    from now on get their whole history as backlog. Raises ``ConfigError``.
    """
    said = []
    with transaction.atomic():
        lock(Namespace.CONFIG, config.pk)
        config.refresh_from_db()
        _check_policies(config, changes)
        for name, value in changes.items():
            if name in {"include", "exclude"}:
                value = _checked_globs(value)  # type: ignore[arg-type]
            if getattr(config, name) != value:
                setattr(config, name, value)
                shown = " ".join(value) if isinstance(value, list) else value
                said.append(f"{name} {shown}".strip())
        if changes:
            config.save(update_fields=list(changes))
        for table in accept:
            if table.state == SyncTable.State.NEW:
                table.accept()
                said.append(f"table {table.entity}")
        if said:
            catch_up(config)
            person = f" (by {by})" if by else ""
            Event.record(config, "sync_edited", "; ".join(said) + person)
    return said


def selection_changes(
    config: SyncConfig, include: Sequence[str], exclude: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the known tables that other globs would add, and those they leave out."""
    other = SyncConfig(include=list(include), exclude=list(exclude))
    names = SyncTable.objects.filter(config=config).exclude(state=SyncTable.State.NEW)
    more: list[str] = []
    fewer: list[str] = []
    for name in names.order_by("entity").values_list("entity", flat=True):
        before, after = config.selects(name), other.selects(name)
        if before != after:
            (more if after else fewer).append(name)
    return more, fewer


def read_model_json(path: str) -> bytes:
    """Return the bytes of a model.json file; ``ConfigError`` when it is unreadable."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", where=path
        ) from error


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise ConfigError(
            f"{name[:100]!r} is no name for a sync: it needs 1 to 100 printable "
            "characters"
        )
    return name


def _checked_location(location: str) -> str:
    try:
        if not location.strip():
            raise ConfigError("The location is empty", remedy=_REMEDY)
        path = Path(location).expanduser().absolute()
        str(path).encode()
        if path.is_dir() or (path.is_file() and path.name != MODEL):
            return str(path)
        problem = "is no log file" if path.is_file() else "does not exist"
        if path.exists() and not path.is_file():
            problem = "is neither a directory nor a file"
    except UnicodeEncodeError:
        path, problem = Path(ascii(location)), "is not UTF-8"
    except (OSError, RuntimeError) as error:
        path = Path(location)
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise ConfigError(f"{path} {problem}", where=str(path), remedy=_REMEDY)


def _checked_schema(schema: str) -> str:
    if not schema.strip() or not schema.isprintable():
        raise ConfigError(
            f"{schema!a} is no name for a schema of up to {MAX_NAME} bytes"
        )
    name = choose_name(schema, ())
    if name in RESERVED_SCHEMAS | _own_schemas() or name.startswith("pg_"):
        raise ConfigError(
            f"The schema {name!r} is reserved",
            remedy="Choose another one with --schema.",
        )
    return name


def _own_schemas() -> set[str]:
    """Return the schemas in which tables of the application are, or would be made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT unnest(current_schemas(false)) UNION SELECT current_user "
            "UNION SELECT schemaname FROM pg_tables "
            "WHERE tablename = 'django_migrations'"
        )
        return {str(name) for (name,) in cursor.fetchall()}


def _checked_globs(globs: Sequence[str]) -> list[str]:
    for glob in globs:
        if not glob.isprintable():
            raise ConfigError(f"{glob!a} is no glob of table names")
    return list(globs)


def _check_policies(config: SyncConfig, policies: Mapping[str, object]) -> None:
    """Refuse a policy that the sync's kind has no use for: it would change nothing."""
    for name, kind, usual, message in _OF_ONE_KIND:
        if config.kind != kind and policies.get(name, usual) != usual:
            raise ConfigError(message, where=name)

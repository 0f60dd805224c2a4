"""The forms of the pages."""

from __future__ import annotations

from itertools import groupby
from typing import Any, ClassVar

from django import forms

from sync.engine.configs import unasked
from sync.engine.time_zones import zone_names
from sync.models import (
    BadRowPolicy,
    EmptyText,
    MissingKeys,
    NewTables,
    SyncConfig,
)

MAX_NUMBER = 2**31 - 1


class Globs(forms.CharField):
    """Patterns of table names, one a line."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        """Return the patterns; empty lines are none."""
        lines = str(super().to_python(value)).splitlines()
        return [line.strip() for line in lines if line.strip()]

    def validate(self, value: Any) -> None:
        """Refuse a pattern that nobody could read."""
        super().validate(value)
        for glob in value:
            if not glob.isprintable():
                raise forms.ValidationError(
                    "%(glob)s is no pattern of table names",
                    params={"glob": ascii(glob)},
                )

    def prepare_value(self, value: Any) -> Any:
        """Show one a line."""
        return "\n".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the patterns, not their text."""
        return bool(self.to_python(data) != (initial or []))


class PolicyForm(forms.Form):
    """What is done in cases of doubt; set when a sync is made and changed later.

    It asks only what the kind of the source, a ``feed`` or an export, has a use for.
    """

    new_tables = forms.ChoiceField(
        label="Tables that appear later",
        choices=[
            (NewTables.INCLUDE, "are replicated, if the patterns choose them"),
            (NewTables.ASK, "wait for a yes"),
        ],
        widget=forms.RadioSelect,
        initial=NewTables.INCLUDE,
    )
    bad_rows = forms.ChoiceField(
        label="A row that cannot be applied",
        choices=[
            (BadRowPolicy.STOP, "stops its table until a person has looked"),
            (BadRowPolicy.QUARANTINE, "is set aside, and the rest is applied"),
        ],
        widget=forms.RadioSelect,
        initial=BadRowPolicy.STOP,
        help_text="Rows that were set aside are kept as the file has them, to be "
        "applied or dismissed later.",
    )
    max_bad_rows = forms.IntegerField(
        label="Rows set aside per table, at the most",
        min_value=0,
        max_value=MAX_NUMBER,
        initial=100,
        help_text="With one more the table stops.",
    )
    empty_text = forms.ChoiceField(
        label="An empty cell of a text column",
        choices=[
            (EmptyText.NULL, "is NULL"),
            (EmptyText.EMPTY, "is the empty text"),
        ],
        widget=forms.RadioSelect,
        initial=EmptyText.NULL,
        help_text="For rows that are applied from now on. A refresh brings the rows "
        "that are there into line.",
    )
    missing_keys = forms.ChoiceField(
        label="An update of a row that is not there",
        choices=[
            (MissingKeys.IGNORE, "is counted and ignored"),
            (MissingKeys.INSERT, "makes a row of what it tells"),
        ],
        widget=forms.RadioSelect,
        initial=MissingKeys.IGNORE,
        help_text="Either way such changes are counted as missing, table by table.",
    )

    def __init__(self, *args: Any, feed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in unasked(feed=feed) & self.fields.keys():
            del self.fields[name]


class SettingsForm(PolicyForm):
    """What may be changed of a sync, with what each setting does."""

    include = Globs(
        required=False,
        label="Tables to replicate",
        help_text="Patterns of table names, one a line, such as account or msdyn_*. "
        "Empty means all. A table that is chosen later is filled from the "
        "beginning on.",
    )
    exclude = Globs(
        required=False,
        label="Tables to leave out",
        help_text="Patterns, one a line; they win. A table that is left out stays in "
        "PostgreSQL with its rows, and is not updated any more.",
    )
    max_delete_share = forms.IntegerField(
        label="Per cent of a table that one load may delete",
        min_value=0,
        max_value=100,
        help_text="A load that would delete more, and more than 1,000 rows, is held "
        "until a person approves it. 100 never holds.",
    )
    # The values that the person saw, so that nobody's change is overwritten unseen.
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    SETTINGS: ClassVar = (
        *("include", "exclude", "new_tables", "bad_rows", "max_bad_rows"),
        *("empty_text", "missing_keys", "max_delete_share"),
    )
    field_order = SETTINGS

    @classmethod
    def of(cls, config: SyncConfig, *args: Any, **kwargs: Any) -> SettingsForm:
        """Return a form of a sync's settings."""
        return cls(*args, feed=config.is_feed, **kwargs)

    @classmethod
    def values_of(cls, config: SyncConfig) -> dict[str, Any]:
        """Return the settings as they are."""
        out = unasked(feed=config.is_feed)
        return {n: getattr(config, n) for n in cls.SETTINGS if n not in out}

    @property
    def changes(self) -> dict[str, Any]:
        """The settings as they were entered."""
        return {n: self.cleaned_data[n] for n in self.SETTINGS if n in self.fields}


class DeletionForm(forms.Form):
    """Whether the tables go too, and the name of the sync, typed."""

    tables = forms.ChoiceField(
        label="Its tables in PostgreSQL",
        choices=[
            ("keep", "stay as they are; nothing updates them any more"),
            ("drop", "are dropped with all their rows"),
        ],
        widget=forms.RadioSelect,
        initial="keep",
    )
    name = forms.CharField(
        label="Type the name of the sync to confirm",
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._expected = expected

    def clean_name(self) -> str:
        """Refuse another name."""
        name: str = self.cleaned_data["name"]
        if name != self._expected:
            raise forms.ValidationError("That is not the name of the sync.")
        return name


def _zones() -> list[tuple[str, str | list[tuple[str, str]]]]:
    """Return UTC, then the places of each area."""
    places = sorted(zone_names() - {"UTC"})
    areas = groupby(places, key=lambda name: name.partition("/")[0])
    choices = [(area, [_place(name) for name in names]) for area, names in areas]
    return [("UTC", "UTC"), *choices]


def _place(name: str) -> tuple[str, str]:
    return name, name.partition("/")[2].replace("_", " ")


class PreferencesForm(forms.Form):
    """How a person wants to see the pages."""

    zone = forms.ChoiceField(
        label="Time zone",
        choices=_zones,
        error_messages={
            "required": "Choose a time zone.",
            "invalid_choice": "This is no time zone that dvsync knows.",
        },
        help_text="In which these pages show times, each with the name of its zone or "
        "its offset. This browser remembers it for a year.",
    )

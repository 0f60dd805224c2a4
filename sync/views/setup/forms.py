"""The forms of the set-up, and what of an upload is read at all."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import SkipFile, TemporaryFileUploadHandler

from sync.engine.configs import check_name, check_schema
from sync.errors import ConfigError
from sync.forms import PolicyForm
from sync.model_json import MAX_BYTES

MAX_MEGABYTES = MAX_BYTES // 2**20


class LimitedUpload(TemporaryFileUploadHandler):
    """Writes uploads beside, up to the size that a model.json may have.

    Anybody may send one: a form is read before it is known who sent it. What is
    larger is read to its end and dropped, so that the page can still answer.
    """

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Write a chunk, or give the file up."""
        if start + len(raw_data) > MAX_BYTES:
            self.request.META[TOO_LARGE] = True  # type: ignore[union-attr]
            raise SkipFile
        return super().receive_data_chunk(raw_data, start)


# Where a request tells that a file of it was given up. No header becomes such a name.
TOO_LARGE = "dvsync.upload_too_large"


class UploadForm(forms.Form):
    """A model.json."""

    model = forms.FileField(
        label="model.json",
        error_messages={
            "required": "Choose a file first: the model.json.",
            "empty": "The file is empty.",
        },
    )

    def __init__(self, *args: Any, too_large: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if too_large:
            said = f"The file is larger than {MAX_MEGABYTES} MB."
            self.fields["model"].error_messages["required"] = said

    def content(self) -> tuple[bytes, str]:
        """Return the bytes and the name of a valid form's file."""
        file: UploadedFile[bytes] = self.cleaned_data["model"]
        return file.read(), file.name or ""


class TargetForm(PolicyForm):
    """Where the rows go, and what is done in cases of doubt."""

    name = forms.CharField(
        label="Name of the sync",
        max_length=100,
        strip=True,
        help_text="As it is shown here and used by commands.",
    )
    schema = forms.CharField(
        label="PostgreSQL schema",
        help_text="The tables are made in it; it is made if it is not there.",
    )
    field_order = ("name", "schema")

    def clean_name(self) -> str:
        """Refuse what a new sync may not be called."""
        return _checked(check_name, self.cleaned_data["name"])

    def clean_schema(self) -> str:
        """Refuse a schema that it may not have."""
        return _checked(check_schema, self.cleaned_data["schema"])

    def policies(self) -> dict[str, object]:
        """Return the answers that are fields of a sync, of a valid form."""
        names = PolicyForm.base_fields.keys() & self.fields.keys()
        return {name: self.cleaned_data[name] for name in sorted(names)}


def _checked(check: Any, value: str) -> str:
    try:
        return str(check(value))
    except ConfigError as error:
        raise forms.ValidationError(error.message) from error

"""``manage.py createsync``: name a source and where its tables go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sync.engine.configs import create_config, read_model_json
from sync.management.base import DvsyncCommand
from sync.management.choosing import add_globs, add_policies, policies
from sync.models import SourceKind


class Command(DvsyncCommand):
    """Create a sync of one export or change feed into one schema."""

    help = (
        "Creates a sync: the directory of a Synapse Link export, or the log files of a "
        "change feed, and the PostgreSQL schema that replicates it. Nothing is loaded "
        "yet; syncnow does. Which of both it is, is told by what is there: "
        "Changelog/changelog.info, or *.log files; in an empty directory by the "
        "dialect of the model.json."
    )
    epilog = "Exit codes: 0 created; 2 refused, with the reason; 5 no database."
    examples = (
        "createsync sales /data/dataverse-contoso",
        "createsync sales /data/dataverse-contoso --include 'account*' contact",
        "createsync sales /data/dataverse-contoso --schema crm --exclude 'msdyn_*'",
        "createsync crm /data/changes --model-json model.json    a directory of *.log",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="a name of your choice")
        parser.add_argument(
            "location",
            metavar="LOCATION",
            help="the directory of the export or of the log files, or one log file",
        )
        parser.add_argument(
            "--schema", default="", metavar="S", help="target schema (default: NAME)"
        )
        parser.add_argument(
            "--model-json",
            metavar="FILE",
            help="tells the tables before an export has its first folder, and those of "
            "a change feed without a model.json of its own",
        )
        parser.add_argument(
            "--kind",
            choices=SourceKind.values,
            default="",
            help="what the location holds, when that is not told by what is there",
        )
        add_globs(parser, default=[])
        add_policies(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the sync and say what it selects."""
        path = options["model_json"]
        created = create_config(
            options["name"],
            options["location"],
            schema=options["schema"],
            kind=options["kind"],
            model_json=read_model_json(path) if path else None,
            include=options["include"],
            exclude=options["exclude"],
            policies=policies(options),
        )
        for warning in created.warnings:
            self.say(f"Warning: {warning}")
        config = created.config
        self.stdout.write(
            f"Created {config.name}: {len(created.tables)} tables of the "
            f"{config.get_kind_display()} {config.location} into the schema "
            f"{config.schema_name}"
        )
        self.say(f"Load it now: manage.py syncnow {_quoted(config.name)}")


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"

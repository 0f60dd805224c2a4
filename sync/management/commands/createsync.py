"""``manage.py createsync``: name an export and where its tables go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sync.engine.configs import create_config, read_model_json
from sync.management.base import DvsyncCommand
from sync.management.choosing import add_globs, add_policies, policies


class Command(DvsyncCommand):
    """Create a sync of one export into one schema."""

    help = (
        "Creates a sync: the directory of a Synapse Link export, and the PostgreSQL "
        "schema that replicates it. Nothing is loaded yet; syncnow does."
    )
    epilog = "Exit codes: 0 created; 2 refused, with the reason; 5 no database."
    examples = (
        "createsync sales /data/dataverse-contoso",
        "createsync sales /data/dataverse-contoso --include 'account*' contact",
        "createsync sales /data/dataverse-contoso --schema crm --exclude 'msdyn_*'",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="a name of your choice")
        parser.add_argument(
            "location", metavar="LOCATION", help="the export's directory"
        )
        parser.add_argument(
            "--schema", default="", metavar="S", help="target schema (default: NAME)"
        )
        parser.add_argument(
            "--model-json",
            metavar="FILE",
            help="tells the tables before the export has its first folder",
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
            model_json=read_model_json(path) if path else None,
            include=options["include"],
            exclude=options["exclude"],
            policies=policies(options),
        )
        for warning in created.warnings:
            self.say(f"Warning: {warning}")
        config = created.config
        self.stdout.write(
            f"Created {config.name}: {len(created.tables)} tables of "
            f"{config.location} into the schema {config.schema_name}"
        )
        self.say(f"Load it now: manage.py syncnow {_quoted(config.name)}")


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"

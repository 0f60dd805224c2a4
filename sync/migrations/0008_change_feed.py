from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0007_last_load"),
    ]

    operations = [
        migrations.AddField(
            model_name="datasyncprogress",
            name="applied_offset",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="Up to where a log file is applied, in bytes.",
            ),
        ),
        migrations.AddField(
            model_name="datasyncprogress",
            name="end_offset",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="Up to where a log file is to be applied; 0 for a folder.",
            ),
        ),
        migrations.AddField(
            model_name="datasyncprogress",
            name="recent",
            field=models.JSONField(
                db_default={},
                default=dict,
                help_text="Rows applied of a log file, by minute of the hour before its last load.",
            ),
        ),
        migrations.AddField(
            model_name="syncconfig",
            name="kind",
            field=models.CharField(
                choices=[
                    ("synapse-link", "Synapse Link export"),
                    ("change-feed", "change feed of log files"),
                ],
                db_default="synapse-link",
                default="synapse-link",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="syncconfig",
            name="missing_keys",
            field=models.CharField(
                choices=[("ignore", "Ignore"), ("insert", "Insert")],
                db_default="ignore",
                default="ignore",
                help_text="In a change feed, an update of a row that is not there is counted and ignored, or makes a row of what it tells.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="syncpartition",
            name="extent",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="Up to where a log file is known, in bytes.",
            ),
        ),
        migrations.AddField(
            model_name="syncpartition",
            name="mark",
            field=models.TextField(
                blank=True,
                db_default="",
                help_text="How the source knows a log file again.",
            ),
        ),
        migrations.AddField(
            model_name="synctable",
            name="interleaved",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Lines of a log file were applied after those of a later one.",
            ),
        ),
        migrations.AddField(
            model_name="synctable",
            name="key",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                blank=True,
                db_default=[],
                default=list,
                help_text="The attributes that are its key; empty for the Id of an export.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="datasyncprogress",
            name="bytes",
            field=models.BigIntegerField(
                default=0, help_text="What its last load read, or the next one will."
            ),
        ),
        migrations.AlterField(
            model_name="syncconfig",
            name="location",
            field=models.TextField(
                help_text="The directory of the export or of the log files, or one log file."
            ),
        ),
        migrations.AlterField(
            model_name="syncconfig",
            name="model_json",
            field=models.JSONField(
                blank=True,
                help_text="What was uploaded: the tables of an export without a folder yet, or the model.json of a change feed whose directory has none.",
                null=True,
            ),
        ),
    ]

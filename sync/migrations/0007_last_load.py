from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0006_roles"),
    ]

    operations = [
        migrations.AddField(
            model_name="synctable",
            name="last_deleted",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="synctable",
            name="last_inserted",
            field=models.BigIntegerField(
                default=0, help_text="Rows of the last load; so are the next two."
            ),
        ),
        migrations.AddField(
            model_name="synctable",
            name="last_updated",
            field=models.BigIntegerField(default=0),
        ),
    ]

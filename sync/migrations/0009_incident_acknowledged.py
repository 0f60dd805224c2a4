from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0008_change_feed"),
    ]

    operations = [
        migrations.AddField(
            model_name="incident",
            name="acknowledged_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="incident",
            name="acknowledged_by",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="incident",
            name="acknowledged_code",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="incident",
            name="acknowledged_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("late", "Late"),
                    ("failing", "Failing"),
                    ("action_required", "Action Required"),
                ],
                db_default="",
                max_length=20,
            ),
        ),
    ]

from __future__ import annotations

from typing import Any

from django.apps.registry import Apps
from django.db import migrations

# A role has the permissions of those before it.
SHOWN = (
    "syncconfig",
    "syncpartition",
    "synctable",
    "datasyncprogress",
    "quarantinedrow",
    "event",
    "incident",
    "notice",
    "receiver",
    "heartbeat",
    "cluster",
    "worker",
)
ROLES = {
    "viewer": [(model, f"view_{model}") for model in SHOWN],
    "operator": [("syncconfig", "operate_syncconfig")],
    "administrator": [
        ("syncconfig", "add_syncconfig"),
        ("syncconfig", "change_syncconfig"),
        ("syncconfig", "delete_syncconfig"),
        ("apitoken", "view_apitoken"),
        ("apitoken", "delete_apitoken"),
    ],
}


def make_roles(apps: Apps, schema_editor: Any) -> None:
    """Make the groups; one of that name that is there gets what it lacks."""
    Group = apps.get_model("auth", "Group")
    permissions: list[Any] = []
    for role, wanted in ROLES.items():
        permissions += [_permission(apps, *names) for names in wanted]
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.add(*permissions)


def _permission(apps: Apps, model: str, codename: str) -> Any:
    """Return a permission, which Django would make only after the migrations."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    kind, _ = ContentType.objects.get_or_create(app_label="sync", model=model)
    name = _NAMES.get(codename, f"Can {codename.replace('_', ' ')}")
    permission, _ = Permission.objects.get_or_create(
        content_type=kind, codename=codename, defaults={"name": name}
    )
    return permission


_NAMES = {
    "operate_syncconfig": "Can sync now, pause, resume, retry, refresh and decide",
}


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0005_faces"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop)]

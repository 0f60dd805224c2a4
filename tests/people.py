"""Users of each role, as the migration makes the roles."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.test import Client

ROLES = ("viewer", "operator", "administrator")
PASSWORD = "correct horse"


def person(role: str = "") -> User:
    """Return the user of a role, who may sign in; "" has no role, "root" may all.

    A test's end may have removed the groups: they are made again as the migration does.
    """
    name = role or "nobody"
    if found := User.objects.filter(username=name).first():
        return found
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    if role == "root":
        user.is_superuser = True
        user.save()
    elif role:
        import_module("sync.migrations.0006_roles").make_roles(apps, None)
        user.groups.add(Group.objects.get(name=role))
    return user


def signed_in(role: str = "") -> Client:
    """Return a client in which the user of a role is signed in."""
    client = Client()
    client.force_login(person(role))
    return client

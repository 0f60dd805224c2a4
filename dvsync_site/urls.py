"""The addresses of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from dvsync_site.views import setup_sample

urlpatterns = [
    path("admin/", admin.site.urls),
    # Before the application's own, one of which takes any word after setup/.
    path("setup/sample/", setup_sample, name="setup-sample"),
    path("", include("sync.urls")),
]

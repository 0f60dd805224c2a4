"""Which versions run here."""

from __future__ import annotations

import platform
import sys
from importlib import metadata


def version() -> str:
    """Return dvsync's own version; "unknown" when it was never installed."""
    try:
        return metadata.version("dvsync")
    except metadata.PackageNotFoundError:
        return "unknown"


def packages() -> dict[str, str]:
    """Return the version of every package of this Python, by its name."""
    found = {
        str(package.metadata["Name"]): package.version
        for package in metadata.distributions()
        if package.metadata["Name"]
    }
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def programs() -> dict[str, str]:
    """Return the versions of dvsync, Python and the system."""
    return {
        "dvsync": version(),
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
    }

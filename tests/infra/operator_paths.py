"""Where operators call."""

from __future__ import annotations

from unittest.mock import Mock

from tntcore.api import operators, principals
from tntcore.api.poison import PoisonRoutes


def operator_paths(prefix: str = "api") -> set[str]:
    """The first parts of their routes, as `/api/principal`."""
    routes = (*principals.ROUTES, *operators.ROUTES, *PoisonRoutes(Mock()).routes)
    theirs = {route.path for route in routes if route.access in ("operator", "host")}
    return {f"/{prefix}/{path.partition('/')[0]}" for path in theirs}
